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
LINKS = 40  # that the kernel follows
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
        "ports": {},
    }
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        first, *lines = (state / "stamp").read_text().split("\n")
        known = [line.split(" ") for line in lines if line]
        found |= {"stamp": first, "known": {name: words for name, *words in known}}
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError, ValueError):
        found["ended"] = int((state / "tls/until").read_text()) < time.time()
    found["pythons"], found["owned"] = interpreters(call["pythons"])
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
        # By the numbers of these two: one that an account has of its own (subuid(5)) has no name.
        return listener.program == "/usr/sbin/nginx" and listener.uid in numbers("root", "www-data")
    with contextlib.suppress(OSError):
        folder = os.readlink(f"/proc/{listener.pid}/cwd")
        return listener.uid == os.geteuid() and Path(folder).is_relative_to(base)
    return False


def numbers(*names: str) -> set[int]:
    """Return the numbers of those accounts that the host has."""
    return {found["uid"] for found in map(account, names) if found}


# --- interpreters


def interpreters(wanted: list[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Ask interpreters for their versions, all at once.

    :param wanted: each with the account that it is for, empty where whoever looks is whom it is for, and its name.
    :returns: the versions of those that tell it, and for each that an account may have a hand in why it does not, empty
        where it does.
    """
    versions, owned, jobs = {}, {}, {}
    for owner, name in wanted:
        path = shutil.which(name, path=confined.PATH if owner else None)
        place = path or (name if "/" in name else None)
        if os.geteuid() == 0 and owner and place and not only_roots(Path(place)):
            owned[name] = "" if path else "it is not there, or no program"
        if path is None:
            continue
        if name not in owned and os.path.realpath(path) == os.path.realpath(sys.executable):
            versions[name] = "{}.{}".format(*sys.version_info[:2])
            continue
        # It may lie in the home of its account, who may change it: that one runs it, or nobody.
        runner = "" if name not in owned else owner if account(owner) else "nobody"
        jobs[name] = confined.starter(runner, [path, *VERSION], b"", SECONDS)
    for name, answer in confined.each(jobs.items(), len(jobs), 4096).items():
        said = None if isinstance(answer, confined.Unanswered) else re.fullmatch(rb"(\d{1,3}\.\d{1,3})\n", answer)
        if said:
            versions[name] = said[1].decode()
        elif name in owned:
            owned[name] = "it says something else than its version" if isinstance(answer, bytes) else str(answer)
    return versions, owned


def only_roots(path: Path) -> bool:
    """Whether nobody but root can change what lies at a path: it, what it leads to, and each folder on the way.

    Step by step, for an account may change what is its own from one look to the next: that is then none of root's.
    """
    at, links, free = Path("/"), 0, False  # whether whoever likes may make what is not there
    left = [*reversed((path if path.is_absolute() else Path.cwd() / path).parts[1:]), "."]
    while left:
        name = left.pop()
        step = at.parent if name == ".." else at / name
        try:
            status = step.lstat()
            target = os.readlink(step) if stat.S_ISLNK(status.st_mode) else ""
        except (FileNotFoundError, NotADirectoryError):
            return not free
        except OSError:
            return False  # Another thing by now, or a name that is too long.
        if status.st_uid != 0:
            return False
        if target:
            links += 1
            if links > LINKS:
                return False
            if target.startswith("/"):
                at, free = Path("/"), False
            left += reversed(Path(target).parts[target.startswith("/") :])
            continue
        free = bool(status.st_mode & 0o022)
        if free and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
            return False
        at = step
    return True
