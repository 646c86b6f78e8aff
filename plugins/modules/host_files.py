#!/usr/bin/python
"""Write small files of the host and bring them into force, or put the earlier ones back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write small files of the host and bring them into force, or put the earlier ones back
description:
  - All in one round trip. Where a command refuses what was written, all files are as they were, and the module fails.
  - What a run that was interrupted had still to bring into force, the next one does.
options:
  files:
    description: The files, root's and readable by all.
    type: list
    elements: dict
    required: true
    options:
      path:
        description: Where it is.
        type: path
        required: true
      content:
        description: Its text; empty for no such file.
        type: str
        required: true
      check:
        description: A command to run when all are written and this one changed; what fails refuses it.
        type: str
        default: ""
      apply:
        description: Commands to run after all checks when this one changed, each once for all that name it.
        type: list
        elements: str
        default: []
  units:
    description: Units of systemd that are to run from then on, and after each boot.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full, description: Writes nothing and runs nothing.}
  diff_mode: {support: full, description: Shows each file.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Limit the journal
  hosted.flask.host_files:
    files:
      - path: /etc/systemd/journald.conf.d/limit.conf
        content: "[Journal]\nSystemMaxUse=500M\n"
        apply: [systemctl restart systemd-journald.service]

- name: Rotate logs each hour
  hosted.flask.host_files:
    files:
      - path: /etc/systemd/system/rotate.timer
        content: "[Timer]\nOnCalendar=hourly\n[Install]\nWantedBy=timers.target\n"
        apply: [systemctl daemon-reload, systemctl try-restart rotate.timer]
    units: [rotate.timer]
"""
RETURN = r"""
files:
  description: The paths that changed.
  type: list
  returned: success
units:
  description: The units that were not enabled or did not run.
  type: list
  returned: success
"""

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.files import put

# The commands that a run has still to run, from before its first file until after its last command.
OWED = Path("/var/lib/hosted.flask/owed.json")
SHOWN = ("--property=UnitFileState", "--property=ActiveState")
RUNS = ("active", "activating", "reloading")


def commands(files: list[dict[str, Any]]) -> list[str]:
    """Return the commands of these files, the checks first, each once."""
    said = [file["check"] for file in files] + [command for file in files for command in file["apply"]]
    return list(dict.fromkeys(filter(None, said)))


def rests(shown: str, units: list[str]) -> list[str]:
    """Return the units that are not enabled or do not run.

    :param shown: what systemd says of each, in this order.
    """
    states = [dict(line.partition("=")[::2] for line in words.splitlines()) for words in shown.split("\n\n")]
    states += [{}] * len(units)
    return [
        unit
        for unit, state in zip(units, states, strict=False)
        if state.get("UnitFileState") != "enabled" or state.get("ActiveState") not in RUNS
    ]


def main() -> None:
    """Run the module."""
    options = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "check": {"type": "str", "default": ""},
        "apply": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": options},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    units = module.params["units"]
    wanted = {Path(file["path"]): file["content"] for file in module.params["files"]}
    before = {path: path.read_text() if path.is_file() else "" for path in wanted}
    changed = [path for path in wanted if before[path] != wanted[path]]
    diff = [
        {"before_header": str(path), "after_header": str(path), "before": before[path], "after": wanted[path]}
        for path in changed
    ]

    def run(command: str) -> str:
        """Run one; return what it said if it failed."""
        code, out, err = module.run_command(command, environ_update={"PATH": f"{os.defpath}:/usr/sbin:/sbin"})
        return f"{command}: {(err or out).strip()}" if code else ""

    known = commands(module.params["files"])
    owed = json.loads(OWED.read_text()) if OWED.exists() else []
    asked = commands([file for file in module.params["files"] if Path(file["path"]) in changed])
    due = [command for command in known if command in [*asked, *owed]]

    def owe(mine: list[str]) -> None:
        """Write down what is still to be run, beside what other tasks owe."""
        left = [command for command in owed if command not in known] + mine
        put(OWED, json.dumps(left) if left else None)

    if (changed or due) and not module.check_mode:
        if due:
            owe(due)
        for path in changed:
            put(path, wanted[path] or None)
        if refused := next(filter(None, map(run, due)), ""):
            for path in changed:
                put(path, before[path] or None)
            owe([command for command in due if run(command)])
            module.fail_json(msg=f"the host refuses the new files, the earlier ones are back: {refused}", diff=diff)
        if due:
            owe([])
    idle = rests(module.run_command(["systemctl", "show", *SHOWN, *units])[1], units) if units else []
    if idle and not module.check_mode and (words := run(f"systemctl enable --now {' '.join(idle)}")):
        module.fail_json(msg=words, diff=diff)
    changed_any = bool(changed or due or idle)
    module.exit_json(changed=changed_any, files=[str(path) for path in changed], units=idle, diff=diff)


if __name__ == "__main__":
    main()
