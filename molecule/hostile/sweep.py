"""Every kind of thing under every name that the work on an app reads or writes, as mallory and on his own app.

    sweep.py PART OF         the PARTth share of all pairs of a name and a kind, by JSON a line for each that is wrong

What is worked with is what a deploy of mallory does, in its own process and with its own deadline; only supervisord
and the app's answers are taken for good, so that a pair costs milliseconds. Each verb has to end, with a result or in
one line that names the app.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/kit")
import kit
from ansible_collections.hosted.flask.plugins.module_utils import doctor, homes, programs, switch, venvs, work
from ansible_collections.hosted.flask.plugins.module_utils import sockets as sockets_of

MEMORY = 512 << 20  # bytes of a process's address space, less than what the things laid would take
SECONDS = 20  # for one verb; far more than it takes
APP: dict[str, Any] = {
    "name": "mallory", "account": "mallory", "home": str(kit.HOME), "root": str(kit.APP),
    "supervisor_socket": "/nowhere", "router": "", "front": "http://127.0.0.1:80", "mount": "/",
    "domains": ["mallory.example"], "health": {"path": "/status", "timeout": 5}, "services": [], "keep_releases": 3,
    "state": "present", "purge": False,
}  # fmt: skip
QUICK = ("status", "maintenance", "examine")


class Good(programs.Programs):
    """A supervisord for which all goes well."""

    def reload(self) -> tuple[set[str], set[str], set[str]]:
        """Nothing is new."""
        return set(), set(), set()

    def info(self, name: str) -> dict[str, Any] | None:
        """All runs, as this process."""
        return {"pid": os.getpid(), "state": 20, "statename": "RUNNING", "name": name, "group": name}

    def all(self) -> list[dict[str, Any]]:
        """The app runs."""
        return [self.info("mallory") or {}]

    def _do(self, call: Any, *arguments: Any) -> None:
        """Done."""

    def kill(self, name: str) -> None:
        """Done."""

    def remove_all(self) -> None:
        """Done."""


def install(venv: venvs.Venv, *_: Any) -> None:
    """Make a venv of what its interpreter is alone."""
    (venv.path / "bin").mkdir()
    (venv.path / "bin/python").symlink_to(venv.interpreter)
    (venv.path / "pyvenv.cfg").write_text("version_info = 3.13.0\n")


def answer(path: str, *_: Any) -> tuple[int, dict[str, str], bytes]:
    """Answer as the release that a socket's slot points at."""
    return 200, {"x-release": os.path.basename(os.readlink(kit.APP / "slots" / Path(path).stem))}, b""


def left_out(folder: str, _: list[str]) -> list[str]:
    """Return what is made anew."""
    return ["venvs", "run"] if folder == "/home/mallory/apps/mallory" else []


def pretend() -> None:
    """Take for good what is not a file."""
    programs.Programs = homes.Programs = Good  # type: ignore[misc]
    switch.WATCH = 0
    switch.Switch.stays = lambda *_: None  # type: ignore[method-assign]
    switch.ask = answer
    switch.backlog = lambda _: 0
    homes.Home.front = lambda self, *_: ("200", self.live())  # type: ignore[method-assign]
    homes.Home.serves = lambda self, slot: self.slot(slot)  # type: ignore[method-assign]
    venvs.Venv.install = install  # type: ignore[method-assign]
    work.QUICK_DEADLINE = SECONDS


def call(verb: str, app: dict[str, Any], **more: Any) -> str:
    """Do a verb; return what is wrong with what came of it."""
    asked = {"verb": verb, "apps": [app], "release": "", "maintenance": True, "wait": 0, "deadline": SECONDS,
             "who": "sweep", "check": False, "secrets": {}, "environment": {}, **more}  # fmt: skip
    begin = time.monotonic()
    do = doctor.look if verb == "examine" else work.work
    said = work.main(asked, b"", do)
    text = said.get("msg", "")
    if verb == "status" and not text:
        text = said["apps"]["mallory"]["status"]["health"]
        text = text if text.startswith("app ") else ""
    if time.monotonic() - begin > SECONDS - 1:
        return f"hangs: {text}"
    if "Traceback" in text or "fault of hosted.flask" in text or "without an answer" in text:
        return text
    if text and not text.startswith("app mallory: "):
        return f"does not name the app: {text}"
    if len([line for line in text.splitlines() if line.strip()]) > 1:
        return f"more than a line: {text}"
    return ""


