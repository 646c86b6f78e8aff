"""The life of an app on platform local: every step of a deploy against a real supervisord and a real uWSGI.

Each story below is an app of its own. Most of a deploy's seconds are spent on waiting (uWSGI stops gracefully in
1.3 s), so that all stories run at once, in threads on one supervisord; a test tells what became of its story.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.action import preflight
from ansible_collections.hosted.flask.plugins.action.release import PLACE_KEYS, ActionModule, pack
from ansible_collections.hosted.flask.plugins.module_utils import programs, releases, switch
from ansible_collections.hosted.flask.plugins.module_utils.answers import WORK
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.shipping import Shipment
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask, listens, supervisor
from ansible_collections.hosted.flask.plugins.module_utils.switch import Switch
from ansible_collections.hosted.flask.plugins.plugin_utils import remote
from ansible_collections.hosted.flask.plugins.plugin_utils.requirements import Requirements
from support import (
    NGINX,
    completed,
    free_port,
    process,
    program_states,
    render,
    short_folder,
    supervisord,
    tool,
    tree,
    until,
)
from test_actions import Here

FLASK = """\
import os
from pathlib import Path

from flask import Flask

app = Flask(__name__)
Path(app.instance_path, "seen").touch()
counter = Path(app.instance_path, "visits")


@app.get("/status")
def status():
    return {"status": "ok"}


@app.get("/")
def index():
    return {"message": os.environ.get("MESSAGE"), "secret": os.environ.get("TOKEN"), "key": os.environ["SECRET_KEY"]}
"""
PLAIN = """\
def app(environ, respond):
    respond("200 OK", [("Content-Type", "text/plain")])
    return [b"VERSION of " + environ["PATH_INFO"].encode()]
"""
# Tells where it is mounted.
MOUNTED = """\
def app(environ, respond):
    respond("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} + {environ['PATH_INFO']}".encode()]
"""
NASTY = 'it\'s "quoted" $HOME `id` 100%\n second line\\ ☕ '


@functools.cache
def rendered(description: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the roles render for an app's description: files of the release, and programs."""
    app = json.loads(description)
    server, config = app["server"], {"uwsgi": "uwsgi.ini", "gunicorn": "gunicorn.conf.py"}[app["server"]]
    types = {".hosted/mime.types": script("uwsgi", "mime.types.j2")} if server == "uwsgi" else {}
    inis = {name: f"{stem}.ini.j2" for name, stem in (("app", "programs"), ("standby", "standby"))}
    return {
        **types,
        config: render(server, f"{config}.j2", **{f"__{server}_app": app}),
        ".hosted/serve": script(server, "serve.j2"),
        ".hosted/start": script("flask_app", "start.j2"),
    }, {name: render("supervisord", file, __supervisord_app=app) for name, file in inis.items()}


@functools.cache
def script(role: str, template: str) -> str:
    """Return a script that is the same for every app."""
    return render(role, template)


@dataclasses.dataclass
class Plan:
    """A deploy that is about to happen."""

    home: Home
    blobs: dict[str, bytes]
    check: bool

    @property
    def release(self) -> str:
        """The id of the release to come."""
        return self.home.app["release"]

    def run(self) -> dict[str, Any]:
        """Do it."""
        return releases.deploy(self.home, self.blobs, self.check)


@dataclasses.dataclass
class Site:
    """An app, its source and its home, deployed as the playbook does it, only without Ansible in between."""

    home: Path
    source: Path
    port: int  # of its HTTP router, 0 for an app that has none
    name: str
    front: str = ""  # of an app that has none

    @property
    def root(self) -> Path:
        """The app's own folder."""
        return self.home / "apps" / self.name

    @property
    def ini(self) -> Path:
        """The app's file in services.d."""
        return self.home / f"etc/services.d/{self.name}.ini"

    def write(self, wsgi: str, requirements: str = "", **files: str) -> None:
        """Make a new source."""
        shutil.rmtree(self.source, ignore_errors=True)
        for name, text in {"wsgi.py": wsgi, "requirements.txt": requirements, **files}.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def prepare(self, check: bool = False, secrets: dict[str, Any] | None = None, **row: Any) -> Plan:
        """Return the deploy of the source with these keys of its row."""
        row = {"python": sys.executable, "static": {}, "processes": 1, "threads": 1, "keep_releases": 2, **row}
        row["health"] = {"path": "/status", "timeout": 120, **row.get("health", {})}
        router = f"127.0.0.1:{self.port}" if self.port else ""
        app = completed(
            self.name,
            home=str(self.home),
            router=router,
            front=router or self.front,
            proxy_hops=0,
            folder=str(self.source),
            commit="",
            supervisor_socket=str(self.home / "run/supervisor.sock"),
            **row,
        )
        needs = Requirements.read(self.source, "requirements.txt", app["server"])
        app |= {"requirements_text": needs.text, "server_requirements_text": needs.server}
        files, programs = rendered(json.dumps(app)) if app["state"] == "present" else ({}, {})
        contents: dict[str, Path] = {}
        sent = ActionModule._prepare(None, app, files, programs, secrets or {}, contents)  # type: ignore[arg-type]
        sent["secrets"] = secrets or {}
        return Plan(self.at(sent), {digest: path.read_bytes() for digest, path in contents.items()}, check)

    def at(self, app: dict[str, Any] | None = None, wait: int = 0) -> Home:
        """Return the app in its home, as another verb than a deploy gets it unless ``app`` says more."""
        return Home(app or self.place, "tester@here", wait)

    def deploy(self, **row: Any) -> dict[str, Any]:
        """Deploy the source, and return what a deploy returns and the release's id."""
        plan = self.prepare(**row)
        self.place = {key: plan.home.app[key] for key in PLACE_KEYS}
        if row.get("state") == "absent":
            return releases.absent(plan.home, row.get("purge", False), plan.check)
        return plan.run() | {"id": plan.release}

    def get(self, path: str = "/") -> tuple[int, str, str]:
        """Ask as the front does, through the app's own HTTP port where it has one: status, release and body."""
        if not self.port:
            status, headers, body = ask(str(self.root / "run/current.sock"), path, timeout=60)
            return status, headers.get("x-release", ""), body.decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("X-Release", ""), answer.read().decode()
        finally:
            connection.close()

    def pid(self) -> int:
        """Return the process of the app's own program."""
        return self.at().programs.info(self.name)["pid"]  # type: ignore[index]

    def states(self) -> dict[str, str]:
        """Return the states of this app's programs, by the part of their names that follows the app's."""
        return {
            name.removeprefix(self.name): state
            for name, state in program_states(self.home).items()
            if name.partition("-")[0] == self.name
        }

    def live(self) -> str:
        """Return the id of the live release."""
        return os.path.basename(os.readlink(self.root / "slots/live"))

    def history(self) -> list[dict[str, Any]]:
        """Return the history's entries."""
        return [json.loads(line) for line in (self.root / "history.jsonl").read_text().splitlines()]

    def assert_at_rest(self, release: str) -> None:
        """Check what is true after every deploy, whatever it came to: this release serves, nothing is left over."""
        assert self.live() == release
        assert self.get("/status")[:2] == (200, release)
        assert ask(str(self.root / "run/current.sock"), "/status")[1]["x-release"] == release
        assert os.readlink(self.root / "run/current.sock") == "live.sock"
        states = self.states()
        assert states[""] in ("RUNNING", "STARTING")
        assert "-standby" not in states
        # A pipe that its program has closed can keep supervisord busy for ever.
        api = supervisor(str(self.home / "run/supervisor.sock")).supervisor
        pids = [info["pid"] for info in api.getAllProcessInfo() if info["name"].partition("-")[0] == self.name]
        assert {os.readlink(f"/proc/{pid}/fd/0").partition(":")[0] for pid in pids if pid} == {"pipe"}
        assert [path for path in self.root.rglob("*.partial")] == []


