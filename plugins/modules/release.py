#!/usr/bin/python
"""Work on the releases of a host's apps: deploy, roll back, restart, tell."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Work on the releases of a host's apps
description:
  - "C(deploy) ships each app into a sealed release, builds its venv, proves the release on a standby and switches to
    it."
  - "C(rollback) switches to a release that is kept on the host, C(restart) to the live one again. Neither loses a
    request, and neither needs the app's source."
  - "C(status) changes nothing."
  - One call does all apps of a host, several at a time. Run as root it works as each app's account, with that
    account's rights.
  - Every app is tried; one that is refused does not hold the others back.
options:
  verb:
    description: What to do.
    type: str
    choices: [deploy, rollback, restart, status]
    default: deploy
  apps:
    description: The apps as C(hosted.flask.preflight) returned them.
    type: list
    elements: dict
    required: true
  files:
    description: Per app, texts that a server's role rendered, by their paths in the release. For C(deploy).
    type: dict
  programs:
    description: Per app, the texts of its files in C(services.d), C(app) and C(standby). For C(deploy).
    type: dict
  rows:
    description: The apps as their owner wrote them. Only the secrets are taken from here. For C(deploy).
    type: list
    elements: dict
  release:
    description: For C(rollback), the id of the release; empty for the last good one.
    type: str
    default: ""
  wait:
    description: Seconds to wait for an app that somebody else works on.
    type: int
    default: 0
attributes:
  check_mode: {support: full, description: Tells what would be done.}
  diff_mode: {support: full, description: "Shows the files, settings and packages that change, never a secret."}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Release the apps
  hosted.flask.release:
    apps: "{{ preflight.apps }}"
    files: "{{ uwsgi_files }}"
    programs: "{{ supervisord_programs }}"
    rows: "{{ flask_apps }}"

- name: Go back to the last good release
  hosted.flask.release:
    verb: rollback
    apps: "{{ preflight.apps }}"
"""
RETURN = r"""
apps:
  description: >-
    Per app C(changed), C(release), C(actions), C(kept) (the data that a removal left in place), and for C(status)
    C(status), what C(status()) of C(module_utils/releases.py) returns.
  type: dict
  returned: always
rows:
  description: For C(status), the same as a list with the C(host) in each row.
  type: list
  returned: for status
"""

import base64
import io
import json
import os
import pwd
import tarfile
import traceback
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils import releases
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused

AT_ONCE = 4  # apps; most of a switch is waiting, its start is not


def unpack(payload: str | None, path: str | None) -> dict[str, bytes]:
    """Return the file contents that were sent, by their sha256."""
    if not payload and not path:
        return {}
    source = io.BytesIO(base64.b64decode(payload)) if payload else open(path, "rb")
    with source, tarfile.open(fileobj=source, mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def work(app: dict[str, Any], blobs: dict[str, bytes], params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do the verb for one app; a refusal is a result too."""
    os.umask(0o027)
    try:
        home = Home(app, params["who"], params["wait"])
        if params["verb"] == "rollback":
            return releases.rollback(home, params["release"], check)
        if params["verb"] == "restart":
            return releases.restart(home, check)
        if params["verb"] == "status":
            return releases.status(home)
        if app["state"] == "absent":
            return releases.absent(home, app["purge"], check)
        return releases.deploy(home, blobs, check)
    except Refused as refused:
        return failure(str(refused))
    except Exception:
        return failure(f"app {app['name']}: a fault of hosted.flask itself:\n{traceback.format_exc()}")


def failure(text: str) -> dict[str, Any]:
    """Return the result of an app that failed."""
    return {"failed": True, "changed": False, "msg": text}


def without_account(app: dict[str, Any], verb: str, check: bool) -> dict[str, Any] | None:
    """Return the result for an app whose account is not on the host, None where it is."""
    try:
        pwd.getpwnam(app["account"])
    except KeyError:
        if app["state"] == "absent":
            return {"changed": False, "actions": [], "diff": []}
        if verb == "status":
            return {"changed": False, "status": {"app": app["name"], "release": None, "health": "not deployed"}}
        if verb == "deploy" and check:
            return {"changed": True, "actions": [f"create account {app['account']}, first release"], "diff": []}
        return failure(
            f"app {app['name']}: account {app['account']} is not on this host."
            " Run playbooks/provision.yml, which makes it, and deploy the app."
        )
    return None


def become(name: str) -> None:
    """Give up root's rights for those of an account."""
    account = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    os.chdir("/")


def fork(app: dict[str, Any], *arguments: Any) -> tuple[int, BinaryIO]:
    """Work on one app in a process of its own, as its account where that is another; return it and its answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if os.geteuid() == 0 and not app["router"]:
                become(app["account"])
            answer = work(app, *arguments)
        except BaseException:
            answer = failure(traceback.format_exc())
        with open(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    return child, open(reader, "rb")


def join(child: int, pipe: BinaryIO) -> dict[str, Any]:
    """Return the answer of a process that works on an app."""
    with pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else failure("the work on this app was killed")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "verb": {"type": "str", "default": "deploy", "choices": ["deploy", "rollback", "restart", "status"]},
            "apps": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "payload": {"type": "str", "no_log": True},
            "payload_file": {"type": "path"},
            "release": {"type": "str", "default": ""},
            "who": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params, check = module.params, module.check_mode
    blobs = unpack(params["payload"], params["payload_file"])
    results: dict[str, Any] = {}
    under_way: dict[str, tuple[int, BinaryIO]] = {}
    for app in params["apps"]:
        app["secrets"] = params["secrets"].get(app["name"], {})
        nobody = None if app["router"] else without_account(app, params["verb"], check)
        if nobody:
            results[app["name"]] = nobody
            continue
        if len(under_way) == AT_ONCE:
            first = next(iter(under_way))
            results[first] = join(*under_way.pop(first))
        under_way[app["name"]] = fork(app, blobs, params, check)
    results |= {name: join(*process) for name, process in under_way.items()}
    for app in params["apps"]:
        results[app["name"]].setdefault("release", app.get("release"))
    failed = [result["msg"] for result in results.values() if result.get("failed")]
    for result in results.values():
        for warning in result.pop("warnings", []):
            module.warn(warning)
    answer: dict[str, Any] = {"apps": results, "changed": any(result["changed"] for result in results.values())}
    answer["diff"] = [item for result in results.values() for item in result.pop("diff", [])]
    if failed:
        module.fail_json(msg="\n\n".join(failed), **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
