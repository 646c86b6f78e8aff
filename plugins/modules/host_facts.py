#!/usr/bin/python
"""Look how ssh reaches the host and what it has, before it is made safer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Look how ssh reaches the host and what it has, before it is made safer
description:
  - Finds what must stay open and in use, so that nobody is locked out by what comes after. Changes nothing.
  - Believes root alone. What a process of somebody else calls itself, has in its environment or writes to the log is
    not asked.
options: {}
attributes:
  check_mode: {support: full, description: Looks.}
  diff_mode: {support: none, description: Nothing changes.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Look how ssh comes in and what the host has
  hosted.flask.host_facts:
  register: found
"""
RETURN = r"""
ssh_ports:
  description: The TCP ports that sshd listens on or is told to, and that of the ssh connection in use.
  type: list
  returned: success
keys_files:
  description: Where sshd looks for an account's keys besides those that the inventory names.
  type: list
  returned: success
login:
  description: C(key) or C(password), by which the connection in use logged in; C(none) without ssh, C(unknown).
  type: str
  returned: success
passwords_off:
  description: Whether sshd takes no password already.
  type: bool
  returned: success
container:
  description: Whether the host is a container.
  type: bool
  returned: success
time_daemon:
  description: What keeps the clock right, empty if there is nothing.
  type: str
  returned: success
"""

import json
import os
import pwd
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils import processes

TIME_DAEMONS = {
    "/usr/sbin/chronyd": "chrony",
    "/usr/sbin/ntpd": "ntp",
    "/usr/sbin/openntpd": "openntpd",
    "/usr/lib/systemd/systemd-timesyncd": "systemd-timesyncd",
}
# What listens, and since OpenSSH 9.8 what a connection is handed to.
SSHD = {"/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth"}
ESTABLISHED, LISTEN = "01", "0A"
KEYS = ("publickey", "hostbased", "gssapi-with-mic")
# Where role server writes the keys that the inventory names.
OUR_KEYS = "/etc/ssh/authorized_keys.d/%u"


class Socket(NamedTuple):
    """A TCP socket as the kernel has it."""

    state: str
    port: int
    address: str
    address_port: int


class Connection(NamedTuple):
    """The ssh connection in use."""

    user: int
    socket: Socket
    sshd: list[str]


def sockets(proc: Path = Path("/proc")) -> dict[str, Socket]:
    """Return all TCP sockets of the host by their inode."""
    found = {}
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / name).read_text().splitlines()[1:]:
                words = line.split()
                address, _, address_port = words[2].partition(":")
                port = int(words[1].rpartition(":")[2], 16)
                found[words[9]] = Socket(words[3], port, plain(address), int(address_port, 16))
    return found


def plain(address: str) -> str:
    """Return an address of /proc/net as sshd writes it; one of IPv4 that came to a socket of IPv6 as IPv4's."""
    # Words of 32 bits, each as this machine writes a number.
    raw = b"".join(int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, raw).removeprefix("::ffff:")


def status(pid: str, proc: Path) -> tuple[str, list[int]]:
    """Return a process's parent, and the numbers of whose rights it has: real, effective and saved.

    :raises OSError: it has ended.
    """
    # Its name may be any bytes but a new line, which the kernel escapes.
    text = (proc / pid / "status").read_bytes()
    parent, users = re.search(rb"^PPid:\s*(\d+)$", text, re.MULTILINE), re.search(rb"^Uid:(.+)$", text, re.MULTILINE)
    assert parent
    assert users
    return parent[1].decode(), [int(word) for word in users[1].split()[:3]]


def is_sshd(pid: str, proc: Path) -> bool:
    """Whether a process is root's sshd: by its rights and its program, for its name is its own to choose.

    What an upgrade replaced meanwhile is it still. In a container of this host somebody else may be root.
    """
    with suppress(OSError):
        program = os.readlink(proc / pid / "exe").removesuffix(" (deleted)")
        same_root = (proc / pid / "root").samefile(proc / "self/root")
        return program in SSHD and same_root and set(status(pid, proc)[1]) == {0}
    return False


def open_sockets(pid: str, known: dict[str, Socket], state: str, proc: Path) -> list[Socket]:
    """Return the sockets in a state that a process has."""
    found = [known[inode] for inode in processes.open_sockets(proc / pid) if inode in known]
    return [one for one in found if one.state == state]


