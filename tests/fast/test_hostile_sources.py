"""Hostile sources: nothing outside of them is read or written, nothing runs, and one message says it."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.hosted.flask.plugins.action import preflight, release
from ansible_collections.hosted.flask.plugins.module_utils.processes import family
from ansible_collections.hosted.flask.plugins.plugin_utils import apps
from ansible_collections.hosted.flask.plugins.plugin_utils.git import head_of
from support import BIN, ROOT, free_port, tree

SECRET = "canary-of-a-file-outside"
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


class Place:
    """A project with a source, secrets beside it, and a program that leaves a mark where it is run."""

    def __init__(self, folder: Path, name: str = "app") -> None:
        """Write them; several sources of one folder share what is beside them."""
        self.source, self.outside, self.mark = folder / "project" / name, folder / "outside", folder / "mark"
        self.source.mkdir(parents=True)
        self.outside.mkdir(exist_ok=True)
        (self.outside / "secret.txt").write_text(f"{SECRET}\n")
        self.canary = folder / "canary"
        self.canary.write_text(f"#!/bin/sh\necho run >> {self.mark}\ncat\n")
        self.canary.chmod(0o755)
        self.write("wsgi.py", "app = 1\n")
        self.write("requirements.txt", "flask\n")

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file of the source."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def link(self, name: str, to: str | Path) -> None:
        """Make a link of the source."""
        (self.source / name).unlink(missing_ok=True)
        (self.source / name).symlink_to(to)

    def fifo(self, name: str) -> None:
        """Make a FIFO that nobody writes into."""
        (self.source / name).unlink(missing_ok=True)
        os.mkfifo(self.source / name)

    def git(self, *words: str) -> None:
        """Run git in the source."""
        subprocess.run(["git", "-C", str(self.source), *IDENTITY, *words], check=True, capture_output=True)

    def repository(self, config: str = "", attributes: str = "") -> None:
        """Make the source a repository with one commit, and then this configuration."""
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-qm", "one")
        with open(self.source / ".git/config", "a") as file:
            file.write(config)
        if attributes:
            self.write(".gitattributes", attributes)
        os.utime(self.source / "wsgi.py", (1, 1))  # git has to look at what it holds.

    def bare(self) -> None:
        """Make the source a bare repository as well, whose configuration names a program."""
        for folder in ("objects", "refs/heads"):
            (self.source / folder).mkdir(parents=True)
        self.write("HEAD", "ref: refs/heads/main\n")
        self.write("config", f"[core]\nbare = false\nworktree = .\nfsmonitor = {self.canary}\n")


def hooks(place: Place) -> None:
    """Put the program in the place of every hook that a look may run."""
    place.repository()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman", "pre-auto-gc"):
        shutil.copy(place.canary, place.source / ".git/hooks" / name)


def gitfile(place: Place) -> None:
    """Let .git be a file that leads to a repository with a program."""
    place.bare()
    place.write(".git", f"gitdir: {place.source}\n")


def bound(place: Place) -> None:
    """Leave a socket in the source."""
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(place.source)
        try:
            server.bind("s.sock")
        finally:
            os.chdir(here)


def chain(place: Place) -> None:
    """Let a hundred files include one another."""
    for number in range(100):
        place.write(f"r{number}.txt", f"-r r{number + 1}.txt\n")
    place.write("requirements.txt", "-r r0.txt\n")


def circle(place: Place) -> None:
    """Let two links lead to one another."""
    place.link("a", "b")
    place.link("b", "a")


# What builds the tree, and a word of the message; "" where nothing is wrong, "warned" where something is left out.
LEAVES, FILE = "leads out of the source", "points at a file"
TREES: dict[str, tuple[Callable[[Place], Any], str]] = {
    "fsmonitor": (lambda p: p.repository(f"[core]\nfsmonitor = {p.canary}\n"), ""),
    "filter": (lambda p: p.repository(f'[filter "x"]\nclean = {p.canary}\nprocess = {p.canary}\n', "* filter=x\n"), ""),
    "include": (
        lambda p: (
            p.write("evil", f"[core]\nfsmonitor = {p.canary}\n"),
            p.repository(f"[include]\npath = {p.source}/evil\n"),
        ),
        "",
    ),
    "alias": (lambda p: p.repository(f"[alias]\nstatus = !{p.canary}\nrev-parse = !{p.canary}\n"), ""),
    "pager": (
        lambda p: p.repository(f"[core]\npager = {p.canary}\nsshCommand = {p.canary}\neditor = {p.canary}\n"),
        "",
    ),
    "hooks": (hooks, ""),
    "bare": (lambda p: p.bare(), ""),
    "gitfile": (gitfile, ""),
    "git_link": (lambda p: p.link(".git", p.outside), ""),
    "head_outside": (lambda p: (p.repository(), p.link(".git/HEAD", p.outside / "secret.txt")), ""),
    "r_absolute": (lambda p: p.write("requirements.txt", f"-r {p.outside}/secret.txt\n"), LEAVES),
    "r_above": (lambda p: p.write("requirements.txt", "-r ../../outside/secret.txt\n"), LEAVES),
    "r_glued": (lambda p: p.write("requirements.txt", f"-r{p.outside}/secret.txt\n"), LEAVES),
    "r_link": (
        lambda p: (p.link("more.txt", p.outside / "secret.txt"), p.write("requirements.txt", "-r more.txt\n")),
        LEAVES,
    ),
    "r_on_two_lines": (lambda p: p.write("requirements.txt", f"-\\\nr {p.outside}/secret.txt\n"), FILE),
    "r_itself": (lambda p: p.write("requirements.txt", "-r requirements.txt\n"), "includes itself"),
    "r_chain": (chain, "includes itself"),
    "r_fifo": (lambda p: (p.fifo("more.txt"), p.write("requirements.txt", "-r more.txt\n")), "is no file"),
    "requirements_link": (lambda p: p.link("requirements.txt", p.outside / "secret.txt"), "is missing"),
    "requirements_fifo": (lambda p: p.fifo("requirements.txt"), "is missing"),
    "requirements_zero": (lambda p: p.link("requirements.txt", "/dev/zero"), "is missing"),
    "requirements_huge": (lambda p: p.write("requirements.txt", b"#" * (2 << 20)), "has more than"),
    "requirements_latin": (lambda p: p.write("requirements.txt", b"fl\xe4sk\n"), "is not UTF-8"),
    "variable": (lambda p: p.write("requirements.txt", "x @ https://localhost/${HOME}.whl\n"), "without variables"),
    "file_url": (lambda p: p.write("requirements.txt", "x @ file:///etc/passwd\n"), FILE),
    "path": (lambda p: p.write("requirements.txt", "x @ /etc/passwd\n"), FILE),
    "find_links": (lambda p: p.write("requirements.txt", "--find-links /etc\nflask\n"), FILE),
    "index_folder": (lambda p: p.write("requirements.txt", "--index-url /etc\nflask\n"), FILE),
    "nested_code": (lambda p: p.write("wsgi.py", "app = " + "(" * 100_000), ""),
    "nested_signs": (lambda p: p.write("wsgi.py", "app = " + "-" * 100_000 + "1"), ""),
    "nested_sum": (lambda p: p.write("wsgi.py", "app = (1" + "\n+1" * 100_000 + ")"), ""),
    "nested_encoding": (lambda p: p.write("wsgi.py", b"# coding: utf-7\napp = " + b"+ACg-" * 50_000), ""),
    "nul": (lambda p: p.write("wsgi.py", b"app = 1\0"), ""),
    "encoding": (lambda p: p.write("wsgi.py", b"# coding: nonesuch\napp = 1\n"), ""),
    "large_code": (lambda p: p.write("wsgi.py", b"#" * (8 << 20)), ""),
    "code_link": (lambda p: p.link("wsgi.py", p.outside / "secret.txt"), "is missing"),
    "link_out": (lambda p: p.link("x.txt", p.outside / "secret.txt"), "warned"),
    "folder_out": (lambda p: p.link("x", p.outside), "warned"),
    "proc": (lambda p: p.link("x", "/proc/self"), "warned"),
    "circle": (circle, "warned"),
    "fifo": (lambda p: p.fifo("x"), "warned"),
    "socket": (bound, "warned"),
    "gitignore_fifo": (lambda p: p.fifo(".gitignore"), "warned"),
    "gitignore_zero": (lambda p: p.link(".gitignore", "/dev/zero"), "warned"),
    "gitignore_slow": (lambda p: (p.write(".gitignore", "*a" * 60 + "b\n"), p.write("a" * 200, "")), "stars"),
    "uv_toml": (lambda p: p.write("uv.toml", "index-url = 'http://127.0.0.1:1/'\n"), ""),
}


def deploy(place: Place) -> tuple[list[str], dict[str, Any]]:
    """Do what a deploy does with a source up to the host: messages and what is sent."""
    project = place.source.parent
    [app], problems = apps.complete(
        [{"name": "shop", "source": "app"}], platform="server", defaults={}, project=project, where="apps.yml"
    )
    problems = problems or preflight.check_requirements([app], project, {"pythons": {}, "owned": {}}, "apps.yml")
    if problems:
        return problems, {}
    app |= dict.fromkeys(("home", "root", "supervisor_socket", "router", "front"), "")
    app["proxy_hops"] = 1
    contents: dict[str, Path] = {}
    try:
        programs = {"app": "", "standby": ""}
        sent = release.ActionModule._prepare(SimpleNamespace(), app, {}, programs, {}, contents)  # type: ignore[arg-type]
    except AnsibleActionFail as error:
        return [str(error)], {}
    return [], {
        **sent,
        "packed": b"".join(path.read_bytes() for path in contents.values()),
        "_": release.pack(contents),
    }


@pytest.mark.parametrize("name", TREES)
def test_a_hostile_source(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, warned = Place(tmp_path), []
    build, expected = TREES[name]
    build(place)
    place.mark.unlink(missing_ok=True)
    monkeypatch.setattr(release.display, "warning", lambda text, *_: warned.append(text))
    before, start = tree(tmp_path), time.monotonic()
    problems, sent = deploy(place)
    assert time.monotonic() - start < 25
    assert not place.mark.exists(), "a program of the source was run"
    assert SECRET not in str(problems) + str(sent) + str(warned)
    assert tree(tmp_path) == before
    assert len(warned) == (expected == "warned"), warned
    if expected in ("", "warned"):
        assert problems == []
        assert sent["manifest"]
    else:
        [message] = problems
        assert expected in message


def test_uv_obeys_no_file_of_a_source_and_builds_nothing() -> None:
    environment = {"HOME": "/h", "ANSIBLE_X": "1", "SSH_AUTH_SOCK": "x", "AWS_SECRET": "x", "UV_INDEX_URL": "u"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", environment)
        own = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_SOURCES": "1"}
        assert preflight.uv_environment() == {"HOME": "/h", "UV_INDEX_URL": "u", **own}


def crafted(place: Place, *entries: tuple[str, str, bytes]) -> dict[str, str]:
    """Return a git source whose tree has these entries: mode, name and content, or the entries of a folder."""
    place.git("init", "-q", "-b", "main")

    def store(kind: str, data: bytes) -> str:
        words = ["git", "-C", str(place.source), "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
        return subprocess.run(words, input=data, check=True, capture_output=True).stdout.decode().strip()

    def named(mode: str, name: str, kind: str, data: bytes) -> bytes:
        return f"{mode} {name}".encode() + b"\0" + bytes.fromhex(store(kind, data))

    folder = named("100644", "x", "blob", b"written")
    data = b"".join(
        named(mode, name, "tree" if mode == "40000" else "blob", folder if mode == "40000" else text)
        for mode, name, text in (
            *entries,
            ("100644", "requirements.txt", b"flask\n"),
            ("100644", "wsgi.py", b"app=1\n"),
        )
    )
    commit = f"tree {store('tree', data)}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n"
    (place.source / ".git/refs/heads/main").write_text(store("commit", commit.encode()) + "\n")
    return {"git": str(place.source), "version": "main"}


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ([("120000", "a", b"@"), ("40000", "a", b"")], False),
        ([("120000", "A", b"@"), ("40000", "b", b"")], False),
        ([("40000", "..", b"")], True),
        ([("40000", ".git", b"")], True),
        ([("40000", ".GIT", b"")], True),
        ([("100644", "../evil", b"")], True),
        ([("100644", "a\\b", b"")], True),
        ([("100644", "a\nb", b"")], True),
    ],
)
def test_a_hostile_tree_writes_nothing_outside(
    entries: list[tuple[str, str, bytes]], refused: bool, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    outside = str(place.outside).encode()
    source = crafted(place, *[(mode, name, data.replace(b"@", outside)) for mode, name, data in entries])
    before = tree(place.outside)
    rows, where = [{"name": "shop", "source": source}], "apps.yml"
    [*found], problems = apps.complete(rows, platform="server", defaults={}, project=tmp_path / "p", where=where)
    assert tree(place.outside) == before
    assert len(problems) == refused, problems
    if not refused:
        assert not any(path.is_symlink() for path in Path(found[0]["folder"]).rglob("*"))
    assert (tmp_path / "p/.cache/sources").stat().st_mode & 0o777 == 0o700


def test_a_small_repository_with_a_list_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """Folders that hold the same one many times: each level multiplies the list, and adds a kilobyte to git."""
    place = Place(tmp_path)
    place.git("init", "-q", "-b", "main")
    told = {"input": b"x", "check": True, "capture_output": True}
    words = ["git", "-C", str(place.source)]
    made = subprocess.run([*words, "hash-object", "-w", "--stdin"], **told).stdout.decode().strip()
    kind = "100644 blob"
    for _ in range(6):  # 64 million files
        told["input"] = "".join(f"{kind} {made}\t{number:0200}\n" for number in range(20)).encode()
        made = subprocess.run([*words, "mktree"], **told).stdout.decode().strip()
        kind = "040000 tree"
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    commit = subprocess.run([*words, *named, "commit-tree", "-m", "x", made], **told).stdout.decode()
    (place.source / ".git/refs/heads/main").write_text(commit)
    rows = [{"name": "shop", "source": {"git": str(place.source), "version": "main"}}]
    _, [message] = apps.complete(rows, platform="server", defaults={}, project=tmp_path / "p", where="apps.yml")
    assert "a repository of at most 50000 files (git printed more than " in message


def test_trees_of_earlier_versions_are_not_taken(tmp_path: Path) -> None:
    """They were written by way of an archive, whose links led anywhere."""
    place, project = Place(tmp_path / "x"), tmp_path / "p"
    place.repository()
    commit = head_of(place.source)
    url = str(place.source)
    old = project / ".cache/sources" / hashlib.sha256(url.encode()).hexdigest()[:16]
    subprocess.run(["git", "clone", "-q", "--bare", url, str(old)], check=True, capture_output=True)
    (old / "trees").mkdir()
    (old / "trees" / commit).symlink_to(place.outside)
    before = tree(place.outside)
    rows = [{"name": "shop", "source": {"git": url, "version": "main"}}]
    folders = []
    for _ in range(2):
        [app], problems = apps.complete(rows, platform="server", defaults={}, project=project, where="apps.yml")
        assert problems == []
        folders.append((app["folder"], Path(app["folder"]).stat().st_ino))
    assert (Path(folders[0][0]) / "wsgi.py").read_text() == "app = 1\n"
    assert folders[0] == folders[1], "written once"
    assert not (old / "trees").exists()
    assert tree(place.outside) == before


# --- all of them through the real playbook, as many apps of one inventory

INVENTORY = """
local:
  hosts:
    localhost:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
      hosting_platform: local
      hosting_project: PROJECT
