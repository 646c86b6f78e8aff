#!/usr/bin/python
"""Look whether homes of accounts hold something that nobody else has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: account_keeps
short_description: Look whether homes of accounts hold something that nobody else has
description:
  - Prints the first thing that is worth a home. An empty folder is not, except where it is an app's.
  - A process with the account's rights looks, until a deadline. What it cannot read, or not in time, is worth the home.
options:
  accounts:
    description: The accounts.
    type: list
    elements: str
    required: true
  known:
    description: Paths in a home, such as C(./logs), that are not looked at.
    type: list
    elements: str
    default: []
  purged:
    description: The accounts of which only what is in C(apps) is worth the home.
    type: list
    elements: str
    default: []
  deadline:
    description: Seconds for each account.
    type: float
    default: 60
attributes:
  check_mode: {support: full, description: Looks.}
  diff_mode: {support: none, description: Nothing changes.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Look for what nobody else has in the home of account shop
  hosted.flask.account_keeps:
    accounts: [shop]
    known: [./logs]
"""
RETURN = r"""
kept:
  description: For each account what its home keeps, such as C(./dump.sql), or why nobody knows; empty for nothing.
  type: dict
  returned: success
"""

import json
import os
import pwd
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils import answers, confined

LIMIT = 65536  # bytes of an answer; a path has at most 4096, of which each may be six in JSON
# Runs with the account's rights. Not by recursion: how deep its folders are is the account's choice.
LOOK = r"""
import json, os, sys
home, known, purged = json.load(sys.stdin)
def found():
    folders = ["."]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            if purged and not (folder + "/").startswith("./apps/"):
                continue
            return folder
        for entry in entries:
            if entry.path in known:
                continue
            if entry.path.startswith("./apps/"):
                return entry.path
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif not purged and not os.path.exists(os.path.join("/etc/skel", entry.path)):
                return entry.path
    return ""
os.chdir(home)
print(json.dumps({"kept": found()}))
"""


def kept(account: str, known: list[str], purged: bool, deadline: float) -> str:
    """Return what an account's home keeps, or why that is not known."""
    home = pwd.getpwnam(account).pw_dir
    try:
        # Something of the account's own may be mounted there, which lets not even root look.
        if not stat.S_ISDIR(os.stat(home).st_mode):
            return ""
        data = json.dumps([home, known, purged]).encode()
        answer = confined.run(account, ["/usr/bin/python3", "-I", "-c", LOOK], data, deadline, LIMIT)
        return answers.parsed(answer, {"kept": answers.Line})["kept"]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, confined.Unanswered, answers.Untrue) as why:
        return f"./ (it could not be looked through: {answers.visible(str(why))})"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "str", "required": True},
            "known": {"type": "list", "elements": "str", "default": []},
            "purged": {"type": "list", "elements": "str", "default": []},
            "deadline": {"type": "float", "default": 60.0},
        },
        supports_check_mode=True,
    )
    asked = module.params
    found = {
        account: kept(account, asked["known"], account in asked["purged"], asked["deadline"])
        for account in asked["accounts"]
    }
    module.exit_json(changed=False, kept=found)


if __name__ == "__main__":
    main()
