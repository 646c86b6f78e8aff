#!/usr/bin/python
"""Install Debian packages, and let apt alone where they are there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, and let apt alone where they are there
description:
  - C(ansible.builtin.apt) reads all that apt knows before it does nothing, two seconds each time. Here it is asked only
    where dpkg's own list lacks one of the packages.
  - What is missing is installed without recommended packages, by lists of packages that are at most a day old.
options:
  names:
    description: Names of packages, or all else that C(ansible.builtin.apt) takes.
    type: list
    elements: str
    required: true
attributes:
  check_mode: {support: full, description: As of C(ansible.builtin.apt).}
  diff_mode: {support: full, description: As of C(ansible.builtin.apt).}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Install nginx
  hosted.flask.packages:
    names: [nginx-light]
"""
RETURN = r"""
missing:
  description: The names that dpkg did not have as installed.
  type: list
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

STATUS = Path("/var/lib/dpkg/status")
INSTALLED = ("install ok installed", "hold ok installed")


def installed(status: str) -> set[str]:
    """Return the names of installed packages.

    :param status: paragraphs of fields, see deb822(5), in which dpkg has a package's name and state.
    """
    found = set()
    for paragraph in status.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in paragraph.splitlines() if not line.startswith(" "))
        if fields.get("Status") in INSTALLED:
            found.add(fields["Package"])
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    # Names of people may be in any encoding.
    there = installed(STATUS.read_text(errors="replace")) if STATUS.exists() else set()
    module.exit_json(changed=False, missing=[name for name in module.params["names"] if name not in there])


if __name__ == "__main__":
    main()
