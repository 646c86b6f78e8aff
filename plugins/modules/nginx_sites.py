#!/usr/bin/python
"""Write the sites of nginx and put the earlier ones back when nginx refuses them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_sites
short_description: Write the sites of nginx and put the earlier ones back when nginx refuses them
description:
  - Owns one folder of configuration files and the line in C(conf.d) that includes its C(*.site.conf).
  - Files of the folder that are not named are removed.
  - Does not reload nginx; a handler does.
options:
  files:
    description: The texts of all files, by their names in C(folder), or of files elsewhere by their whole paths.
    type: dict
    required: true
  optional:
    description:
      - The apps whose own lines some of C(files) are, by the files' names.
      - If nginx refuses the whole because of such a file, only that file stays as it was before, or empty.
    type: dict
    default: {}
  folder:
    description: The folder that holds them.
    type: path
    default: /etc/nginx/hosted.flask
  include:
    description: The file that makes nginx read the folder.
    type: path
    default: /etc/nginx/conf.d/hosted.flask.conf
attributes:
  check_mode: {support: full, description: Writes nothing and does not ask nginx.}
  diff_mode: {support: full, description: Shows each file.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Write the sites
  hosted.flask.nginx_sites:
    files:
      _.site.conf: "server { listen 80 default_server; return 404; }"
  notify: Reload nginx
"""
RETURN = r"""
files:
  description: The paths that changed.
  type: list
  returned: success
refused:
  description: A message for each file of C(optional) that nginx refused; fail with them after its reload.
  type: list
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.files import discard, write


def put(path: Path, text: str | None) -> None:
    """Write a file whole, or remove it where ``text`` is None."""
    if text is None:
        discard(path)
        return
    path.parent.mkdir(mode=0o755, exist_ok=True)
    write(path, text, 0o644)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "optional": {"type": "dict", "default": {}},
            "folder": {"type": "path", "default": "/etc/nginx/hosted.flask"},
            "include": {"type": "path", "default": "/etc/nginx/conf.d/hosted.flask.conf"},
        },
        supports_check_mode=True,
    )
    folder = Path(module.params["folder"])
    wanted = {folder / name: text for name, text in module.params["files"].items()}
    header = "# Managed by Ansible, hosted.flask role nginx.\n"
    wanted[Path(module.params["include"])] = f"{header}include {folder}/*.site.conf;\n"
    present = {path for path in folder.iterdir()} if folder.is_dir() else set()
    before = {path: path.read_text() if path.is_file() else None for path in {*wanted, *present}}
    changes = {path: wanted.get(path) for path in sorted(before) if before[path] != wanted.get(path)}

    def asked() -> str:
        """Return what nginx says against the files as they are; empty where it takes them."""
        code, _, words = module.run_command(["nginx", "-t", "-q"], environ_update={"PATH": os.defpath + ":/usr/sbin"})
        return (words.strip() or f"nginx -t ended with {code}") if code else ""

    def diff() -> list[dict[str, str]]:
        return [
            {"before_header": str(path), "after_header": str(path), "before": before[path] or "", "after": text or ""}
            for path, text in changes.items()
        ]

    refused = []
    if changes and not module.check_mode:
        for path, text in changes.items():
            put(path, text)
        extras = {folder / name: app for name, app in module.params["optional"].items()}
        while words := asked():
            # One at a time: nginx names the first that it does not take.
            bad = next((path for path in extras if f"{path}:" in words and changes.get(path, before[path])), None)
            if bad is None:
                break
            changes[bad] = (before[bad] or "") if bad in changes and changes[bad] == wanted[bad] else ""
            put(bad, changes[bad])
            what = "the earlier lines stay" if changes[bad] else "it is left out"
            refused.append(
                f"flask_apps ({extras[bad]}).nginx_extra is refused by nginx: {what}, all else is as described."
                f" Correct it and deploy again. nginx: {words}"
            )
        if words:
            for path in changes:
                put(path, before[path])
            why = "nginx refuses the new sites, the earlier ones are back"
            if asked():
                why = "nginx refuses its configuration, with and without our changes: see to the file that it names"
            module.fail_json(msg="\n".join([f"{why}:\n{words}", *refused]), diff=diff())
        changes = {path: text for path, text in changes.items() if text != before[path]}
    module.exit_json(changed=bool(changes), files=[str(path) for path in changes], refused=refused, diff=diff())


if __name__ == "__main__":
    main()
