#!/usr/bin/python
"""Write small files of the host and bring them into force, or put the earlier ones back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Write small files of the host and bring them into force, or put the earlier ones back
description:
  - All in one round trip. Where a command refuses what was written, all files are as they were, and the module fails.
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
        description: Run when all are written and this one changed; what fails refuses it.
        type: str
        default: ""
      apply:
        description: Run after all checks when this one changed, once for all that say the same.
        type: str
        default: ""
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
        apply: systemctl restart systemd-journald.service
"""
RETURN = r"""
files:
  description: The paths that changed.
  type: list
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.files import discard, write


def put(path: Path, text: str) -> None:
    """Write a file whole, or remove it where ``text`` is empty."""
    if not text:
        discard(path)
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write(path, text, 0o644)


def main() -> None:
    """Run the module."""
    words = {"type": "str", "default": ""}
    options = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    options |= {"check": words, "apply": words}
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": options}},
        supports_check_mode=True,
    )
    wanted = {Path(file["path"]): file["content"] for file in module.params["files"]}
    before = {path: path.read_text() if path.is_file() else "" for path in wanted}
    changed = [path for path in wanted if before[path] != wanted[path]]
    diff = [
        {"before_header": str(path), "after_header": str(path), "before": before[path], "after": wanted[path]}
        for path in changed
    ]

    def commands(kind: str) -> list[str]:
        """Return the commands of what changed, each once, in their order."""
        said = [file[kind] for file in module.params["files"] if Path(file["path"]) in changed]
        return list(dict.fromkeys(filter(None, said)))

    def run(command: str) -> str:
        """Run one; return what it said if it failed."""
        code, out, err = module.run_command(command, environ_update={"PATH": f"{os.defpath}:/usr/sbin:/sbin"})
        return f"{command}: {(err or out).strip()}" if code else ""

    if changed and not module.check_mode:
        for path in changed:
            put(path, wanted[path])
        if refused := next(filter(None, map(run, commands("check") + commands("apply"))), ""):
            for path in changed:
                put(path, before[path])
            for command in commands("apply"):
                run(command)
            module.fail_json(msg=f"the host refuses the new files, the earlier ones are back: {refused}", diff=diff)
    module.exit_json(changed=bool(changed), files=[str(path) for path in changed], diff=diff)


if __name__ == "__main__":
    main()