def prepare(home: Path) -> Path:
    """Make a home with mallory's app as it is, but for a venv of nearly nothing; return what to copy it from."""
    pristine = home.with_name(f"{home.name}-pristine")
    for folder in (home, pristine):
        kit.remove(folder)
    root = pristine / "apps/mallory"
    shutil.copytree("/home/mallory/apps/mallory", root, symlinks=True, ignore=left_out)
    shutil.copytree("/home/mallory/etc", pristine / "etc", symlinks=True)
    (root / "run").mkdir()
    (root / "run/current.sock").symlink_to("live.sock")
    (pristine / "logs").mkdir()
    (pristine / "logs/mallory.log").write_text("begun\n")
    return pristine


def sockets() -> None:
    """Try each kind of supervisord that is none, and each kind of an app, with each call to it."""
    path = kit.HOME / "double.sock"
    sockets_of.SECONDS = 2
    home = homes.Home({**APP, "supervisor_socket": str(path)})
    asked = home.programs
    calls: dict[str, Any] = {
        "reload": asked.reload, "all": asked.all, "info": lambda: asked.info("mallory"),
        "start": lambda: asked.start("mallory"), "kill": lambda: asked.kill("mallory"),
        "remove_all": asked.remove_all, "app": lambda: sockets_of.ask(str(path), "/status", timeout=2),
    }  # fmt: skip
    for kind in ("hang", "dribble", "flood", "headers", "lie", "types", "nothing"):
        child = os.fork()
        if child == 0:
            os.setsid()
            kit.serve(kind, path)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        for name, do in calls.items():
            begin, wrong = time.monotonic(), ""
            try:
                do()
            except (programs.Refused, OSError):
                pass
            except Exception as error:  # noqa: BLE001  each of them would be a traceback
                wrong = f"{type(error).__name__}: {error}"
            if time.monotonic() - begin > 8:
                wrong = "hangs"
            if wrong:
                print(json.dumps({"name": "socket", "kind": kind, "verb": name, "wrong": wrong}), flush=True)
        os.killpg(child, 9)
        os.waitpid(child, 0)
        path.unlink(missing_ok=True)


def main(part: int, of: int) -> None:
    """Try the pairs."""
    sockets()
    kit.HOME = Path(f"/home/mallory/sweep-{part}")
    kit.APP = kit.HOME / "apps/mallory"
    pristine = prepare(kit.HOME)
    root = pristine / "apps/mallory"
    live = json.loads((root / "slots/live/release.json").read_text())
    release = os.path.basename(os.readlink(root / "slots/live"))
    place = {**APP, "home": str(kit.HOME), "root": str(kit.APP)}
    again = {**live, **place, "release": release, "secrets": {}, "static": {}, "router_text": ""}
    fresh = {**again, "release": "fedcba987654"}
    pretend()
    steps = [
        ("status", place, {}), ("examine", place, {}), ("maintenance", place, {}), ("rollback", place, {"check": True}),
        ("deploy", again, {"check": True}), ("restart", place, {}), ("deploy", fresh, {}),
        ("deploy", {**place, "state": "absent", "purge": True}, {}),
    ]  # fmt: skip
    os.umask(0o077)
    shutil.copytree(pristine, kit.HOME, symlinks=True)
    if wrong := [wrong for verb, app, more in steps[:-1] if (wrong := call(verb, app, **more))]:
        sys.exit(f"without anything in the way: {wrong}")
    venv = os.path.basename(os.readlink(kit.APP / "slots/live/.hosted/venv"))
    shutil.copytree(kit.APP / "venvs" / venv, root / "venvs" / venv, symlinks=True)
    kit.remove(kit.HOME)
    shutil.copytree(pristine, kit.HOME, symlinks=True)
    paths = sorted(set(kit.under()))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    tried = 0
    for number, (path, kind) in enumerate(itertools.product(paths, sorted(kit.KINDS))):
        if number % of != part:
            continue
        kit.remove(kit.HOME)
        shutil.copytree(pristine, kit.HOME, symlinks=True)
        kit.lay(kind, path)
        for verb, app, more in steps:
            tried += 1
            if wrong := call(verb, app, **more):
                name = str(path.relative_to(kit.HOME))
                print(json.dumps({"name": name, "kind": kind, "verb": verb, **more, "wrong": wrong}), flush=True)
    for folder in (kit.HOME, pristine):
        kit.remove(folder)
    print(json.dumps({"tried": tried, "names": len(paths), "kinds": len(kit.KINDS)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
