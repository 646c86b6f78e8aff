#!/usr/bin/python
"""Look how ssh reaches the host and what it has, before it is made safer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Look how ssh reaches the host and what it has, before it is made safer
description:
  - Finds what must stay open and in use, so that nobody is locked out by what comes after. Changes nothing.
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

import os
import pwd
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

TIME_DAEMONS = {
    "/usr/sbin/chronyd": "chrony",
    "/usr/sbin/ntpd": "ntp",
    "/usr/sbin/openntpd": "openntpd",
    "/usr/lib/systemd/systemd-timesyncd": "systemd-timesyncd",
}
KEYS = ("publickey", "hostbased", "gssapi-with-mic")
# Where role server writes the keys that the inventory names.
OUR_KEYS = "/etc/ssh/authorized_keys.d/%u"


def connection(proc: Path = Path("/proc")) -> dict[str, str]:
    """Return the environment of the ssh connection in use, empty without one.

    sudo takes it out of our own; the processes that we come from still have it.
    """
    pid = str(os.getpid())
    while pid not in ("0", "1"):
        try:
            words = (proc / pid / "environ").read_text(errors="replace").split("\0")
            status = (proc / pid / "status").read_text()
        except OSError:
            break
        environment = dict(word.partition("=")[::2] for word in words)
        if len(environment.get("SSH_CONNECTION", "").split()) == 4:
            return environment
        pid = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)[1]
    return {}


def ports(settings: str, sockets: str, unit: str, environment: dict[str, str]) -> list[int]:
    """Return the ports that ssh must keep.

    :param settings: what ``sshd -T`` says.
    :param sockets: what ``ss -H -tlnp`` says.
    :param unit: what systemd says of ssh.socket, which Debian has and hardly anybody uses.
    """
    found = re.findall(r"^port (\d+)$|^listenaddress .*:(\d+)$", settings, re.MULTILINE)
    found += re.findall(r":(\d+)\s.*\"sshd\"()", sockets)
    if "ActiveState=active" in unit.splitlines():
        found += re.findall(r"^Listen=(?:.*:)?(\d+) \(Stream\)()", unit, re.MULTILINE)
    found += [(environment.get("SSH_CONNECTION", "").rpartition(" ")[2], "")]
    return sorted({int(port or other) for port, other in found if port or other})


def keys_files(settings: str) -> list[str]:
    """Return where sshd looks for an account's keys besides our own place.

    :param settings: what ``sshd -T`` says.
    """
    found = re.search(r"^authorizedkeysfile (.*)$", settings, re.MULTILINE)
    files = found[1].split() if found else [".ssh/authorized_keys", ".ssh/authorized_keys2"]
    return [file for file in files if file not in ("none", OUR_KEYS)]


def login(environment: dict[str, str], journal: str) -> str:
    """Return how the connection in use logged in.

    :param journal: what sshd wrote when it accepted the connection, which it does unless it is told not to.
    """
    if not environment:
        return "none"
    if method := re.search(r"Accepted (\S+) for", journal):
        return "key" if method[1].partition("/")[0] in KEYS else "password"
    try:
        keys = Path(pwd.getpwnam(environment.get("USER", "")).pw_dir) / ".ssh/authorized_keys"
        return "key" if keys.stat().st_size else "unknown"
    except (KeyError, OSError):
        return "unknown"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)

    def ask(*command: str) -> str:
        environment = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LC_ALL": "C"}
        code, words, _ = module.run_command(list(command), environ_update=environment, handle_exceptions=False)
        return "" if code else words

    environment = connection()
    settings = ask("sshd", "-T") if Path("/usr/sbin/sshd").exists() else ""
    unit = ask("systemctl", "show", "--property=ActiveState,Listen", "ssh.socket")
    journal = ""
    if environment:
        address, port, _, _ = environment["SSH_CONNECTION"].split()
        accepted = f"^Accepted .* from {re.escape(address)} port {port} "
        journal = ask("journalctl", "-q", "-b", "-r", "-n1", "-ocat", "-tsshd", "-tsshd-session", f"--grep={accepted}")
    module.exit_json(
        ssh_ports=ports(settings, ask("ss", "-H", "-tlnp"), unit, environment),
        keys_files=keys_files(settings),
        login=login(environment, journal),
        passwords_off=all(
            f"{name} no\n" in settings for name in ("passwordauthentication", "kbdinteractiveauthentication")
        ),
        container=bool(ask("systemd-detect-virt", "--container")),
        time_daemon=next((name for path, name in TIME_DAEMONS.items() if Path(path).exists()), ""),
    )


if __name__ == "__main__":
    main()
