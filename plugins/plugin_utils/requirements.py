"""What goes into an app's venv. Runs on the control node only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.hosted.flask.plugins.plugin_utils.apps import ROOT
from ansible_collections.hosted.flask.plugins.plugin_utils.source import TEXT, content

NAME = re.compile(r"^[ \t]*([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
NESTED = re.compile(r"^\s*(?:-r|--requirement)[ \t=]*(\S+)\s*$")
# Options that name a file or a folder: pip reads them where it runs, and uv here.
LOCAL = re.compile(r"^\s*(-[ecrf]|--(editable|constraint|requirement|find-links))|file:", re.IGNORECASE)
# What a line that is no option begins with, up to where nothing after it can be a file.
REMOTE = r"((git|hg|svn|bzr)\+)?(https?|ssh|git|svn)://"
PLAIN = re.compile(
    rf"\s*({REMOTE}|[A-Za-z0-9][\w.-]*\s*(\[[\w\s.,-]*\]\s*)?([#;<>=!~(]|$|(?<=\s)--|@\s*{REMOTE}))",
    re.IGNORECASE | re.ASCII,
)
OPTION = re.compile(rf"\s*-(?!(i|-(extra-)?index-url)\b(?![\s=]*{REMOTE}))", re.IGNORECASE)
VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
DEPTH, LINES, FILES = 20, 20_000, 200  # files that include one another, lines of all of them, and files in all


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
        for line in text.replace("\\\n", "").splitlines():  # As pip and uv read it: an option may be on two lines.
            if points(line) or VARIABLE.search(line):
                raise ValueError(f"packages by name or URL (line {line.strip()[:200]!r} in {name} points at a file)")
        needs = (ROOT / "roles" / server / "files/requirements.txt").read_text()
        own = {"uwsgi": {"uwsgi", "pyuwsgi"}}.get(server, {server})
        return cls(text, "" if packages(text) & own else needs)


def points(line: str) -> bool:
    """Whether a line of a requirements file may point at a file or a folder."""
    known = PLAIN.match(line) or OPTION.match(line) or not line.strip() or line.lstrip().startswith("#")
    return bool(not known or LOCAL.search(line))


def addressed(text: str) -> bool:
    """Whether a requirements file asks for a package at an address of its own.

    To look at one, uv runs git, which fetches submodules, and follows what is said there: a subfolder outside of it,
    sources of further packages, links. Where a package comes from an index, it does none of this.
    """
    return any("://" in re.split(r"\s#", line)[0] for line in text.splitlines() if not re.match(r"\s*[-#]", line))


def packages(text: str) -> set[str]:
    """Return the names of the packages that the text of a requirements file asks for."""
    return {found.lower().replace("_", "-") for found in NAME.findall(text)}


def collect(folder: Path, name: Path, lines: list[str], seen: tuple[Path, ...], read: list[Path] | None = None) -> None:
    """Append a requirements file's lines to ``lines``, the files it includes in their place.

    :param seen: the files that include this one.
    :param read: gets each file as often as it is read: two that include one twice are four, and so on.
    """
    read = [] if read is None else read
    read.append(name)
    if len(read) > FILES:
        raise ValueError(f"a chain of files inside the source (more than {FILES} are included)")
    if name in seen or len(seen) >= DEPTH:
        raise ValueError(f"a chain of files inside the source ({name} is missing or includes itself)")
    try:
        text = content(folder, name, TEXT).decode()
    except ValueError as error:
        why = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).removeprefix(f"{name} ")
        raise ValueError(f"a chain of files inside the source ({name} {why})") from None
    for line in text.splitlines():
        if len(lines) > LINES:
            raise ValueError(f"a chain of files inside the source (they have more than {LINES} lines)")
        if nested := NESTED.match(line):
            inner = Path(os.path.normpath(name.parent / nested[1]))
            collect(folder, inner, lines, (*seen, name), read)
        elif not line.strip() or line.lstrip().startswith("#"):
            continue
        elif LOCAL.search(line):  # Whether it is whole is not known yet.
            raise ValueError(f"packages by name or URL (line {line.strip()[:200]!r} in {name} points at a file)")
        elif VARIABLE.search(line):
            raise ValueError(f"lines without variables (line {line.strip()[:200]!r} in {name} has one)")
        else:
            lines.append(line.rstrip())
