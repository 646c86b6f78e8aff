"""Files that are never seen half written, and what a deploy shows of them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:  # The certificates' timer has this file without the collection.
    from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask

TEXT_LIMIT = 65536  # bytes of a file that a diff still shows
READ_LIMIT = 8 << 20  # bytes of a file of ours; a larger one is not ours
HASH_LIMIT = 64 << 20  # bytes of a file that is told by its hash


def write(path: Path, content: str | bytes, mode: int, name_too: bool = True) -> None:
    """Write a file whole or not at all, with its mode from the start, and bring it to the disk.

    :param name_too: its name as well; whoever writes many files into a folder does that once, by :func:`sync`.
    """
    # A name that no reader of a folder of configuration files takes for one of them.
    partial = path.with_name(f".{path.name}.partial")
    discard(partial)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, mode)  # The umask had its say above.
        partial.rename(path)
        if name_too:
            sync(path.parent)
    except OSError:
        discard(partial)  # On a full disk every byte is wanted.
        raise


def put(path: Path, text: str | None) -> None:
    """Write a file of the host that all may read, with the folders above it, or remove it where ``text`` is None."""
    if text is None:
        discard(path)
        return
    # Whatever root's umask is: sshd, to name one, reads an account's keys with that account's rights.
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir()
        folder.chmod(0o755)
    write(path, text, 0o644)


def restore(path: Path, content: str) -> None:
    """Put a file's earlier content back; empty means that there was no file."""
    if content:
        write(path, content, 0o600)
    else:
        discard(path)


def point(link: Path, target: str) -> None:
    """Make a symlink point at ``target`` in one step that readers never see half done, and bring it to the disk."""
    partial = link.with_name(f".{link.name}.partial")
    discard(partial)
    partial.symlink_to(target)
    partial.rename(link)
    sync(link.parent)


def discard(path: Path) -> None:
    """Delete whatever is there, a folder sealed or not and however deep; nothing where there is nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode):
        path.unlink()
        return
    # Not by going down: a recursion ends at a thousand folders in each other, and a path at 4096 bytes. What is in a
    # folder of the folder comes up instead.
    names = (f".discarded-{number}" for number in itertools.count())
    folders = [path]
    while folders:
        folder = folders.pop()
        os.chmod(folder, 0o700)
        for entry in list(os.scandir(folder)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif folder == path:
                folders.append(Path(entry.path))
            else:
                os.chmod(entry.path, 0o700)  # Its own link to the folder above changes.
                target = next(name for name in map(path.joinpath, names) if not os.path.lexists(name))
                os.rename(entry.path, target)
                folders.append(target)
        if folder != path:
            folder.rmdir()
    path.rmdir()


def sync(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it; nothing else than a file, which could keep its reader for ever.

    :raises OSError: it is not there, or no file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no file, but something that is read without an end", str(path))
        yield file


def contents(path: Path, limit: int = READ_LIMIT) -> bytes:
    """Return what is in a file.

    :param limit: bytes.
    :raises OSError: it is not there, no file, or larger.
    """
    with opened(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def last(path: Path, limit: int, offset: int = 0) -> bytes:
    """Return the end of a file, at most ``limit`` bytes of what follows its first ``offset``.

    :raises OSError: it is not there, or no file.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(offset if offset <= size else 0, size - limit))
        return file.read(limit)


TRACEBACK = "Traceback (most recent call last)"


def tail(log: Path, offset: int, mask: Mask, lines: int = 60) -> str:
    """Return the last lines of what a log got since ``offset``, bytes from its start.

    :param mask: takes the secrets out, before a line is cut off.
    """
    try:
        text = mask.end(last(log, 20000 + 4 * mask.margin, offset).decode(errors="replace"), 20000)
    except OSError:
        return "(none)"
    shown = "\n".join(legible(line) for line in text.splitlines())
    return "\n".join(once(shown.splitlines())[-lines:]) or "(none)"


def once(lines: list[str]) -> list[str]:
    """Return lines without tracebacks that stand there once more, but for numbers, and without what led to these.

    An app that fails says so each time it is asked. How many lines are left out stands at the end.
    """
    units: list[list[str]] = []
    inside = False  # a traceback, up to the line that names the error
    for line in lines:
        if inside:
            units[-1].append(line)
            inside = line.startswith((" ", "\t")) or not line
        else:
            units.append([line])
            inside = line.startswith(TRACEBACK)
    seen: set[str] = set()
    kept: list[str] = []
    dropped, repeated = 0, False
    for unit in reversed(units):
        key = re.sub(r"\d+", "0", "\n".join(unit))
        # Its log's line before the traceback, and uWSGI's line for the request.
        leads = repeated or unit[0].startswith("[pid: ")
        repeated = key in seen and unit[0].startswith(TRACEBACK)
        if repeated or (leads and key in seen):
            dropped += len(unit)
            continue
        seen.add(key)
        kept = unit + kept
    return [*kept, f"({dropped} lines that say the same are left out)"] if dropped else kept


def legible(line: str) -> str:
    """Return a line of a log; of one that is JSON, what spans lines (a traceback) stands below it as it was written."""
    try:
        record = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return line
    long = {key: text.strip("\n") for key, text in record.items() if isinstance(text, str) and "\n" in text}
    rest = {key: value for key, value in record.items() if key not in long}
    return "\n".join([json.dumps(rest, ensure_ascii=False), *long.values()]) if long else line


def size(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def text_of(path: Path | None) -> str:
    """Return a file's text for a diff, or a word for what is too large, not text or no file; empty where nothing is."""
    if path is None:
        return ""
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > HASH_LIMIT:
                return f"({size} bytes)\n"
            return decode(file.read(HASH_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"({error.strerror})\n"


def decode(data: bytes) -> str:
    """Return a file's content for a diff, or a word for what is too large or not text."""
    if len(data) <= TEXT_LIMIT and b"\0" not in data:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    return f"({len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()})\n"
