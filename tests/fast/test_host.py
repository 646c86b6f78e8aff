"""What makes a host fit for the internet: how ssh is found, how files are put back, how rules are kept or not."""

from __future__ import annotations

import contextlib
import errno
import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hosted.flask.plugins.action import firewall as action
from ansible_collections.hosted.flask.plugins.module_utils import answers
from ansible_collections.hosted.flask.plugins.modules import (
    account_homes,
    account_keeps,
    account_processes,
    firewall,
    host_facts,
    host_files,
    packages,
)

# --- how ssh comes in

SSHD = "port 22\nport 2022\nlistenaddress 0.0.0.0:22\nlistenaddress [::]:2223\npasswordauthentication no\n"
USED = host_facts.Connection(64_123, host_facts.Socket("01", 2400, "192.0.2.9", 50022), ["10", "9"])


@pytest.mark.parametrize(
    ("settings", "unit", "listening", "used", "found"),
    [
        (SSHD, "", set(), None, [22, 2022, 2223]),
        ("", "", {2300, 2301}, None, [2300, 2301]),
        (
            "",
            "Listen=[::]:2500 (Stream)\nListen=127.0.0.1:2501 (Stream)\nActiveState=active\n",
            set(),
            None,
            [2500, 2501],
        ),
        ("", "Listen=2500 (Stream)\nActiveState=active\n", set(), None, [2500]),
        ("", "Listen=0.0.0.0:22 (Stream)\nActiveState=inactive\n", set(), None, []),
        ("", "", set(), USED, [2400]),
        (SSHD, "", {22, 2300}, USED, [22, 2022, 2223, 2300, 2400]),
        ("", "", set(), None, []),
    ],
    ids=["settings", "sockets", "unit", "unit_port", "unit_unused", "connection", "all", "none"],
)
def test_ports_of_ssh(
    settings: str, unit: str, listening: set[int], used: host_facts.Connection | None, found: list[int]
) -> None:
    assert host_facts.ports(settings, unit, listening, used) == found


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("", [".ssh/authorized_keys", ".ssh/authorized_keys2"]),
        ("authorizedkeysfile .ssh/authorized_keys /etc/keys/%u\n", [".ssh/authorized_keys", "/etc/keys/%u"]),
        ("port 22\nauthorizedkeysfile /etc/keys/%u /etc/ssh/authorized_keys.d/%u\n", ["/etc/keys/%u"]),
        ("authorizedkeysfile none\n", []),
    ],
    ids=["no_sshd", "before", "after", "none"],
)
def test_where_sshd_looks_for_keys(settings: str, found: list[str]) -> None:
    assert host_facts.keys_files(settings) == found


PASSWORD = "Accepted password for root from 192.0.2.9 port 50022 ssh2"


@pytest.mark.parametrize(
    ("used", "messages", "found"),
    [
        (None, [], "none"),
        (USED, ["Accepted publickey for root from 192.0.2.9 port 50022 ssh2: ED25519 SHA256:x"], "key"),
        (USED, [PASSWORD], "password"),
        (USED, ["Accepted keyboard-interactive/pam for root from 192.0.2.9 port 50022 ssh2"], "password"),
        (USED, ["pam_unix: opened", PASSWORD], "password"),
        (USED, [PASSWORD.replace("50022", "50023")], "unknown"),
        # What somebody gave for his name, and bytes, which the journal has as numbers.
        (USED, [f"Invalid user {PASSWORD}", f"Failed password for invalid user {PASSWORD}", [65, 255]], "unknown"),
        (USED, [], "unknown"),
    ],
    ids=["no_ssh", "key", "password", "pam", "second", "another", "name", "no_log"],
)
def test_login(used: host_facts.Connection | None, messages: list[Any], found: str) -> None:
    journal = "".join(json.dumps({"MESSAGE": message}) + "\n" for message in messages)
    assert host_facts.login(used, journal) == found


