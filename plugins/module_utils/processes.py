"""What the kernel tells of an account's own processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


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
                # proc(5): the name in parentheses may hold anything, so that fields count from its end.
                found[int(name)] = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
    return found


def memory(pids: set[int]) -> int:
    """Return the bytes that processes use together, pages that they share counted once (PSS of proc(5))."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total
