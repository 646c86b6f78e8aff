#!/usr/bin/python3
"""The kit of a hostile tenant: run as mallory on the host, it lays what it can in the way of whoever works on his app.

kit.py programs          his own programs in the place of all that a home may run
kit.py bare              what he has in his home before there is an app
kit.py lay ROUND         a thing of each kind under each name that is read, in another pairing in each round
kit.py take-away         his home as empty as one that was just made, but for how he logs in
kit.py double KIND       his own supervisord, which hangs, dribbles, floods, lies or never stops
kit.py app KIND          his own app, the same
kit.py hold              the lock of his app, as if somebody worked on it for ever
kit.py processes         processes with names and folders that say more than a name
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

HOME = Path("/home/mallory")
APP = HOME / "apps/mallory"
CONTROL = Path("/run/supervisord/mallory/supervisor.sock")
GIB = 1 << 30
RELEASE = "0123456789ab"

# Says hello to root's witness, and then does what its name says.
PROGRAM = r"""#!/usr/bin/python3 -IS
import os, socket, sys, time
name = os.path.basename(sys.argv[0])
try:
    witness = socket.socket(socket.AF_UNIX)
    witness.settimeout(5)
    witness.connect("\0hostile-tenant")
    witness.sendall(" ".join(sys.argv)[:2000].encode("utf-8", "replace"))
    witness.recv(1)
except OSError:
    pass
if "hang" in name:
    time.sleep(3600)
elif "flood" in name:
    while True:
        os.write(1, b"3.13\n" * 10000)
elif "escape" in name:
    print("\x1b]0;mine\x07\x1b[2J\x1b[31m3.13")
elif "lines" in name:
    print("3.13\ninterpreter=/home/mallory/bin/hang\n{\"pythons\": {}}")
elif "wrong" in name:
    print("3.1")
else:
    print("3.13")