def test_journal_is_asked_for_what_it_found_out_itself() -> None:
    """Whoever writes to it chooses SYSLOG_IDENTIFIER and every other field without a line before its name."""
    matches = [word for word in host_facts.trusted(USED) if "=" in word and not word.startswith("-")]
    assert {match.partition("=")[0] for match in matches} == {"_UID", "_PID", "_EXE"}
    assert {"_UID=0", "_PID=9", "_PID=10", "_EXE=/usr/sbin/sshd"} <= set(matches)


class Proc:
    """A /proc of processes as tests want them."""

    def __init__(self, folder: Path) -> None:
        """Begin with the process that asks, and with no connection."""
        self.folder = folder
        (folder / "self").mkdir()
        (folder / "self/root").symlink_to("/")
        (folder / "net").mkdir()
        self.lines = ["  sl  local_address rem_address   st"]

    def add(
        self,
        pid: int,
        uid: int,
        exe: str,
        *,
        parent: int = 1,
        root: str = "/",
        fds: tuple[str, ...] = (),
        name: bytes = b"sshd",
    ) -> None:
        """Add a process."""
        at = self.folder / str(pid)
        (at / "fd").mkdir(parents=True)
        (at / "status").write_bytes(
            b"Name:\t%s\nPPid:\t%d\nUid:\t%d\t%d\t%d\t%d\n" % (name, parent, uid, uid, uid, uid)
        )
        (at / "environ").write_text("SSH_CONNECTION=192.0.2.66 1 192.0.2.1 6666\0")
        (at / "exe").symlink_to(exe)
        (at / "root").symlink_to(root)
        for number, target in enumerate(fds):
            (at / "fd" / str(number)).symlink_to(target)

    def socket(self, inode: int, port: int, state: str = "0A", peer: str = "00000000:0000") -> str:
        """Add a socket; return what a descriptor of it points at."""
        self.lines.append(f"   0: 00000000:{port:04X} {peer} {state} 0:0 00:0 0 0 0 {inode} 1 0")
        (self.folder / "net/tcp").write_text("\n".join(self.lines) + "\n")
        return f"socket:[{inode}]"


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """Return a /proc with nothing in it."""
    return Proc(tmp_path)


def test_only_roots_sshd_has_ports(proc: Proc, tmp_path: Path) -> None:
    """Whatever others are called, whichever of sshd's programs they run, and whatever of theirs is called a socket."""
    proc.add(10, 0, "/usr/sbin/sshd", fds=("/dev/null", proc.socket(1, 22)))
    proc.add(11, 0, "/usr/sbin/sshd (deleted)", fds=(proc.socket(2, 2022),))
    proc.add(12, 1000, "/usr/sbin/sshd", fds=(proc.socket(3, 7003),))
    proc.add(13, 0, "/home/bob/sshd", fds=(proc.socket(4, 7004),))
    proc.add(14, 0, "/usr/sbin/sshd", root=str(tmp_path), fds=(proc.socket(5, 7005),))
    proc.add(15, 1000, "/usr/bin/x", fds=("/home/bob/x socket:[1]", "socket:[1]"), name=b"\xff\\nUid:\t0\t0\t0\t0")
    proc.add(16, 0, "/usr/sbin/sshd", fds=("/tmp/x socket:[6]", proc.socket(6, 7006, "01"), "socket:[77]"))
    proc.add(17, 0, "/usr/bin/python3.11", fds=(proc.socket(7, 7007),))
    assert host_facts.listening(host_facts.sockets(tmp_path), tmp_path) == {22, 2022}


