"""What a host is like before anything is done there; nothing is changed.

What ``hosted.flask.preflight`` runs on a host. What is looked up comes from where only root can write, or from what the
kernel says of a process; what accounts can write is not read at all.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils import confined
from ansible_collections.hosted.flask.plugins.module_utils.processes import Listener, listeners

# What role server writes into the comment of the accounts that it makes, and only those it ever removes.
ACCOUNT = "hosted.flask account"
VERSION = ["-Ic", "import sys; print('%d.%d' % sys.version_info[:2])"]
SECONDS = 20  # that an interpreter has to tell its version


def main(call: dict[str, Any], contents: bytes) -> dict[str, Any]:
    """Look.

    :param call: ``state`` (the folder of the stamp), ``accounts``, ``pythons`` (each with its account, empty for none,
        and its name), ``ports`` and ``base`` (the folder of platform local, empty elsewhere).
    :param contents: nothing.
    :returns: see ``LOOK`` in ``answers.py``.
    """
    state = Path(call["state"])
    found: dict[str, Any] = {
        "python": sys.executable,
        "uid": os.geteuid(),
        "os": " ".join(distribution()),
        "systemd": Path("/run/systemd/system").is_dir(),
        "known": {},
        "ended": False,
        "supervisord": bool(call["base"]) and supervisord(Path(call["base"])),
        "accounts": {name: entry for name in call["accounts"] if (entry := account(name))},
        "pythons": {},
        "ports": {},
    }
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        first, *lines = (state / "stamp").read_text().split("\n")
        known = [line.split(" ") for line in lines if line]
        found |= {"stamp": first, "known": {name: words for name, *words in known}}
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError, ValueError):
        found["ended"] = int((state / "tls/until").read_text()) < time.time()
    for owner, name in call["pythons"]:
        with contextlib.suppress(OSError, ValueError, confined.Unanswered):
            found["pythons"][name] = version(owner, name)
    for port, held in listeners(call["ports"]).items():
        found["ports"][str(port)] = [
            {"pid": one.pid, "uid": one.uid, "program": Path(one.program).name or "?", "ours": ours(one, call["base"])}
            for one in held
        ]
    return found


def distribution() -> tuple[str, str]:
    """Return the name and the release of the host's distribution."""
    with contextlib.suppress(OSError):
        said = platform.freedesktop_os_release()
        return said.get("ID", "?"), said.get("VERSION_ID", "?")
    return "?", "?"


def account(name: str) -> dict[str, Any] | None:
    """Return what the host has of an account, None where it has none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    # The first of the fields is root's; the others an account may change by chfn(1).
    return {"uid": entry.pw_uid, "home": entry.pw_dir, "ours": entry.pw_gecos.split(",")[0] == ACCOUNT}


def supervisord(base: Path) -> bool:
    """Whether the supervisord of platform local runs, which is the user's own."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((base / "run/supervisord.pid").read_text())
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def ours(listener: Listener, base: str) -> bool:
    """Whether who listens is the front, or on platform local a program of an app."""
    if not base:
        return listener.program == "/usr/sbin/nginx" and pwd.getpwuid(listener.uid).pw_name in ("root", "www-data")
    with contextlib.suppress(OSError):
        folder = os.readlink(f"/proc/{listener.pid}/cwd")
        return listener.uid == os.geteuid() and Path(folder).is_relative_to(base)
    return False


# --- interpreters


def version(owner: str, name: str) -> str:
    """Return the version of an interpreter.

    :param owner: the account that it is for, empty where whoever looks is whom it is for.
    :raises ValueError: there is no such interpreter, or it says something else.
    """
    path = shutil.which(name, path=confined.PATH if owner else None)
    if path is None:
        raise ValueError(f"no {name}")
    command = [path, *VERSION]
    if os.geteuid() or not owner or only_roots(Path(path)):
        if os.path.realpath(path) == os.path.realpath(sys.executable):
            return "{}.{}".format(*sys.version_info[:2])
        runner = ""
    else:
        # It may lie in the home of its account, who may change it: that one runs it, or nobody.
        runner = owner if account(owner) else "nobody"
    answer = confined.run(runner, command, deadline=SECONDS, limit=4096)
    said = re.fullmatch(rb"(\d{1,3}\.\d{1,3})\n", answer)
    if said is None:
        raise ValueError(f"{name} says something else than its version")
    return said[1].decode()


def only_roots(path: Path) -> bool:
    """Whether nobody but root can change what lies at a path: it, what it leads to, and each folder on the way."""
    seen: set[Path] = set()
    left = [path, Path(os.path.realpath(path))]
    while left:
        at = left.pop()
        if at in seen:
            continue
        seen.add(at)
        status = at.lstat()
        if status.st_uid != 0:
            return False
        if stat.S_ISLNK(status.st_mode):
            left.append(Path(os.path.normpath(at.parent / os.readlink(at))))
        elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            return False
        if at.parent != at:
            left.append(at.parent)
    return True
