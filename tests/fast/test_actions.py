"""The actions of the control node, with the host's answers made up: what is sent, and what is made of the answers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.hosted.flask.plugins.action import preflight, release
from ansible_collections.hosted.flask.plugins.module_utils import answers
from ansible_collections.hosted.flask.plugins.module_utils.listen import SLOTS
from ansible_collections.hosted.flask.plugins.module_utils.work import unpack
from ansible_collections.hosted.flask.plugins.plugin_utils import remote
from ansible_collections.hosted.flask.plugins.plugin_utils.running import run
from support import BIN, ROOT, completed

EXECUTABLE = sys.executable
CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
DESCRIPTION = {"folder": "", "commit": "", "supervisor_socket": "/s", "front": "127.0.0.1:80"}


def app(name: str = "shop", **row: Any) -> dict[str, Any]:
    """Return an app as the preflight action returns it."""
    texts = {"requirements_text": "flask\n", "server_requirements_text": "pyuwsgi\n"}
    return completed(name, **DESCRIPTION | texts | row)


class Host:
    """Takes the place of what works on a host: keeps the calls and answers them one after the other."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        """Answer the first call with the first of ``answers`` and so on."""
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.diff = False

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Run the action with these arguments."""
        task = Task()
        task.args, task.diff = arguments, self.diff
        loader = DataLoader()
        action = release.ActionModule(task, CONNECTION, PlayContext(), loader, Templar(loader=loader), None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(release, "run", self.answer)
            return action.run(task_vars={"inventory_hostname": "web1"})

    def answer(self, action: object, module: str, call: dict[str, Any], sent: bytes, *_: object) -> dict[str, Any]:
        """Stand in for plugin_utils.remote.run."""
        assert module == "work"
        self.calls.append({**call, "contents": unpack(sent)})
        return self.answers.pop(0)


# --- verbs other than deploy


@pytest.mark.parametrize("verb", ["rollback", "restart", "maintenance", "status"])
def test_other_verbs_tell_the_host_where_the_apps_are_and_no_more(verb: str) -> None:
    """Apps that are to be absent are left alone, and nothing of the source or of the settings is sent."""
    host = Host({"changed": verb != "status", "apps": {"shop": {"changed": True}}})
    apps = [app(environment={"MESSAGE": "Hello"}), app("gone", state="absent")]
    result = host.run(verb=verb, apps=apps, release="0123456789ab", maintenance=True, wait=7)
    [call] = host.calls
    assert (call["verb"], call["release"], call["maintenance"], call["wait"]) == (verb, "0123456789ab", True, 7)
    assert "@" in call["who"]
    [sent] = call["apps"]
    assert sent == {key: apps[0][key] for key in release.PLACE_KEYS}
    assert not {"environment", "secrets", "manifest", "requirements_text"} & sent.keys()
    own = {"verb", "release", "maintenance", "wait", "deadline"}
    assert set(call) == own | {"who", "apps", "secrets", "check", "contents"}
    assert (call["secrets"], call["check"], call["contents"]) == ({}, False, {})
    assert ("rows" in result) == (verb == "status")


def test_status_has_a_row_for_each_app_that_names_the_host() -> None:
    told = {"shop": {"changed": False, "status": {"app": "shop", "health": "ok"}}, "blog": {"failed": True, "msg": "x"}}
    result = Host({"changed": False, "apps": told}).run(verb="status", apps=[app(), app("blog")])
    assert result["rows"] == [{"host": "web1", "app": "shop", "health": "ok"}]


def test_status_of_a_host_that_does_not_answer_has_no_row() -> None:
    assert Host({"failed": True, "msg": "boom"}).run(verb="status", apps=[app()])["rows"] == []


@pytest.mark.parametrize(
    "arguments", [{"verb": "dance"}, {"verb": "status", "wiat": 3}, {"verb": "rollback", "wait": "x"}]
)
def test_an_argument_that_nobody_knows_is_refused(arguments: dict[str, Any]) -> None:
    host = Host()
    with pytest.raises(AnsibleActionFail):
        host.run(apps=[app()], **arguments)
    assert host.calls == []


# --- deploy


def source(folder: Path, size: int) -> list[str]:
    """Write a source with one file of ``size`` bytes; return the sha256 of each file, the large one last."""
    (folder / "wsgi.py").write_text("app = 1\n")
    (folder / "tool").write_text("#" * size)
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("wsgi.py", "tool")]


