"""Which files of a source folder make a release. Runs on the control node only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

# Never shipped: what is made from the source, what belongs to a tool, and what survives releases.
NEVER = (".git", ".hg", ".svn", ".venv", "venv", "__pycache__", "*.pyc", "instance", "node_modules",
         ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store")  # fmt: skip


def collect(folder: Path, without: str = "") -> list[str]:
    """Return the files of a source that a release holds, as sorted paths relative to it.

    Left out is what ``.gitignore`` files of the source say (``.deployignore`` beside one is read as well),
    and what is never shipped. A symlink is followed where it stays inside the source.

    :param without: a folder of the source that is left out too.
    """
    return sorted(walk(folder, folder, [], folder / without if without else None))


def walk(top: Path, folder: Path, specs: list[tuple[Path, GitIgnoreSpec]], without: Path | None) -> Iterator[str]:
    """Yield the files below ``folder``, under the ignore files of the folders above it."""
    lines: list[str] = list(NEVER) if folder == top else []
    for name in (".gitignore", ".deployignore"):
        if (folder / name).is_file():
            lines += (folder / name).read_text().splitlines()
    if lines:
        specs = [*specs, (folder, GitIgnoreSpec.from_lines(lines))]
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            path = Path(entry.path)
            is_dir = entry.is_dir()
            if path == without:
                continue
            if any(spec.match_file(f"{path.relative_to(base)}{'/' if is_dir else ''}") for base, spec in specs):
                continue
            if entry.is_symlink() and not path.resolve().is_relative_to(top.resolve()):
                continue
            if is_dir and entry.is_symlink() and any(path.samefile(up) for up in (folder, *folder.parents)):
                continue  # A circle.
            if is_dir:
                yield from walk(top, path, specs, without)
            elif entry.is_file():
                yield str(path.relative_to(top))
