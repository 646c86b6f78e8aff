"""The load client tells the ways apart in which a server can let a request down."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from visitors import AGAIN, OK, Client, Report, Visitors


class Server:
    """Answers as the path of a request asks for; its connections are kept open unless told otherwise."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """Listen, with a ``context`` for TLS."""
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.ended = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Give each connection a thread."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        """Answer a connection's requests until one of them ends it."""
        if self.context:
            try:
                connection = self.context.wrap_socket(connection, server_side=True)
            except OSError:  # The end of a test.
                return
        with connection, contextlib.suppress(OSError):
            for number in range(1000):
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (got := connection.recv(4096)):
                        return
                    data += got
                head, _, body = data.decode().partition("\r\n\r\n")
                method, path, _ = head.split(" ", 2)
                length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
                while len(body) < length:
                    body += connection.recv(4096).decode()
                text = f"v1 {body}" if method == "POST" else "v1"
                if (
                    not getattr(self, path.strip("/").replace("-", "_"))(connection, text, number)
                    or "Connection: close" in head
                ):
                    return

    @staticmethod
    def say(connection: socket.socket, text: str, status: str = "200 OK", header: str = "") -> bool:
        """Answer; True keeps the connection."""
        header = f"X-Release: r1\r\nContent-Length: {len(text)}\r\n{header}"
        connection.sendall(f"HTTP/1.1 {status}\r\n{header}\r\n{text}".encode())
        return True

    def fine(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer as expected."""
        return self.say(connection, text)

    def chunked(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer in chunks."""
        parts = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (text[:1], text[1:]))
        connection.sendall(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{parts}0\r\n\r\n".encode())
        return True

    def until_closed(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer without telling how much is to come."""
        connection.sendall(f"HTTP/1.1 200 OK\r\n\r\n{text}".encode())
        return False

    def error(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer 502."""
        return self.say(connection, text, "502 Bad Gateway")

    def missing(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer 404."""
        return self.say(connection, text, "404 Not Found")

    def other(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer another text."""
        return self.say(connection, "something else")

    def nonsense(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer what is not HTTP."""
        connection.sendall(b"what?\r\n\r\n")
        return False

    def close(self, connection: socket.socket, text: str, number: int) -> bool:
        """Close without an answer."""
        return False

    def reset(self, connection: socket.socket, text: str, number: int) -> bool:
        """Reset without an answer."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def half(self, connection: socket.socket, text: str, number: int) -> bool:
        """Close in the middle of the answer."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nv1")
        return False

    def hang(self, connection: socket.socket, text: str, number: int) -> bool:
        """Never answer."""
        self.ended.wait(5)
        return False

    def announced(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer, say that the connection is closed, and close it."""
        self.say(connection, text, header="Connection: close\r\n")
        return False

    def close_idle(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer and close, with no word of it; one packet, so that the client sees both before it asks again."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.say(connection, text)
        return False

    def close_late(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer a connection's first request, and close when the second is there."""
        return number == 0 and self.say(connection, text)

    def never_read(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer a connection's first request, and close some time later, whatever came meanwhile."""
        self.say(connection, text)
        self.ended.wait(2)
        return False

    def work_and_close(self, connection: socket.socket, text: str, number: int) -> bool:
        """Answer a connection's first request, and close some time after the second is there."""
        if number:
            self.ended.wait(1.5)
        return self.close_late(connection, text, number)


def running(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Yield a server."""
    found = Server(context)
    yield found
    found.ended.set()
    found.listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running()


@pytest.fixture(scope="module", params=["plain", "tls"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server, one over TLS too."""
    context = None
    if request.param == "tls":
        file = tmp_path_factory.mktemp("certificate") / "both.pem"
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=localhost"
        command = [*make.split(), "-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.with_suffix(".crt"), file)
    yield from running(context)


def closed(path: str, **options: object) -> Client:
    options = {"name": path, "connections": 1, "pause": 0.01, "expect": r"(?P<version>v1) ?", **options}
    return Client(path=f"/{path}", **options)


def reports(
    server: Server | SimpleNamespace, *clients: Client, requests: int, seconds: float = 60
) -> dict[str, Report]:
    """Let clients send so many requests together, and return their reports."""
    clients = tuple(dataclasses.replace(client, tls=server.context is not None) for client in clients)
    with Visitors(server.port, *clients, requests=requests, seconds=seconds) as visitors:
        assert visitors.wait(seconds + 30)
    return visitors.report().by_client()


def test_what_is_lost_and_how(either: Server) -> None:
    wanted = {
        "fine": OK,
        "chunked": OK,
        "until-closed": OK,
        "error": "5xx",
        "missing": "wrong",
        "other": "wrong",
        "nonsense": "wrong",
        "close": "reset",
        "reset": "reset",
        "half": "reset",
        "hang": "timeout",
    }
    # A new connection that is closed is no idle one, also where it would have been kept.
    kept = {True: "kept", False: "new"}
    clients = [
        closed(path, name=f"{path} {kept[keep]}", keep_alive=keep, timeout=0.1 if path == "hang" else 5)
        for path in wanted
        for keep in kept
    ]
    found = reports(either, *clients, requests=300)
    assert {name: set(report.outcomes) for name, report in found.items()} == {
        client.name: {wanted[client.path.strip("/")]} for client in clients
    }
    assert all(report.lost == (0 if OK in report.outcomes else report.total) for report in found.values())
    assert {name for name, report in found.items() if report.again} == set()


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = SimpleNamespace(port=taken.getsockname()[1], context=None)
    [report] = reports(nobody, closed("fine"), requests=5).values()
    assert set(report.outcomes) == {"refused"}
    assert "refused" in report.losses()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_idle_connections_that_the_server_closes(either: Server, method: str) -> None:
    paths = {"fine": 1, "announced": 1, "close-idle": 1, "close-late": 1, "never-read": 0, "work-and-close": 1}
    clients = [closed(path, method=method, keep_alive=True, pause=0.03, race=race) for path, race in paths.items()]
    found = reports(either, *clients, requests=200)
    idle, twice = ((again, method) for again in AGAIN)
    assert {path: set(report.again) for path, report in found.items()} == {
        "fine": set(),
        "announced": set(),
        "close-idle": {idle},
        "close-late": {twice},
        "never-read": {twice},
        "work-and-close": set(),
    }
    assert found["close-idle"].again[idle] == found["close-idle"].total - 1
    assert [path for path, report in found.items() if report.lost] == ["work-and-close"]
    assert set(found["work-and-close"].outcomes) == {OK, "reset"}


def test_post_must_come_back(either: Server) -> None:
    found = reports(either, closed("fine", method="POST"), closed("other", method="POST", expect=".*"), requests=50)
    assert set(found["fine"].outcomes) == {OK}
    assert set(found["other"].outcomes) == {"wrong"}


def test_connections_are_kept_or_not(server: Server) -> None:
    before = server.connections
    [kept] = reports(server, closed("fine", keep_alive=True), requests=10).values()
    between = server.connections
    [new] = reports(server, closed("fine"), requests=10).values()
    assert (kept.total, new.total) == (10, 10)
    assert (between - before, server.connections - between) == (1, 10)


def test_open_loop_waits_for_no_answer(server: Server) -> None:
    """A request that hangs holds none up, and waiting counts from when one was due."""
    clients = [Client("hang", rate=100, path="/hang", timeout=2), Client("fine", rate=100, path="/fine")]
    found = reports(server, *clients, requests=80)
    for report in found.values():
        due = sorted(answer.due for answer in report.answers)
        assert len(due) >= 10
        assert all(later - sooner == pytest.approx(0.01) for sooner, later in zip(due, due[1:], strict=False))
    assert all(answer.latency >= 2 for answer in found["hang"].answers)
    assert found["fine"].worst < 2


def test_versions_and_releases_are_seen(server: Server) -> None:
    start = time.monotonic()
    with Visitors(server.port, closed("fine"), seconds=60) as visitors:
        at = visitors.seen("v1", 60)
        assert visitors.seen("v2") is None
    assert start < at < time.monotonic()
    assert {(answer.version, answer.release) for answer in visitors.answers} == {("v1", "r1")}
    assert visitors.report(until=start).total == 0
    assert visitors.report(since=start).total == visitors.report().total > 0
    assert "all: lost none of" in str(visitors.report())