@contextlib.contextmanager
def visited(site: Site, every: float = 0.02, path: str = "/status", backup: bool = False) -> Iterator[list[str]]:
    """Let a visitor ask without a pause; one that is not answered with 200 fails the story.

    :param every: seconds between two of its requests.
    :param path: what it asks for.
    :param backup: ask ``live.sock`` where nobody answers, as the front of a server does: for an app that ends by
        itself, maybe with this visitor's request in its hands.
    :returns: the releases that answered, in the order in which they began to.
    """
    seen: list[str] = []
    lost: list[str] = []
    end = threading.Event()

    def visit() -> None:
        while not end.wait(every):
            begin = time.monotonic()
            try:
                status, release, _ = site.get(path)
            except OSError as error:
                if backup and ask(str(site.root / "run/live.sock"), path, timeout=60)[0] == 200:
                    continue
                status, release = 0, f"{type(error).__name__}: {error}"
            if status != 200:
                lost.append(f"{status} {release} after {time.monotonic() - begin:.3f} s")
            elif seen[-1:] != [release]:
                seen.append(release)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        until("a visitor was answered", lambda: seen or lost)
        yield seen
    finally:
        end.set()
        thread.join(30)
    assert lost == []


FIRST: dict[str, Any] = {"environment": {"MESSAGE": NASTY}, "secrets": {"TOKEN": NASTY}}
STORIES: dict[str, Callable[[Site], None]] = {}
# The others are asked at the address that the front of a server knows, which saves a program and its start.
WITH_ROUTER = {
    "first_release",
    "redeploy_and_back",
    "kept_releases",
    "rolled_back",
    "rolled_back_no_further",
    "told_status",
    "port_that_another_has",
    "router_that_does_not_answer",
    "socket_with_the_longest_name",
    "socket_with_a_longer_name",
}
# Their apps lie in another home, in which run/current.sock of the first has as many bytes as the router can use.
LONG = {"socket_with_the_longest_name": "a" * 20, "socket_with_a_longer_name": "b" * 21}


def story(function: Callable[[Site], None]) -> Callable[[Site], None]:
    """Make a function one of the stories, which are given an app that is not deployed yet."""
    STORIES[function.__name__] = function
    return function


def tell(function: Callable[[Site], None], site: Site) -> None:
    """Run one story; its app goes at the end, supervisord itself would stop one app after the other."""
    try:
        function(site)
    finally:
        site.write(PLAIN)
        site.deploy(state="absent", purge=True)