"""
# What may run of a home's own: for a login, by a tool's settings, as the app's interpreter or its programs.
PROGRAMS = (
    "bin/hang", "bin/flood", "bin/escape", "bin/lines", "bin/wrong", "bin/python3", "bin/uv", "bin/sync", "bin/git",
    ".local/bin/uv", ".local/bin/python3", ".local/bin/systemd-run", ".local/bin/supervisorctl", ".cargo/bin/uv",
)  # fmt: skip
HELLO = f"import subprocess; subprocess.run(['{HOME}/bin/python3', 'import'], stdout=subprocess.DEVNULL)\n"
TEXTS = {
    ".local/lib/python3.13/site-packages/usercustomize.py": HELLO,
    ".local/lib/python3.13/site-packages/sitecustomize.py": HELLO,
    ".local/lib/python3.13/site-packages/mine.pth": HELLO,
    "ansible_collections/__init__.py": HELLO,
    "json.py": HELLO,
    "tarfile.py": HELLO,
    ".config/uv/uv.toml": "python-preference = 'only-managed'\nindex-url = 'http://127.0.0.1:9/simple'\n",
    ".config/pip/pip.conf": "[global]\nindex-url = http://127.0.0.1:9/simple\n",
    ".pydistutils.cfg": "[install]\nprefix=/\n",
    ".pam_environment": f"PATH OVERRIDE={HOME}/bin\nPYTHONPATH OVERRIDE={HOME}\n",
    ".ssh/environment": f"PATH={HOME}/bin\nPYTHONPATH={HOME}\n",
    ".ssh/rc": f"{HOME}/bin/python3 rc >/dev/null\n",
    ".netrc": "machine 127.0.0.1 login \x1b[2J password x\n",
}
SHELL = f"export PATH={HOME}/bin:$PATH PYTHONPATH={HOME} PYTHONSTARTUP={HOME}/json.py LD_LIBRARY_PATH={HOME}\n"
SHELL += f"{HOME}/bin/python3 login >/dev/null\n"

# --- kinds of things


def folder(path: Path) -> None:
    """A folder with something in it that its owner may not change without a chmod."""
    inner = path / "in/it"
    inner.mkdir(parents=True)
    (inner / "file").write_text("here")
    for item in (inner, inner.parent):
        item.chmod(0o500)


def closed_folder(path: Path) -> None:
    """A folder that nobody may read."""
    path.mkdir()
    (path / "file").write_text("here")
    path.chmod(0)


def closed(path: Path) -> None:
    """A file that nobody may read."""
    path.write_text("closed")
    path.chmod(0)


def names(path: Path) -> None:
    """A folder with files whose names command a terminal, span lines, or are no text."""
    path.mkdir()
    for name in (b"a\nb", b"\x1b]0;mine\x07", b"\xff\xfe", b"-rf", b"$(id)", b" ", b"%s{{ 7*7 }}", b"n" * 255):
        os.close(os.open(os.fsencode(path) + b"/" + name, os.O_CREAT, 0o600))


def deep(path: Path) -> None:
    """Folders in each other, more than a recursion takes and than a path can say."""
    path.mkdir()
    at = os.open(path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def sparse(path: Path) -> None:
    """A file of many GB that takes no room."""
    with open(path, "wb") as file:
        file.truncate(64 * GIB)


def bound(path: Path) -> None:
    """A socket that nobody listens on."""
    at = os.open(path.parent, os.O_RDONLY)  # A name of any length.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{at}/{path.name}")
    os.close(at)


def text(content: bytes) -> Callable[[Path], None]:
    """Return what writes a file."""
    return lambda path: path.write_bytes(content) and None


def link(target: str) -> Callable[[Path], None]:
    """Return what makes a link."""
    return lambda path: path.symlink_to(target)


NESTED = b"[" * 200_000 + b"]" * 200_000
JSON = b'{"program": 1, "manifest": "x", "router": [], "generated": 7, "variables": [], "mount": {}, "health": null}'
KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": bound,
    "folder": folder,
    "closed folder": closed_folder,
    "zero": link("/dev/zero"),
    "terminal": link("/dev/ptmx"),
    "memory": link("/proc/self/mem"),
    "root's": link("/etc/shadow"),
    "another's": link("/home/alice/apps/alice/env"),
    "another's folder": link("/home/alice/apps/alice"),
    "system's folder": link("/etc"),
    "loop": link("loop"),
    "itself": link("."),
    "nowhere": link("/nowhere/\x1b[2J\n"),
    "sparse": sparse,
    "closed": closed,
    "deep": deep,
    "names": names,
    "empty": text(b""),
    "binary": text(bytes(range(256)) * 1000),
    "nested": text(NESTED),
    "json": text(JSON),
    "list": text(b'[1, {"a": "\\u001b[2J"}]\n{"time": 1}\n\x00\n'),
    "numbers": text(b"9" * 100_000 + b"\n1e999\nNaN\n"),
}


def make(kind: str, path: Path) -> None:
    """Make a thing of a kind in the place of what is there."""
    if kind == "loop":
        path.symlink_to(path.name)
    else:
        KINDS[kind](path)


# --- names


def under() -> list[Path]:
    """Return each path that a deploy, root or a program of ours reads or writes, those of the app that is there."""
    live = Path(os.path.realpath(APP / "slots/live"))
    live = live if live.is_dir() else APP / "releases" / RELEASE
    venv = Path(os.path.realpath(live / ".hosted/venv"))
    venv = venv if venv.is_dir() else APP / "venvs" / RELEASE
    fresh = APP / "releases" / RELEASE
    app = ("", "history.jsonl", ".lock", "env", ".env.partial", "listen.py", ".listen.py.partial", "python",
           ".python.partial", "data", "data/secret_key", "releases", "venvs", "slots", "slots/live",
           "slots/.live.partial", "slots/standby", "slots/current", "run", "run/live.sock", "run/standby.sock",
           "run/current.sock",
           "run/.current.sock.partial", "run/listen.sock", "run/maintenance", "run/.maintenance.partial")  # fmt: skip
    home = ("etc", "etc/services.d", "etc/services.d/mallory.ini", "etc/services.d/.mallory.ini.partial",
            "etc/services.d/mallory-standby.ini", "etc/services.d/zzz.ini", "logs", "logs/mallory.log",
            "logs/mallory-standby.log", "logs/supervisord.log", ".cache", ".cache/uv", ".config/uv/uv.toml",
            ".config", ".local", ".ansible", ".ssh", "apps")  # fmt: skip
    release = ("", "release.json", ".hosted", ".hosted/env", ".hosted/venv", ".hosted/start", "wsgi.py", "uwsgi.ini",
               "instance")  # fmt: skip
    parts = ("", ".complete", "pyvenv.cfg", "bin", "bin/python", "lib", "requirements-0.txt")
    return [
        *(APP / name for name in app),
        *(live / name for name in release),
        *(venv / name for name in parts),
        *(fresh / name for name in ("", "release.json")),
        APP / "releases/x.partial", APP / "venvs/x",
        *(HOME / name for name in home),
    ]  # fmt: skip


def lay(kind: str, path: Path) -> None:
    """Lay a thing of a kind where something else may be, in folders that their owner may not change as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.parent.stat().st_mode & 0o7777
    path.parent.chmod(mode | 0o700)
    remove(path)
    make(kind, path)
    path.parent.chmod(mode)


