"""The program that holds an app's sockets, as a process of its own, with small apps that take them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import listen
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask, backlog
from support import answers, process, tool, until

# listen.py with other times: seconds until an app counts as away, and seconds to wait for the holder.
SHORTENED = """\
import importlib.util, sys
spec = importlib.util.spec_from_file_location("listen", sys.argv[1])
listen = importlib.util.module_from_spec(spec)
spec.loader.exec_module(listen)
listen.AWAY, listen.PATIENCE = float(sys.argv[2]), float(sys.argv[3])
listen.main(*sys.argv[4:])
"""
# Answers one request after the other with its name; the name "child" leaves that to a child and ends.
APP = """\
import contextlib, os, socket, sys

if sys.argv[1] == "child" and os.fork():
    sys.exit()
with socket.socket(fileno=3) as listener:
    listener.setblocking(True)
    while True:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            answer = f"HTTP/1.1 200 OK\\r\\nX-Release: {sys.argv[1]}\\r\\nX-Process: {os.getpid()}\\r\\n\\r\\n"
            client.sendall(answer.encode())
"""


def command(*words: str, away: float = 60, patience: float = 10) -> list[str]:
    """Return the command line that runs listen.py."""
    return [sys.executable, "-ISc", SHORTENED, listen.__file__, str(away), str(patience), *words]


@contextlib.contextmanager
def holding(folder: Path, away: float = 60) -> Iterator[subprocess.Popen[bytes]]:
    """Run a holder; it is ready when the block begins."""
    with process(command("hold", str(folder), away=away), folder / "log") as holder:
        until("the holder is there", lambda: holder.poll() is not None or answers(folder / "listen.sock"))
        yield holder


def taking(folder: Path, slot: str, name: str = "first") -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Run an app that takes a slot's socket."""
    return process(command("take", str(folder), slot, sys.executable, "-ISc", APP, name), folder / "log")


def said(folder: Path, slot: str = "live", timeout: float = 10) -> str:
    """Ask at a slot's socket: which app answered, or what the holder said."""
    status, headers, _ = ask(str(folder / f"{slot}.sock"), "/", timeout=timeout)
    return headers.get("x-release", str(status))


def is_said(wanted: str, folder: Path, slot: str = "live") -> bool:
    """Whether this is what is said; a visitor who hesitates is cut off by the holder, and is no answer."""
    try:
        return said(folder, slot) == wanted
    except OSError:
        return False