def listening(known: dict[str, Socket], proc: Path = Path("/proc")) -> set[int]:
    """Return the ports on which root's sshd listens."""
    pids = [entry.name for entry in proc.iterdir() if entry.name.isdigit() and is_sshd(entry.name, proc)]
    return {found.port for pid in pids for found in open_sockets(pid, known, LISTEN, proc)}


def connection(known: dict[str, Socket], proc: Path = Path("/proc")) -> Connection | None:
    """Return the ssh connection in use: the one that an sshd has which we come from.

    The variable SSH_CONNECTION is not asked: sudo takes it away, and an account's files may set it.
    """
    pid, user = str(os.getpid()), os.getuid()
    found: Connection | None = None
    while pid not in ("0", "1"):
        try:
            parent, users = status(pid, proc)
        except OSError:
            break
        if is_sshd(pid, proc):
            # Root's logins have two, of which the upper one asked for the key.
            for one in open_sockets(pid, known, ESTABLISHED, proc):
                found = found or Connection(user, one, [])
                found.sshd.extend([pid] * (found.socket == one))
        # Whoever is right below sshd is who logged in.
        pid, user = parent, users[0]
    return found


def ports(settings: str, unit: str, listening: set[int], used: Connection | None) -> list[int]:
    """Return the ports that ssh must keep.

    :param settings: what ``sshd -T`` says.
    :param unit: what systemd says of ssh.socket, which Debian has and hardly anybody uses.
    """
    found = re.findall(r"^port (\d+)$|^listenaddress .*:(\d+)$", settings, re.MULTILINE)
    if "ActiveState=active" in unit.splitlines():
        found += re.findall(r"^Listen=(?:.*:)?(\d+) \(Stream\)()", unit, re.MULTILINE)
    return sorted({int(port or other) for port, other in found} | listening | ({used.socket.port} if used else set()))


def keys_files(settings: str) -> list[str]:
    """Return where sshd looks for an account's keys besides our own place.

    :param settings: what ``sshd -T`` says.
    """
    found = re.search(r"^authorizedkeysfile (.*)$", settings, re.MULTILINE)
    files = found[1].split() if found else [".ssh/authorized_keys", ".ssh/authorized_keys2"]
    return [file for file in files if file not in ("none", OUR_KEYS)]


def login(used: Connection | None, journal: str) -> str:
    """Return how the connection in use logged in.

    :param journal: what that sshd wrote, an entry of JSON a line. It says who it accepted, unless it is told not to.
    """
    if not used:
        return "none"
    for line in journal.splitlines():
        message = json.loads(line).get("MESSAGE")
        end = rf" from {re.escape(used.socket.address)}(%\S+)? port {used.socket.address_port} "
        if isinstance(message, str) and (method := re.match(rf"Accepted (\S+) for \S+{end}", message)):
            return "key" if method[1].partition("/")[0] in KEYS else "password"
    try:
        keys = Path(pwd.getpwuid(used.user).pw_dir) / ".ssh/authorized_keys"
        return "key" if keys.stat().st_size else "unknown"
    except (KeyError, OSError):
        return "unknown"


def trusted(used: Connection) -> list[str]:
    """Return what the journal is asked for: fields that it finds out itself, so that nobody writes them but root."""
    who = [f"_PID={pid}" for pid in used.sshd] + [f"_EXE={path}" for path in sorted(SSHD)]
    return ["-q", "-b", "-r", "-n9", "-ojson", "--grep=^Accepted ", "_UID=0", *who]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)

    def ask(*command: str) -> str:
        environment = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LC_ALL": "C"}
        code, words, _ = module.run_command(list(command), environ_update=environment, handle_exceptions=False)
        return "" if code else words

    known = sockets()
    used = connection(known)
    settings = ask("sshd", "-T") if Path("/usr/sbin/sshd").exists() else ""
    unit = ask("systemctl", "show", "--property=ActiveState,Listen", "ssh.socket")
    module.exit_json(
        ssh_ports=ports(settings, unit, listening(known), used),
        keys_files=keys_files(settings),
        login=login(used, ask("journalctl", *trusted(used)) if used else ""),
        passwords_off=all(
            f"{name} no\n" in settings for name in ("passwordauthentication", "kbdinteractiveauthentication")
        ),
        container=bool(ask("systemd-detect-virt", "--container")),
        time_daemon=next((name for path, name in TIME_DAEMONS.items() if Path(path).exists()), ""),
    )


if __name__ == "__main__":
    main()
