"""What goes into an app's venv. Runs on the control node only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.hosted.flask.plugins.plugin_utils.apps import ROOT

NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
NESTED = re.compile(r"^\s*(?:-r|--requirement)[ =]\s*(\S+)\s*$")
LOCAL = re.compile(r"^\s*(-e\b|--editable\b|\.{1,2}/|file:|-c\b|--constraint\b)")


@dataclass(frozen=True)
class Requirements:
    """An app's own requirements and those of its server, as the texts of two requirements files."""

    text: str
    server: str

    @classmethod
    def read(cls, folder: Path, name: str, server: str) -> Requirements:
        """Read an app's requirements with all the files that they include.

        :param folder: the app's source.
        :param name: the file's path in it.
        :param server: the app server, a role with ``files/requirements.txt``. Nothing is added where
            the app itself asks for that package: then its version is the app's own choice.
        :raises ValueError: an included file is missing, or a line points into a folder, which a venv
            that several releases share cannot follow; the message says what is allowed.
        """
        lines: list[str] = []
        collect(folder, Path(name), lines, ())
        text = "\n".join(lines) + "\n"
        needs = (ROOT / "roles" / server / "files/requirements.txt").read_text()
        own = {"uwsgi": {"uwsgi", "pyuwsgi"}}.get(server, {server})
        return cls(text, "" if packages(text) & own else needs)


def packages(text: str) -> set[str]:
    """Return the names of the packages that the text of a requirements file asks for."""
    return {found.lower().replace("_", "-") for found in NAME.findall(text)}


def collect(folder: Path, name: Path, lines: list[str], seen: tuple[Path, ...]) -> None:
    """Append a requirements file's lines to ``lines``, the files it includes in their place."""
    if name in seen or not (folder / name).is_file():
        raise ValueError(f"a chain of files inside the source ({name} is missing or includes itself)")
    for line in (folder / name).read_text().splitlines():
        if nested := NESTED.match(line):
            collect(folder, Path(name).parent / nested[1], lines, (*seen, name))
        elif LOCAL.match(line):
            raise ValueError(f"packages by name or URL (line {line.strip()!r} in {name} points at a file)")
        elif line.strip() and not line.lstrip().startswith("#"):
            lines.append(line.rstrip())
