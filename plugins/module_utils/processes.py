"""What the kernel tells of processes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


def children(pid: int) -> set[int]:
    """Return the direct children of a process."""
    return {child for child, parent in parents().items() if parent == pid}


def family(pid: int) -> set[int]:
    """Return a process and all that descend from it."""
    table, found, new = parents(), set(), {pid} if pid else set()
    while new:
        found |= new
        new = {child for child, parent in table.items() if parent in new} - found
    return found


def parents() -> dict[int, int]:
    """Return the parent of each process that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found[int(name)] = parent(Path("/proc", name, "stat").read_bytes())
    return found


def parent(stat: bytes) -> int:
    """Return the parent that a process's ``stat`` names."""
    # The name in parentheses may hold any bytes, so that fields count from its end.
    return int(stat.rpartition(b")")[2].split()[1])


def memory(pids: set[int]) -> int:
    """Return the bytes that processes use together, pages that they share counted once (PSS of proc(5))."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Listener(NamedTuple):
    """A process that listens, as the kernel knows it: nobody but root can have it be otherwise."""

    pid: int
    uid: int  # who started it
    program: str  # the path of what it runs, empty where that cannot be seen


def listeners(ports: Iterable[int]) -> dict[int, list[Listener]]:
    """Return who listens on TCP ports, for those that somebody listens on.

    One who cannot be seen has pid 0, and the number of who made the socket. To root that is nobody who has it open in
    the usual way: a socket may be under way between two processes, and in one whose first thread has ended.
    """
    wanted = {port: sockets(port) for port in ports}
    holders: dict[str, list[Listener]] = {}
    every = {inode for inodes in wanted.values() for inode in inodes}
    for name in filter(str.isdigit, os.listdir("/proc") if every else ()):
        if held := every.intersection(open_sockets(Path("/proc", name))):
            with contextlib.suppress(OSError):  # It ended meanwhile.
                one = Listener(int(name), *rights(name))
                for inode in held:
                    holders.setdefault(inode, []).append(one)
    return {
        port: sorted({one for inode, uid in inodes.items() for one in holders.get(inode, [Listener(0, uid, "")])})
        for port, inodes in wanted.items()
        if inodes
    }


def open_sockets(folder: Path) -> Iterator[str]:
    """Find the inodes of the sockets that a process has open, whatever else it opens and closes meanwhile.

    :param folder: the process in /proc.
    """
    with contextlib.suppress(OSError):  # It ended meanwhile, or is somebody else's.
        for name in sorted(os.listdir(folder / "fd"), key=int):
            with contextlib.suppress(OSError):
                if link := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(folder / "fd" / name)):
                    yield link[1]


def rights(name: str) -> tuple[int, str]:
    """Return who started a process and the path of its program, also where an upgrade has replaced that file."""
    # Not the owner of its folder: root's, as soon as a process says that nobody may look into it (proc(5)). The name,
    # which is the process's own to choose, stands before and has no line's end in it.
    [owner] = re.findall(r"^Uid:\t(\d+)\t", Path(f"/proc/{name}/status").read_text(errors="replace"), re.MULTILINE)
    return int(owner), os.readlink(f"/proc/{name}/exe").removesuffix(" (deleted)")


def sockets(port: int) -> dict[str, int]:
    """Return the inodes of the sockets that listen on a TCP port, each with the number of who made it."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found |= {row[9]: int(row[7]) for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    return found
