"""The one place that runs git. Runs on the control node only.

A repository is another's work: of its configuration, hooks, filters and attributes nothing is obeyed. What is read of a
source's own repository is read as files: no git runs in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.hosted.flask.plugins.plugin_utils.running import MOST, TooMuch, run

FETCHING = 600.0  # seconds for git to get a repository
ENTRIES, BYTES = 50_000, 1 << 30  # files of a tree, and what they may hold together
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
REF = re.compile(r"ref: (refs/[A-Za-z0-9._/+@=-]+)")
# What names a program, or lets a URL name one; of the user's own settings only those for reaching a server count.
SAFE = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.symlinks=false",
    "fetch.recurseSubmodules=false",
    "transfer.fsckObjects=false",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.git.allow=always",
    "protocol.file.allow=always",
    "gc.auto=0",
    "maintenance.auto=false",
)


def git(*words: str, folder: Path | None = None, env: dict[str, str] | None = None) -> bytes:
    """Run git for a bare repository of ours, and return what it prints.

    :raises ValueError: git refuses it, in its own words.
    """
    given = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in USERS}
    # Of the folder that this runs in, and of those above, nothing is a repository.
    given |= {"GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_ATTR_NOSYSTEM": "1"}
    given |= {"GIT_DIR": str(folder) if folder else "/nonexistent"}
    command = ["git", *(word for setting in SAFE for word in ("-c", setting)), *words]
    try:
        done = run(command, FETCHING, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=given | (env or {}))
    except subprocess.TimeoutExpired:
        raise ValueError(f"a repository and a version that git can fetch within {FETCHING:.0f} s") from None
    except TooMuch as why:
        raise ValueError(f"a repository of at most {ENTRIES} files ({why})") from None
    if done.returncode:
        raise ValueError(
            f"a repository and a version that git can fetch ({done.stderr.decode(errors='replace').strip()})"
        )
    return done.stdout


USERS = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
         "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_NO_VERIFY"}  # fmt: skip


def export(clone: Path, commit: str, target: Path) -> None:
    """Write the files of a commit into an empty folder: as they are in it, by no attribute, filter or archive.

    A link is written where it leads to something inside, at the end, so that nothing is written through one; a
    submodule is left out.

    :raises ValueError: a path leads elsewhere, or there are too many.
    """
    entries = [entry for entry in git("ls-tree", "-rlz", commit, folder=clone).split(b"\0") if entry]
    if len(entries) > ENTRIES:
        raise ValueError(f"a tree of at most {ENTRIES} files")
    files, links, size = [], [], 0
    for entry in entries:
        told, _, raw = entry.partition(b"\t")
        mode, kind, name, length = told.decode().split()
        path = raw.decode(errors="replace")
        if kind != "blob":
            continue
        parts = path.split("/")
        if re.search(r"[\x00-\x1f\x7f\\\ufffd]", path) or any(
            part in ("", ".", "..") or part.lower() == ".git" for part in parts
        ):
            raise ValueError(f"a tree of plain paths ({path[:200]!r} is none)")
        size += int(length)
        (links if mode == "120000" else files).append((path, mode, name))
    if size > BYTES:
        raise ValueError(f"a tree of at most {BYTES} bytes")
    blobs = contents(clone, [name for _, _, name in files + links], size)
    try:
        for path, mode, name in files:
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            opened = os.open(
                file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if mode == "100755" else 0o644
            )
            with open(opened, "wb") as writer:
                writer.write(blobs[name])
        top = target.resolve()
        for path, _, name in links:
            link, to = target / path, blobs[name].decode(errors="replace")
            if "\0" in to or os.path.isabs(to) or not below(os.path.normpath(link.parent / to), str(target)):
                continue
            if not link.parent.resolve().is_relative_to(top):
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.parent.resolve().is_relative_to(top):
                continue
            os.symlink(to, link)
    except OSError as error:  # A file and a folder of one name, a name that is too long.
        raise ValueError(f"a tree that a folder can hold ({error.strerror})") from None


def below(path: str, top: str) -> bool:
    """Whether a path without links and dots is a folder or what lies in it."""
    return path == top or path.startswith(f"{top}/")


def contents(clone: Path, names: list[str], size: int) -> dict[str, bytes]:
    """Return blobs by their names.

    :param size: bytes that they have together.
    """
    found = {}
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{name}\n" for name in dict.fromkeys(names)).encode())
        asked.seek(0)
        # Each of them has a line before it.
        done = run(
            ["git", "cat-file", "--batch"], FETCHING, most=size + 100 * len(names) + MOST,
            stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "GIT_DIR": str(clone), "GIT_CONFIG_NOSYSTEM": "1",
                 "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_NO_REPLACE_OBJECTS": "1"},
        )  # fmt: skip
    at, out = 0, done.stdout
    for name in dict.fromkeys(names):
        end = out.find(b"\n", at)
        head = out[at:end].decode(errors="replace").split()
        if len(head) != 3 or head[:2] != [name, "blob"]:
            raise ValueError("a repository whose files are all there")
        at = end + 1 + int(head[2])
        found[name] = out[end + 1 : at]
        at += 1
    return found


def head_of(folder: Path) -> str:
    """Return the commit that a source's repository is at, by its files alone; empty where that cannot be told."""
    for parent in (folder, *folder.parents):
        place = parent / ".git"
        if os.path.lexists(place):
            break
    else:
        return ""
    if place.is_symlink() or not place.is_dir():
        return ""
    ref, seen = small(place, "HEAD"), 0
    while (named := REF.fullmatch(ref)) and ".." not in ref and seen < 5:
        seen += 1
        ref = small(place, named[1]) or packed(place, named[1])
    return ref if COMMIT.fullmatch(ref) else ""


def small(place: Path, name: str) -> str:
    """Return the text of a small file of a repository; empty where it is none."""
    from ansible_collections.hosted.flask.plugins.plugin_utils.source import TEXT, content

    try:
        return content(place, name, TEXT * 16 if name == "packed-refs" else 4096).decode(errors="replace").strip()
    except ValueError:
        return ""


def packed(place: Path, name: str) -> str:
    """Return what a ref that has no file of its own stands for."""
    for line in small(place, "packed-refs").splitlines():
        if line.endswith(f" {name}"):
            return line.split(" ")[0]
    return ""


def remove(folder: Path) -> None:
    """Delete a folder that may be half done."""
    shutil.rmtree(folder, ignore_errors=True)
