"""Control node part of ``hosted.flask.release``; its manual is in ``plugins/modules/release.py``."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.hosted.flask.plugins.module_utils.answers import WORK, Untrue, see, summed, visible
from ansible_collections.hosted.flask.plugins.plugin_utils import frontends
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import ROOT
from ansible_collections.hosted.flask.plugins.plugin_utils.bounds import distrust
from ansible_collections.hosted.flask.plugins.plugin_utils.git import head_of
from ansible_collections.hosted.flask.plugins.plugin_utils.remote import run
from ansible_collections.hosted.flask.plugins.plugin_utils.source import collect, content

display = Display()

# Contents up to this size travel with the first call, so that most redeploys are one round trip.
INLINE = 1 << 20
VERBS = ["deploy", "rollback", "restart", "maintenance", "status"]
# What every verb needs to know of an app, and what only a deploy does.
PLACE_KEYS = ("name", "account", "home", "root", "supervisor_socket", "router", "front", "mount", "domains", "health",
              "services", "keep_releases", "state", "purge")  # fmt: skip
DEPLOY_KEYS = ("static", "python", "migrate", "before_switch", "after_switch", "module", "server")


class ActionModule(ActionBase):
    """Hashes the apps here, asks the host once, and ships only what it lacks."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let the host work, a second time with contents that it said it lacks."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "verb": {"type": "str", "default": "deploy", "choices": VERBS},
                "apps": {"type": "list", "elements": "dict", "required": True},
                "files": {"type": "dict", "default": {}},
                "programs": {"type": "dict", "default": {}},
                "rows": {"type": "list", "elements": "dict", "default": []},
                "release": {"type": "str", "default": ""},
                "maintenance": {"type": "bool", "default": False},
                "wait": {"type": "int", "default": 0},
                "deadline": {"type": "int", "default": 3600},
            }
        )
        call = {key: arguments[key] for key in ("verb", "release", "maintenance", "wait", "deadline")}
        call["who"] = f"{getpass.getuser()}@{socket.gethostname()}"
        if arguments["verb"] != "deploy":
            present = [app for app in arguments["apps"] if app["state"] == "present"]
            call["apps"] = [{key: app[key] for key in PLACE_KEYS} for app in present]
            result = self._call(call, {}, task_vars)
            if arguments["verb"] == "status":
                host = task_vars["inventory_hostname"]
                found = [(name, app.get("status")) for name, app in result.get("apps", {}).items()]
                # An account tells how its app is doing, and not whose row that is.
                result["rows"] = [{"host": host, **status, "app": name} for name, status in found if status]
            return result
        own = {row["name"]: row.get("secrets") or {} for row in arguments["rows"]}
        secrets = {app["name"]: own.get(app["name"], {}) for app in arguments["apps"]}
        contents: dict[str, Path] = {}
        apps = []
        for app in arguments["apps"]:
            name = app["name"]
            files = arguments["files"].get(name, {})
            apps.append(self._prepare(app, files, arguments["programs"].get(name, {}), secrets[name], contents))
        call |= {"apps": apps, "secrets": secrets}
        sizes = sum(path.stat().st_size for path in contents.values())
        first = contents if sizes <= INLINE else {}
        result = self._call(call, first, task_vars)
        if missing := lacking(result):
            # Whatever became of the others: what ended is not worked on again.
            call["apps"] = [app for app in apps if app["name"] in missing]
            sent = {digest: contents[digest] for digests in missing.values() for digest in digests}
            result = merged(result, self._call(call, sent, task_vars), call["apps"])
        return result

    def _call(self, call: dict[str, Any], contents: dict[str, Path], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Let the host work, with these ``contents`` at hand."""
        told = {"secrets": {}, **call, "check": bool(self._task.check_mode)}
        texts = [str(value) for own in told["secrets"].values() for value in own.values()]
        result = run(self, "work", told, pack(contents) if contents else b"", task_vars, texts, WORK)
        asked = {app["name"]: app for app in told["apps"]}
        try:
            if "apps" in result and result["apps"].keys() != asked.keys():
                raise Untrue(f"it is not about {', '.join(sorted(asked))}")
            for name, one in result.get("apps", {}).items():
                see(one, asked[name])
        except Untrue as why:
            return {"failed": True, "msg": distrust(why)}
        if not self._task.diff:
            result.pop("diff", None)
        return result

    def _prepare(
        self,
        app: dict[str, Any],
        files: dict[str, str],
        programs: dict[str, str],
        secrets: dict[str, Any],
        contents: dict[str, Path],
    ) -> dict[str, Any]:
        """Return what the host must know of one app; its files' contents go into ``contents``."""
        sent = {key: app[key] for key in PLACE_KEYS}
        if app["state"] == "absent":
            return sent
        sent |= {key: app[key] for key in DEPLOY_KEYS}
        sent |= {"unfit": app.get("unfit", "")}
        folder = Path(app["folder"])
        static = tuple(f"{name.strip('/')}/" for name in app["static"].values())
        page = os.path.normpath(app["maintenance"]["page"] or "none")
        manifest = []
        try:
            found = shipped(app, left := [])
        except ValueError as error:
            raise AnsibleActionFail(f"app {app['name']}: its source {folder} is refused. Allowed: {error}.") from None
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            names = visible(", ".join(left[:5]))
            display.warning(
                f"app {app['name']}: not shipped, for they lead out of the source or are no files: {names}{more}"
            )
        for path, file in found:
            digest = hashlib.sha256(read(app, file)).hexdigest()
            shown = path.startswith(static) if static else False
            mode = 0o440 if shown or path == page else 0o400
            manifest.append([path, mode | 0o100 if os.access(file, os.X_OK) else mode, digest])
            contents[digest] = file.resolve()
        variables = {"PROXY_HOPS": app["proxy_hops"], **app["environment"]}
        sent.update(
            manifest=manifest,
            generated=files,
            variables={key: text(value) for key, value in variables.items()},
            program=programs["app"],
            standby_program=programs["standby"],
            requirements_text=app["requirements_text"],
            server_text=app["server_requirements_text"],
            router_text=(ROOT / "roles/uwsgi/files/requirements.txt").read_text() if app["router"] else "",
            commit=app["commit"] or commit_of(folder),
        )
        parts = (
            "manifest",
            "generated",
            "variables",
            "requirements_text",
            "server_text",
            "python",
            "migrate",
            "services",
        )
        identity = [sent[part] for part in parts] + [fingerprint(app["name"], secrets)]
        sent["release"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return sent


def lacking(result: dict[str, Any]) -> dict[str, list[str]]:
    """Return what the host lacks of each app that it could not begin with, and take that out of the result."""
    missing = {name: app.pop("missing", []) for name, app in result.get("apps", {}).items()}
    return {name: found for name, found in missing.items() if found and not result["apps"][name].get("failed")}


def merged(first: dict[str, Any], second: dict[str, Any], again: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of two calls, of which the second was about the apps that lacked contents after the first."""
    told, still = second.get("apps", {}), lacking(second)
    for name, account in ((app["name"], app["account"]) for app in again if app["name"] in still):
        why = "still lacks contents that were sent. Somebody removes them there: deploy it again."
        told[name] = {"changed": False, "failed": True, "msg": f"app {name}: account {account} {why}"}
    waiting = {app["name"] for app in again}
    ended = {name: told.get(name) if name in waiting else app for name, app in first["apps"].items()}
    apps = {name: app for name, app in ended.items() if app}
    lists = {key: first.get(key, []) + second.get(key, []) for key in ("warnings", "diff") if key in first}
    result = {**first, **lists, **summed(apps), "apps": apps}
    if "apps" not in second:  # The host gave no answer, or none to be believed.
        words = [text for text in (result.get("msg"), second["msg"]) if text]
        result |= {"failed": True, "msg": "\n\n".join(words)}
    return result


def read(app: dict[str, Any], file: Path) -> bytes:
    """Return what a file of an app's release holds: it lies in the source, or in what was built of it."""
    tops = [Path(top) for top in (app["folder"], app.get("frontend_built")) if top]
    top = next(top for top in reversed(tops) if file.is_relative_to(top))
    try:
        return content(top, file)
    except ValueError as error:
        raise AnsibleActionFail(f"app {app['name']}: {error}. Allowed: files that lie in the source.") from None


def shipped(app: dict[str, Any], left: list[str] | None = None) -> list[tuple[str, Path]]:
    """Return what a release of an app holds: paths in it and files here. Of its front end, that is what was built."""
    folder, frontend = Path(app["folder"]), app["frontend"]
    found = [(path, folder / path) for path in collect(folder, frontend, left)]
    if app.get("frontend_built"):
        result = Path(app["frontend_built"])
        found += [(f"{frontend}/{frontends.MADE}/{path}", result / path) for path in frontends.files(result)]
    return sorted(found)


def text(value: Any) -> str:
    """Return a setting as the text that the app's environment gets; YAML's true is ``true`` again."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fingerprint(name: str, secrets: dict[str, Any]) -> str:
    """Return what stands for an app's secrets in its release id.

    The id is public (X-Release), so that guessing a secret by it must cost as much as a password hash.
    """
    if not secrets:
        return ""
    data = json.dumps(secrets, sort_keys=True, default=str).encode()
    return hashlib.scrypt(data, salt=name.encode(), n=1 << 14, r=8, p=1).hex()


def pack(contents: dict[str, Path]) -> bytes:
    """Return file contents as a compressed archive of members named by their sha256."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as tar:
        for digest, path in contents.items():
            data = content(path.parent, path.name)
            if hashlib.sha256(data).hexdigest() != digest:  # Another file took its place since it was looked at.
                raise AnsibleActionFail(f"{path} changed meanwhile. Deploy again.")
            member = tarfile.TarInfo(digest)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def commit_of(folder: Path) -> str:
    """Return the git commit of a source folder; empty without git.

    Whether the folder differs from it is not asked: git would run the programs that the repository names.
    """
    return head_of(folder)