def remove(path: Path) -> None:
    """Remove a thing of any kind, with all in it."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    # As deep and as closed as it is: find(1) goes down by folder, not by path.
    os.system(f"chmod -R u+rwx -- {str(path)!r} 2>/dev/null; rm -rf -- {str(path)!r}")  # noqa: S605  his own


# --- what he does


def write_programs() -> None:
    """Have his own programs wherever something of a home may be run."""
    for name in PROGRAMS:
        put(HOME / name, PROGRAM, 0o755)
    for name, content in TEXTS.items():
        put(HOME / name, content, 0o644)
    for name in (".profile", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".xprofile"):
        put(HOME / name, SHELL, 0o644)


def put(path: Path, content: str, mode: int) -> None:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def bare() -> None:
    """Have things in the home that a deploy is to make, before there is one."""
    write_programs()
    services = HOME / "etc/services.d"
    services.mkdir(parents=True)
    os.mkfifo(services / "mallory.ini")
    (HOME / "logs").symlink_to("/dev/zero")
    os.mkfifo(HOME / "apps")


def take_away() -> None:
    """Take all away but what a login needs."""
    for item in HOME.iterdir():
        if item.name not in (".ssh", "bin"):
            remove(item)
    for name in (".ssh/rc", ".ssh/environment"):
        remove(HOME / name)
    with contextlib.suppress(FileNotFoundError):
        if CONTROL.with_name("real").exists():
            CONTROL.with_name("real").rename(CONTROL)


# --- sockets


ANSWER = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n<?xml version='1.0'?>"
    "<methodResponse><params><param><value>{}</value></param></params></methodResponse>"
)


def info(state: int, name: str) -> str:
    """Return what supervisord says of a program, in XML."""
    fields = {"name": "mallory", "group": "mallory", "statename": "\x1b[2J".replace("\x1b", "?"), "spawnerr": "x" * 9}
    members = "".join(f"<member><name>{key}</name><value>{value}</value></member>" for key, value in fields.items())
    numbers = {"state": state, "pid": 1, "exitstatus": 0, "start": 0, "now": 0}
    members += "".join(
        f"<member><name>{key}</name><value><int>{value}</int></value></member>" for key, value in numbers.items()
    )
    struct = f"<struct>{members}</struct>"
    return f"<array><data><value>{struct}</value></data></array>" if name == "getAllProcessInfo" else struct


def serve(kind: str, path: Path) -> None:
    """Be a server at a socket that does what its kind says."""
    if path.exists():
        real = path.with_name("real")
        path.rename(path.with_name(f"real-{time.monotonic_ns()}") if real.exists() else real)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o660)
    server.listen(64)
    me = os.getpid()
    try:
        answer(kind, server)
    finally:
        if os.getpid() == me and path.with_name("real").exists():
            path.with_name("real").rename(path)


def answer(kind: str, server: socket.socket) -> None:
    """Answer all who come, until ended."""
    while True:
        client, _ = server.accept()
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                reply(kind, client)
            os._exit(0)
        client.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def reply(kind: str, client: socket.socket) -> None:
    """Answer one connection."""
    if kind == "hang":
        time.sleep(3600)
    request = client.recv(65536).decode(errors="replace")
    if kind == "dribble":
        for byte in b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000:
            client.sendall(bytes([byte]))
            time.sleep(1)
    elif kind == "flood":
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n")
        while True:
            client.sendall(b"<x>" * 20000)
    elif kind == "headers":
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            client.sendall(b"X-A: " + b"a" * 60000 + b"\r\n")
    elif kind == "lie":
        client.sendall(b"HTTP/1.1 200 \x1b[2J\r\nX-Release: \x1b]0;mine\x07\r\nContent-Length: 9\r\n\r\n<\x1b[31m></x")
    else:  # Never stops: every call goes well, and a program that is stopped goes on stopping.
        if "Content-Length" in request and "</methodCall>" not in request:
            request += client.recv(65536).decode(errors="replace")
        method = request.partition("<methodName>")[2].partition("<")[0].rpartition(".")[2]
        if kind == "types":
            value = "<array><data><value><int>1</int></value><value><nil/></value></data></array>"
        elif kind == "nothing":
            value = "<struct></struct>"
        elif method in ("getProcessInfo", "getAllProcessInfo"):
            value = info(40, method)
        elif method == "reloadConfig":
            lists = "<value><array><data></data></array></value>" * 3
            value = f"<array><data><value><array><data>{lists}</data></array></value></data></array>"
        else:
            value = "<boolean>1</boolean>"
        text = ANSWER.format("{}", value)
        head, _, body = text.partition("\r\n\r\n")
        client.sendall(f"{head.format(len(body))}\r\n\r\n{body}".encode())


def hold() -> None:
    """Hold the app's lock."""
    remove(APP / ".lock")
    with open(APP / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        time.sleep(3600)


def processes() -> None:
    """Run under names that others have, in folders whose names are lines, with files that look like sockets."""
    lines = ("x socket:[1]\ninterpreter=/home/mallory/bin/hang", "sshd: root@pts/0\n", "x) S 1 1 1\nUid:\t0\t0\t0\t0")
    for place, name in enumerate(("sshd", "nginx", "supervisord", "x\nUid:\t0\t0", "(sd-pam)", "a) R 1 1")):
        if os.fork() == 0:
            where = HOME / "places" / lines[place % len(lines)].replace("/", "|")
            where.mkdir(parents=True, exist_ok=True)
            os.chdir(where)
            held = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("0.0.0.0", 0))]
            files = [open(where / f"socket:[{item.fileno()}]", "w") for item in held]  # noqa: SIM115  held open
            ctypes.CDLL(None).prctl(15, name.encode()[:15])
            time.sleep(3600)
            files.clear()
    time.sleep(3600)


def main(verb: str, *words: str) -> None:
    """Do what the command line says."""
    if verb == "programs":
        write_programs()
    elif verb == "bare":
        bare()
    elif verb == "lay":
        kinds = sorted(KINDS)
        every = sorted(set(under()))
        # What holds others of them would hide them.
        for place, path in enumerate(path for path in every if not any(path in other.parents for other in every)):
            lay(kinds[(place + int(words[0])) % len(kinds)], path)
    elif verb == "take-away":
        take_away()
    elif verb == "double":
        serve(words[0], CONTROL)
    elif verb == "app":
        serve(words[0], APP / "run/live.sock")
    elif verb == "hold":
        hold()
    elif verb == "processes":
        processes()
    elif verb == "stop":
        pid = int(CONTROL.with_name("supervisord.pid").read_text())
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(3600)
        finally:
            os.kill(pid, signal.SIGCONT)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
