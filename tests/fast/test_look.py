"""How a host is looked at: by what only root can write, and by what the kernel says of processes."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import answers, confined, look, processes
from ansible_collections.hosted.flask.plugins.plugin_utils import remote
from support import until

CALL: dict[str, Any] = {"state": "/nowhere", "base": "", "accounts": [], "pythons": [], "ports": []}


def seen(**call: Any) -> dict[str, Any]:
    """Look at this machine; the answer is one that the control node would take."""
    return answers.parsed(json.dumps(look.main({**CALL, **call}, b"")), answers.LOOK)


def test_this_machine() -> None:
    found = seen(accounts=["root", "no-such-account"], pythons=[["", sys.executable]])
    assert found["python"] == sys.executable
    assert found["uid"] == os.geteuid()
    assert found["os"].startswith(Path("/etc/os-release").read_text().split("\nID=")[1].split("\n")[0].strip('"'))
    assert found["accounts"] == {"root": {"uid": 0, "home": pwd.getpwnam("root").pw_dir, "ours": False}}
    assert found["pythons"] == {sys.executable: "{}.{}".format(*sys.version_info[:2])}
    assert "stamp" not in found


def test_the_stamp_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "stamp").write_text("whole\nblog 1a http\nshop 2b https\n")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/until").write_text("17\n")
    found = seen(state=str(tmp_path))
    assert (found["stamp"], found["ended"]) == ("whole", True)
    assert found["known"] == {"blog": ["1a", "http"], "shop": ["2b", "https"]}


@pytest.mark.parametrize("gecos", ["hosted.flask account", "hosted.flask account,7,+49 7,"])
def test_what_an_account_may_change_of_its_comment_does_not_count(gecos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.struct_passwd(("shop", "x", 1001, 1001, gecos, "/home/shop", "/bin/bash"))
    monkeypatch.setattr(look.pwd, "getpwnam", lambda name: entry)
    assert look.account("shop") == {"uid": 1001, "home": "/home/shop", "ours": True}


# --- who listens


NAMES = {
    "nginx": "nginx",
    "sshd": "sshd",
    "a line of its own": "x\ninterpreter=/home/bob/evil",
    "the end of stat": "x) S 1 1 1",
    "status": "x\nUid:\t0\t0\t0\t0",
}
LISTEN = """
import ctypes, os, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode()[:15])
os.chdir(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
if len(sys.argv) > 3:
    ctypes.CDLL(None).prctl(4, 0)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("dumpable", ["", "no"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_who_listens_is_told_by_the_kernel_whatever_a_process_calls_itself(
    name: str, dumpable: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By its name, its folder, or by closing itself to others, which makes its folder in /proc root's."""
    folder = Path("/tmp") / f"hf-{os.getpid()}\ninterpreter=\n"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    command = [sys.executable, "-Ic", LISTEN, name, str(folder), *filter(None, [dumpable])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            uid = 65534 if os.geteuid() == 0 else os.geteuid()
            [one] = processes.listeners([port])[port]
            if os.geteuid() == 0 or not dumpable:
                assert one == (child.pid, uid, os.path.realpath(sys.executable))
            assert not look.ours(one, "")
            found = seen(ports=[port])["ports"][str(port)]
            assert [entry["ours"] for entry in found] == [False]
        finally:
            child.communicate()
            shutil.rmtree(folder)


THREADS = """
import os, socket, sys, threading
server = socket.create_server(("127.0.0.1", 0))
def busy():
    while True:
        for number in [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]:
            os.close(number)
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_process_that_opens_and_closes_files_is_seen_all_the_same() -> None:
    with subprocess.Popen(
        [sys.executable, "-Ic", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline())
            for _ in range(10):
                assert [one.pid for one in processes.listeners([port])[port]] == [child.pid]
        finally:
            child.communicate()


def test_who_cannot_be_seen_is_known_by_the_number_of_who_made_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a socket that is under way from one process to another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        one, other = socket.socketpair()
        socket.send_fds(one, [b"x"], [server.fileno()])
        server.close()
        assert processes.listeners([port])[port] == [processes.Listener(0, os.geteuid(), "")]
        assert not look.ours(processes.Listener(0, os.geteuid(), ""), "")
        one.close()
        other.close()


def test_a_number_without_a_name_is_nobody_of_ours() -> None:
    """As an account has in a container of its own."""
    assert not look.ours(processes.Listener(7, 3_000_000_000, "/usr/sbin/nginx"), "")
    assert look.ours(processes.Listener(7, 0, "/usr/sbin/nginx"), "")


def test_a_file_named_like_a_socket_is_none(tmp_path: Path) -> None:
    """An open file by the name of `x socket:[INODE]`: only a whole link counts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [inode] = processes.sockets(port)
        trap = tmp_path / f"x socket:[{inode}]"
        trap.write_text("")
        code = "import sys; open(sys.argv[1]); print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-Ic", code, str(trap)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert [one.pid for one in processes.listeners([port])[port]] == [os.getpid()]
            other.communicate()


def test_on_platform_local_a_program_of_ours_is_one_that_works_in_our_folder(tmp_path: Path) -> None:
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    code += "; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-Ic", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        for base, ours in ((tmp_path, True), (tmp_path / "other", False)):
            [found] = seen(ports=[port], base=str(base))["ports"][str(port)]
            assert (found["pid"], found["ours"]) == (child.pid, ours)
        child.communicate()
    until("nobody listens", lambda: not processes.sockets(port))
    assert seen(ports=[port])["ports"] == {}


# --- interpreters

SAYS = {
    "its version": ("echo 3.11", "3.11"),
    "more": ("echo 3.11; echo interpreter=/home/bob/evil", None),
    "another thing": ("echo 3.x", None),
    "nothing": ("true", None),
    "without an end": ("yes 3.11", None),
}


@pytest.mark.parametrize(("script", "version"), SAYS.values(), ids=SAYS)
def test_an_interpreter_tells_its_version_and_nothing_else(
    script: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "SECONDS", 2)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    assert seen(pythons=[["", str(python)]])["pythons"] == ({str(python): version} if version else {})


def test_root_runs_what_only_root_can_change_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look.only_roots(Path("/bin/sh"))
    ran: list[str] = []

    def starter(account: str, command: list[str], *_: Any) -> partial[confined.Fork]:
        ran.append(account)
        return partial(confined.Fork, lambda: "3.9\n", 20)

    monkeypatch.setattr(look.os, "geteuid", lambda: 0)
    monkeypatch.setattr(confined, "starter", starter)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    if os.getuid() == 0:
        os.chown(python, 65534, 65534)
    assert not look.only_roots(python)
    name = str(python)
    for account, runs in (("root", "root"), ("no-such-account", "nobody")):
        assert look.interpreters([(account, name)]) == ({name: "3.9"}, {name: ""})
        assert ran.pop() == runs
    look.interpreters([("root", "/bin/sh")])
    assert ran == [""]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_interpreters_of_accounts_are_asked_at_once_and_each_fails_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many hang: what it costs is one deadline."""
    monkeypatch.setattr(look, "SECONDS", 2)
    monkeypatch.setattr(
        confined, "starter", lambda account, command, data, deadline: partial(confined.Command, command, deadline)
    )
    scripts = {f"hangs{number}": "sleep 60" for number in range(8)} | {"lies": "echo 3.x", "says": "echo 3.12"}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        os.chown(tmp_path / name, 65534, 65534)
    os.chown(tmp_path, 65534, 65534)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").mkdir()
    gone = ["gone", "circle/python", "folder"]
    begin = time.monotonic()
    found = seen(pythons=[["root", str(tmp_path / name)] for name in [*scripts, *gone]] + [["root", "no-such-python"]])
    assert time.monotonic() - begin < 12
    assert found["pythons"] == {str(tmp_path / "says"): "3.12"}
    why = {Path(path).relative_to(tmp_path).as_posix(): text for path, text in found["owned"].items()}
    assert why.keys() == {*scripts, *gone}
    assert why["says"] == ""
    assert {why[name] for name in scripts if "hangs" in name} == {"it gave no answer within 2 s and was ended"}
    assert why["lies"] == "it says something else than its version"
    assert {why[name] for name in gone} == {"it is not there, or no program"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("who", ["file", "folder", "link", "target's folder", "writable", "writable folder"])
def test_all_on_the_way_must_be_roots(who: str) -> None:
    top = Path("/opt") / f"hf-{os.getpid()}"
    (top / "a").mkdir(parents=True)
    (top / "b").mkdir()
    target, link = top / "b/python", top / "a/python"
    target.write_text("")
    link.symlink_to("../b/python")
    try:
        assert look.only_roots(link)
        spoilt = {"file": target, "folder": top / "a", "link": link, "target's folder": top / "b"}
        if who in spoilt:
            os.chown(spoilt[who], 65534, 65534, follow_symlinks=False)
        else:
            (target if who == "writable" else top / "b").chmod(0o777)
        assert not look.only_roots(link)
    finally:
        shutil.rmtree(top)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_what_an_account_changes_meanwhile_is_none_of_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is a folder, or gone, by the time that it is read; links in a row as long as one likes."""
    top = Path("/opt") / f"hf-{os.getpid()}"
    top.mkdir()
    try:
        (top / "link").symlink_to("/bin/sh")
        assert look.only_roots(top / "link")
        for number in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):

            def changed(path: Any, number: int = number, **_: Any) -> str:
                raise OSError(number, "changed", str(path))

            with monkeypatch.context() as patch:
                patch.setattr(look.os, "readlink", changed)
                # What is gone nobody but root could put there again.
                assert look.only_roots(top / "link") == (number in (errno.ENOENT, errno.ENOTDIR))
        (top / "l0").symlink_to("/bin/sh")
        for number in range(2000):
            (top / f"l{number + 1}").symlink_to(f"l{number}")
        assert look.only_roots(top / "l9")
        assert not look.only_roots(top / "l2000")
        (top / "l0").unlink()
        (top / "l0").symlink_to("l1")
        assert not look.only_roots(top / "l0/python")
        assert look.only_roots(top / "gone/python")
        top.chmod(0o1777)
        assert look.only_roots(top / "link")
        assert not look.only_roots(top / "gone"), "anybody may put something there"
    finally:
        shutil.rmtree(top)


SWAPS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
os.mkdir("folder")
os.symlink("/usr/bin", "bin")
while True:
    libc.renameat2(-100, b"bin", -100, b"folder", 2)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_link_that_becomes_a_folder_and_a_link_again_ends_no_look(tmp_path: Path) -> None:
    """As root's own, else the first look at whose it is would be the last."""
    top = Path("/opt") / f"hf-{os.getpid()}"
    top.mkdir()
    with subprocess.Popen([sys.executable, "-Ic", SWAPS, str(top)]) as child:
        try:
            until("they change places", lambda: os.path.lexists(top / "bin"))
            for _ in range(20_000):
                look.only_roots(top / "bin/python3")
        finally:
            child.kill()
            child.wait()
            shutil.rmtree(top)


# --- the way to it


class Here:
    """An action whose host is this machine."""

    class _templar:
        template = staticmethod(lambda value: value)

    @staticmethod
    def _low_level_execute_command(command: str, in_data: bytes, **_: bool) -> dict[str, Any]:
        done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


@pytest.mark.parametrize("named", ["auto_silent", sys.executable])
def test_a_host_is_looked_at_with_its_own_python_or_the_one_that_is_named(named: str) -> None:
    found = remote.look(Here(), CALL, {"ansible_python_interpreter": named}, True)  # type: ignore[arg-type]
    assert Path(found["python"]).is_absolute()
    assert (found["python"] == sys.executable) == (named == sys.executable)
