#!/usr/bin/python
"""Bring the apps of a host to the releases that their descriptions ask for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Bring the apps of a host to the releases that their descriptions ask for
description:
  - Ships each app into a sealed release, builds its venv, proves the release on a standby and switches to it.
  - One call does all apps of a host. Run as root it works as each app's account, with that account's rights.
  - Every app is tried; one that is refused does not hold the others back.
options:
  apps:
    description: The apps as C(hosted.flask.preflight) returned them.
    type: list
    elements: dict
    required: true
  files:
    description: Per app, texts that a server's role rendered, by their paths in the release.
    type: dict
    required: true
  programs:
    description: Per app, the texts of its files in C(services.d), C(app) and C(standby).
    type: dict
    required: true
  rows:
    description: The apps as their owner wrote them. Only the secrets are taken from here.
    type: list
    elements: dict
    required: true
attributes:
  check_mode: {support: full, description: Tells what would be done.}
  diff_mode: {support: full, description: Shows the files and settings that change, never a secret.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Release the apps
  hosted.flask.release:
    apps: "{{ preflight.apps }}"
    files: "{{ uwsgi_files }}"
    programs: "{{ supervisord_programs }}"
    rows: "{{ flask_apps }}"
"""
RETURN = r"""
apps:
  description: Per app C(changed), C(release), C(actions), and C(kept), the data that a removal left in place.
  type: dict
  returned: always
"""

import base64
import io
import json
import os
import pwd
import tarfile
import traceback

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.releases import Deploy, Refused


def unpack(payload: str | None, path: str | None) -> dict[str, bytes]:
    """Return the file contents that were sent, by their sha256."""
    if not payload and not path:
        return {}
    source = io.BytesIO(base64.b64decode(payload)) if payload else open(path, "rb")
    with source, tarfile.open(fileobj=source, mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def deploy(app: dict, blobs: dict[str, bytes], check: bool, who: str) -> dict:
    """Deploy one app and return its result; a refusal is a result too."""
    os.umask(0o027)
    try:
        return Deploy(app, blobs, check, who).run()
    except Refused as refused:
        return {"failed": True, "changed": False, "msg": str(refused)}
    except Exception:
        return {"failed": True, "changed": False, "msg": traceback.format_exc()}


def as_account(app: dict, blobs: dict[str, bytes], check: bool, who: str) -> dict:
    """Deploy one app in a child process with the rights of its account and none of root's."""
    try:
        account = pwd.getpwnam(app["account"])
    except KeyError:
        if app["state"] == "absent":
            return {"changed": False, "actions": [], "diff": []}
        if not check:
            text = f"account {app['account']} is not on this host. Run playbooks/provision.yml, which makes it."
            return {"failed": True, "changed": False, "msg": text}
        return {"changed": True, "actions": [f"create account {app['account']}, first release"], "diff": []}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
            os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
            os.chdir("/")
            answer = deploy(app, blobs, check, who)
        except BaseException:
            answer = {"failed": True, "changed": False, "msg": traceback.format_exc()}
        with open(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"failed": True, "changed": False, "msg": "the deploy was killed"}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "payload": {"type": "str", "no_log": True},
            "payload_file": {"type": "path"},
            "who": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    blobs = unpack(module.params["payload"], module.params["payload_file"])
    results = {}
    for app in module.params["apps"]:
        app["secrets"] = module.params["secrets"].get(app["name"], {})
        arguments = (app, blobs, module.check_mode, module.params["who"])
        other = os.geteuid() == 0 and app["platform"] == "server"
        results[app["name"]] = as_account(*arguments) if other else deploy(*arguments)
        results[app["name"]]["release"] = app.get("release")
    failed = [result["msg"] for result in results.values() if result.get("failed")]
    answer = {"apps": results, "changed": any(result["changed"] for result in results.values())}
    answer["diff"] = [item for result in results.values() for item in result.pop("diff", [])]
    if failed:
        module.fail_json(msg="\n\n".join(failed), **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