def test_connection_is_that_of_the_sshd_that_we_come_from(
    proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what an environment says, be it above sudo or our own; of two of root's the upper one knows the login."""
    monkeypatch.setattr("os.getpid", lambda: 30)
    used = proc.socket(1, 22, "01", "090200C0:C366")
    proc.add(30, 0, "/usr/bin/python3", parent=25)
    proc.add(25, 0, "/usr/bin/sudo", parent=20)
    proc.add(20, 64_123, "/usr/sbin/sshd", parent=12, fds=(proc.socket(2, 6666, "01"),))
    known = host_facts.sockets(tmp_path)
    assert host_facts.connection(known, tmp_path) is None, "the account's own sshd is none"
    proc.add(12, 0, "/usr/lib/openssh/sshd-session", parent=11, fds=(proc.socket(3, 22), used))
    proc.add(11, 0, "/usr/lib/openssh/sshd-session", parent=10, fds=(used,))
    proc.add(10, 0, "/usr/sbin/sshd", fds=(proc.socket(4, 22),))
    found = host_facts.connection(host_facts.sockets(tmp_path), tmp_path)
    assert found == (64_123, ("01", 22, "192.0.2.9", 50022), ["12", "11"])


@pytest.mark.skipif(sys.byteorder != "little", reason="as other machines write it")
@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("0000000000000000FFFF0000090200C0", "192.0.2.9"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
    ],
)
def test_addresses_of_the_kernel(written: str, address: str) -> None:
    assert host_facts.plain(written) == address


# --- files of the host


Write = Callable[..., dict[str, Any]]


