"""Working on all apps of a host at once, each with the rights of its own account.

What ``hosted.flask.release`` runs on a host; its manual is in ``plugins/modules/release.py``.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pwd
import sys
import tarfile
import traceback
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils import answers, confined, releases
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.venvs import VenvError

Do = Callable[[dict[str, Any], dict[str, bytes], dict[str, Any]], dict[str, Any]]
AT_ONCE = 4  # apps; most of a switch is waiting, its start is not
# Verbs that only look or turn a switch, and the seconds that they have for an app.
QUICK, QUICK_DEADLINE = ("status", "maintenance", "examine"), 60
# What those are asked for that only look.
ASKED = {"status": "status", "examine": "examined"}


def unpack(contents: bytes) -> dict[str, bytes]:
    """Return the file contents that were sent, by their sha256."""
    if not contents:
        return {}
    with tarfile.open(fileobj=io.BytesIO(contents), mode="r:*") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def pack(blobs: dict[str, bytes]) -> bytes:
    """Return file contents as :func:`unpack` takes them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for digest, data in blobs.items():
            member = tarfile.TarInfo(digest)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def work(app: dict[str, Any], blobs: dict[str, bytes], call: dict[str, Any]) -> dict[str, Any]:
    """Do the verb for one app; a refusal is a result too."""
    os.umask(0o027)
    check = call["check"]
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
    except (Refused, VenvError) as refused:
        return failure(named(app, str(refused)))
    except OSError as error:
        return failure(in_the_way(app, error))
    except Exception:
        return failure(f"app {app['name']}: a fault of hosted.flask itself:\n{traceback.format_exc()}")


def named(app: dict[str, Any], text: str) -> str:
    """Return a message that begins with the app that it is about."""
    start = f"app {app['name']}: "
    return text if text.startswith(start) else start + text


def in_the_way(app: dict[str, Any], error: OSError) -> str:
    """Return the message for something in an account's home that is not as a deploy makes it."""
    places = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, (str, bytes))]
    where = answers.visible(" -> ".join(places)) or app["root"]
    return (
        f"app {app['name']}: {where}: {error.strerror or error}. Allowed: what a deploy makes there, the account's own."
        " Move what is in the way, then run this again."
    )


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


def start(do: Do, app: dict[str, Any], blobs: dict[str, bytes], call: dict[str, Any]) -> confined.Job:
    """Start the work on one app: root has its account do it, everybody else does it himself."""
    deadline = QUICK_DEADLINE if call["verb"] in QUICK else call["deadline"] + call["wait"]
    if os.geteuid() != 0 or app["router"]:
        return confined.Fork(lambda: json.dumps(answer(do, app, blobs, call)), deadline)
    # Of what was sent for all apps it gets its own.
    needed = answers.contents_of(app)
    own = {**call, "apps": [app], "secrets": {}, "environment": confined.environment()}
    # What this process was started with itself, see plugin_utils/remote.py.
    sent = {**sys.modules["__main__"].sent, "run": do.__module__, "function": "inside", "call": own}
    line = base64.b64encode(zlib.compress(json.dumps(sent).encode(), 1))
    contents = pack({digest: data for digest, data in blobs.items() if digest in needed})
    command = [sys.executable, "-Ic", sent["start"]]
    return confined.Unit(app["account"], app["home"], command, line + b"\n" + contents, deadline)


def inside(call: dict[str, Any], contents: bytes, do: Do = work) -> dict[str, Any]:
    """Work on the one app of ``call``, in a process that has its account's rights."""
    for name in (
        "INVOCATION_ID",
        "SYSTEMD_EXEC_PID",
        "JOURNAL_STREAM",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
    ):
        os.environ.pop(name, None)
    os.environ.update(call["environment"], PATH=confined.PATH)
    [app] = call["apps"]
    return answer(do, app, unpack(contents), call)