@contextlib.contextmanager
def front(folder: Path, sites: list[Site]) -> Iterator[None]:
    """Stand in front of apps without a router as nginx does on a server, each at the address that it has for that."""
    (folder / "uwsgi.conf").write_text(render("nginx", "uwsgi.conf.j2"))
    servers = [
        f"server {{ listen {site.front}; location / {{ include {folder}/uwsgi.conf;"
        f" uwsgi_param HTTP_X_HOSTED_APP {site.name}; uwsgi_pass unix:{site.root}/run/current.sock; }} }}"
        for site in sites
    ]
    user = "user root;\n" if os.geteuid() == 0 else ""
    port = 'map "" $hosted_flask_port { default ":$server_port"; }'
    (folder / "nginx.conf").write_text("\n".join([user + NGINX.format(folder), port, *servers, "}"]))
    command = [tool("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with process(command, folder / "nginx.log"):
        until(f"nginx listens, see {folder}/nginx.log", lambda: listens(int(sites[0].front.rpartition(":")[2])))
        yield


@pytest.fixture(scope="module")
def told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Start all stories at once and return what becomes of them."""
    before = os.umask(0o027)  # The module's own.
    folder = tmp_path_factory.mktemp("sources")
    # With so many at once a restart may take longer than the holder of the sockets lets visitors wait.
    patient = switch.LISTEN.replace("AWAY = 10.0", "AWAY = 60.0")
    assert patient != switch.LISTEN
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(24) as pool, contextlib.ExitStack() as held:
        long_home = held.enter_context(contextlib.contextmanager(short_folder)())
        long_home /= "x" * (102 - len(f"{long_home}//apps/{LONG['socket_with_the_longest_name']}/run/current.sock"))
        held.enter_context(supervisord(long_home))
        patch.setattr(switch, "LISTEN", patient)
        sites = {
            name: Site(home, folder / name, free_port() if name in WITH_ROUTER else 0, f"app_{number}")
            for number, name in enumerate(STORIES)
        }
        for name, long in LONG.items():
            sites[name].home, sites[name].name = long_home, long
        without = [site for site in sites.values() if not site.port]
        for site in without:
            site.front = f"127.0.0.1:{free_port()}"
        held.enter_context(front(folder, without))
        # The longest are the last ones, and start first.
        futures = {name: pool.submit(tell, STORIES[name], sites[name]) for name in reversed(STORIES)}
        held.callback(wait, futures.values())
        yield futures
    os.umask(before)


# --- a first release


@story
def first_release(site: Site) -> None:
    """It sees its settings as they were written; who else may read and write what is as it should be."""
    site.write(FLASK, "flask\n", **{"bin/tool": "#!/bin/sh\n"})
    (site.source / "bin/tool").chmod(0o755)
    result = site.deploy(**FIRST)
    assert result["changed"]
    site.assert_at_rest(result["id"])
    seen = json.loads(site.get()[2])
    assert (seen["message"], seen["secret"], len(seen["key"])) == (NASTY, NASTY, 64)
    assert [(e["release"], e["result"], e["who"]) for e in site.history()] == [(result["id"], "live", "tester@here")]

    release = site.root / "releases" / result["id"]
    for path in [release, *release.rglob("*")]:
        if not path.is_symlink() and "__pycache__" not in path.parts:  # Root may write into what is closed.
            assert path.stat().st_mode & 0o227 == 0, path
    assert (release / ".hosted/env").stat().st_mode & 0o777 == 0o400
    assert (site.root / "env").stat().st_mode & 0o777 == 0o600
    assert (release / "bin/tool").stat().st_mode & 0o100
    assert (release / "wsgi.py").stat().st_mode & 0o100 == 0
    assert NASTY not in json.loads((release / "release.json").read_text()).values()
    assert json.loads((release / "release.json").read_text())["secrets"] == ["TOKEN"]
    assert (site.root / "data/seen").exists(), "the app wrote into its instance folder"
    assert os.path.samefile(site.root / "slots/live/instance", site.root / "data")


@story
def nothing_to_do_and_check_mode(site: Site) -> None:
    """The same again changes nothing. Check mode tells what would change, and changes nothing either."""
    site.write(PLAIN)
    assert site.deploy(check=True, **FIRST)["actions"][0].startswith("release none -> ")
    assert not site.root.exists()
    assert not site.ini.exists()
    live = site.deploy(**FIRST)["id"]
    before, states = tree(site.root), site.states()
    result = site.deploy(**FIRST)
    assert (result["changed"], result["actions"], result["diff"]) == (False, [], [])

    def checked(row: dict[str, Any], *headers: str) -> None:
        result = site.deploy(check=True, **row)
        assert result["changed"]
        assert f"release {live} -> {result['id']}" in result["actions"]
        assert [part["after_header"] for part in result["diff"]] == [
            f"{site.name}: {header}" for header in ("what is done", *headers)
        ]
        assert "another-one" not in json.dumps(result)

    checked({**FIRST, "environment": {"MESSAGE": "new"}}, "environment")
    checked({**FIRST, "secrets": {"TOKEN": "another-one"}}, "secrets (names only)")
    checked({**FIRST, "secrets": {**FIRST["secrets"], "MORE": "another-one"}}, "secrets (names only)")
    (site.source / "wsgi.py").write_text(PLAIN + "# changed\n")
    checked(FIRST, "wsgi.py")
    assert tree(site.root) == before

    (site.source / "new.txt").write_text("new\n")
    plan = site.prepare(**FIRST)
    plan.blobs = {}
    changed = {digest for name, _, digest in plan.home.app["manifest"] if name in ("new.txt", "wsgi.py")}
    assert set(plan.run()["missing"]) == changed, "what the host has need not be sent"
    now = tree(site.root)
    assert {**now, ".lock": before[".lock"]} == before, "who asked had the lock, and left nothing else"
    assert set(site.states()) == set(states)


# --- refused


def refused(site: Site, wsgi: str, expected: str, **row: Any) -> str:
    """Deploy a broken source over a healthy app and return the message; the healthy one must go on as before."""
    live, ini, kept = site.live(), site.ini.read_text(), sorted((site.root / "releases").iterdir())
    (site.source / "wsgi.py").write_text(wsgi)
    with pytest.raises(Refused, match=expected) as error:
        site.deploy(**row)
    site.assert_at_rest(live)
    assert site.ini.read_text() == ini
    assert sorted((site.root / "releases").iterdir()) == kept, "it would push out one that worked"
    assert site.history()[-1]["result"] == "refused"
    return str(error.value)


@story
def release_that_does_not_load(site: Site) -> None:
    """It is refused with its own traceback, and the one after it works."""
    site.write(PLAIN)
    first = site.deploy()["id"]
    message = refused(site, PLAIN + "\n\nraise RuntimeError('boom at import')\n", "the program ended")
    assert "Traceback (most recent call last):" in message
    assert "RuntimeError: boom at import" in message
    assert "Visitors still get what they got before" in message
    site.write(PLAIN, **{"more.txt": ""})
    second = site.deploy()["id"]
    assert second != first
    site.assert_at_rest(second)


@story
def release_that_answers_with_an_error(site: Site) -> None:
    """A clear answer needs no second look: it is refused long before the time is over."""
    site.write(PLAIN)
    site.deploy()
    message = refused(site, PLAIN.replace("200 OK", "404 Not Found"), "it answered 404", health={"timeout": 600})
    assert "'/status'" in message


@story
def release_that_does_not_answer_in_time(site: Site) -> None:
    """It is refused."""
    site.write(PLAIN)
    site.deploy()
    slow = PLAIN.replace("    respond", "    import time; time.sleep(2)\n    respond")
    refused(site, slow, "timed out|nothing listened", health={"timeout": 1})


@story
def preparations_that_fail(site: Site) -> None:
    """A migration or packages that fail stop a deploy before anything is started or shown."""
    site.write(PLAIN)
    site.deploy()
    message = refused(site, PLAIN + "# 2\n", "migrate", migrate="echo half; echo why >&2; exit 3")
    assert "ended with 3" in message
    assert "half\nwhy" in message
    venvs = sorted((site.root / "venvs").iterdir())
    (site.source / "requirements.txt").write_text("flask ==none\n")
    refused(site, PLAIN, "flask ==none")
    assert sorted((site.root / "venvs").iterdir()) == venvs


@story
def broken_first_release(site: Site) -> None:
    """It is taken back whole, and the next one works, below a path too."""
    site.write("raise RuntimeError('boom at import')\n")
    with pytest.raises(Refused, match="boom at import"):
        site.deploy(mount="/your/path")
    assert site.states() == {}
    assert not site.ini.exists()
    assert not (site.root / "slots/live").is_symlink()
    site.write(PLAIN)
    release = site.deploy(mount="/your/path")["id"]
    assert site.live() == release
    assert site.get("/your/path/x") == (200, release, "VERSION of /x")
    assert site.get("/your/pathology")[0] == 404


@story
def another_deploy_under_way(site: Site) -> None:
    """It is respected; the kernel frees its lock when its holder dies."""
    site.write(PLAIN)
    plan = site.prepare()
    site.root.mkdir(parents=True)
    lock = site.root / ".lock"
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, 2);"
        " f.write('anna since now'); f.flush(); time.sleep(600)"
    )
    with process([sys.executable, "-c", code, str(lock)], site.source / "log"):
        until("the lock is held", lambda: lock.exists() and "anna" in lock.read_text())
        with pytest.raises(Refused, match="another deploy is under way: anna since now"):
            plan.run()
        assert [path.name for path in site.root.iterdir()] == [".lock"]
    with plan.home.lock():
        assert lock.read_text().startswith("tester@here since ")


# --- one release after another


@story
def redeploy_and_back(site: Site) -> None:
    """What an interrupted deploy left is gone afterwards; what releases share is not copied, and not built again."""
    site.write(PLAIN, **{"file": "the same\n"})
    first = site.deploy()["id"]
    inode = (site.root / f"releases/{first}/file").stat().st_ino
    site.write(PLAIN.replace("VERSION", "SECOND"), **{"file": "the same\n"})
    plan = site.prepare(environment={"MESSAGE": "second"}, migrate='echo "$MESSAGE" > instance/migrated')
    for name in (f"{plan.release}.partial", "0123456789ab.partial"):
        (site.root / "releases" / name / "folder").mkdir(parents=True)
        (site.root / "releases" / name / "folder/half").write_text("x")
    assert plan.run()["changed"]
    second = plan.release
    site.assert_at_rest(second)
    assert site.get("/x") == (200, second, "SECOND of /x")
    assert (site.root / "data/migrated").read_text() == "second\n"
    assert sorted(path.name for path in (site.root / "releases").iterdir()) == sorted([first, second])
    assert (site.root / f"releases/{second}/file").stat().st_ino == inode

    sealed = (site.root / "releases" / first).stat().st_ino
    site.write(PLAIN, **{"file": "the same\n"})
    assert site.deploy()["id"] == first
    site.assert_at_rest(first)
    assert site.get("/x") == (200, first, "VERSION of /x")
    assert (site.root / "releases" / first).stat().st_ino == sealed
    assert [entry["result"] for entry in site.history()] == ["live"] * 3


class Killed(BaseException):
    """Ends a deploy in the middle, as a signal does."""


def killed(site: Site, step: str, serves: str) -> None:
    """Kill a deploy at the ``step`` that its method or slot names: somebody serves, and the next deploy finishes it."""
    site.write(PLAIN)
    old, plan = site.deploy()["id"], site.prepare(environment={"N": 2})

    class Interrupted(Switch):
        def start(self, slot: str, release: str) -> None:
            self.perhaps(slot)
            super().start(slot, release)

        def drain(self, slot: str) -> None:
            self.perhaps(f"drain {slot}")
            super().drain(slot)

        def stays(self, slot: str, young: tuple[int, set[int]]) -> None:
            self.perhaps("stays")

        def run_hook(self, key: str) -> str:
            self.perhaps(key)
            return super().run_hook(key)

        def settle(self) -> None:
            self.perhaps("settle")
            super().settle()

        def leave_standby(self) -> None:
            self.perhaps("leave_standby")
            super().leave_standby()

        def retire(self) -> None:
            self.perhaps("retire")
            super().retire()

        def perhaps(self, here: str) -> None:
            if here == step:
                raise Killed

    shipment = Shipment(plan.home, plan.blobs)
    shipment.make_room()
    shipment.ship(plan.home.venv())
    with pytest.raises(Killed):
        Interrupted(plan.home, plan.release).run()
    assert site.get("/status")[:2] == (200, old if serves == "old" else plan.release)
    assert site.deploy(environment={"N": 2})["changed"]
    site.assert_at_rest(plan.release)


@story
def killed_before_the_standby_started(site: Site) -> None:
    """Visitors are where they were."""
    killed(site, "standby", "old")


@story
def killed_in_a_hook(site: Site) -> None:
    """Visitors are where they were."""
    killed(site, "before_switch", "old")


@story
def killed_before_live_was_stopped(site: Site) -> None:
    """Visitors are on the new release, and both programs run."""
    killed(site, "settle", "new")


@story
def killed_when_live_was_started(site: Site) -> None:
    """Visitors are on the new release, which both programs run."""
    killed(site, "leave_standby", "new")


@story
def killed_before_the_standby_was_stopped(site: Site) -> None:
    """Visitors are on the new release, and the next deploy takes the standby away."""
    killed(site, "retire", "new")


@story
def killed_when_the_standby_was_shown(site: Site) -> None:
    """Visitors are on the new release."""
    killed(site, "stays", "new")


@story
def killed_when_live_was_stopped(site: Site) -> None:
    """Visitors are on the new release, served by the standby alone."""
    killed(site, "live", "new")


@story
def kept_releases(site: Site) -> None:
    """As many as keep_releases says, and the venvs that they need; others go with the last release that needs them."""
    site.write(PLAIN, "blinker\n")
    first = site.deploy()["id"]

    def venv() -> str:
        return os.path.basename(os.readlink(site.root / "slots/live/.hosted/venv"))

    larger = venv()
    site.write(PLAIN)
    ids = [site.deploy(environment={"N": number})["id"] for number in range(2)]
    assert first not in ids
    assert sorted(path.name for path in (site.root / "releases").iterdir()) == sorted(ids)
    left = {path.name for path in (site.root / "venvs").iterdir()}
    assert left == {"http", os.readlink(site.root / "venvs/http"), venv()}
    assert larger not in left
    site.assert_at_rest(ids[-1])


@story
def stopped_program(site: Site) -> None:
    """The same deploy again starts it."""
    site.write(PLAIN)
    release = site.deploy()["id"]
    site.at().programs.stop(site.name)
    assert site.deploy()["changed"]
    site.assert_at_rest(release)


# --- nobody waits in vain


@story
def restarted(site: Site) -> None:
    """The same release in another process, and its services too; visitors do not notice."""
    site.write(PLAIN)
    site.place = {key: site.prepare().home.app[key] for key in PLACE_KEYS}
    with pytest.raises(Refused, match="never deployed here"):
        releases.restart(site.at(), False)
    row = {"services": [{"name": "mail", "command": "exec sleep 600"}]}
    release = site.deploy(**row)["id"]
    before, pid, mail = tree(site.root), site.pid(), site.at().programs.info(f"{site.name}-mail")
    result = releases.restart(site.at(), True)
    actions = [f"restart {site.name}", f"restart {site.name}-mail"]
    assert (result["changed"], result["actions"], result["release"]) == (True, actions, release)
    assert (tree(site.root), site.pid()) == (before, pid)
    with visited(site) as seen:
        result = releases.restart(site.at(), False)
    assert (result["changed"], result["actions"], result["release"]) == (True, actions, release)
    assert seen == [release]
    site.assert_at_rest(release)
    assert site.pid() != pid
    assert site.at().programs.info(f"{site.name}-mail")["pid"] != mail["pid"]
    assert [(entry["action"], entry["result"]) for entry in site.history()] == [("deploy", "live"), ("restart", "live")]


@story
def restarted_by_hand(site: Site) -> None:
    """As supervisorctl does it, or by a HUP: who comes meanwhile waits."""
    site.write(PLAIN)
    release = site.deploy()["id"]
    programs = site.at().programs
    with visited(site) as seen:
        pid = site.pid()
        programs.stop(site.name)
        programs.start(site.name)
        until("it runs again", lambda: site.pid() not in (0, pid))
        until("it serves again", lambda: site.at().serves("live"))
        pid = site.pid()
        programs.api.signalProcess(site.name, "HUP")
        until("it runs again", lambda: site.pid() not in (0, pid))
        until("it serves again", lambda: site.at().serves("live"))
    assert seen == [release]
    site.assert_at_rest(release)


SOON = """\
import os, signal, sys, threading, time
{plain}
served, timers = app, []


def give_up():
    print("I give up", file=sys.stderr, flush=True)
    {end}


def app(environ, respond):
    if environ["PATH_INFO"] == "/" and not timers:  # The first visitor, no health check.
        timers.append(threading.Timer(0.3, give_up))
        timers[0].start()
    return served(environ, respond)
"""


def ends_soon(site: Site, end: str) -> None:
    """Deploy a release that is healthy at first and ends by itself: nobody loses a request over it."""
    site.write(PLAIN)
    old = site.deploy()["id"]
    with visited(site, 0.05, "/", backup=True) as seen:
        message = refused(site, SOON.format(plain=PLAIN, end=end), "it was healthy, and ended within 3 s")
    assert "I give up" in message
    assert len(seen) == 3, "the old release, the new one, and the old one again"
    assert (seen[0], seen[2]) == (old, old)
    assert site.states().keys() == {"", "-socket"}


@story
def worker_that_ends_soon(site: Site) -> None:
    """Its master starts one after the other."""
    ends_soon(site, "os._exit(3)")


@story
def program_that_ends_soon(site: Site) -> None:
    """Who waits at its socket is answered by the release before."""
    ends_soon(site, "os.kill(os.getppid(), signal.SIGKILL)")


REFUSES_TO_BE_LIVE = f"""\
import os
from pathlib import Path

if os.environ["HOSTED_SLOT"] == "live" and Path("instance/broken").exists():
    raise RuntimeError("not twice")
{PLAIN}"""


@story
def release_that_does_not_start_twice(site: Site) -> None:
    """It was shown as the standby; visitors go back to the one before, and lose nothing on either way."""
    site.write(PLAIN)
    old = site.deploy()["id"]
    (site.root / "data/broken").touch()
    with visited(site) as seen:
        message = refused(site, REFUSES_TO_BE_LIVE, "It was healthy on the standby, but not as the live program")
    assert "RuntimeError: not twice" in message
    assert len(seen) == 3
    assert (seen[0], seen[2]) == (old, old)


@story
def neither_release_starts_again(site: Site) -> None:
    """The new one goes on serving as the standby, until what hinders both is out of the way."""
    site.write(REFUSES_TO_BE_LIVE)
    old = site.deploy()["id"]
    with visited(site) as seen:
        with pytest.raises(Refused, match=f"goes on serving as {site.name}-standby") as error:
            site.deploy(environment={"N": 2}, before_switch="touch instance/broken")
        new = re.search("release (\\w+) is refused", str(error.value))[1]
        assert old in str(error.value)
        assert site.get("/status")[:2] == (200, new)
        with pytest.raises(Refused, match="goes on serving"):
            site.deploy(environment={"N": 3})
        (site.root / "data/broken").unlink()
        third = site.deploy(environment={"N": 3})["id"]
    assert (seen[0], seen[1], seen[-1]) == (old, new, third)
    site.assert_at_rest(third)


# --- hooks


HOOK = 'printf "%s\\n" "$HOSTED_RELEASE" "$MESSAGE" "$SECRET_KEY" "$PWD" > instance/hook; echo why >&2; exit 4'


@story
def hooks(site: Site) -> None:
    """They run in the release; the first can still stop it, the second comes too late for that."""
    site.write(PLAIN)
    with pytest.raises(Refused, match="before_switch"):
        site.deploy(before_switch="exit 1")
    assert site.states() == {}
    assert not (site.root / "slots/live").is_symlink()
    site.deploy()
    (site.root / "data/hook").unlink(missing_ok=True)
    with visited(site) as seen:
        message = refused(site, PLAIN + "# 2\n", "before_switch", before_switch=HOOK, environment={"MESSAGE": "x  y"})
    assert "ended with 4:\nwhy" in message
    release, text, key, folder = (site.root / "data/hook").read_text().splitlines()
    assert release not in seen
    assert (text, len(key), folder) == ("x  y", 64, str(site.root / "releases" / release))
    with visited(site):
        result = site.deploy(after_switch=HOOK.replace("hook", "after"), environment={"MESSAGE": "after"})
    [warning] = result["warnings"]
    assert f"release {result['id']} is live, but after_switch: " in warning
    assert "ended with 4:\nwhy" in warning
    assert (site.root / "data/after").read_text().splitlines()[:2] == [result["id"], "after"]
    site.assert_at_rest(result["id"])
    assert site.history()[-1]["result"] == "live"


# --- back


@story
def rolled_back(site: Site) -> None:
    """To the last good release; the one that is left is not one, so that the next goes further back."""
    site.write(PLAIN)
    row = {"keep_releases": 5}
    ids = [site.deploy(environment={"N": number}, **row)["id"] for number in range(3)]
    before = tree(site.root)
    result = releases.rollback(site.at(), "", True)
    assert (result["changed"], result["release"]) == (True, ids[1])
    assert result["actions"] == [f"release {ids[2]} -> {ids[1]}"]
    assert tree(site.root) == before
    with visited(site) as seen:
        assert releases.rollback(site.at(), "", False)["release"] == ids[1]
        site.assert_at_rest(ids[1])
        assert releases.rollback(site.at(), "", False)["release"] == ids[0]
    assert seen == ids[::-1]
    site.assert_at_rest(ids[0])
    entries = [(entry["action"], entry["release"], entry["result"], entry["left"]) for entry in site.history()[3:]]
    assert entries == [("rollback", ids[1], "live", ids[2]), ("rollback", ids[0], "live", ids[1])]
    with pytest.raises(Refused, match="no earlier good release is kept"):
        releases.rollback(site.at(), "", False)
    result = releases.rollback(site.at(), ids[0], False)
    assert (result["changed"], result["actions"]) == (False, [])
    assert releases.rollback(site.at(), ids[2], False)["changed"]
    site.assert_at_rest(ids[2])
    result = site.deploy(environment={"N": 2}, **row)
    assert not result["changed"], "it is all that the description asks for"


@story
def rolled_back_no_further(site: Site) -> None:
    """Only to what is there, was good and answers where the front knows it."""
    site.write(PLAIN)
    first = site.deploy()["id"]
    with pytest.raises(Refused, match="no earlier good release is kept"):
        releases.rollback(site.at(), "", False)
    with pytest.raises(Refused, match="'0123456789ab' is not kept. Allowed: none"):
        releases.rollback(site.at(), "0123456789ab", False)
    second = site.deploy(environment={"N": 2})["id"]
    refused(site, "raise RuntimeError('boom')\n", "the program ended")
    site.write(PLAIN)
    third = site.deploy(environment={"N": 3})["id"]
    with pytest.raises(Refused, match=f"'{first}' is not kept. Allowed: {second}"):
        releases.rollback(site.at(), first, False)
    moved = site.deploy(environment={"N": 3}, mount="/moved", health={"path": "/"})["id"]
    for wanted in ("", third):
        with pytest.raises(Refused, match=f"release {third} answered at mount /, .* the front knows mount /moved"):
            releases.rollback(site.at(), wanted, False)
    assert site.live() == moved
    assert site.get("/moved/x") == (200, moved, "VERSION of /x")


@story
def rolled_back_to_what_does_not_start(site: Site) -> None:
    """It is refused like a deploy, and stays on the host."""
    site.write("import os\nassert not os.path.exists('instance/broken')\n" + PLAIN)
    old = site.deploy()["id"]
    site.write(PLAIN)
    new = site.deploy()["id"]
    (site.root / "data/broken").touch()
    with visited(site) as seen, pytest.raises(Refused, match=f"release {old} is refused: the program ended"):
        releases.rollback(site.at(), "", False)
    assert seen == [new]
    site.assert_at_rest(new)
    assert [(entry["action"], entry["result"]) for entry in site.history()][-1] == ("rollback", "refused")
    assert site.at().sealed(old)


@story
def told_status(site: Site) -> None:
    """All that people ask for, before and after the first release."""
    site.write(PLAIN)
    site.place = {key: site.prepare().home.app[key] for key in PLACE_KEYS}
    before = releases.status(site.at())["status"]
    assert (before["app"], before["release"], before["health"]) == (site.name, None, "not deployed")
    assert (before["programs"], before["processes"], before["history"]) == ({}, 0, [])
    assert not site.root.exists()
    ids = [site.deploy(environment={"N": number}, processes=2)["id"] for number in range(2)]
    tree_before = tree(site.root)
    result = releases.status(site.at())
    assert tree(site.root) == tree_before
    assert not result["changed"]
    status = result["status"]
    [first, second] = site.history()
    assert status.pop("memory") > 10_000_000
    assert status.pop("processes") >= 5, "a master and two workers, the router, the holder"
    assert status.pop("programs").keys() == {site.name, f"{site.name}-http", f"{site.name}-socket"}
    assert status == {
        "app": site.name,
        "release": ids[1],
        "since": second["time"],
        "by": "tester@here",
        "commit": "",
        "maintenance": False,
        "health": "ok",
        "front": "ok",
        "history": [second, first],
    }


# --- what visitors get


def not_reached(site: Site, answer: str, **row: Any) -> str:
    """Deploy an app whose front does not lead to it: that is told, also when there is nothing else to do."""
    for _ in range(2):
        with pytest.raises(Refused, match=f"is live, but visitors do not get it: the front at .* answers {answer}"):
            site.deploy(**row)
    assert [(entry["action"], entry["result"]) for entry in site.history()][-1] == ("deploy", "live")
    return site.live()


@story
def port_that_another_has(site: Site) -> None:
    """The next deploy after it is free starts the router."""
    site.write(PLAIN)
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(site.port)]
    with process(server, site.source.with_suffix(".log"), cwd=site.source):
        until("it listens", lambda: listens(site.port))
        live = not_reached(site, "404 of release none")
        result = site.deploy(check=True)
        assert (result["changed"], result["actions"]) == (True, [f"restart {site.name}-http"])
    result = site.deploy()
    assert (result["changed"], result["actions"]) == (True, [f"restart {site.name}-http"])
    site.assert_at_rest(live)
    begin = time.monotonic()
    assert not site.deploy()["changed"]
    assert time.monotonic() - begin < 5


@story
def router_that_does_not_answer(site: Site) -> None:
    """Stopped by hand or hanging, the same deploy again starts it anew, and the app goes on."""
    site.write(PLAIN)
    live, router = site.deploy()["id"], f"{site.name}-http"
    pid = site.pid()
    for harm in (signal.SIGSTOP, None):
        if harm:
            os.killpg(site.at().programs.info(router)["pid"], harm)
        else:
            site.at().programs.stop(router)
        result = site.deploy()
        assert (result["changed"], result["actions"]) == (True, [f"restart {router}"])
        site.assert_at_rest(live)
    assert site.pid() == pid
    assert not site.deploy()["changed"]


@story
def front_that_is_not_there(site: Site) -> None:
    """Nothing is changed by that, and nothing is to be done once it is there again."""
    site.write(PLAIN)
    before, site.front = site.front, f"127.0.0.1:{free_port()}"
    with pytest.raises(Refused, match="(?s)is live, but after_switch: 'exit 7' ended with 7.*visitors do not get it"):
        site.deploy(after_switch="exit 7")
    live = not_reached(site, ".*refused")
    pid = site.pid()
    assert not site.deploy(check=True)["changed"], "what is provisioned first may set it up"
    with pytest.raises(Refused, match="visitors do not get it"):
        releases.restart(site.at(), False)
    assert site.pid() != pid
    site.front = before
    assert not site.deploy()["changed"]
    site.assert_at_rest(live)


@story
def socket_with_the_longest_name(site: Site) -> None:
    """The router can use it."""
    assert len(os.fsencode(site.root / "run/current.sock")) == preflight.UWSGI_CONNECTS
    site.write(PLAIN)
    site.assert_at_rest(site.deploy()["id"])


@story
def socket_with_a_longer_name(site: Site) -> None:
    """The router listens and answers nothing, and a deploy sees that: preflight's limit is the true one."""
    site.write(PLAIN)
    not_reached(site, ".* of release none")


# --- gunicorn


@story
def gunicorn_below_a_path(site: Site) -> None:
    """It says which release answers, and is nowhere else."""
    site.write(MOUNTED)
    row = {"server": "gunicorn", "mount": "/your/path", "threads": 2}
    release = site.deploy(**row)["id"]
    assert site.live() == release
    assert site.get("/your/path/a/b") == (200, release, "/your/path + /a/b")
    assert site.get("/your/path") == (200, release, "/your/path + ")
    assert site.get("/your/pathology")[:2] == (404, release)
    assert site.get("/")[:2] == (404, release)
    assert os.path.samefile(site.root / "slots/current", site.root / "slots/live")


@story
def gunicorn_redeployed(site: Site) -> None:
    """As with uWSGI: nobody loses a request, and what is broken is refused."""
    site.write(PLAIN)
    row = {"server": "gunicorn", "threads": 2}
    first = site.deploy(**row)["id"]
    site.assert_at_rest(first)
    with visited(site) as seen:
        second = site.deploy(**row, environment={"N": 2})["id"]
        site.assert_at_rest(second)
        message = refused(site, "raise RuntimeError('boom at import')\n", "the program ended", **row)
        pid = site.pid()
        site.at().programs.stop(site.name)
        site.at().programs.start(site.name)
        until("it serves again", lambda: site.at().serves("live"))
        assert site.pid() != pid
    assert "RuntimeError: boom at import" in message
    assert seen == [first, second]


@story
def from_uwsgi_to_gunicorn_and_back(site: Site) -> None:
    """The server is a matter of the release."""
    site.write(PLAIN)
    first = site.deploy()["id"]

    def current() -> str:
        return os.path.basename(os.readlink(site.root / "slots/current"))

    assert current() == first
    with visited(site) as seen:
        second = site.deploy(server="gunicorn", threads=2)["id"]
        site.assert_at_rest(second)
        assert current() == second
        assert site.deploy()["id"] == first
        site.assert_at_rest(first)
        assert current() == first
    assert seen == [first, second, first]


# --- side by side


@story
def waited_for(site: Site) -> None:
    """Who says how long waits for another deploy, and goes on when that ends."""
    site.write(PLAIN)
    plan = site.prepare()
    with ThreadPoolExecutor(1) as pool, plan.home.lock():
        with (
            pytest.raises(Refused, match=r"under way: tester@here since .* \(waited 1 s\)"),
            site.at(plan.home.app, 1).lock(),
        ):
            pass
        plan.home = site.at(plan.home.app, 60)
        begun = threading.Event()
        future = pool.submit(lambda: (begun.set(), plan.run()))
        assert begun.wait(10)
        begin = time.monotonic()
        until("it had time to go wrong", lambda: future.done() or time.monotonic() - begin > 0.5)
        assert not future.done()
        assert not (site.root / "releases").exists()
    assert future.result()[1]["changed"]


@story
def mode_alone_changed(site: Site) -> None:
    """Contents that the host has with another mode are asked for once more: sealed files share their modes."""
    site.write(PLAIN, **{"tool": "#!/bin/sh\n" + "#" * (1 << 20)})
    first = site.deploy()["id"]
    (site.source / "tool").chmod(0o755)
    plan = site.prepare()
    sent, plan.blobs = plan.blobs, {}
    [digest] = [digest for path, _, digest in plan.home.app["manifest"] if path == "tool"]
    assert plan.run()["missing"] == [digest]
    plan.blobs = {digest: sent[digest]}
    assert plan.run()["changed"]
    site.assert_at_rest(plan.release)
    for release, mode in ((first, 0o400), (plan.release, 0o500)):
        assert (site.root / f"releases/{release}/tool").stat().st_mode & 0o777 == mode


@story
def services(site: Site) -> None:
    """They run in the release with its settings, and are stopped when the description has them no more."""
    site.write(PLAIN)
    command = """printf '%s' "$HOSTED_RELEASE; \\"$MESSAGE\\"" > "$HOSTED_ROOT/data/said"; exec sleep 600 # a service"""
    release = site.deploy(**FIRST, services=[{"name": "mail", "command": command}])["id"]
    site.assert_at_rest(release)
    said = site.root / "data/said"
    until("the service has written", lambda: said.exists() and said.read_text())
    assert said.read_text() == f'{release}; "{NASTY}"'
    assert site.states()["-mail"] in ("RUNNING", "STARTING")
    site.assert_at_rest(site.deploy(**FIRST)["id"])
    assert "-mail" not in site.states()


@story
def absent(site: Site) -> None:
    """Its data stays until it is purged; everything else goes."""
    site.write(PLAIN)
    site.deploy()
    (site.root / "data/upload").write_text("dear\n")
    before = tree(site.root)
    assert site.deploy(check=True, state="absent")["changed"]
    assert tree(site.root) == before
    key = site.at().key()
    result = site.deploy(state="absent")
    assert (result["changed"], result["kept"]) == (True, str(site.root / "data"))
    assert sorted(path.name for path in site.root.iterdir()) == ["data", "env"]
    assert len(key) == 64
    assert site.at().key() == key, "who is logged in to what is kept stays so when the app comes back"
    assert (site.root / "data/upload").read_text() == "dear\n"
    assert site.states() == {}
    assert not site.ini.exists()
    assert [path.name for path in (site.home / "logs").glob(f"{site.name}[.-]*")] == []
    again = site.deploy(state="absent")
    assert (again["changed"], again["kept"]) == (False, str(site.root / "data"))
    assert site.deploy(state="absent", purge=True)["changed"]
    assert not site.root.exists()
    assert not site.deploy(state="absent", purge=True)["changed"]


@story
def absent_waits_for_a_deploy(site: Site) -> None:
    """Whoever works on the app meanwhile would bring it half back, or find it half gone."""
    site.write(PLAIN)
    release = site.deploy()["id"]
    gone = site.prepare(state="absent").home.app
    with ThreadPoolExecutor(1) as pool, site.at().lock():
        with pytest.raises(Refused, match="another deploy is under way: tester@here since"):
            releases.absent(site.at(gone), True, False)
        assert releases.absent(site.at(gone), True, True)["changed"], "check mode asks for no lock"
        site.assert_at_rest(release)
        begun = threading.Event()
        future = pool.submit(lambda: (begun.set(), releases.absent(site.at(gone, 60), True, False)))
        assert begun.wait(10)
        begin = time.monotonic()
        until("it had time to go wrong", lambda: future.done() or time.monotonic() - begin > 0.5)
        assert not future.done()
        site.assert_at_rest(release)
    assert future.result()[1]["changed"]
    assert (site.root.exists(), site.ini.exists(), site.states()) == (False, False, {})


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, told: dict[str, Future[None]]) -> None:
    """See the function of that name above."""
    # The first one asked for is the last one told: that long for all of them.
    told[name].result(timeout=900)


# --- removed from an account of its own


def programs_of(home: Path, name: str, *parts: str) -> Home:
    """Return an app of which these programs run, as far as its removal asks for it."""
    root = home / "apps" / name
    (root / "data").mkdir(parents=True)
    (root / "data/upload").write_text("dear\n")
    (root / "releases").mkdir()
    text = "".join(
        f"[program:{name}{part}]\ncommand = sleep infinity\nautorestart = false\n"
        f"stdout_logfile = {home}/logs/{name}{part}.log\n"
        for part in parts
    )
    (home / f"etc/services.d/{name}.ini").write_text(text)
    app = completed(name, home=str(home), supervisor_socket=str(home / "run/supervisor.sock"), front="")
    removed = Home(app, "tester@here")
    for program in sorted(removed.programs.reload()[0]):
        removed.programs.add(program)
    # Until then supervisord's own child is deaf to the signal that stops it.
    until("they run", lambda: all(runs_sleep(info["pid"]) for info in removed.programs.all()))
    return removed


def runs_sleep(pid: int) -> bool:
    """Whether a process is the program itself by now."""
    return pid > 0 and Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


def test_an_absent_app_ends_though_a_file_beside_it_is_broken(short: Path) -> None:
    """Supervisord then reads no file of the account, and what it has read before runs on until it is stopped."""
    with supervisord(short):
        shop, blog = programs_of(short, "shop", "", "-mail"), programs_of(short, "blog", "")
        pids = {info["name"]: info["pid"] for home in (shop, blog) for info in home.programs.all()}
        assert pids.keys() == {"shop", "shop-mail", "blog"}
        assert all(pids.values())
        (short / "etc/services.d/bad.ini").write_text("[program:bad]\n")
        with pytest.raises(Refused, match="refuses the files"):
            blog.programs.reload()
        assert releases.absent(shop, False, True)["changed"]
        assert len(shop.programs.all()) == 2, "check mode stops nothing"
        result = releases.absent(shop, False, False)
        assert (result["changed"], result["kept"]) == (True, str(shop.root / "data"))
        assert program_states(short).keys() == {"blog"}
        assert blog.programs.all()[0]["pid"] == pids["blog"]
        assert [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] == ["blog"]
        assert [path.name for path in shop.root.iterdir()] == ["data"]
        assert not shop.ini.exists()
        assert not shop.log("shop").exists()
        assert not releases.absent(shop, False, False)["changed"]


def test_an_absent_app_of_which_only_programs_are_left(short: Path) -> None:
    """Where somebody deleted its files, its programs still end."""
    with supervisord(short):
        shop = programs_of(short, "shop", "")
        shop.ini.unlink()
        shutil.rmtree(shop.root)
        shop.log("shop").unlink()
        assert releases.absent(shop, False, False)["changed"]
        assert program_states(short) == {}
        assert not shop.root.exists()
        assert not releases.absent(shop, False, False)["changed"]


def test_an_absent_app_keeps_its_files_while_it_runs(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be stopped is told, and the next run goes on where this one ended."""
    with supervisord(short):
        shop = programs_of(short, "shop", "")
        with monkeypatch.context() as patch:
            patch.setattr(shop.programs, "remove", lambda group: None)
            with pytest.raises(Refused, match=r"shop cannot be stopped.*files stay.*run this again"):
                releases.absent(shop, True, False)
            assert (shop.root / "data/upload").exists()
        assert releases.absent(shop, True, False)["changed"]
        assert program_states(short) == {}
        assert not shop.root.exists()


def test_an_absent_app_of_a_supervisord_that_does_not_tell(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there and runs who knows what: no file goes. One that ended runs nothing."""
    with supervisord(short):
        shop = programs_of(short, "shop", "")
        with monkeypatch.context() as patch:
            patch.setattr(shop.programs.api, "getAllProcessInfo", silent, raising=False)
            with pytest.raises(Refused, match=r"does not tell what runs of it \(timed out\).*run this again"):
                releases.absent(shop, True, False)
            assert (shop.root / "data/upload").exists()
    Path(shop.programs.socket).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(shop.programs.socket)
    assert releases.absent(shop, True, False)["changed"]
    assert not shop.root.exists()


def test_an_absent_app_whose_supervisord_was_stopped_is_not_waited_for(tmp_path: Path) -> None:
    """On a server the folder of its socket is there as long as its unit runs."""
    shop = Home({**completed("shop", home=str(tmp_path)), "supervisor_socket": str(tmp_path / "gone/supervisor.sock")})
    (shop.root / "releases").mkdir(parents=True)
    begin = time.monotonic()
    assert releases.absent(shop, True, False)["changed"]
    assert time.monotonic() - begin < 5
    assert not shop.root.exists()


@pytest.mark.parametrize("lay", [os.mkfifo, os.mkdir, lambda lock: os.symlink("/nowhere/lock", lock)])
def test_what_lies_in_the_place_of_a_lock_keeps_no_app(lay: Callable[[Path], None], tmp_path: Path) -> None:
    """It is refused, be it a link behind which no lock ever comes, and goes with the app."""
    shop = Home({**completed("shop", home=str(tmp_path)), "supervisor_socket": str(tmp_path / "gone/supervisor.sock")})
    shop.root.mkdir(parents=True)
    lay(shop.root / ".lock")
    with pytest.raises(OSError), shop.lock():  # noqa: PT011  which one depends on what lies there
        pass
    assert releases.absent(shop, True, False)["changed"]
    assert not shop.root.exists()


def test_an_absent_app_keeps_what_it_writes_as_it_ends(short: Path) -> None:
    """An app may bring its state to the disk only when it is stopped."""
    with supervisord(short):
        shop = programs_of(short, "shop", "", "-mail")
        (shop.root / "data/upload").unlink()
        stop = shop.programs.remove

        def last_words(group: str) -> None:
            (shop.root / "data/state").write_text("dear\n")
            stop(group)

        shop.programs.remove = last_words  # type: ignore[method-assign]
        result = releases.absent(shop, False, False)
    assert result["kept"] == str(shop.root / "data")
    assert (shop.root / "data/state").read_text() == "dear\n"
    assert [path.name for path in shop.root.iterdir()] == ["data"]


def silent() -> None:
    """Answer as a supervisord does that hangs."""
    raise TimeoutError("timed out")


# --- what needs no running app


@pytest.fixture
def plain(short: Path, tmp_path: Path) -> Site:
    """Return an app in a home without supervisord."""
    site = Site(short, tmp_path / "source", free_port(), "plain")
    site.write(PLAIN)
    return site


@pytest.fixture
def alone(told: dict[str, Future[None]], monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a monkeypatch, once no story is left that would notice."""
    wait(told.values())
    return monkeypatch


def test_a_full_disk_is_told_before_anything_is_written(plain: Site, alone: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 1, 4096

    plan = plain.prepare()
    alone.setattr(os, "statvfs", lambda path: Full)
    with pytest.raises(Refused, match="disk: 0 MiB are free"):
        plan.run()
    assert list((plain.root / "releases").iterdir()) == []
    assert list((plain.root / "venvs").iterdir()) == []


def test_a_home_without_supervisord_is_told(plain: Site, alone: pytest.MonkeyPatch) -> None:
    """After ten seconds, in which it may come up; here the time flies."""
    now = iter(range(1000))
    alone.setattr(programs.time, "monotonic", lambda: next(now))
    alone.setattr(programs.time, "sleep", lambda seconds: None)
    with pytest.raises(Refused, match=r"supervisord does not answer.*provision\.yml"):
        plain.prepare().home.programs.reload()
    assert 10 <= next(now) < 20


def test_the_history_is_the_accounts_own_and_outlives_a_torn_line(plain: Site) -> None:
    """A full disk or a power cut cuts the last line short: it is passed over, and the next one is whole."""
    home = plain.prepare().home
    home.root.mkdir(parents=True)
    assert home.history() == []
    for number in range(2):
        home.remember("deploy", f"r{number}", time.monotonic(), "live", shown=0.1)
    file = home.root / "history.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    with open(file, "a") as torn:
        torn.write('{"action": "deploy", "rel')
    assert [entry["release"] for entry in home.history()] == ["r0", "r1"]
    home.remember("rollback", "r2", time.monotonic() - 1.5, "refused")
    entries = home.history()
    assert [entry["release"] for entry in entries] == ["r0", "r1", "r2"]
    last = entries[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last.pop("time"))
    assert 1.5 <= last.pop("seconds") < 10
    assert last == {"who": "tester@here", "action": "rollback", "release": "r2", "commit": "", "result": "refused"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_lock_of_a_removed_app_is_no_lock(plain: Site) -> None:
    """Who waited for the removal waits for whoever came after it, too."""
    home, entered = plain.prepare().home, threading.Event()

    def late() -> None:
        with plain.at(home.app, 60).lock():
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        removal = home.lock()
        removal.__enter__()
        future = pool.submit(late)
        assert not entered.wait(0.3)
        shutil.rmtree(home.root)
        with home.lock():
            removal.__exit__(None, None, None)
            assert not entered.wait(0.3)
        future.result(30)
    assert entered.is_set()
    assert (home.root / ".lock").exists()


KEYS: dict[str, tuple[str | None, str | None, str]] = {
    "none": (None, None, r"[0-9a-f]{64}"),
    "kept_by_the_app": (None, "0123456789abcdef\n", "0123456789abcdef"),
    "kept_by_the_app_with_signs": (None, "'$HOME`id`\\\"#;xyz\n", re.escape("'$HOME`id`\\\"#;xyz")),
    "kept_by_the_app_empty": (None, "\n", r"[0-9a-f]{64}"),
    "kept_by_the_app_too_short_for_a_key": (None, "dev\n", r"[0-9a-f]{64}"),
    "made_before": ("SECRET_KEY=before\n", "0123456789abcdef\n", "before"),
    "made_by_hand": ("A=1\nexport SECRET_KEY='be fore'\n", None, "be fore"),
    "cut_short": ("SECRET_KEY=", None, r"[0-9a-f]{64}"),
    "others": ("A=1\nB='two words'\n", None, r"[0-9a-f]{64}"),
}


@pytest.mark.parametrize(("env", "kept", "expected"), KEYS.values(), ids=KEYS)
def test_the_key_is_made_once(env: str | None, kept: str | None, expected: str, plain: Site) -> None:
    """What a shell reads from the file is the key, and all else that was in it stays."""
    plan = plain.prepare()
    file, data = plain.root / "env", plain.root / "data"
    data.mkdir(parents=True)
    if env is not None:
        file.write_text(env)
    if kept is not None:
        (data / "secret_key").write_text(kept)
    keys = set()
    for _ in range(2):
        Shipment(plan.home, plan.blobs).make_room()
        command = ["sh", "-c", '. "$0"; printf %s "$SECRET_KEY"', str(file)]
        keys |= {plan.home.key(), subprocess.run(command, capture_output=True, text=True, check=True).stdout}
    [key] = keys
    assert re.fullmatch(expected, key)
    assert file.read_text().startswith(env or "")
    assert env == file.read_text() or file.stat().st_mode & 0o777 == 0o600
    assert [path for path in plain.root.iterdir() if "partial" in path.name] == []


def test_no_two_apps_have_the_same_key(plain: Site) -> None:
    keys = set()
    for _ in range(2):
        plan = plain.prepare()
        Shipment(plan.home, plan.blobs).make_room()
        keys.add(plan.home.key())
        (plain.root / "env").unlink()
    assert len(keys) == 2


def test_the_key_is_in_no_answer(plain: Site) -> None:
    """Though the app itself says it, to whoever reads what a deploy printed."""
    plan = plain.prepare(migrate='echo "the key is $SECRET_KEY"; exit 3')
    call = {"verb": "deploy", "apps": [plan.home.app], "check": False, "who": "me", "wait": 0, "secrets": {}}
    call["deadline"] = 60
    contents = pack({digest: plain.source / path for path, _, digest in plan.home.app["manifest"]})
    answer = remote.run(Here(), "work", call, contents, {"ansible_python_interpreter": sys.executable}, [], WORK)  # type: ignore[arg-type]
    assert "ended with 3:\nthe key is ********" in answer["msg"]
    assert len(plain.at(plan.home.app).key()) == 64
    assert plain.at(plan.home.app).key() not in json.dumps(answer) + (plain.root / "history.jsonl").read_text()


GOOD = {
    "none": ("", ""),
    "latest_first": ("a live, b live", "b a"),
    "refused": ("a live, b refused", "a"),
    "again": ("a live, b live, a live", "a b"),
    "left": ("a live, b live, a live-b", "a"),
    "left_and_deployed_again": ("a live, b live, a live-b, b live", "b a"),
    "back_twice": ("a live, b live, c live, b live-c, a live-b", "a"),
    "a_rollback_that_was_refused": ("a live, b live, a refused", "b a"),
    "pruned": ("gone live, a live", "a"),
}


@pytest.mark.parametrize(("history", "good"), GOOD.values(), ids=GOOD)
def test_releases_to_go_back_to(history: str, good: str, plain: Site) -> None:
    home = plain.prepare().home
    for release in "abc":
        (home.releases / release).mkdir(parents=True)
        (home.releases / release / "release.json").touch()
    for entry in filter(None, history.split(", ")):
        release, _, result = entry.partition(" ")
        result, _, left = result.partition("-")
        home.remember("rollback" if left else "deploy", release, 0, result, **({"left": left} if left else {}))
    assert home.good() == good.split()


def test_the_id_is_made_of_all_that_a_release_is(plain: Site) -> None:
    def name(**row: Any) -> str:
        return plain.prepare(**row).release

    base = name()
    assert name() == base
    others = [
        {"environment": {"A": "1"}},
        {"secrets": {"A": "1"}},
        {"secrets": {"A": "2"}},
        {"mount": "/x"},
        {"processes": 9},
        {"migrate": "true"},
        {"services": [{"name": "a", "command": "b"}]},
    ]
    names = [base, *(name(**row) for row in others)]
    (plain.source / "wsgi.py").chmod(0o755)
    names.append(name())
    (plain.source / "new").touch()
    names.append(name())
    (plain.source / "requirements.txt").write_text("flask\n")
    names.append(name())
    assert len(set(names)) == len(names)


FRONTS = {
    "led_there": (200, "r1", "", False, True),
    "led_there_by_a_redirect": (302, "r1", "", False, True),
    "to_another_release": (200, "r0", "", False, False),
    "to_something_else": (200, None, "", False, False),
    "knows_no_such_app": (404, None, "", False, False),
    "reaches_nobody": (502, None, "", False, False),
    "another_apps_answer_to_too_many": (429, "r0", "", False, False),
    "lets_not_everybody_in": (401, None, "", False, True),
    "refuses_networks": (403, None, "", False, True),
    "has_had_too_many": (429, None, "", False, True),
    "closed": (503, None, "", True, True),
    "broken": (503, None, "", False, False),
    "router_of_another": (403, None, "router", False, False),
}


@pytest.mark.parametrize(("status", "release", "router", "closed", "reached"), FRONTS.values(), ids=FRONTS)
def test_what_a_front_says(
    status: int, release: str | None, router: str, closed: bool, reached: bool, tmp_path: Path
) -> None:
    """One that knows the app and refuses whom it may refuse is no reason to refuse a deploy."""

    class Front(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(status)
            if release:
                self.send_header("X-Release", release)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Front) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        home = at_rest(tmp_path, front=f"http://127.0.0.1:{server.server_port}", router=router)
        if closed:
            home.closed.touch()
        found = releases.by_front(home, "r1", 10)
        thread.join(10)
    assert found == (reached, f"answers {status} of release {release or 'none'}")


# --- maintenance


def at_rest(home: Path, **more: Any) -> Home:
    """Return an app that was deployed, as far as maintenance asks for it."""
    root = home / "apps/shop"
    (root / "slots").mkdir(parents=True)
    (root / "run").mkdir()
    (root / "slots/live").symlink_to("../releases/0123456789ab")
    return Home({**completed(root=str(root), home=str(home)), "supervisor_socket": "", "front": "", **more})


def test_maintenance_is_a_file_that_is_there_or_not(tmp_path: Path) -> None:
    home = at_rest(tmp_path)
    for wanted, word in ((True, "on"), (False, "off")):
        before = tree(tmp_path)
        told = releases.maintenance(home, wanted, True)
        assert (told["changed"], told["actions"]) == (True, [f"maintenance {word}"])
        assert told["diff"][0]["after"] == f"maintenance {word}\n"
        assert tree(tmp_path) == before, "check mode changes nothing"
        assert releases.maintenance(home, wanted, False)["changed"]
        assert home.closed.exists() == wanted
        again = releases.maintenance(home, wanted, False)
        assert (again["changed"], again["actions"], again["diff"]) == (False, [], [])
    assert home.closed == tmp_path / "apps/shop/run/maintenance"


def test_maintenance_needs_somebody_who_keeps_visitors_out(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"on platform local there is none\. Allowed: apps of platform server\."):
        releases.maintenance(at_rest(tmp_path / "local", router="127.0.0.1:1"), True, False)
    home = at_rest(tmp_path / "bare")
    (home.slots / "live").unlink()
    with pytest.raises(Refused, match="never deployed here"):
        releases.maintenance(home, True, False)
    assert not home.closed.exists()
