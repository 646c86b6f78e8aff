"""The toolkit's own clients against real servers: an app's socket, the kernel's backlog, supervisord."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask, backlog, supervisor
from support import answers, process, short_folder, tool, until

APP = """
import json, time


def application(environ, respond):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("boom")
    status = "503 Service Unavailable" if path == "/down" else "200 OK"
    respond(status, [("X-Mixed-Case", " a: b "), ("Content-Type", "x")])
    if path == "/slow":
        time.sleep(20)
    if path == "/drip":
        for _ in range(200):
            yield b"."
            time.sleep(0.1)
    if path == "/large":
        yield b"x" * 300000
    yield json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()
"""


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """Return the socket of a real uWSGI with four workers."""
    for folder in short_folder():
        (folder / "app.py").write_text(APP)
        path, log = folder / "app.sock", folder / "log"
        command = [
            tool("uwsgi"),
            "--socket",
            str(path),
            "--wsgi-file",
            "app.py",
            "--master",
            "--processes",
            "4",
            "--add-header",
            "X-Release: 0123456789ab",
            "--need-app",
            "--worker-reload-mercy",
            "1",
            "--die-on-term",
            "--no-orphans",
        ]
        with process(command, log, cwd=folder):
            until("uWSGI listens", lambda path=path: answers(path))
            yield str(path)


def test_ask_tells_status_headers_and_body(app: str) -> None:
    status, headers, body = ask(app, "/your/path")
    assert status == 200
    assert headers["x-release"] == "0123456789ab"
    assert headers["x-mixed-case"] == "a: b"
    assert b'"PATH_INFO": "/your/path"' in body


def test_ask_looks_like_a_visitor_who_came_over_https(app: str) -> None:
    seen = json.loads(ask(app, "/x", "shop.example.org")[2])
    assert seen["HTTP_HOST"] == "shop.example.org"
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["wsgi.url_scheme"] == "https"
    assert seen["HTTP_X_FORWARDED_PROTO"] == "https"


def test_ask_tells_an_error_of_the_app(app: str) -> None:
    assert ask(app, "/down")[0] == 503


def test_ask_tells_that_the_app_broke_without_a_word(app: str) -> None:
    with pytest.raises(OSError, match="without an answer"):
        ask(app, "/raise")


def test_ask_takes_a_large_answer_without_reading_all_of_it(app: str) -> None:
    status, _, body = ask(app, "/large")
    assert status == 200
    assert 60000 < len(body) < 150000


@pytest.mark.parametrize("path", ["/slow", "/drip"], ids=["silent", "a_byte_now_and_then"])
def test_ask_gives_up_when_the_time_is_over(path: str, app: str) -> None:
    """The time is for the whole answer: a byte now and then does not prolong it."""
    begin = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        ask(app, path, timeout=0.3)
    assert 0.2 < time.monotonic() - begin < 15


def test_ask_where_no_socket_is(short: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask(str(short / "none.sock"), "/")


def test_ask_where_nobody_listens_any_more(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short / "old.sock"))
    with pytest.raises(ConnectionRefusedError):
        ask(str(short / "old.sock"), "/")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1", b"nonsense\r\n\r\n"], ids=["nothing", "half", "nonsense"])
def test_ask_where_the_answer_is_none(answer: bytes, short: Path) -> None:
    path = str(short / "s.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            with server.accept()[0] as client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(OSError, match="without an answer"):
            ask(path, "/", timeout=5)
        thread.join(5)


@pytest.mark.parametrize("waiting", [0, 1, 5])
def test_backlog_counts_who_waits(waiting: int, short: Path) -> None:
    path = str(short / "s.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(16)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        try:
            for client in clients:
                client.connect(path)
            assert backlog(path) == waiting
            for _ in clients:
                server.accept()[0].close()
            assert backlog(path) == 0
        finally:
            for client in clients:
                client.close()


def test_backlog_is_that_of_the_socket_asked_for(short: Path) -> None:
    """Among others, also one whose name only starts the same."""
    with (
        socket.socket(socket.AF_UNIX) as one,
        socket.socket(socket.AF_UNIX) as two,
        socket.socket(socket.AF_UNIX) as client,
    ):
        for server, name in ((one, "s"), (two, "s.sock")):
            server.bind(str(short / name))
            server.listen(4)
        client.connect(str(short / "s.sock"))
        assert (backlog(str(short / "s")), backlog(str(short / "s.sock"))) == (0, 1)


def test_backlog_of_no_listener_is_not_told(short: Path) -> None:
    assert backlog(str(short / "none.sock")) is None


def test_supervisor_speaks_to_the_supervisord_of_a_home(home: Path) -> None:
    api = supervisor(str(home / "run/supervisor.sock")).supervisor
    assert api.getState()["statename"] == "RUNNING"
    assert api.getAllProcessInfo() == []
    with pytest.raises(xmlrpc.client.Fault, match="BAD_NAME"):
        api.getProcessInfo("shop")


def test_supervisor_reads_new_programs_and_runs_them(home: Path) -> None:
    ini = home / "etc/services.d/sleeper.ini"
    ini.write_text("[program:sleeper]\ncommand = sleep 600\nautostart = false\nstartsecs = 0\n")
    api = supervisor(str(home / "run/supervisor.sock")).supervisor
    assert api.reloadConfig() == [[["sleeper"], [], []]]
    assert api.addProcessGroup("sleeper")
    assert api.startProcess("sleeper", True)
    pid = api.getProcessInfo("sleeper")["pid"]
    # A TERM before the child became the program would be lost on supervisord's own handler in it.
    until("the program runs", lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert api.stopProcess("sleeper", True)
    assert not os.path.exists(f"/proc/{pid}")
    ini.unlink()
    assert api.reloadConfig() == [[[], [], ["sleeper"]]]
    assert api.removeProcessGroup("sleeper")


def test_supervisor_that_is_not_there(short: Path) -> None:
    with pytest.raises(FileNotFoundError):
        supervisor(str(short / "supervisor.sock")).supervisor.getState()
