"""Working on all apps of a host at once, each with the rights of its own account.

What ``hosted.flask.release`` runs on a host; its manual is in ``plugins/modules/release.py``.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import pwd
import tarfile
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from ansible_collections.hosted.flask.plugins.module_utils import releases
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused

# linux/sched.h, linux/mount.h
NEW_MOUNTS = 0x20000
NO_SETUID, NO_DEVICES, RECURSIVE, SLAVE = 1 << 1, 1 << 2, 1 << 14, 1 << 19
AT_ONCE = 4  # apps; most of a switch is waiting, its start is not


def unpack(contents: bytes) -> dict[str, bytes]:
    """Return the file contents that were sent, by their sha256."""
    if not contents:
        return {}
    with tarfile.open(fileobj=io.BytesIO(contents), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def work(app: dict[str, Any], blobs: dict[str, bytes], call: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do the verb for one app; a refusal is a result too."""
    os.umask(0o027)
    try:
        home = Home(app, call["who"], call["wait"])
        if call["verb"] == "rollback":
            return releases.rollback(home, call["release"], check)
        if call["verb"] == "restart":
            return releases.restart(home, check)
        if call["verb"] == "maintenance":
            return releases.maintenance(home, call["maintenance"], check)
        if call["verb"] == "status":
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


def own_temporary_folders() -> None:
    """Have empty temporary folders from now on that nobody else sees: what an app's hooks leave there is its own."""
    libc = ctypes.CDLL(None)
    if libc.unshare(NEW_MOUNTS) or libc.mount(b"none", b"/", None, RECURSIVE | SLAVE, None):
        return  # The root of some containers may not; there it is as it always was.
    for folder in (b"/tmp", b"/var/tmp", b"/dev/shm"):
        libc.mount(b"tmpfs", folder, b"tmpfs", NO_SETUID | NO_DEVICES, b"mode=1777")


def become(name: str) -> None:
    """Give up root's rights for those of an account."""
    account = pwd.getpwnam(name)
    own_temporary_folders()
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    os.chdir("/")


def fork(do: Callable[..., dict[str, Any]], app: dict[str, Any], *arguments: Any) -> tuple[int, BinaryIO]:
    """``do`` one app's work in a process of its own, as its account where that is another; return it and its answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            if os.geteuid() == 0 and not app["router"]:
                become(app["account"])
            answer = json.dumps(without_secrets(do(app, *arguments), Home(app)))
        except BaseException:
            answer = json.dumps(failure(traceback.format_exc()))
        with open(writer, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writer)
    return child, open(reader, "rb")


def without_secrets(answer: dict[str, Any], home: Home) -> dict[str, Any]:
    """Return an answer without the app's secrets and the key that was made for it here.

    What the app itself says as it fails may hold them, and ``ansible-playbook -vvv`` shows all that a host answers.
    """
    secrets = sorted(home.secrets(), key=len, reverse=True)

    def hide(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: hide(item) for name, item in value.items()}
        if isinstance(value, list):
            return [hide(item) for item in value]
        for secret in secrets if isinstance(value, str) else ():
            value = value.replace(secret, "********")
        return value

    return hide(answer)


def join(child: int, pipe: BinaryIO) -> dict[str, Any]:
    """Return the answer of a process that works on an app."""
    with pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else failure("the work on this app was killed")


def main(call: dict[str, Any], contents: bytes, do: Callable[..., dict[str, Any]] = work) -> dict[str, Any]:
    """Work on the apps of ``call`` and return the action's result.

    :param call: the action's arguments with ``check``, ``who``, and ``secrets`` by the apps' names.
    :param contents: the files that are sent, packed.
    :param do: what is done for each app.
    """
    check, blobs = call["check"], unpack(contents)
    results: dict[str, Any] = {}
    under_way: dict[str, tuple[int, BinaryIO]] = {}
    for app in call["apps"]:
        app["secrets"] = call["secrets"].get(app["name"], {})
        nobody = None if app["router"] else without_account(app, call["verb"], check)
        if nobody:
            results[app["name"]] = nobody
            continue
        if len(under_way) == AT_ONCE:
            first = next(iter(under_way))
            results[first] = join(*under_way.pop(first))
        under_way[app["name"]] = fork(do, app, blobs, call, check)
    results |= {name: join(*process) for name, process in under_way.items()}
    for app in call["apps"]:
        results[app["name"]].setdefault("release", app.get("release"))
    failed = [result["msg"] for result in results.values() if result.get("failed")]
    return {
        "apps": results,
        "changed": any(result["changed"] for result in results.values()),
        "warnings": [warning for result in results.values() for warning in result.pop("warnings", [])],
        "diff": [item for result in results.values() for item in result.pop("diff", [])],
        **({"failed": True, "msg": "\n\n".join(failed)} if failed else {}),
    }