"""
# By where a deploy looks at them first: what is refused there it tells of all apps at once, and then nothing else.
MISSING = [name for name, (_, expected) in TREES.items() if expected == "is missing"]
SHIPPED = [name for name, (_, expected) in TREES.items() if expected in ("", "warned")]
LATE = [name for name, (_, expected) in TREES.items() if expected == "stars"]
REQUIRED = [name for name in TREES if name not in (*MISSING, *SHIPPED, *LATE)]
OPENED, CHANGED = 0x20, 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200  # of inotify(7): IN_OPEN, and all that changes a folder


class Watch:
    """Notes whether somebody opens, changes or makes a file in a folder."""

    def __init__(self, folder: Path) -> None:
        """Begin."""
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.libc.inotify_add_watch(self.handle, os.fsencode(folder), OPENED | CHANGED) > 0

    def seen(self) -> bytes:
        """Return what was noted since the last time; empty where nothing was."""
        try:
            return os.read(self.handle, 1 << 16)
        except BlockingIOError:
            return b""


def play(top: Path, names: list[str], *words: str) -> str:
    """Run deploy.yml for these sources, each an app of its own, and return what it says as one line."""
    rows = [
        {"name": name, "source": name, "port": free_port(), "processes": 1, "health": {"timeout": 5}} for name in names
    ]
    (top / "apps.json").write_text(json.dumps({"flask_apps": rows}))
    (top / "hosts.yml").write_text(INVENTORY.replace("PROJECT", str(top / "project")))
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(top / "tmp")}
    command = [BIN / "ansible-playbook", "-i", top / "hosts.yml", "-e", f"@{top}/apps.json", *words]
    run = subprocess.run(command, env=env, cwd=top, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return f"ended with {run.returncode}: " + re.sub(r"\s+", " ", run.stdout + run.stderr)


@pytest.fixture
def top(short: Path) -> Iterator[Path]:
    """Return a folder for a project; what was deployed from it ends with the test."""
    yield short
    pid = short / "project/.hosted/run/supervisord.pid"
    if pid.exists():
        leader = int(pid.read_text())
        ours = family(leader)
        for one in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)


@pytest.mark.parametrize(
    ("names", "check"),
    [*((names, check) for names in (MISSING, REQUIRED, SHIPPED) for check in (True, False)), (LATE, True)],
    ids=[*(f"{name}{how}" for name in ("missing", "required", "shipped") for how in ("-check", "")), "late-check"],
)
def test_the_playbook_and_hostile_sources(names: list[str], check: bool, top: Path) -> None:
    for name in names:
        place = Place(top, name)
        place.write("requirements.txt", "# nothing\n")  # The package index is asked for the server alone.
        TREES[name][0](place)
    place.mark.unlink(missing_ok=True)
    before, beside = tree(place.outside), {path.name for path in top.iterdir()}
    watch = Watch(place.outside)
    said = play(top, names, str(ROOT / "deploy.yml"), *(["--check", "--diff"] if check else ["-vvv", "--diff"]))
    assert watch.seen() == b"", "a file outside was opened"
    assert not place.mark.exists(), "a program of a source was run"
    assert SECRET not in said
    assert "Traceback" not in said or names is SHIPPED, said
    assert "a fault of hosted.flask itself" not in said
    assert tree(place.outside) == before
    assert {path.name for path in top.iterdir()} - beside <= {"apps.json", "hosts.yml", "tmp"}
    made = {path.name for path in (top / "project").iterdir()} - set(names)
    assert made <= ({".cache", ".hosted"} if names is SHIPPED and not check else {".cache"})
    for path in (top / "project/.hosted").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    for name in names:
        expected = TREES[name][1]
        if names is SHIPPED:
            assert said.count(f"app {name}: not shipped") == (expected == "warned"), name
        else:
            told = set(re.findall(rf"flask_apps(?:\[\d+\])? \({name}\)\.\w+:|app {name}: its source", said))
            assert len(told) == 1, (name, told, said)
            assert expected in said
    assert said.startswith("ended with 0:") == (names is SHIPPED and check), said
    watch.libc.open(os.fsencode(place.outside / "secret.txt"), 0)
    assert watch.seen(), "this test sees what is opened"


def test_all_sources_are_in_one_of_the_runs() -> None:
    assert sorted(MISSING + SHIPPED + LATE + REQUIRED) == sorted(TREES)
    assert len(TREES) >= 25