def deploy(host: Host, folder: Path, **row: Any) -> dict[str, Any]:
    """Deploy a source folder as the role does."""
    rows = [{"name": "shop", "secrets": {"TOKEN": "dear"}}]
    given = {"files": {"shop": {"uwsgi.ini": "x"}}, "programs": {"shop": {"app": "a", "standby": "b"}}, "rows": rows}
    return host.run(apps=[app(folder=str(folder), **row)], **given)


def test_a_small_source_travels_with_the_first_call(tmp_path: Path) -> None:
    digests = source(tmp_path, 100)
    host = Host({"changed": True, "apps": {"shop": {"changed": True}}})
    deploy(host, tmp_path)
    [call] = host.calls
    assert call["contents"].keys() == set(digests)
    assert call["secrets"] == {"shop": {"TOKEN": "dear"}}
    assert "dear" not in str(call["apps"])


def test_of_a_large_source_only_what_the_host_lacks_travels(tmp_path: Path) -> None:
    small, large = source(tmp_path, release.INLINE)
    (tmp_path / "tool").chmod(0o755)
    host = Host(
        {"changed": True, "apps": {"shop": {"changed": True, "missing": [large]}}},
        {"changed": True, "apps": {"shop": {"changed": True, "release": "x"}}},
    )
    result = deploy(host, tmp_path)
    first, second = host.calls
    assert first["contents"] == {}
    assert second["contents"].keys() == {large}
    assert {**second, "contents": {}} == first
    assert dict((path, mode) for path, mode, _ in first["apps"][0]["manifest"])["tool"] == 0o500
    assert result["apps"]["shop"] == {"changed": True, "release": "x"}
    assert small != large


def test_the_front_may_read_the_page_of_a_maintenance_and_no_other_file(tmp_path: Path) -> None:
    source(tmp_path, 100)
    (tmp_path / "static").mkdir()
    for name in ("later.html", "other.html", "static/a.css"):
        (tmp_path / name).write_text(name)
    for page, expected in {"./later.html": 0o440, "": 0o400}.items():
        host = Host({"changed": True, "apps": {"shop": {"changed": True}}})
        deploy(host, tmp_path, maintenance={"page": page, "allow": []}, static={"/static": "static"})
        modes = dict((path, mode) for path, mode, _ in host.calls[0]["apps"][0]["manifest"])
        assert modes["later.html"] == expected
        assert (modes["other.html"], modes["wsgi.py"], modes["static/a.css"]) == (0o400, 0o400, 0o440)


def test_a_host_that_has_all_is_asked_once(tmp_path: Path) -> None:
    source(tmp_path, release.INLINE)
    host = Host({"changed": False, "apps": {"shop": {"changed": False}}})
    assert not deploy(host, tmp_path)["changed"]
    assert len(host.calls) == 1


