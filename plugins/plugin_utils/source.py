"""Which files of a source folder make a release. Runs on the control node only."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

# Never shipped: what is made from the source, what belongs to a tool, and what survives releases.
NEVER = (".git", ".hg", ".svn", ".venv", "venv", "__pycache__", "*.pyc", "instance", "node_modules",
         ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store")  # fmt: skip

TEXT = 1 << 20  # bytes of a file that is read here for what it says
ENTRIES, DEPTH = 100_000, 100  # files of a source, and folders in one another
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# In a line of an ignore file: a star is tried against each rest of a name, so that five take minutes for a long one.
STARS, RULES = 2, 2000  # stars between two slashes, and as many ** of a line; lines


def content(top: Path, path: str | Path, limit: int | None = None) -> bytes:
    """Return a source's file: a regular one that lies below ``top``, also behind its links.

    :raises ValueError: it is another thing, lies elsewhere or has more than ``limit`` bytes; nothing of it was read.
    """
    try:
        base, real = top.resolve(), (top / path).resolve(strict=True)
        if not real.is_relative_to(base):
            raise ValueError(f"{path} leads out of the source")
        if not stat.S_ISREG(real.lstat().st_mode):
            raise ValueError(f"{path} is no file")
        file = opened_below(base, real.relative_to(base).parts)
        with open(file, "rb") as opened:
            told = os.fstat(file)
            if not stat.S_ISREG(told.st_mode):
                raise ValueError(f"{path} is no file")
            if limit is not None and told.st_size > limit:
                raise ValueError(f"{path} has more than {limit} bytes")
            return opened.read() if limit is None else opened.read(limit)
    except (OSError, RuntimeError) as error:  # A link in a circle is the latter, up to Python 3.12.
        raise ValueError(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'a circle of links'})") from None


def opened_below(base: Path, parts: tuple[str, ...]) -> int:
    """Open a file step by step below a folder, so that no link is followed that somebody puts into its way meanwhile.

    :raises OSError: there is one.
    """
    *folders, name = parts
    at = os.open(base, FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, FOLDER, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def is_file(top: Path, path: str | Path) -> bool:
    """Whether a source has this file, below ``top`` also behind its links."""
    try:
        real = (top / path).resolve(strict=True)
        return real.is_relative_to(top.resolve()) and real.is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def leads_inside(link: Path, top: Path) -> bool:
    """Whether a link ends below ``top``."""
    try:
        return link.resolve().is_relative_to(top.resolve())
    except (OSError, RuntimeError):
        return False


def lines_of(top: Path, path: Path) -> list[str]:
    """Return the lines of an ignore file; none where it is no small file of the source."""
    try:
        lines = content(top, path, TEXT).decode(errors="replace").splitlines()
    except ValueError:
        return []
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if len(lines) > RULES:
        raise ValueError(f"{path} with at most {RULES} lines")
    for line in lines:
        parts = line.rstrip().split("/")
        stars = [part.count("*") for part in parts if part != "**"]
        if max(stars, default=0) > STARS or parts.count("**") > STARS or len(line) > 1000:
            allowed = f"lines of {path} with at most {STARS} stars between two slashes and 1000 characters"
            raise ValueError(f"{allowed} ({line[:80]!r} is none)")
    return lines


def collect(folder: Path, without: str = "", left: list[str] | None = None) -> list[str]:
    """Return the files of a source that a release holds, as sorted paths relative to it.

    Left out is what ``.gitignore`` files of the source say (``.deployignore`` beside one is read as well),
    and what is never shipped. A symlink is followed where it stays inside the source.

    :param without: a folder of the source that is left out too.
    :param left: gets the paths that a release cannot hold: links that lead out of the source, and what is no file.
    """
    without_it = folder / without if without else None
    return sorted(walk(folder, folder, [], without_it, [] if left is None else left, [0]))


def walk(
    top: Path,
    folder: Path,
    specs: list[tuple[Path, GitIgnoreSpec]],
    without: Path | None,
    left: list[str],
    count: list[int],
) -> Iterator[str]:
    """Yield the files below ``folder``, under the ignore files of the folders above it."""
    if len(folder.parts) - len(top.parts) > DEPTH:
        raise ValueError(f"at most {DEPTH} folders in one another")
    lines: list[str] = list(NEVER) if folder == top else []
    for name in (".gitignore", ".deployignore"):
        lines += lines_of(top, folder / name)
    if lines:
        try:
            specs = [*specs, (folder, GitIgnoreSpec.from_lines(lines))]
        except (re.error, ValueError):
            raise ValueError(f"lines in the ignore files of {folder} that git takes") from None
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            path = Path(entry.path)
            count[0] += 1
            if count[0] > ENTRIES:
                raise ValueError(f"at most {ENTRIES} files, also behind links")
            try:
                is_dir = entry.is_dir()
            except OSError:  # A circle of links.
                is_dir = False
            if path == without:
                continue
            if any(spec.match_file(f"{path.relative_to(base)}{'/' if is_dir else ''}") for base, spec in specs):
                continue
            if entry.is_symlink() and not leads_inside(path, top):
                left.append(str(path.relative_to(top)))
                continue
            if is_dir and entry.is_symlink() and any(path.samefile(up) for up in (folder, *folder.parents)):
                continue  # A circle.
            if is_dir:
                yield from walk(top, path, specs, without, left, count)
            elif entry.is_file():
                yield str(path.relative_to(top))
            else:
                left.append(str(path.relative_to(top)))
