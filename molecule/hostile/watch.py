"""Root's witness: what the kernel says of each of mallory's programs that runs, and how much memory root's own take.

    watch.py FOLDER

A program of his says hello at an abstract socket; who it is the kernel tells. FOLDER/programs has a line of JSON for
each, FOLDER/memory the most that one of root's Pythons had.
"""

import contextlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path

NAME = "\0hostile-tenant"
EVERY = 0.05  # seconds between two looks at memory


def seen(pid: int) -> dict[str, str]:
    """Return what the kernel knows of a process: its rights and its place among the host's control groups."""
    folder = Path("/proc", str(pid))
    status = dict(re.findall(r"^(\w+):\t(.*)$", (folder / "status").read_text(errors="replace"), re.MULTILINE))
    groups = [line.split(":", 2) for line in (folder / "cgroup").read_text().splitlines()]
    [slice_] = [path for _, kind, path in groups if kind == "name=systemd"] or [path for _, _, path in groups]
    return {key: status[key] for key in ("Uid", "Gid", "NoNewPrivs", "CapPrm", "CapAmb")} | {"group": slice_}


def greet(server: socket.socket, file: Path) -> None:
    """Write down who says hello."""
    while True:
        client, _ = server.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(1)
            pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            said = {"pid": pid, "uid": uid, "words": client.recv(4096).decode(errors="replace"), **seen(pid)}
            with open(file, "a") as out:
                out.write(json.dumps(said) + "\n")
            client.sendall(b"+")


def weigh(file: Path) -> None:
    """Write down the most memory that one of root's Pythons has had."""
    most, own = 0, str(os.getpid())
    while True:
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{name}/status").read_text(errors="replace")
                if name == own or not re.search(r"^Uid:\t0\t", text, re.MULTILINE):
                    continue
                found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
                if found and int(found[1]) > most and "python" in os.readlink(f"/proc/{name}/exe"):
                    most = int(found[1])
                    words = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    file.write_text(json.dumps({"kib": most, "words": words[:300]}))
        time.sleep(EVERY)


def main(folder: Path) -> None:
    """Watch until ended."""
    folder.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(NAME)
    server.listen(64)
    threading.Thread(target=greet, args=(server, folder / "programs"), daemon=True).start()
    (folder / "memory").write_text("{}")
    weigh(folder / "memory")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