@pytest.fixture
def write(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what runs the module that writes files."""
    monkeypatch.setattr(host_files, "OWED", tmp_path / "state/owed.json")

    def run(*files: dict[str, Any], check: bool = False) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"files": [*files], "_ansible_check_mode": check}), pytest.raises(SystemExit):
            host_files.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_files_are_written_once_and_removed(write: Write, tmp_path: Path) -> None:
    file = {"path": str(tmp_path / "a.d/x.conf"), "content": "one\n", "apply": [f"touch {tmp_path}/applied"]}
    assert write(file, check=True)["changed"] is True
    assert list(tmp_path.iterdir()) == []
    answer = write(file)
    assert (answer["changed"], answer["files"]) == (True, [file["path"]])
    assert (tmp_path / "a.d/x.conf").read_text() == "one\n"
    (tmp_path / "applied").unlink()
    assert write(file)["changed"] is False
    assert not (tmp_path / "applied").exists(), "nothing changed, so nothing is to be applied"
    answer = write({**file, "content": ""})
    assert (answer["changed"], answer["diff"][0]["before"]) == (True, "one\n")
    assert list((tmp_path / "a.d").iterdir()) == []
    assert (tmp_path / "applied").exists()
    assert write({**file, "content": ""})["changed"] is False


@pytest.mark.parametrize("kind", ["check", "apply"])
def test_files_that_are_refused_are_put_back(kind: str, write: Write, tmp_path: Path) -> None:
    """All of them, also those that nobody has refused."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("earlier\n")
    count, refuse = f"sh -c 'echo run >> {tmp_path}/applied'", "sh -c 'echo no such word >&2; exit 1'"
    answer = write(
        {"path": str(good), "content": "later\n", "apply": [count]},
        {"path": str(bad), "content": "x\n", kind: refuse if kind == "check" else [refuse]},
    )
    assert answer["failed"] is True
    assert "no such word" in answer["msg"]
    assert good.read_text() == "earlier\n"
    assert not bad.exists()
    # Once for the new one, if it came to that, and once for the earlier one.
    assert len((tmp_path / "applied").read_text().splitlines()) == (1 if kind == "check" else 2)


def test_files_are_readable_by_all_whatever_the_umask_is(write: Write, tmp_path: Path) -> None:
    """Sshd reads an account's keys with that account's rights."""
    umask = os.umask(0o077)
    try:
        write({"path": str(tmp_path / "a/b/c"), "content": "x\n"})
    finally:
        os.umask(umask)
    assert [oct((tmp_path / path).stat().st_mode)[-3:] for path in ("a", "a/b", "a/b/c")] == ["755", "755", "644"]


@pytest.mark.parametrize("after", [0, 1, 2], ids=["no_file", "one_file", "all_files"])
def test_the_next_run_does_what_an_interrupted_one_left(
    after: int, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"path": str(tmp_path / "one"), "content": "1\n", "apply": [f"touch {tmp_path}/applied.one"]}
    two = {"path": str(tmp_path / "two"), "content": "2\n", "apply": [f"touch {tmp_path}/applied.two"]}
    put, calls = host_files.put, iter(range(9))

    def interrupted(path: Path, text: str) -> None:
        if path.parent == tmp_path and next(calls) == after:
            raise KeyboardInterrupt
        put(path, text)

    monkeypatch.setattr(host_files, "put", interrupted)
    if after == 2:
        monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", lambda *_, **__: 1 / 0)
    with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
        write(one, two)
    monkeypatch.undo()
    monkeypatch.setattr(host_files, "OWED", tmp_path / "state/owed.json")
    assert write({"path": str(tmp_path / "other"), "content": "", "apply": ["false"]})["changed"] is False
    assert write(one, two, check=True)["changed"] is True
    assert write(one, two)["changed"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "applied.one", "applied.two", "state"}
    assert write(one, two)["changed"] is False
    assert list((tmp_path / "state").iterdir()) == []


# --- homes of accounts


def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what modules warn of from now on; beside a controller they would tell that."""
    told: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda _, text: told.append(text))
    return told


@pytest.fixture
def open_homes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what runs the module that opens homes; account shop is who runs the tests."""
    own = pwd.getpwuid(os.getuid())
    known = {"shop": own}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", {"www-data": grp.getgrgid(os.getgid())}.__getitem__)
    told = warned(monkeypatch)

    def run(check: bool = False, **homes: str) -> dict[str, Any]:
        capsys.readouterr()
        told.clear()
        with patch_module_args({"homes": homes, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            account_homes.main()
        return json.loads(capsys.readouterr().out) | {"warned": told[:]}

    return run


def mode(path: Path) -> str:
    return oct(path.stat().st_mode)[-4:]


def test_a_home_is_opened_once(open_homes: Write, tmp_path: Path) -> None:
    home = tmp_path / "homes/shop"
    home.mkdir(parents=True, mode=0o755)
    assert open_homes(check=True, shop=str(home))["changed"] is True
    assert list(home.iterdir()) == []
    answer = open_homes(shop=str(home))
    assert answer["folders"] == [str(home), str(home / "apps")]
    assert (mode(home), mode(home / "apps")) == ("0710", "2710")
    assert open_homes(shop=str(home))["changed"] is False
    (home / "apps").chmod(0o755)
    answer = open_homes(shop=str(home))
    assert answer["folders"] == [str(home / "apps")]
    assert answer["diff"][0]["before"].endswith(" 0755\n")
    assert mode(home / "apps") == "2710"


def test_a_home_that_is_missing_is_made(open_homes: Write, tmp_path: Path) -> None:
    assert open_homes(check=True, shop=str(tmp_path / "a/shop"))["changed"] is True
    assert list(tmp_path.iterdir()) == []
    open_homes(shop=str(tmp_path / "a/shop"))
    assert mode(tmp_path / "a/shop/apps") == "2710"


def test_a_link_that_root_made_is_followed_and_one_of_the_account_is_not(open_homes: Write, tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    (tmp_path / "disk").mkdir()
    home.symlink_to(tmp_path / "disk")
    other.mkdir(mode=0o700)
    (home / "apps").symlink_to(other)
    answer = open_homes(shop=str(home))
    assert f"home of account shop: {home}/apps: " in answer["refused"]["shop"]
    assert answer["warned"] == [answer["refused"]["shop"]]
    assert "apps not as a link" in answer["warned"][0]
    assert mode(other) == "0700"
    assert mode(tmp_path / "disk") == "0710"
    (home / "apps").unlink()
    assert open_homes(shop=str(home))["changed"] is True


def test_an_account_that_is_not_there(open_homes: Write, tmp_path: Path) -> None:
    assert open_homes(check=True, blog=str(tmp_path / "blog"))["changed"] is True
    assert "account blog is not there" in open_homes(blog=str(tmp_path / "blog"))["msg"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has something that an account has not")
@pytest.mark.parametrize("kind", ["link", "file", "fifo", "roots", "loop"])
def test_an_account_gets_nothing_of_others_and_keeps_nobody_waiting(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It renames in its home what it likes, what root has there too; the next account has its home all the same."""
    users = {
        name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "")) for name, uid in (("bad", 64_123), ("good", 64_124))
    }
    monkeypatch.setattr(pwd, "getpwnam", users.__getitem__)
    tmp_path.chmod(0o755)
    homes = {name: tmp_path / name for name in users}
    apps = homes["bad"] / "apps"
    homes["bad"].mkdir()
    match kind:
        case "link":
            apps.symlink_to("/etc")
        case "loop":
            apps.symlink_to("apps")
        case "file":
            apps.touch()
        case "fifo":
            os.mkfifo(apps)
        case "roots":
            apps.mkdir(mode=0o700)
    before = apps.lstat()
    arguments = {"homes": {name: str(home) for name, home in homes.items()}, "group": "root"}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        account_homes.main()
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["refused"]) == ["bad"]
    assert (apps.lstat().st_uid, apps.lstat().st_mode) == (before.st_uid, before.st_mode)
    assert (homes["good"] / "apps").stat().st_uid == 64_124
    assert mode(homes["good"] / "apps") == "2710"


# --- what is left of accounts

KNOWN = ["./logs", "./.cache"]


def look(home: Path, *, purged: bool = False) -> str:
    """Return what the process says that looks through a home."""
    words = [sys.executable, "-I", "-c", account_keeps.LOOK]
    data = json.dumps([str(home), KNOWN, purged])
    run = subprocess.run(words, input=data, capture_output=True, text=True, check=True, timeout=60)
    return answers.parsed(run.stdout, {"kept": str})["kept"]


@pytest.mark.parametrize(
    ("files", "kept", "purged"),
    [
        ([], "", ""),
        (["logs/x.log", ".cache/a/b", "empty/folder/"], "", ""),
        ([".bashrc"], "", ""),
        (["apps/shop/"], "./apps/shop", "./apps/shop"),
        (["dump.sql"], "./dump.sql", ""),
        (["a/b/logs"], "./a/b/logs", ""),
        (["a\nb\x1b[2J"], "./a\nb\\x1b[2J", ""),
        (["\udcff"], "./\\udcff", ""),
    ],
    ids=["empty", "known", "skel", "app", "file", "named_like_known", "escapes", "no_text"],
)
def test_what_a_home_keeps(files: list[str], kept: str, purged: str, tmp_path: Path) -> None:
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if file.endswith("/") else path.touch()
    assert (look(tmp_path), look(tmp_path, purged=True)) == (kept, purged)


def test_a_home_is_looked_through_however_it_is_made(tmp_path: Path) -> None:
    """No link is followed, no depth ends it; where a name gets too long for the kernel, something is there."""
    (tmp_path / "a").symlink_to("/")
    assert look(tmp_path) == "./a"
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "fifo")
    assert look(tmp_path) == "./fifo"
    (tmp_path / "fifo").unlink()
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    assert look(tmp_path).startswith("./d/d/d")
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b'{"kept": ""}', ""),
        (b'{"kept": "./x"}', "./x"),
        (b'{"kept": "", "ansible_facts": {}}', "could not be looked through"),
        (b'{"kept": [] }', "could not be looked through"),
        (b"\x1b[2J", "could not be looked through"),
        (account_keeps.confined.Unanswered("it gave no answer within 60 s"), "no answer within 60 s"),
    ],
    ids=["nothing", "something", "more", "type", "no_json", "none"],
)
def test_a_home_that_is_not_known_to_be_empty_stays(
    answer: bytes | Exception, kept: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd(("shop", "x", 1, 1, "", str(tmp_path), "")))

    def run(*_: Any) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(account_keeps.confined, "run", run)
    found = account_keeps.kept("shop", [], False, 1)
    assert kept in found if kept else found == ""
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (errno.EACCES, "could not be looked through"),
        (errno.ENOTCONN, "could not be looked through"),
        (errno.ENOENT, ""),
    ],
)
def test_a_home_that_root_cannot_look_at_keeps_no_other_one_waiting(
    number: int, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its account has mounted something of its own there, or removed it."""
    home = "/home/of-nobody"
    monkeypatch.setattr(pwd, "getpwnam", lambda _: pwd.struct_passwd(("shop", "x", 1, 1, "", home, "")))

    def broken(path: Any) -> os.stat_result:
        raise OSError(number, "broken", path)

    monkeypatch.setattr(account_keeps.os, "stat", broken)
    found = account_keeps.kept("shop", [], False, 1)
    assert kept in found if kept else found == ""


def test_a_folder_that_its_account_closed_is_worth_no_home_that_is_to_be_purged(tmp_path: Path) -> None:
    """Its own processes cannot read it either; below the apps' it is, for there may be data."""
    (tmp_path / "apps/shop").mkdir(parents=True)

    def kept(purged: bool, closed: str) -> str:
        said = f"import os; scan = os.scandir\ndef closed(path):\n if path == {closed!r}: raise PermissionError\n"
        code = f"{said} return scan(path)\nos.scandir = closed\n{account_keeps.LOOK}"
        data = json.dumps([str(tmp_path), [], purged])
        return json.loads(subprocess.run([sys.executable, "-Ic", code], input=data, text=True, stdout=-1).stdout)[
            "kept"
        ]

    assert kept(True, "./apps") == "./apps"
    (tmp_path / "apps/shop").rmdir()
    (tmp_path / ".config").mkdir()
    assert kept(True, "./.config") == ""
    assert kept(False, "./.config") == "./.config"


# --- processes of accounts

STUBBORN = (
    "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 15)]; print(flush=True); time.sleep(600)"
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs something as somebody else")
def test_a_process_may_be_called_whatever_it_likes() -> None:
    """Be it no text: all that it runs is seen, and ends by what is sent to it and to nobody else."""
    uid = 64_125
    program = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b'\\xff\\nUid:\\t0'); print(flush=True); time.sleep(600)"
    )
    words = [shutil.which("python3", path=os.defpath), "-c", program]
    with subprocess.Popen(words, user=uid, group=uid, cwd="/", stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert account_processes.running(uid) == [process.pid]
        account_processes.send(uid + 1, [process.pid], signal.SIGKILL)
        assert process.poll() is None, "a number that is another one's by now"
        account_processes.send(uid, [process.pid, 2**22 - 1], signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs something as somebody else")
def test_all_that_an_account_runs_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what ignores that it is asked to; and nothing of others."""
    uid = 64_123
    monkeypatch.setattr(pwd, "getpwnam", {"shop": pwd.struct_passwd(("shop", "x", uid, uid, "", "/", ""))}.__getitem__)

    def run(check: bool = False) -> dict[str, Any]:
        arguments = {"accounts": ["nobody-there", "shop"], "patience": 0.5, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            account_processes.main()
        return json.loads(capsys.readouterr().out)

    def start(user: int, program: str) -> subprocess.Popen[bytes]:
        words = [shutil.which("python3", path=os.defpath), "-c", program]
        process = subprocess.Popen(words, user=user, group=user, cwd="/", stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        return process

    answer = run()
    assert (answer["changed"], answer["ended"]) == (False, {})
    with contextlib.ExitStack() as stack:
        gentle, stubborn, other = (
            stack.enter_context(start(*what))
            for what in ((uid, "import time; print(flush=True); time.sleep(600)"), (uid, STUBBORN), (uid + 1, STUBBORN))
        )
        for process in (gentle, stubborn, other):
            stack.callback(process.kill)
        # Without somebody who waits for them what ended would still be there.
        for process in (gentle, stubborn):
            threading.Thread(target=process.wait, daemon=True).start()
        assert sorted(run(check=True)["ended"]["shop"]) == sorted([gentle.pid, stubborn.pid])
        assert (gentle.returncode, stubborn.returncode) == (None, None)
        answer = run()
        assert (answer["changed"], sorted(answer["ended"]["shop"])) == (True, sorted([gentle.pid, stubborn.pid]))
        assert account_processes.running(uid) == []
        assert (gentle.wait(10), stubborn.wait(10)) == (-signal.SIGTERM, -signal.SIGKILL)
        assert other.poll() is None
        assert run()["changed"] is False


def test_an_account_whose_processes_do_not_end_keeps_no_other_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "")) for uid, name in enumerate(("bob", "shop"))}
    monkeypatch.setattr(pwd, "getpwnam", entries.__getitem__)
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", lambda *_: (0, "", ""))
    monkeypatch.setattr(account_processes, "running", lambda uid: [7] if uid == 0 or asked != [0, 1] else [])
    monkeypatch.setattr(account_processes, "end", lambda uid, _: asked.append(uid) or [7][uid:])
    asked: list[int] = []
    with patch_module_args({"accounts": ["bob", "shop"]}), pytest.raises(SystemExit):
        account_processes.main()
    answer = json.loads(capsys.readouterr().out)
    assert asked == [0, 1]
    assert (answer["ended"], answer["left"]) == ({"bob": [7], "shop": [7]}, {"bob": [7]})
    assert not answer.get("failed")


# --- rules


def load(answers: dict[str, tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, **more: object) -> list[str]:
    """Run the module on a host whose commands answer so, by their first words; return the commands that it ran."""
    ran: list[str] = []

    def command(self: Any, words: list[str], **_: Any) -> tuple[int, str, str]:
        ran.append(" ".join(words))
        return next((answer for start, answer in answers.items() if ran[-1].startswith(start)), (0, "", ""))

    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.run_command", command)
    with patch_module_args({"state": "tried", "rules": "new", **more}), pytest.raises(SystemExit):
        firewall.main()
    return ran


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the module's files below the test's own folder."""
    for name, file in (("RULES", "rules"), ("UNIT", "unit"), ("NEW", "new"), ("BACK", "back")):
        monkeypatch.setattr(firewall, name, tmp_path / file)
    monkeypatch.setattr(firewall, "RUN", tmp_path)


def test_host_that_may_load_nothing_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {"nft list tables": (1, "", "Operation not permitted (you must be root)")}
    told = warned(monkeypatch)
    assert load(refused, monkeypatch) == ["nft list tables"]
    answer = json.loads(capsys.readouterr().out)
    assert (answer["skipped"], answer.get("failed", False)) == (True, False)
    assert "Operation not permitted" in told[0]


def test_way_back_is_armed_before_rules_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it brings what was loaded before."""
    ran = load({"nft --stateless --terse list": (0, "table inet hosted_flask { }\n", "")}, monkeypatch)
    words = [command.partition(" --")[0] for command in ran]
    assert words[-3:] == ["systemctl stop hosted-firewall-back.timer", "systemd-run", "nft"]
    assert ran[-1] == f"nft --file {tmp_path}/new"
    assert (tmp_path / "back").read_text() == firewall.EMPTY + "table inet hosted_flask { }\n"
    assert json.loads(capsys.readouterr().out)["armed"] is True


def test_rules_that_nft_refuses_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = load({"nft --check": (1, "", "syntax error")}, monkeypatch)
    assert ran[-1].startswith("nft --check")
    assert "Fix it in the inventory" in json.loads(capsys.readouterr().out)["msg"]
    assert list(tmp_path.iterdir()) == []


def test_rules_that_do_not_load_leave_the_earlier_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = load({"nft --file": (1, "", "no memory")}, monkeypatch)
    assert ran[-1] == "systemctl stop hosted-firewall-back.timer"
    assert "the earlier ones stay" in json.loads(capsys.readouterr().out)["msg"]


def test_rules_that_are_there_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless the table is gone from the kernel."""
    (tmp_path / "rules").write_text("new")
    (tmp_path / "unit").write_text("unit")
    load({}, monkeypatch, unit="unit")
    assert json.loads(capsys.readouterr().out)["changed"] is False
    load({"nft --stateless --terse list": (1, "", "no such table")}, monkeypatch, unit="unit")
    assert json.loads(capsys.readouterr().out)["armed"] is True


def test_nothing_is_kept_that_was_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load({}, monkeypatch, state="kept", unit="unit")
    assert "the new rules were undone" in json.loads(capsys.readouterr().out)["msg"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").write_text("new")
    (tmp_path / "back").touch()
    load({}, monkeypatch, state="kept", unit="unit")
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"rules": "new", "unit": "unit"}


class Connection:
    """One that can be made anew, or not before some tries."""

    def __init__(self, down: int) -> None:
        """Let so many tries fail."""
        self.down, self.resets = down, 0

    def reset(self) -> None:
        """End it."""
        self.resets += 1


def act(down: int, kept: dict[str, Any] | None = None, tried: dict[str, Any] | None = None) -> tuple[Any, list[str]]:
    """Run the action with a host that answers as told; return its result or error, and what it asked of the host."""
    asked: list[str] = []
    connection = Connection(down)

    def ask(state: str) -> None:
        asked.append(state)
        if state != "tried" and connection.down:
            connection.down -= 1
            raise AnsibleConnectionFailure("timed out")

    class Action(action.ActionModule):
        def _execute_module(self, name: str, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:  # type: ignore[override]
            ask(module_args["state"])
            return (tried or {"changed": True, "armed": True}) if module_args["state"] == "tried" else kept or {}

        def _low_level_execute_command(self, command: str, **_: Any) -> dict[str, Any]:  # type: ignore[override]
            ask(command)
            return {"rc": 0}

    class Task:
        args = {"rules": "r"}
        async_val = 0
        check_mode = diff = False

    subject = Action.__new__(Action)
    subject._task, subject._connection = Task(), connection
    subject._execute = None
    original = action.ActionBase.run
    action.ActionBase.run = lambda *_: {}
    try:
        return subject.run(task_vars={}), asked
    except AnsibleActionFail as error:
        return error, asked
    finally:
        action.ActionBase.run = original


def test_rules_are_kept_over_a_new_connection() -> None:
    assert act(0) == ({"changed": True, "armed": True}, ["tried", "kept"])


def test_nothing_is_kept_where_nothing_was_loaded() -> None:
    assert act(0, tried={"changed": False, "armed": False})[1] == ["tried"]
    assert act(0, tried={"failed": True, "msg": "no"}) == ({"failed": True, "msg": "no"}, ["tried"])


def test_rules_that_nobody_comes_through_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the host can be reached again, so that what follows can say so."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    error, asked = act(3)
    assert "server_firewall_rules: refused" in str(error)
    assert "timed out" in str(error)
    assert asked == ["tried", "kept", "true", "true", "true"]


def test_rules_that_were_undone_meanwhile_are_refused() -> None:
    error, _ = act(0, kept={"failed": True, "msg": "the new rules were undone"})
    assert "the new rules were undone" in str(error)


# --- packages


@pytest.mark.parametrize(
    ("paragraph", "there"),
    [
        ("Package: a\nStatus: install ok installed\nDescription: of it\n more: words", True),
        ("Package: a\nEssential: yes\nStatus: hold ok installed", True),
        ("Package: a\nStatus: deinstall ok config-files", False),
        ("Package: a\nStatus: install reinstreq half-installed", False),
        ("Package: b\nStatus: install ok installed\nDescription: x\n Package: a", False),
        ("", False),
    ],
    ids=["installed", "held", "removed", "half", "named_only", "none"],
)
def test_a_package_is_installed_where_dpkg_says_so(paragraph: str, there: bool) -> None:
    others = "Package: first\nStatus: install ok installed\n"
    assert ("a" in packages.installed(f"{others}\n{paragraph}\n\n{others}")) is there


# --- units


def test_units_that_rest_are_those_that_systemd_does_not_say_to_run() -> None:
    good, bad = "UnitFileState=enabled\nActiveState=active", "UnitFileState=enabled\nActiveState=inactive"
    off, gone = "UnitFileState=disabled\nActiveState=active", "UnitFileState=\nActiveState=inactive"
    shown = "\n\n".join((bad, good, off, gone)) + "\n"
    assert host_files.rests(shown, ["stopped", "runs", "off", "gone", "not told"]) == [
        "stopped",
        "off",
        "gone",
        "not told",
    ]
    assert host_files.rests("", ["a"]) == ["a"]
