#!/usr/bin/python
"""End all that accounts run, whoever started it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: account_processes
short_description: End all that accounts run, whoever started it
description:
  - C(userdel) refuses an account that runs something, a login, what cron or C(su) started outside of any, or the
    manager of its sessions, which outlives a log-out by ten seconds.
  - They are asked to end, and killed after some seconds. Nothing is restarted by this, so close the accounts before.
  - What goes on for all that is told and fails nothing, so that one account does not keep the others.
options:
  accounts:
    description: The accounts; one that is not there runs nothing.
    type: list
    elements: str
    required: true
  patience:
    description: Seconds before what does not end is killed.
    type: float
    default: 5
attributes:
  check_mode: {support: full, description: Ends nothing.}
  diff_mode: {support: none, description: Processes are no text.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: End what account shop still runs
  hosted.flask.account_processes:
    accounts: [shop]
"""
RETURN = r"""
ended:
  description: The numbers of the processes that were asked to end, by account.
  type: dict
  returned: success
left:
  description: The numbers of those that go on though they were killed, by account; only a reboot ends them.
  type: dict
  returned: success
"""

import os
import pwd
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

AGAIN = 5.0  # seconds that what was killed may take, where the disk is slow


def running(uid: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the processes of an account as userdel finds them: by the real, effective or saved number.

    In a container somebody else may have that number: a process with another root than ours is not meant.
    """
    found = []
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):  # It ended meanwhile.
            if has(uid, folder) and (folder / "root").samefile(proc / "self/root"):
                found.append(int(folder.name))
    return found


def has(uid: int, folder: Path) -> bool:
    """Whether a process has an account's rights.

    :param folder: the process in /proc. Its name may be any bytes but a new line, which the kernel escapes.
    """
    line = re.search(rb"^Uid:(.*)$", (folder / "status").read_bytes(), re.MULTILINE)
    return line is not None and str(uid).encode() in line[1].split()[:3]


def send(uid: int, pids: list[int], *signals: signal.Signals) -> None:
    """Send signals to processes of an account that may have ended, and their numbers may be others' by now."""
    for pid in pids:
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if has(uid, Path(f"/proc/{pid}")):
                    for number in signals:
                        signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def end(uid: int, patience: float) -> list[int]:
    """End all that an account runs; return what does not end."""
    begin = time.monotonic()
    while (pids := running(uid)) and time.monotonic() - begin < patience + AGAIN:
        if time.monotonic() - begin < patience:
            send(uid, pids, signal.SIGTERM, signal.SIGHUP)  # A shell that somebody sits at ends by the second one only.
        else:
            send(uid, pids, signal.SIGKILL)
        time.sleep(0.1)
    return pids


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "str", "required": True},
            "patience": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    ended, going = {}, {}
    for account in module.params["accounts"]:
        try:
            uid = pwd.getpwnam(account).pw_uid
        except KeyError:
            continue
        if pids := running(uid):
            ended[account] = pids
        if module.check_mode:
            continue
        left = end(uid, module.params["patience"])
        # What the sessions leave, and containers of the account's own.
        module.run_command(["systemctl", "--quiet", "stop", f"user-{uid}.slice"])
        if left and (left := running(uid)):
            going[account] = left
    module.exit_json(changed=bool(ended), ended=ended, left=going)


if __name__ == "__main__":
    main()
