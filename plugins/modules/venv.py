#!/usr/bin/python
"""Build a virtual environment once for its content."""

from __future__ import annotations

DOCUMENTATION = r"""
module: venv
short_description: Build a virtual environment once for its content
description:
  - The venv's name is a hash of its interpreter and its requirements. Where it is whole already, nothing happens.
  - Uses uv where the host has it, else venv and pip.
options:
  folder:
    description: The folder that holds the venvs.
    type: path
    required: true
  requirements:
    description: Texts of requirements files, installed together.
    type: list
    elements: str
    required: true
  python:
    description: The interpreter, a name on the PATH or an absolute path.
    type: str
    default: python3
  link:
    description: A link that points at the venv; empty makes none.
    type: str
    default: ""
attributes:
  check_mode: {support: full, description: Tells whether the venv would be built.}
  diff_mode: {support: none, description: A venv is built whole.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Build the venv of a tool
  hosted.flask.venv:
    folder: /opt/tool/venvs
    requirements: ["{{ lookup('ansible.builtin.file', 'requirements.txt') }}"]
    link: /opt/tool/venv
"""
RETURN = r"""
path:
  description: The venv's folder.
  type: str
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.files import point
from ansible_collections.hosted.flask.plugins.module_utils.venvs import Venv, VenvError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "requirements": {"type": "list", "elements": "str", "required": True},
            "python": {"type": "str", "default": "python3"},
            "link": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        venv = Venv(Path(module.params["folder"]), module.params["requirements"], module.params["python"])
        link = Path(module.params["link"]) if module.params["link"] else None
        linked = link is None or (link.is_symlink() and os.path.realpath(link) == os.path.realpath(venv.path))
        changed = not (venv.ready and linked)
        if changed and not module.check_mode:
            venv.build()
            if link is not None:
                point(link, str(venv.path))
    except VenvError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, path=str(venv.path))


if __name__ == "__main__":
    main()
