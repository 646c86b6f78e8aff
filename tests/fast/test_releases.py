"""The life of an app on platform local: every step of a deploy against a real supervisord and a real uWSGI.

Each story below is an app of its own. Most of a deploy's seconds are spent on waiting (uWSGI stops gracefully in
1.3 s), so that all stories run at once, in threads on one supervisord; a test tells what became of its story.
"""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.action.release import PLACE_KEYS, ActionModule
from ansible_collections.hosted.flask.plugins.module_utils import programs, releases
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.shipping import Shipment
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask
from ansible_collections.hosted.flask.plugins.module_utils.switch import Switch
from ansible_collections.hosted.flask.plugins.plugin_utils.requirements import Requirements
from support import completed, free_port, process, program_states, render, tree, until

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
NASTY = 'it\'s "quoted" $HOME `id` 100%\n second line\\ ☕ '


@functools.cache
def rendered(description: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return what the roles render for an app's description: files of the release, and programs."""
    app = json.loads(description)
    server, config = app["server"], {"uwsgi": "uwsgi.ini", "gunicorn": "gunicorn.conf.py"}[app["server"]]
    inis = {name: f"{stem}.ini.j2" for name, stem in (("app", "programs"), ("standby", "standby"))}
    return {
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
        row["health"] = {"path": "/status", "timeout": 20, **row.get("health", {})}
        router = f"127.0.0.1:{self.port}" if self.port else ""
        app = completed(
            self.name,
            home=str(self.home),
            router=router,
            front=router,
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
            status, headers, body = ask(str(self.root / "run/current.sock"), path, timeout=10)
            return status, headers.get("x-release", ""), body.decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("X-Release", ""), answer.read().decode()
        finally:
            connection.close()

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
        assert [path for path in self.root.rglob("*.partial")] == []


FIRST: dict[str, Any] = {"environment": {"MESSAGE": NASTY}, "secrets": {"TOKEN": NASTY}}
STORIES: dict[str, Callable[[Site], None]] = {}
# The others are asked at the address that the front of a server knows, which saves a program and its start.
WITH_ROUTER = {"first_release", "redeploy_and_back", "kept_releases"}


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


@pytest.fixture(scope="module")
def told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Start all stories at once and return what becomes of them."""
    before = os.umask(0o027)  # The module's own.
    folder = tmp_path_factory.mktemp("sources")
    with ThreadPoolExecutor(24) as pool:
        sites = {
            name: Site(home, folder / name, free_port() if name in WITH_ROUTER else 0, f"app_{number}")
            for number, name in enumerate(STORIES)
        }
        # The longest are the last ones, and start first.
        yield {name: pool.submit(tell, STORIES[name], sites[name]) for name in reversed(STORIES)}
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
        assert [part["after_header"] for part in result["diff"]] == [f"{site.name}: {header}" for header in headers]
        assert "another-one" not in json.dumps(result)

    checked({**FIRST, "environment": {"MESSAGE": "new"}}, "environment")
    checked({**FIRST, "secrets": {"TOKEN": "another-one"}})
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
    (site.source / "requirements.txt").write_text("nothing @ file:///nowhere/nothing-1.0-py3-none-any.whl\n")
    refused(site, PLAIN, "/nowhere/nothing")
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

        def stays(self, slot: str) -> None:
            self.perhaps("stays")

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
    result = site.deploy(state="absent")
    assert (result["changed"], result["kept"]) == (True, str(site.root / "data"))
    assert [path.name for path in site.root.iterdir()] == ["data"]
    assert (site.root / "data/upload").read_text() == "dear\n"
    assert site.states() == {}
    assert not site.ini.exists()
    assert [path.name for path in (site.home / "logs").glob(f"{site.name}[.-]*")] == []
    again = site.deploy(state="absent")
    assert (again["changed"], again["kept"]) == (False, str(site.root / "data"))
    assert site.deploy(state="absent", purge=True)["changed"]
    assert not site.root.exists()
    assert not site.deploy(state="absent", purge=True)["changed"]


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, told: dict[str, Future[None]]) -> None:
    """See the function of that name above."""
    told[name].result(timeout=120)


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