@contextlib.contextmanager
def visitors(folder: Path, count: int) -> Iterator[Callable[[], list[str]]]:
    """Let visitors ask and wait at slot live; yields what tells the answers that they got."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(said, folder) for _ in range(count)]
        until("they wait", lambda: backlog(str(folder / "live.sock")) == count)
        yield lambda: [future.result(10) for future in futures]


def test_each_app_gets_the_socket_of_its_slot(short: Path) -> None:
    with holding(short), taking(short, "live", "one"), taking(short, "standby", "two"):
        assert [said(short, slot) for slot in ("live", "standby", "live", "standby")] == ["one", "two"] * 2


def test_the_front_may_connect_and_only_the_account_may_take(short: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0o077)
    try:
        with holding(short):
            modes = {path.name: path.stat().st_mode & 0o777 for path in short.glob("*.sock")}
    finally:
        os.umask(before)
    assert modes == {"live.sock": 0o660, "standby.sock": 0o660, "listen.sock": 0o600}


def test_what_a_holder_left_is_replaced(short: Path) -> None:
    with holding(short) as holder:
        before = (short / "live.sock").stat().st_mtime_ns
        holder.kill()
        holder.wait()
    assert not answers(short / "live.sock")
    (short / "standby.sock").unlink()
    (short / "standby.sock").write_text("no socket\n")
    with holding(short), taking(short, "live"), taking(short, "standby", "second"):
        assert (said(short), said(short, "standby")) == ("first", "second")
        assert (short / "live.sock").stat().st_mtime_ns != before


def test_visitors_who_come_before_the_app_wait_for_it(short: Path) -> None:
    with holding(short), visitors(short, 20) as answered, taking(short, "live"):
        assert answered() == ["first"] * 20


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_visitors_who_come_between_two_apps_wait_for_the_second(end: signal.Signals, short: Path) -> None:
    with holding(short):
        with taking(short, "live") as app:
            assert said(short) == "first"
            app.send_signal(end)
            app.wait(10)
        with visitors(short, 20) as answered, taking(short, "live", "second"):
            assert answered() == ["second"] * 20


def test_two_apps_share_a_socket_while_one_follows_the_other(short: Path) -> None:
    with holding(short), taking(short, "live", "old") as old:
        assert said(short) == "old"
        with taking(short, "live", "new"):
            until("the second answers too", lambda: said(short) == "new")
            old.terminate()
            old.wait(10)
            assert {said(short) for _ in range(20)} == {"new"}


# --- the holder and an app start and end in any order


def test_an_app_waits_for_a_holder_that_starts_later(short: Path) -> None:
    with taking(short, "live") as app:
        until("it runs", lambda: "take" in Path(f"/proc/{app.pid}/cmdline").read_text())
        assert not (short / "live.sock").exists()
        with holding(short):
            assert said(short) == "first"
        assert app.poll() is None


def test_an_app_waits_also_where_a_killed_holder_left_its_socket(short: Path) -> None:
    with holding(short) as holder:
        holder.kill()
        holder.wait()
    assert (short / "listen.sock").exists()
    with taking(short, "live"), holding(short):
        assert said(short) == "first"


def test_an_app_without_a_holder_says_what_is_missing(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PATIENCE", 0.1)
    with pytest.raises(OSError, match=rf"nobody hands out {short}/live\.sock: supervisorctl status"):
        listen.take(str(short), "live", ["true"])


def test_an_app_without_a_holder_ends(short: Path) -> None:
    words = command("take", str(short), "live", "echo", "started", patience=0.1)
    run = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (run.returncode, run.stdout) == (1, "")
    assert f"nobody hands out {short}/live.sock" in run.stderr.splitlines()[-1]


def test_an_app_whose_slot_nobody_knows_ends(short: Path) -> None:
    with holding(short) as holder:
        words = command("take", str(short), "dead", "echo", "started", patience=0.1)
        run = subprocess.run(words, capture_output=True, text=True, timeout=20)
        assert (run.returncode, run.stdout) == (1, "")
        assert holder.poll() is None


def test_an_app_goes_on_when_its_holder_is_killed(short: Path) -> None:
    """The next holder leaves it its socket; the app's next start gets a new one."""
    with taking(short, "live") as app:
        with holding(short) as holder:
            assert said(short) == "first"
            made = (short / "live.sock").stat().st_mtime_ns
            holder.kill()
            holder.wait()
        assert said(short) == "first"
        with holding(short, away=0.1) as holder:
            assert (short / "live.sock").stat().st_mtime_ns == made
            until("the other slot is looked after", lambda: is_said("503", short, "standby"))
            assert said(short) == "first", "an app that it did not start is not away"
            app.terminate()
            app.wait(10)
            with taking(short, "live", "second"):
                until("the app is there again", lambda: answers(short / "live.sock"))
                assert said(short) == "second"
                assert (short / "live.sock").stat().st_mtime_ns != made
            assert holder.poll() is None