def answer(do: Do, app: dict[str, Any], blobs: dict[str, bytes], call: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the work on one app, without its secrets and not larger than it may be."""
    try:
        result = without_secrets(do(app, blobs, call), Home(app))
        if "msg" in result:
            result["msg"] = answers.cut(app["name"], result["msg"], answers.MESSAGE)
        if "diff" in result and len(json.dumps(result)) > answers.LIMIT:
            title = f"{app['name']}: what changes"
            shown = {"before_header": title, "after_header": title, "before": "", "after": "(too much to be shown)\n"}
            result["diff"] = [shown]
        return result
    except Exception:
        return failure(traceback.format_exc())


def taken(app: dict[str, Any], said: bytes | confined.Unanswered, verb: str) -> dict[str, Any]:
    """Return the result that the work on an app answered, as far as it is one.

    What is in it is visible then and no longer than the control node takes, whatever it grew by.
    """
    mask = Mask(app["secrets"].values())  # Its own key only the account knows.
    try:
        if isinstance(said, confined.Unanswered):
            raise said
        if not said.strip():
            raise confined.Unanswered("it ended without an answer")
        result = answers.parsed(said.rstrip().rpartition(b"\n")[2], answers.APP)
        answers.see(result, app, ASKED.get(verb, ""))
        if "msg" in result:
            text = answers.visible(mask.end(result["msg"], answers.MESSAGE + 1))
            result["msg"] = named(app, answers.cut(app["name"], text, answers.MESSAGE))
        if len(json.dumps(result)) > answers.LIMIT:
            raise answers.Untrue(f"all of it visible, it is longer than {answers.LIMIT} characters")
        return told(app, result["msg"]) if verb == "status" and result.get("failed") else result
    except confined.Unanswered as why:
        wrong = str(why)
    except answers.Untrue as why:
        wrong = f"what it answered is not believed: {why}\n{mask.end(said.decode(errors='replace'), 2000)}"
    text = f"app {app['name']}: the work on it, with the rights of account {app['account']}: {wrong}"
    return told(app, text) if verb == "status" else failure(answers.visible(text))


def told(app: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the status of an app that does not tell its own: the others' are of use all the same."""
    return {"changed": False, "status": {"app": app["name"], "release": None, "health": answers.line(why)}}


def without_secrets(result: dict[str, Any], home: Home) -> dict[str, Any]:
    """Return a result without the app's secrets and the key that was made for it here.

    What the app itself says as it fails may hold them, and ``ansible-playbook -vvv`` shows all that a host answers.
    """
    mask = home.mask()
    return answers.taken(result, answers.APP, lambda text: answers.visible(mask.text(text)))


def main(call: dict[str, Any], contents: bytes, do: Do = work) -> dict[str, Any]:
    """Work on the apps of ``call`` and return the action's result.

    :param call: the action's arguments with ``check``, ``who``, ``deadline`` (seconds for one app), and ``secrets`` by
        the apps' names.
    :param contents: the files that are sent, packed.
    :param do: what is done for each app; its module has a function ``inside`` that does it for one.
    """
    verb, blobs = call["verb"], unpack(contents)
    results: dict[str, Any] = {}
    jobs = []
    for app in call["apps"]:
        app["secrets"] = call["secrets"].get(app["name"], {})
        nobody = None if app["router"] else without_account(app, verb, call["check"])
        nobody = failure(app["unfit"]) if app.get("unfit") else nobody
        if nobody:
            results[app["name"]] = nobody
        else:
            jobs.append((app["name"], partial(start, do, app, blobs, call)))
    said = confined.each(
        jobs, AT_ONCE, answers.LIMIT + (1 << 16), {app["name"]: app["account"] for app in call["apps"]}
    )
    for app in call["apps"]:
        if app["name"] in said:
            results[app["name"]] = taken(app, said[app["name"]], verb)
        results[app["name"]].setdefault("release", app.get("release"))
    return {
        "apps": results,
        "warnings": [warning for result in results.values() for warning in result.pop("warnings", [])],
        "diff": [item for result in results.values() for item in result.pop("diff", [])],
        **answers.summed(results),
    }
