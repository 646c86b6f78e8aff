"""The life of one app on its host, run as the account that owns it: ship, seal, switch, prune, remove.

One deploy reads from the top of :meth:`Deploy.run` to its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask, backlog, supervisor
from ansible_collections.hosted.flask.plugins.module_utils.venvs import Venv, VenvError

BACKOFF, STOPPING = 30, 40
DEAD = (100, 200, 1000)  # EXITED, FATAL, UNKNOWN
TEXT_LIMIT = 65536  # bytes of a file that a diff still shows


class Refused(Exception):
    """The release or the host is not fit; the text is for the user, and nothing has changed for visitors."""


class Programs:
    """The programs of one app in the account's supervisord."""

    def __init__(self, app: dict[str, Any]) -> None:
        """Know the app's programs; nothing is asked yet."""
        self.names = [app["name"], f"{app['name']}-standby"]
        self.router = f"{app['name']}-http" if app["router"] else None
        self.services = [f"{app['name']}-{service['name']}" for service in app["services"]]
        self.socket = app["supervisor_socket"]
        self.prefix = app["name"]
        self.api = supervisor(self.socket).supervisor

    def ours(self, group: str) -> bool:
        """Whether a program's name is one of this app's, also of an earlier description of it."""
        return group == self.prefix or group.startswith(f"{self.prefix}-")

    def reload(self) -> tuple[set[str], set[str], set[str]]:
        """Let supervisord read ``services.d`` and return this app's added, changed and removed programs.

        :raises Refused: a file of the account cannot be read, or supervisord does not answer.
        """
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.05)  # It was started a moment ago.
        try:
            [[added, changed, removed]] = self.api.reloadConfig()
        except xmlrpc.client.Fault as fault:
            raise Refused(
                f"supervisord refuses the files of {Path(self.socket).name}'s services.d: {fault.faultString}."
                " Correct or remove the file it names, then deploy again."
            ) from fault
        except OSError as error:
            raise Refused(
                f"supervisord does not answer at {self.socket} ({error}). Run playbooks/provision.yml, which starts it."
            ) from error
        return tuple({name for name in names if self.ours(name)} for names in (added, changed, removed))

    def state(self, name: str) -> int | None:
        """Return a program's state as supervisord counts it, None where it has no such program."""
        try:
            return self.api.getProcessInfo(name)["state"]
        except (xmlrpc.client.Fault, OSError):
            return None

    def start(self, name: str) -> None:
        """Start a program without waiting for it; one that runs already is left alone."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self.api.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait until its last request is answered."""
        with contextlib.suppress(xmlrpc.client.Fault):
            # Not by a call that waits: supervisord spins at 100 % of a CPU as long as one is open.
            self.api.stopProcess(name, False)
        while self.state(name) == STOPPING:
            time.sleep(0.05)

    def add(self, name: str) -> None:
        """Make a program known; supervisord starts it where its ini says so."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self.api.addProcessGroup(name)

    def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        self.stop(name)
        with contextlib.suppress(xmlrpc.client.Fault):
            self.api.removeProcessGroup(name)


class Deploy:
    """Brings one app to the state that its description asks for."""

    def __init__(self, app: dict[str, Any], blobs: dict[str, bytes], check: bool, who: str) -> None:
        """Prepare a deploy.

        :param app: the completed description with what the control node made of it: ``release`` (the id),
            ``manifest`` ([path, mode, sha256] of each file), ``generated`` (texts by path), ``program`` and
            ``standby_program`` (texts for services.d), ``variables`` and ``secrets``.
        :param blobs: file contents by their sha256; what an earlier release holds may be left out.
        :param check: change nothing, only tell.
        :param who: who deploys, for the history.
        """
        self.app, self.blobs, self.check, self.who = app, blobs, check, who
        self.home, self.root = Path(app["home"]), Path(app["root"])
        self.releases, self.run_dir = self.root / "releases", self.root / "run"
        self.release = self.releases / app.get("release", "none")
        self.ini = self.home / "etc/services.d" / f"{app['name']}.ini"
        # There only while a release is proved: at rest the account sees one program named like the app.
        self.standby_ini = self.ini.with_name(f"{app['name']}-standby.ini")
        self.log = self.home / "logs" / f"{app['name']}.log"
        self.programs = Programs(app)
        self.result: dict[str, Any] = {"changed": False, "actions": [], "diff": []}

    # --- the way of a deploy

    def run(self) -> dict[str, Any]:
        """Do what is needed and tell it.

        :returns: ``changed``, ``actions`` (what was or would be done), ``diff``, and ``missing`` (contents
            that must be sent before anything can be done).
        :raises Refused: see its text; visitors still get what they got before.
        """
        if self.app["state"] == "absent":
            return self.absent()
        live = self.live()
        venv = Venv(self.root / "venvs", [self.app["requirements_text"], self.app["server_text"]], self.app["python"])
        whole = venv.ready and self.ini_is_current() and not self.standby_ini.exists()
        if live == self.release.name and whole and self.serves("live") == live:
            return self.result
        self.result["changed"] = True
        self.describe(live, venv)
        if self.check:
            return self.result
        known = self.sealed(self.release)
        if not known and (missing := self.missing()):
            return {**self.result, "missing": missing}
        begin = time.monotonic()
        with self.lock():
            try:
                self.make_room()
                self.ship(venv)
                self.migrate(live)
                self.switch(live)
            except (Refused, VenvError) as error:
                if not known and self.live() != self.release.name:
                    discard(self.release)  # Kept, it would push out one that worked.
                self.remember(begin, "refused")
                raise Refused(str(error)) from error
            self.remember(begin, "live")
            self.prune()
        return self.result

    def live(self) -> str | None:
        """Return the id that slot live points at."""
        link = self.root / "slots/live"
        return os.path.basename(os.readlink(link)) if link.is_symlink() else None

    def ini_is_current(self) -> bool:
        """Whether services.d already says what it should."""
        return self.ini.exists() and self.ini.read_text() == self.app["program"]

    def serves(self, slot: str) -> str | None:
        """Return the release that answers a slot's health path with 2xx, None where none does."""
        try:
            status, headers, _ = self.ask(slot, 5)
        except OSError:
            return None
        return headers.get("x-release") if 200 <= status < 300 else None

    def ask(self, slot: str, timeout: float) -> tuple[int, dict[str, str], bytes]:
        """Ask a slot's own socket for the health path."""
        url = self.app["mount"].rstrip("/") + self.app["health"]["path"]
        host = (self.app["domains"] or ["localhost"])[0]
        return ask(str(self.run_dir / f"{slot}.sock"), url, host, timeout)

    @staticmethod
    def sealed(release: Path) -> bool:
        """Whether a release is whole."""
        return (release / "release.json").exists()

    # --- what would change

    def describe(self, live: str | None, venv: Venv) -> None:
        """Note the actions and the diff of this deploy."""
        old = self.read(self.releases / live) if live else {}
        if live != self.release.name:
            self.result["actions"].append(f"release {live or 'none'} -> {self.release.name}")
            before = {path: digest for path, _, digest in old.get("manifest", [])}
            after = {path: digest for path, _, digest in self.app["manifest"]}
            for path in sorted(before.keys() | after.keys()):
                if before.get(path) != after.get(path):
                    source = self.releases / live / path if path in before else None
                    self.show(path, text_of(source), self.blob_text(after.get(path)) if path in after else "")
            for path in sorted(old.get("generated", {}).keys() | self.app["generated"].keys()):
                self.show(path, old.get("generated", {}).get(path, ""), self.app["generated"].get(path, ""))
            self.show("environment", names(old.get("variables", {})), names(self.app["variables"]))
            was, now = set(old.get("secrets", [])), set(self.app["secrets"])
            self.show(
                "secrets (names only)", "".join(f"{n}\n" for n in sorted(was)), "".join(f"{n}\n" for n in sorted(now))
            )
            self.show("packages", old.get("requirements", ""), self.app["requirements_text"] + self.app["server_text"])
        if not venv.ready:
            self.result["actions"].append(f"build venv {venv.path.name}")
        if not self.ini_is_current():
            self.show(
                f"services.d/{self.ini.name}", text_of(self.ini if self.ini.exists() else None), self.app["program"]
            )
        self.result["actions"] += [f"restart {name}" for name in (self.programs.prefix, *self.programs.services)]

    def show(self, title: str, before: str, after: str) -> None:
        """Add one comparison to the diff, unless both sides are the same."""
        if before != after:
            title = f"{self.app['name']}: {title}"
            if Path(title).name.startswith(".env"):
                before, after = "(not shown)\n", "(not shown, changed)\n"
            self.result["diff"].append(
                {"before_header": title, "after_header": title, "before": before, "after": after}
            )

    def blob_text(self, digest: str | None) -> str:
        """Return the text that was sent for a digest, or a word for what is not text or was not sent."""
        data = self.blobs.get(digest or "")
        return f"(content {digest})\n" if data is None else decode(data)

    @staticmethod
    def read(release: Path) -> dict[str, Any]:
        """Return a release's own description, empty where there is none."""
        try:
            return json.loads((release / "release.json").read_text())
        except (OSError, ValueError):
            return {}

    # --- ship and seal

    def known(self) -> dict[tuple[str, int], Path]:
        """Return where each content of the sealed releases lies, by its digest and mode."""
        found = {}
        for release in self.releases.glob("*") if self.releases.is_dir() else ():
            for path, mode, digest in self.read(release).get("manifest", []):
                found[digest, mode] = release / path
        return found

    def missing(self) -> list[str]:
        """Return the digests that neither the sent contents nor, with the same mode, an earlier release has."""
        known = self.known()
        wanted = {digest for _, mode, digest in self.app["manifest"] if (digest, mode) not in known}
        return sorted(wanted - self.blobs.keys())

    def make_room(self) -> None:
        """Make the app's folders and check that the disk has room for what comes.

        :raises Refused: it has not.
        """
        for folder in (self.home / "etc/services.d", self.home / "logs", self.releases, self.root / "venvs",
                       self.root / "slots", self.run_dir, self.root / "data"):  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)
        # Inherited from a folder of the front's group, the group must not see what the app keeps.
        (self.root / "data").chmod(0o700)
        needed = sum(map(len, self.blobs.values())) + (16 << 20)
        free = os.statvfs(self.root).f_bavail * os.statvfs(self.root).f_frsize
        if free < needed:
            raise Refused(f"disk: {free >> 20} MiB are free in {self.root}, {needed >> 20} MiB are needed")
        env = self.root / "env"
        if not env.exists():
            write(env, f"SECRET_KEY={secrets.token_hex(32)}\n", 0o600)

    def ship(self, venv: Venv) -> None:
        """Build the venv, lay the release out beside the others and seal it by its rename."""
        venv.build()
        if self.app["router"]:
            router = Venv(self.root / "venvs", [self.app["router_text"]], self.app["python"])
            router.build()
            point(self.root / "venvs/http", router.path.name)
        if self.sealed(self.release):
            relink(self.release / ".hosted/venv", venv)
            return
        partial = self.releases / f"{self.release.name}.partial"
        discard(partial)
        partial.mkdir()
        static = tuple(f"{folder.strip('/')}/" for folder in self.app["static"].values())
        known = self.known()
        for path, mode, digest in self.app["manifest"]:
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if (digest, mode) in known:
                os.link(known[digest, mode], target)
            else:
                write(target, self.blobs[digest], mode & ~0o222)
        for path, text in self.app["generated"].items():
            target = partial / path
            target.parent.mkdir(exist_ok=True)
            discard(target)
            write(target, text, 0o500 if path.endswith("start") else 0o400)
        variables = {**self.app["variables"], **self.app["secrets"]}
        lines = [f"{key}={shlex.quote(str(value))}\n" for key, value in sorted(variables.items())]
        write(partial / ".hosted/env", "".join(lines), 0o400)
        (partial / ".hosted/venv").symlink_to(Path("../../../venvs") / venv.path.name)
        discard(partial / "instance")
        (partial / "instance").symlink_to("../../data")
        keys = ("manifest", "generated", "variables", "migrate", "commit", "module", "server")
        description = {key: self.app[key] for key in keys}
        description["secrets"] = sorted(self.app["secrets"])
        description["requirements"] = self.app["requirements_text"] + self.app["server_text"]
        write(partial / "release.json", json.dumps(description, indent=1) + "\n", 0o400)
        for folder, _, _ in os.walk(partial, topdown=False):
            shown = f"{os.path.relpath(folder, partial)}/".startswith(static) if static else False
            # Closed to writing; the front's group may pass, and list only what is static.
            os.chmod(folder, os.stat(folder).st_mode & 0o2000 | (0o550 if shown else 0o510))
        sync(partial)
        os.chmod(partial, 0o710)
        partial.rename(self.release)
        os.chmod(self.release, 0o510)
        sync(self.releases)

    # --- show it to visitors

    def migrate(self, live: str | None) -> None:
        """Run the app's migration in the new release; the live one still serves.

        :raises Refused: it failed; its output is in the text.
        """
        if not self.app["migrate"] or live == self.release.name:
            return
        command = [str(self.release / ".hosted/start"), "run", self.app["migrate"]]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if run.returncode:
            output = (run.stdout + run.stderr)[-6000:]
            raise Refused(f"migrate: {self.app['migrate']!r} ended with {run.returncode}:\n{output}")

    def switch(self, live: str | None) -> None:
        """Prove the release on the standby, show it to visitors, bring live to it, stop the standby.

        :raises Refused: the release is not healthy; nothing has changed for visitors.
        """
        name, standby = self.programs.names
        self.recover()
        earlier = text_of(self.ini if self.ini.exists() else None)
        first = live is None or self.programs.state(name) is None
        write(self.ini, self.app["program"], 0o600)
        if not first:
            write(self.standby_ini, self.app["standby_program"], 0o600)
        try:
            added, changed, removed = self.programs.reload()
            for old in removed:
                self.programs.remove(old)
            if first:
                self.first(name, added)
            else:
                if standby in changed:
                    self.programs.remove(standby)
                self.programs.add(standby)
                self.start("standby")
        except Refused:
            self.retire_standby()
            restore(self.ini, earlier)
            with contextlib.suppress(Refused):  # The first one says more.
                self.programs.reload()
            raise
        if not first:
            self.show_visitors("standby")
            self.drain("live")
            self.programs.stop(name)
            point(self.root / "slots/live", f"../releases/{self.release.name}")
            if name in changed:
                self.programs.remove(name)
                self.programs.add(name)
            self.start("live")
            self.show_visitors("live")
            self.drain("standby")
            self.retire_standby()
        for other in (self.programs.router, *self.programs.services):
            if other and (other in changed or other in self.programs.services):
                self.programs.remove(other)
            if other:
                self.programs.add(other)
                self.programs.start(other)
        self.await_router()

    def recover(self) -> None:
        """Finish what a killed deploy left: visitors go back to the live program before the standby is used again.

        :raises Refused: the live program does not come up; the standby goes on serving.
        """
        current = self.run_dir / "current.sock"
        name, standby = self.programs.names
        if self.standby_ini.exists() and current.is_symlink() and os.readlink(current) == "standby.sock":
            self.programs.start(name)
            deadline = time.monotonic() + self.app["health"]["timeout"]
            while self.serves("live") is None:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"program {name} does not come up, {standby} goes on serving: supervisorctl tail {name}"
                    )
                time.sleep(0.05)
            self.show_visitors("live")
            self.drain("standby")
        if self.standby_ini.exists():
            self.retire_standby()

    def retire_standby(self) -> None:
        """Stop the standby and forget it."""
        discard(self.standby_ini)
        self.programs.remove(self.programs.names[1])

    def first(self, name: str, added: set[str]) -> None:
        """Start an app that has never run here: nobody to keep serving, all to take back when it fails."""
        before = self.live()
        point(self.root / "slots/live", f"../releases/{self.release.name}")
        try:
            self.programs.stop(name)
            self.programs.add(name)
            self.start("live")
        except Refused:
            for other in added:
                self.programs.remove(other)
            if before is None:
                discard(self.root / "slots/live")
            else:
                point(self.root / "slots/live", f"../releases/{before}")
            raise
        self.show_visitors("live")

    def start(self, slot: str) -> None:
        """Start a slot's program on the release and wait until it is healthy.

        :raises Refused: it ended, or did not answer with 2xx in time; its own output is in the text.
        """
        name = self.programs.names[slot == "standby"]
        log = self.log.with_name(f"{name}.log")
        offset = log.stat().st_size if log.exists() else 0
        if slot == "standby":
            point(self.root / "slots/standby", f"../releases/{self.release.name}")
        timeout = self.app["health"]["timeout"]
        deadline = time.monotonic() + timeout
        self.programs.start(name)
        last = "nothing listened"
        while time.monotonic() < deadline:
            if self.programs.state(name) in (BACKOFF, *DEAD):
                last = "the program ended"
                break
            try:
                status, headers, _ = self.ask(slot, max(0.1, deadline - time.monotonic()))
            except OSError as error:
                last = str(error) or type(error).__name__
            else:
                if 200 <= status < 300 and headers.get("x-release") == self.release.name:
                    return
                last = f"it answered {status}"
                if headers.get("x-release") == self.release.name and status < 500:
                    break  # A clear answer of the release itself: waiting does not change it.
            time.sleep(0.02)
        time.sleep(0.1)  # The last lines of a program that just ended may still be on their way.
        raise Refused(
            f"app {self.app['name']}: release {self.release.name} is refused: {last}; wanted is 2xx at health.path"
            f" {self.app['health']['path']!r} within {timeout} s. Visitors still get what they got before.\n"
            f"Its own output ({log}):\n{tail(log, offset)}"
        )

    def show_visitors(self, slot: str) -> None:
        """Let the front's next connection go to a slot."""
        point(self.run_dir / "current.sock", f"{slot}.sock")

    def drain(self, slot: str) -> None:
        """Wait until nobody waits on a slot's socket any more, 30 s at the most."""
        path = str(self.run_dir / f"{slot}.sock")
        deadline = time.monotonic() + 30
        time.sleep(0.02)  # The front may have read the old name just before it changed.
        while time.monotonic() < deadline and (backlog(path) or 0) > 0:
            time.sleep(0.01)

    def await_router(self) -> None:
        """Wait until the app's own HTTP router, where there is one, listens.

        :raises Refused: it does not come up; the release behind it is in order.
        """
        name = self.programs.router
        if name is None:
            return
        port = self.app["router"].rpartition(":")[2]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.programs.state(name) not in (BACKOFF, *DEAD):
            if listens(int(port)):
                return
            time.sleep(0.02)
        log = self.log.with_name(f"{name}.log")
        raise Refused(f"app {self.app['name']}: nothing listens on {self.app['router']}. {log} ends:\n{tail(log, 0)}")

    # --- afterwards

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the app's deploy lock; the kernel frees it when its holder dies.

        :raises Refused: somebody else holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise Refused(f"app {self.app['name']}: another deploy is under way: {file.read().strip()}") from None
            file.truncate(0)
            file.write(f"{self.who} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n")
            file.flush()
            yield

    def remember(self, begin: float, result: str) -> None:
        """Append this deploy to the history."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "who": self.who,
            "release": self.release.name,
            "commit": self.app["commit"],
            "seconds": round(time.monotonic() - begin, 2),
            "result": result,
        }
        with open(self.root / "history.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    def prune(self) -> None:
        """Delete what no kept release needs: old releases, interrupted ones, and venvs."""
        sealed = [item for item in self.releases.iterdir() if self.sealed(item) and item.suffix != ".partial"]
        sealed.sort(key=lambda item: item.stat().st_mtime, reverse=True)
        live = self.releases / (self.live() or "none")
        os.utime(live)
        others = [item for item in sealed if item != live]
        kept = [live, *others[: self.app["keep_releases"] - 1]]
        for item in self.releases.iterdir():
            if item not in kept:
                discard(item)
        needed = {os.path.basename(os.readlink(item / ".hosted/venv")) for item in kept}
        http = self.root / "venvs/http"
        needed |= {"http", os.readlink(http)} if http.is_symlink() else set()
        for item in (self.root / "venvs").iterdir():
            if item.name not in needed:
                discard(item)

    def absent(self) -> dict[str, Any]:
        """Remove the app: programs, files and logs. ``data/`` stays while it holds something, unless purged."""
        data = self.root / "data"
        keep_data = not self.app["purge"] and data.is_dir() and any(data.iterdir())
        logs = [*self.log.parent.glob(f"{self.app['name']}.log*"), *self.log.parent.glob(f"{self.app['name']}-*.log*")]
        rest = [item for item in self.root.glob("*") if not (keep_data and item == data)] if self.root.exists() else []
        gone = not rest and (keep_data or not self.root.exists()) and not self.ini.exists() and not logs
        if keep_data:
            self.result["kept"] = str(data)
        if gone:
            return self.result
        self.result["changed"] = True
        self.result["actions"].append(f"remove {self.app['name']}")
        if self.check:
            return self.result
        discard(self.ini)
        discard(self.standby_ini)
        with contextlib.suppress(Refused):  # Without a supervisord nothing of it runs.
            _, _, removed = self.programs.reload()
            for name in removed:
                self.programs.remove(name)
        for item in [*rest, *logs]:
            discard(item)
        discard(self.root / ".lock")
        if not keep_data:
            discard(self.root)
        return self.result


# --- small helpers


def write(path: Path, content: str | bytes, mode: int) -> None:
    """Write a file whole or not at all, with its mode from the start."""
    partial = path.with_name(f".{path.name}.partial")
    discard(partial)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(partial, mode)  # The umask had its say above.
    partial.rename(path)


def restore(path: Path, content: str) -> None:
    """Put a file's earlier content back; empty means that there was no file."""
    if content:
        write(path, content, 0o600)
    else:
        discard(path)