# --- an app that stays away


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json, text/plain, */*", "application/json"),
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("a" * 300 + ",Text/HTML", "text/html"),
    ],
)
def test_the_answer_is_what_the_visitor_asks_for(accept: str, kind: str) -> None:
    def packed(*words: str) -> bytes:
        return b"".join(len(word).to_bytes(2, "little") + word.encode() for word in words)

    for before in ((), ("HTTP_HOST", "x")):
        request = b"\0\1\1\0" + packed(*before, "HTTP_ACCEPT", accept, "HTTP_COOKIE", "text/html")
        head, _, body = listen.answer(request).partition(b"\r\n\r\n")
        assert f"\r\nContent-Type: {kind}\r\n".encode() in head
        assert f"\r\nContent-Length: {len(body)}".encode() in head
        if kind == "application/json":
            assert json.loads(body)["status"] == 503


def test_visitors_of_an_app_that_stays_away_are_told_so_at_once(short: Path) -> None:
    with holding(short, away=0.2):
        assert said(short) == "503", "who came before it was away waits no longer than that"
        begin = time.monotonic()
        status, headers, body = ask(str(short / "live.sock"), "/")
        assert time.monotonic() - begin < 4, "at once, not after the 5 s of patience"
        assert (status, headers["retry-after"], headers["cache-control"]) == (503, "10", "no-store")
        assert (headers["content-type"], body) == ("text/plain", f"{listen.WORDS}\n".encode())
        assert int(headers["content-length"]) == len(body)
        with taking(short, "live"), taking(short, "standby", "second"):
            until("normal service again", lambda: said(short) == "first")
            assert {said(short) for _ in range(20)} == {"first"}
            until("for the other too", lambda: said(short, "standby") == "second")
        until("away once more", lambda: is_said("503", short))


def test_an_app_that_is_not_away_yet_is_waited_for(short: Path) -> None:
    with holding(short, away=60), visitors(short, 3) as answered:
        begin = time.monotonic()
        until("the holder had time to refuse", lambda: time.monotonic() - begin > 1.2)
        assert backlog(str(short / "live.sock")) == 3
        with taking(short, "live"):
            assert answered() == ["first"] * 3


def test_an_app_is_there_until_its_last_process_ends(short: Path) -> None:
    """The program itself may have ended long before."""
    with holding(short, away=0.1), taking(short, "live", "child") as app:
        assert app.wait(10) == 0
        until("the other slot is away", lambda: is_said("503", short, "standby"))
        _, headers, _ = ask(str(short / "live.sock"), "/")
        assert headers["x-release"] == "child"
        os.kill(int(headers["x-process"]), signal.SIGKILL)

        # The dying process itself may have accepted one.
        until("the holder saw its end", lambda: is_said("503", short))


def test_a_visitor_who_says_nothing_does_not_hold_up_the_others(short: Path) -> None:
    with holding(short, away=0.1) as holder, contextlib.ExitStack() as stack:
        until("away", lambda: is_said("503", short))
        for _ in range(5):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(short / "live.sock"))
        assert said(short, timeout=5) == "503"
        silent.settimeout(5)
        assert silent.recv(64).startswith(b"HTTP/1.1 503 "), "it is answered all the same"
        assert holder.poll() is None


def test_uwsgi_takes_a_socket_that_was_refused_at(short: Path) -> None:
    """What the holder did with it meanwhile is nothing that the app's server notices."""
    (short / "wsgi.py").write_text(
        "def application(environ, respond):\n    respond('204 No Content', [])\n    return []\n"
    )
    server = [tool("uwsgi"), "--socket", "fd://3", "--master", "--wsgi-file", str(short / "wsgi.py"), "--die-on-term"]
    server += ["--add-header", "X-Release: uwsgi", "--no-orphans"]
    with holding(short, away=0.1):
        until("away", lambda: is_said("503", short))
        with process(command("take", str(short), "live", *server), short / "log"):
            until("uWSGI answers", lambda: said(short) == "uwsgi")
            assert {said(short) for _ in range(20)} == {"uwsgi"}


# --- others at the holder's own socket


GARBAGE = {
    "nothing": [],
    "empty_line": [b"\n"],
    "another_slot": [b"current"],
    "path": [b"../live"],
    "long": [b"x" * 100_000],
    "no_text": [b"\xff\xfe\x00"],
    "in_pieces": [b"l", b"ost"],
}


@pytest.mark.parametrize("pieces", GARBAGE.values(), ids=GARBAGE)
def test_a_word_that_is_none_does_not_end_the_holder(pieces: list[bytes], short: Path) -> None:
    with holding(short) as holder, taking(short, "live"):
        assert said(short) == "first"
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.settimeout(5)
            client.connect(str(short / "listen.sock"))
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        with taking(short, "standby", "second"):
            assert said(short, "standby") == "second"
        assert said(short) == "first"
        assert holder.poll() is None


def test_apps_that_vanish_in_the_middle_of_asking_do_not_end_the_holder(short: Path) -> None:
    with holding(short, away=0.1) as holder:
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(short / "listen.sock"))
                client.sendall(b"live")
        until("none of them counts as an app", lambda: is_said("503", short))
        descriptors = Path(f"/proc/{holder.pid}/fd")
        until("nothing of them is kept", lambda: len(list(descriptors.iterdir())) < 12)
        with taking(short, "live"):
            until("an app that stays is served", lambda: said(short) == "first")
        assert holder.poll() is None
