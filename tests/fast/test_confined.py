"""Work in processes of their own: until a deadline, up to a limit, and on hosts as a unit of the account's slice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import confined, work
from ansible_collections.hosted.flask.plugins.module_utils.confined import Fork, Unanswered, each
from support import ROOT, completed, until

UNIT = (ROOT / "roles/supervisord/templates/supervisord@.service.j2").read_text()
# Of the unit alone: who it is, how it starts and ends; and what confined.py says why it has not.
OF_THE_UNIT = {
    "User", "WorkingDirectory", "RuntimeDirectory", "RuntimeDirectoryMode", "ExecStartPre", "ExecStart", "ExecStopPost",
    "Restart", "RestartSec", "KillMode", "TimeoutStopSec", "OOMPolicy", "RestrictSUIDSGID",
}  # fmt: skip


def test_the_work_on_an_app_is_shut_in_as_its_programs_are() -> None:
    section = UNIT.partition("[Service]")[2].partition("[Install]")[0]
    unit = {line for line in section.splitlines() if re.match(r"[A-Z]\w+=", line)}
    own = {line for line in unit if line.partition("=")[0] not in OF_THE_UNIT}
    assert len(own) > 20
    assert own == set(confined.SANDBOX) - {"KillSignal=SIGKILL"}


def hold(seconds: float) -> str:
    """Answer late."""
    time.sleep(seconds)
    return "late"


def test_answers_come_back_by_name_and_no_more_run_at_once_than_may(tmp_path: Path) -> None:
    def one(name: str) -> str:
        (tmp_path / name).touch()
        time.sleep(0.05)
        count = len(list(tmp_path.iterdir()))
        (tmp_path / name).unlink()
        return f"{name} {count}"

    jobs = [(f"job{number}", partial(Fork, partial(one, f"job{number}"), 20)) for number in range(9)]
    found = each(jobs, 3, 1000)
    assert found.keys() == {name for name, _ in jobs}
    for name, answer in found.items():
        said, count = answer.decode().split()  # type: ignore[union-attr]
        assert said == name
        assert 1 <= int(count) <= 3


def test_one_that_hangs_is_ended_at_its_deadline_and_holds_nobody_up() -> None:
    begin = time.monotonic()
    jobs = [("hangs", partial(Fork, partial(hold, 60), 0.5))]
    jobs += [(f"quick{number}", partial(Fork, lambda: "ok", 20)) for number in range(6)]
    found = each(jobs, 2, 1000)
    assert time.monotonic() - begin < 20
    assert isinstance(found["hangs"], Unanswered)
    assert "within 0.5 s" in str(found["hangs"])
    assert {found[name] for name, _ in jobs[1:]} == {b"ok"}


def test_one_owner_cannot_hold_all_places() -> None:
    """Of four, his that hang take two, also where they are the first; where nobody else waits they take all."""
    jobs = [(f"hangs{number}", partial(Fork, partial(hold, 60), 3)) for number in range(4)]
    jobs += [(f"quick{number}", partial(Fork, lambda: str(time.monotonic()), 20)) for number in range(6)]
    begin = time.monotonic()
    found = each(jobs, 4, 1000, {name: "mallory" if "hangs" in name else "alice" for name, _ in jobs})
    quick = [float(found[name]) for name, _ in jobs if "quick" in name]  # type: ignore[arg-type]
    assert max(quick) - begin < 2.5
    assert time.monotonic() - begin < 5.5
    assert all(isinstance(found[name], Unanswered) for name, _ in jobs if "hangs" in name)


def test_one_that_says_too_much_is_ended() -> None:
    found = each([("loud", partial(Fork, lambda: "x" * (64 << 20), 20))], 1, 1 << 20)
    assert "more than 1048576 bytes" in str(found["loud"])


def test_one_that_dies_has_said_nothing() -> None:
    found = each([("dead", partial(Fork, lambda: os._exit(3), 20))], 1, 1000)  # type: ignore[arg-type, return-value]
    assert found["dead"] == b""


def test_one_that_cannot_be_started_is_told() -> None:
    def fail() -> Fork:
        raise OSError("no such account")

    assert "no such account" in str(each([("none", fail)], 1, 1000)["none"])


REFUSED = """\
Failed to start transient service unit: Transaction for {}/start is destructive (user-1005.slice has 'stop' job \
queued, but 'start' is included in transaction).
"""


@pytest.mark.parametrize(
    ("said", "code", "refused"),
    [(REFUSED, 1, True), (REFUSED, 0, False), ("a word\n" + REFUSED, 1, False), (REFUSED + "a word\n", 1, False),
     (REFUSED.replace("{}", "other.service"), 1, False), ("", 1, False)],
)  # fmt: skip
def test_a_unit_is_started_again_only_where_systemd_refused_it(said: str, code: int, refused: bool) -> None:
    unit = confined.Unit.__new__(confined.Unit)
    unit.unit = "hosted-work-blog-0a1b2c3d.service"
    unit.answer = bytearray(said.replace("{}", unit.unit).encode())
    unit.process = subprocess.Popen([sys.executable, "-c", f"exit({code})"])
    unit.process.wait()
    assert unit.refused() is refused


class Refused(Fork):
    """One that could not be started the first times."""

    tries = 0

    def refused(self) -> bool:
        type(self).tries += 1
        return self.tries < 3


def test_what_systemd_refused_is_started_again_until_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "PAUSE", 0.05)
    jobs = [("late", partial(Refused, lambda: "ok", 20)), ("other", partial(Fork, lambda: "ok", 20))]
    assert each(jobs, 1, 1000) == {"late": b"ok", "other": b"ok"}
    assert Refused.tries == 3
    Refused.tries = -1000
    found = each([("never", partial(Refused, lambda: "ok", 1))], 1, 1000)
    assert "within 1 s" in str(found["never"])


LIES = {
    "nothing": (b"", "it ended without an answer"),
    "text": (b"Traceback\nValueError: x\n", "it is no JSON"),
    "other keys": (json.dumps({"changed": False, "add_host": {"host_name": "x"}}).encode(), "'add_host'"),
    "other types": (json.dumps({"changed": "no"}).encode(), "changed is 'no', and no boolean"),
    "a release that is a path": (json.dumps({"changed": False, "release": "../../x"}).encode(), "release is"),
    "deep": (b"[" * 100_000, "it is no JSON"),
    "escape": (b"\x1b]0;owned\x07 {}", r"\x1b]0;owned\x07"),
}


@pytest.mark.parametrize(("said", "told"), LIES.values(), ids=LIES)
def test_what_an_accounts_process_answers_is_not_believed(said: bytes, told: str) -> None:
    result = work.taken(completed(), said, "deploy")
    assert result["failed"] is True
    assert result["changed"] is False
    assert result["msg"].startswith("app shop: the work on it, with the rights of account shop: ")
    assert told in result["msg"]
    assert "\x1b" not in result["msg"]
    row = work.taken(completed(), said, "status")["status"]
    assert (row["app"], row["release"]) == ("shop", None)
    assert told in row["health"]


def test_only_the_way_out_is_taken_over_from_roots_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = {"https_proxy": "http://proxy:3128", "NO_PROXY": "x", "PIP_CERT": "/c", "SSL_CERT_FILE": "/c", "LANG": "C"}
    passed |= {"UV_INDEX_URL": "https://index", "PIP_EXTRA_INDEX_URL": "https://index", "REQUESTS_CA_BUNDLE": "/c"}
    kept = [
        "SSH_CONNECTION",
        "SUDO_USER",
        "AWS_SECRET_ACCESS_KEY",
        "LD_PRELOAD",
        "PYTHONPATH",
        "PATH",
        "HOME",
        "UV_CACHE_DIR",
    ]
    for name, value in passed.items():
        monkeypatch.setenv(name, value)
    for name in kept:
        monkeypatch.setenv(name, "root's")
    given = confined.environment()
    assert passed.items() <= given.items()
    assert not set(kept) & given.keys()


def test_a_command_of_ones_own_ends_with_all_that_it_started(tmp_path: Path) -> None:
    assert confined.run("", [sys.executable, "-c", "print('x' * 2000)"]) == b"x" * 2000 + b"\n"
    script = f"sleep 60 & echo $! > {tmp_path}/pid; yes"
    for deadline, limit, said in ((20, 4096, "more than 4096 bytes"), (0.5, 1 << 40, "within 0.5 s")):
        with pytest.raises(Unanswered, match=said):
            confined.run("", ["sh", "-c", script], deadline=deadline, limit=limit)
        pid = (tmp_path / "pid").read_text().strip()
        until("what it started has ended", lambda pid=pid: "State:\tZ" in status(pid) or not status(pid))


def status(pid: str) -> str:
    """Return what the kernel says of a process, nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
