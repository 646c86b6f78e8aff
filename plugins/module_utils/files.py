"""Files that are never seen half written, and what a deploy shows of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

TEXT_LIMIT = 65536  # bytes of a file that a diff still shows
SHORTEST = 4  # characters of a secret that is taken out of what is shown; less would take words apart


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
    """Delete a file, a link or a folder, sealed or not, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def sync(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tail(log: Path, offset: int, lines: int = 60) -> str:
    """Return the last lines of what a log got since ``offset``, bytes from its start."""
    try:
        with open(log, "rb") as file:
            file.seek(offset if offset <= os.fstat(file.fileno()).st_size else 0)
            text = file.read()[-20000:].decode(errors="replace")
    except OSError:
        return "(none)"
    shown = "\n".join(legible(line) for line in text.splitlines())
    return "\n".join(shown.splitlines()[-lines:]) or "(none)"


def legible(line: str) -> str:
    """Return a line of a log; of one that is JSON, what spans lines (a traceback) stands below it as it was written."""
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
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
    """Return a file's text for a diff, empty where there is no file."""
    return "" if path is None or not path.exists() else decode(path.read_bytes())


def decode(data: bytes) -> str:
    """Return a file's content for a diff, or a word for what is too large or not text."""
    if len(data) <= TEXT_LIMIT and b"\0" not in data:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    return f"({len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()})\n"