def point(link: Path, target: str) -> None:
    """Make a symlink point at ``target`` in one step that readers never see half done."""
    partial = link.with_name(f".{link.name}.partial")
    discard(partial)
    partial.symlink_to(target)
    partial.rename(link)


def relink(link: Path, venv: Venv) -> None:
    """Let a sealed release use another venv of the same packages: its own interpreter went away."""
    if os.path.basename(os.readlink(link)) != venv.path.name:
        os.chmod(link.parent, 0o710)
        point(link, f"../../../venvs/{venv.path.name}")
        os.chmod(link.parent, 0o510)


def discard(path: Path) -> None:
    """Delete a file, a link or a folder, sealed or not, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def sync(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tail(log: Path, offset: int, lines: int = 60) -> str:
    """Return the last lines of what a log got since ``offset``, bytes from its start."""
    try:
        with open(log, "rb") as file:
            file.seek(offset if offset <= os.fstat(file.fileno()).st_size else 0)
            text = file.read()[-20000:].decode(errors="replace")
    except OSError:
        return "(none)"
    return "\n".join(text.splitlines()[-lines:]) or "(none)"


def text_of(path: Path | None) -> str:
    """Return a file's text for a diff."""
    return "" if path is None else decode(path.read_bytes())


def decode(data: bytes) -> str:
    """Return a file's content for a diff, or a word for what is too large or not text."""
    if len(data) <= TEXT_LIMIT and b"\0" not in data:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    return f"({len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()})\n"


def names(variables: dict[str, Any]) -> str:
    """Return variables as lines of a diff."""
    return "".join(f"{key}={value}\n" for key, value in sorted(variables.items()))


def listens(port: int) -> bool:
    """Whether somebody on this host accepts TCP connections on a port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as file:
            if any(row.split()[3] == "0A" and row.split()[1].endswith(f":{port:04X}") for row in list(file)[1:]):
                return True
    return False