def three(folder: Path) -> dict[str, str]:
    """Write three large sources, each an app's; return the sha256 of each one's file."""
    for name in ("mallory", "alice", "bob"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "tool").write_text(name * (release.INLINE // 4))
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*/tool")}


def deploy_three(host: Host, folder: Path, diff: bool = False) -> dict[str, Any]:
    """Deploy them at once."""
    names = ("mallory", "alice", "bob")
    programs = dict.fromkeys(names, {"app": "a", "standby": "b"})
    host.diff = diff
    return host.run(apps=[app(name, folder=str(folder / name)) for name in names], programs=programs)


LATER = {"changed": True, "release": "0123456789ab"}
LOCKED = {"changed": False, "failed": True, "msg": "app mallory: another deploy is under way"}
SHOWN = {"before_header": "x", "after_header": "x", "before": "", "after": ""}


def test_what_an_app_lacks_is_sent_whatever_became_of_the_others(tmp_path: Path) -> None:
    """Who ended is not worked on again, and what both calls told is told once, in the order of the apps."""
    digests = three(tmp_path)
    lacks = {name: {"changed": True, "missing": [digests[name]]} for name in ("alice", "bob")}
    broken = {"changed": False, "failed": True, "msg": "app bob: it does not start"}
    host = Host(
        {"changed": True, "failed": True, "msg": "x", "apps": {"mallory": LOCKED, **lacks}, "warnings": ["one"]},
        {"changed": True, "failed": True, "msg": "y", "apps": {"alice": LATER, "bob": broken}, "warnings": ["two"]},
    )
    result = deploy_three(host, tmp_path)
    first, second = host.calls
    assert [one["name"] for one in first["apps"]] == ["mallory", "alice", "bob"]
    assert [one["name"] for one in second["apps"]] == ["alice", "bob"]
    assert second["contents"].keys() == {digests["alice"], digests["bob"]}
    assert result["apps"] == {"mallory": LOCKED, "alice": LATER, "bob": broken}
    assert list(result["apps"]) == ["mallory", "alice", "bob"]
    assert (result["changed"], result["failed"]) == (True, True)
    assert result["msg"] == f"{LOCKED['msg']}\n\n{broken['msg']}"
    assert result["warnings"] == ["one", "two"]


@pytest.mark.parametrize("changed", [True, False])
def test_what_changed_is_told_of_both_calls(changed: bool, tmp_path: Path) -> None:
    """That an app lacked something has changed nothing."""
    lacks = {"changed": True, "missing": [three(tmp_path)["alice"]]}
    idle, after = {"changed": False}, {**SHOWN, "after": "y"}
    host = Host(
        {"changed": True, "apps": {"mallory": {"changed": changed}, "alice": lacks, "bob": idle}, "diff": [SHOWN]},
        {"changed": False, "apps": {"alice": idle}, "diff": [after]},
    )
    result = deploy_three(host, tmp_path, diff=True)
    assert (result["changed"], result["diff"]) == (changed, [SHOWN, after])
    assert "failed" not in result


def test_a_host_that_gives_no_second_answer_has_failed_and_told_the_first(tmp_path: Path) -> None:
    digests = three(tmp_path)
    lacks = {"changed": True, "missing": [digests["alice"]]}
    first = {"changed": True, "failed": True, "msg": "x", "apps": {"mallory": LOCKED, "alice": lacks, "bob": LATER}}
    result = deploy_three(Host(first, {"failed": True, "msg": "host: gone"}), tmp_path)
    assert result["apps"] == {"mallory": LOCKED, "bob": LATER}
    assert (result["changed"], result["failed"], result["msg"]) == (True, True, f"{LOCKED['msg']}\n\nhost: gone")


def test_an_app_that_goes_on_lacking_what_was_sent_has_failed(tmp_path: Path) -> None:
    """Also one that says so of a small source, all of which came with the first call."""
    [digest, _] = source(tmp_path, 100)
    lacks = {"changed": True, "apps": {"shop": {"changed": True, "missing": [digest]}}}
    host = Host(lacks, json.loads(json.dumps(lacks)))
    result = deploy(host, tmp_path)
    assert len(host.calls) == 2
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith("app shop: account shop still lacks contents that were sent.")
    assert result["apps"]["shop"]["failed"]


def test_an_app_that_failed_is_not_worked_on_again_though_it_lacks_contents(tmp_path: Path) -> None:
    _, large = source(tmp_path, release.INLINE)
    failed = {"changed": False, "failed": True, "msg": "app shop: no", "missing": [large]}
    host = Host({"changed": False, "failed": True, "msg": "app shop: no", "apps": {"shop": failed}})
    assert deploy(host, tmp_path)["msg"] == "app shop: no"
    assert len(host.calls) == 1


@pytest.mark.parametrize(
    "said",
    [{"changed": True, "missing": ["ab" * 32]}, {"changed": False, "failed": True}],
    ids=["contents of no app", "no message"],
)
def test_a_host_that_says_what_is_not_so_is_not_believed(said: dict[str, Any], tmp_path: Path) -> None:
    source(tmp_path, 100)
    host = Host({"changed": True, "failed": bool(said.get("failed")), "apps": {"shop": said}})
    result = deploy(host, tmp_path)
    assert result["failed"]
    assert "host: its answer is not believed" in result["msg"]
    assert len(host.calls) == 1


# --- the way to the host


class Here:
    """An action whose host is this machine, reached through a shell as ssh does it."""

    def __init__(self, noise: str = "") -> None:
        """Say ``noise`` before anything else, as a login's own scripts may."""
        self.noise = noise
        self._templar = Templar(loader=DataLoader())

    def _low_level_execute_command(self, command: str, in_data: bytes, **_: bool) -> dict[str, Any]:
        words = f"printf %s {shlex.quote(self.noise)}; {command}"
        done = subprocess.run(["sh", "-c", words], input=in_data, capture_output=True)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def call_here(here: Here, secrets: list[str], python: str = sys.executable, **more: Any) -> dict[str, Any]:
    """Run module ``work`` on this machine for an app that a local host never had."""
    place = app(home="/nowhere", root="/nowhere/apps/shop", router="127.0.0.1:9", front="127.0.0.1:9")
    call = {"verb": "restart", "apps": [place], "check": False, "who": "me", "wait": 0, "release": "", "secrets": {}}
    call |= {"deadline": 60, **more}
    return remote.run(here, "work", call, b"", {"ansible_python_interpreter": python}, secrets, answers.WORK)  # type: ignore[arg-type]


def test_our_own_modules_run_on_the_host_whatever_its_login_says() -> None:
    result = call_here(Here("Welcome!\nthis is {not} an answer\n"), [])
    assert result["failed"]
    assert result["msg"] == "app shop: it was never deployed here. Deploy it first."
    assert result["apps"]["shop"]["changed"] is False


def test_a_secret_is_taken_out_of_what_the_host_says_unless_it_would_take_words_apart() -> None:
    assert "********" in call_here(Here(), ["never deployed"])["msg"]
    assert call_here(Here(), ["e", "app"])["msg"].startswith("app shop: it was never")


def test_a_host_that_gives_no_answer_is_told_with_its_own_words() -> None:
    result = call_here(Here(), [], python="/nowhere/python3")
    assert result["failed"]
    assert "/nowhere/python3" in result["msg"]
    assert "KeyError" in call_here(Here(), [], apps=[{"router": "x"}])["msg"]


def test_the_interpreter_that_was_seen_is_taken_where_none_is_named() -> None:
    facts = {"ansible_facts": {"discovered_interpreter_python": "/opt/python3"}}
    assert remote.interpreter(Here(), facts) == "/opt/python3"  # type: ignore[arg-type]
    named = {**facts, "ansible_python_interpreter": "/usr/bin/python3.13"}
    assert remote.interpreter(Here(), named) == "/usr/bin/python3.13"  # type: ignore[arg-type]
    assert remote.interpreter(Here(), {"ansible_python_interpreter": "auto_silent"}) == "python3"  # type: ignore[arg-type]


# --- requirements that the app's server makes


@pytest.fixture(autouse=True)
def _without_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no uv, which would ask a package index."""
    monkeypatch.setattr(preflight.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)


CLASSES = {
    "gevent_without_it": ("gunicorn", "gevent", "flask\n", "a file that lists gevent"),
    "tornado_without_it": ("gunicorn", "tornado", "gevent\n", "a file that lists tornado"),
    "gevent": ("gunicorn", "gevent", "flask\nGevent==25.1 # fast\n", ""),
    "gevent_in_a_nested_file": ("gunicorn", "gevent", "-r more.txt\n", ""),
    "gthread": ("gunicorn", "gthread", "flask\n", ""),
    "uwsgi_has_no_such_option": ("uwsgi", "gevent", "flask\n", ""),
}


@pytest.mark.parametrize(("server", "worker", "text", "allowed"), CLASSES.values(), ids=CLASSES)
def test_a_worker_class_needs_its_package(server: str, worker: str, text: str, allowed: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    (tmp_path / "more.txt").write_text("gevent\n")
    row = app(server=server, server_options={"worker_class": worker}, folder=str(tmp_path))
    found = preflight.check_requirements([row], tmp_path, {"pythons": {}, "owned": {}}, "apps.yml")
    if not allowed:
        assert found == []
        assert row["requirements_text"].endswith(text.replace("-r more.txt", "gevent"))
        assert row["server_requirements_text"].startswith(("gunicorn==", "pyuwsgi==", "uwsgi=="))
        return
    [message] = found
    assert message.startswith("flask_apps (shop).requirements: 'requirements.txt' is refused. Allowed: ")
    assert allowed in message
    assert message.endswith("Fix it in apps.yml.")


def test_an_absent_app_needs_nothing(tmp_path: Path) -> None:
    row = app(server="gunicorn", state="absent", server_options={"worker_class": "gevent"}, folder=str(tmp_path))
    assert preflight.check_requirements([row], tmp_path, {"pythons": {}, "owned": {}}, "apps.yml") == []


class Slow:
    """Takes connections and says nothing, in the place of an index of packages and of one of Pythons."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.asked = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self) -> None:
        """Take connections and keep them."""
        kept = []
        with contextlib.suppress(OSError):
            while True:
                kept.append(self.socket.accept())
                self.asked += 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Slow]:
    """Have uv again, with an empty cache and nobody who answers it."""
    server = Slow()
    monkeypatch.setattr(preflight.sys, "executable", EXECUTABLE)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in {"CACHE_DIR": tmp_path / "cache", "PYTHON_INSTALL_DIR": tmp_path / "pythons",
                        "DEFAULT_INDEX": server.url, "PYTHON_INSTALL_MIRROR": server.url}.items():  # fmt: skip
        monkeypatch.setenv(f"UV_{name}", str(value))
    yield server
    server.socket.close()


def ask(folder: Path, *texts: str) -> list[str]:
    """Ask about the requirements of apps on a host whose Python this machine lacks."""
    apps = []
    for number, text in enumerate(texts):
        (folder / f"requirements-{number}.txt").write_text(text)
        apps.append(app(f"shop{number}", folder=str(folder), requirements=f"requirements-{number}.txt"))
    return preflight.check_requirements(apps, folder, {"pythons": {apps[0]["python"]: "3.9"}, "owned": {}}, "apps.yml")


def test_no_python_is_downloaded_to_look_at_requirements(slow: Slow, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(preflight.Requirements, "read", lambda *_: SimpleNamespace(text="", server=""))
    assert ask(tmp_path, "") == []
    assert slow.asked == 0
    assert len(list((tmp_path / ".cache/resolved").iterdir())) == 1


def test_a_slow_index_is_waited_for_once(slow: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "RESOLVING", 2.0)
    asked = []
    monkeypatch.setattr(preflight, "run", lambda *words, **more: asked.append(words) or run(*words, **more))
    assert ask(tmp_path, "flask", "flask", "django") == []
    assert len(asked) == 1
    assert slow.asked > 0


# --- where an app's sockets lie


def in_the_way(platform: str, home: str, row: dict[str, Any]) -> list[str]:
    """Return what preflight has against an app in this home."""
    accounts = {row["account"]: {"uid": 1001, "home": home, "ours": True}} if platform == "server" else {}
    host = {"os": "debian 13", "systemd": True, "uid": 0, "pythons": {row["python"]: "3.13"}, "owned": {}, "ports": {}}
    check = functools.partial(preflight.ActionModule._check_host, None, [{**row, "account_named": False}])
    return check(platform, {**host, "accounts": accounts}, Path(home), "apps.yml", False)


def test_an_interpreter_in_an_accounts_hand_is_no_problem_of_the_host() -> None:
    row = app(python="/home/shop/python")
    host = {"os": "debian 13", "systemd": True, "uid": 0, "accounts": {}, "ports": {}, "pythons": {}}
    check = functools.partial(preflight.ActionModule._check_host, None, [row], "server")
    assert len(check({**host, "owned": {}}, Path("/"), "apps.yml", False)) == 1
    assert "unfit" not in row
    owned = {"/home/shop/python": "it says \x1b[2J"}
    assert check({**host, "owned": owned}, Path("/"), "apps.yml", False) == []
    assert row["unfit"].startswith(
        "app shop: it asks for /home/shop/python, which is no interpreter: it says \\x1b[2J."
    )


@pytest.mark.parametrize(
    ("platform", "name", "limit"),
    [("local", "shop", 102 - 27), ("local", "s" * 31, 102 - 54), ("server", "shop", 107 - 27)],
)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_place_whose_sockets_nobody_could_connect_to_is_refused(
    platform: str, name: str, limit: int, letter: str
) -> None:
    """Their names are counted in bytes."""
    home = "/" + letter * ((limit - 1) // len(letter.encode()))
    home += "y" * (limit - len(home.encode()))
    row = app(name, home=home)
    assert in_the_way(platform, home, row) == []
    assert in_the_way(platform, f"{home}z", {**row, "state": "absent"}) == [], "what was there before can still go"
    [message] = in_the_way(platform, f"{home}z", row)
    size = {"local": 102, "server": 107}[platform]
    assert f"Allowed: at most {size} bytes for a socket's name, and these are {size + 1}." in message
    assert message.endswith({"local": "Fix it in the place of the checkout.", "server": "Fix it in the home of account "
                             + row["account"] + "."}[platform])  # fmt: skip


def test_a_limit_is_known_for_every_socket_that_is_made() -> None:
    folders = [ROOT / "plugins/module_utils", *ROOT.glob("roles/*/templates"), ROOT / "roles/supervisord"]
    texts = [
        file.read_text() for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".j2", ".yml")
    ]
    named = {name for text in texts for name in re.findall(r"run/(?:[^\s\"']*/)?(\w+)\.sock\b", text)}
    named |= {*SLOTS, "listen"}
    assert named >= {"current", "live", "standby", "supervisor", "listen"}
    for local in (True, False):
        known = preflight.sockets(app(), "/home/shop", local)
        assert {Path(path).stem for path in known} >= named
        assert set(known.values()) <= {99, 102, 107}


# --- what the host layer knows of an app


def test_the_host_layer_has_something_to_learn_where_what_it_knows_changes() -> None:
    [before] = preflight.known_of([app()], {}).values()
    for same in ({"processes": 7}, {"environment": {"A": "b"}}, {"services": [{"name": "a", "command": "b"}]}):
        assert preflight.known_of([app(**same)], {}) == {"shop": before}
    for other in ({"mount": "/x"}, {"domains": ["x.org"]}, {"static": {"/a": "b"}}, {"account": "pair"}):
        assert preflight.known_of([app(**other)], {})["shop"] != before
    assert preflight.known_of([app(state="absent")], {}) == {}


def test_an_account_learns_from_the_host_which_names_are_secure() -> None:
    apps = [app("shop", domains=["a.org"]), app("blog", domains=["b.org"]), app("any")]
    known = preflight.known_of(apps, {"a.org": "acme", "_": "own"})
    assert [words[1] for words in known.values()] == ["https", "http", "https"]
    assert preflight.secure_domains(apps, {"known": known}) == {"a.org": "own", "_": "own"}
    assert preflight.secure_domains(apps, {"known": {}}) == {}


def test_a_stamp_has_a_line_for_each_app_below_the_one_for_the_whole() -> None:
    assert preflight.stamp_text("whole", {"b": ["2", "http"], "a": ["1", "https"]}) == "whole\na 1 https\nb 2 http\n"


def test_what_a_module_imports_travels_with_it_and_nothing_else() -> None:
    """A host runs what it is sent, alone: a module that is left out would be an import error there."""
    package = remote.PACKAGE
    sent = remote.modules("work")
    assert f"{package}.releases" in sent
    assert f"{package}.doctor" not in sent
    for name in ("work", "doctor"):
        sent = remote.modules(name)
        boot = remote.BOOT.split("module =")[0] + f"importlib.import_module({f'{package}.{name}'!r})"
        code = f"import json, sys; sent = {{'modules': json.loads(sys.stdin.read())}}\n{boot}"
        run = subprocess.run([BIN / "python", "-Ic", code], input=json.dumps(sent), capture_output=True, text=True)
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("variables", "parts"),
    [
        ({"server_open_ports": ["25"]}, {"system"}),
        ({"supervisord_minfds": 2048}, {"system"}),
        ({"nginx_http_port": 8080}, {"system", "front"}),
        ({"nginx_client_max_body_size": "2m"}, {"front"}),
        ({"tls_acme_email": "admin@example.org"}, {"front"}),
        ({"uwsgi_processes": 3, "tls_renew": True}, set()),
    ],
    ids=["server", "supervisord", "port", "nginx", "tls", "none"],
)
def test_a_stamp_tells_the_system_from_the_front(variables: dict[str, Any], parts: set[str]) -> None:
    def stamp(given: dict[str, Any]) -> list[str]:
        action = preflight.ActionModule.__new__(preflight.ActionModule)
        action._templar = Templar(loader=DataLoader(), variables=given)
        return action._stamp([], given, [{}, {}]).split("-")

    changed = [before != after for before, after in zip(stamp({}), stamp(variables), strict=True)]
    assert {name for name, other in zip(("system", "front"), changed, strict=True) if other} == parts
