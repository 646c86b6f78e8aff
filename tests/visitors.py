"""Visitors of a site: a load client that tells of every single request how it went.

    with Visitors(8080, Client("open", rate=200), Client("closed", connections=4, keep_alive=True)) as visitors:
        ...
    assert visitors.report().lost == 0, visitors.report()

Python's standard library only. The requests are sent by a process of its own, so that what happens meanwhile here does
not hold them up; it asks 127.0.0.1 and nothing else, and ends by its limits, by the end of the block, or with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

ADDRESS = "127.0.0.1"
OK = "ok"
# Nobody listens; closed or reset before the answer was whole; and the rest is what it says. "wrong" is another status
# or another text than expected.
LOST = ("refused", "reset", "5xx", "timeout", "wrong")
# A server may close a connection that it keeps open between two requests, whenever it likes, and a client then asks
# again. It either saw that before it sent the next request, or only when it had sent it and got no byte of an answer.
AGAIN = ("closed idle", "sent twice")
# One for all connections: to make it takes longer than to shake hands.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


@dataclass(frozen=True)
class Client:
    """One kind of visitor: open loop with a ``rate``, closed loop with ``connections``."""

    name: str
    rate: float = 0  # requests a second, each sent when it is due, answered or not the one before
    connections: int = 0  # that many at a time, each waits for its answer and then for ``pause`` seconds
    pause: float = 0.05
    keep_alive: bool = False  # else each request has a connection of its own
    method: str = "GET"  # a POST's body is of this client alone, and the answer must end with it
    path: str = "/"
    host: str = "localhost"  # the header
    expect: str = ".*"  # what the answer's text (a POST's body taken off) must be; its group "version", if any, is seen
    timeout: float = 5
    race: float = 0.1  # seconds: a server that took longer to close, with no reset, had the request: that one is lost
    tls: bool = False  # over HTTPS; by which certificate is not its business


class Answer(NamedTuple):
    """How one request went; times are of the monotonic clock."""

    client: str
    method: str
    due: float  # open loop: by the rate; closed loop: when it was sent
    sent: float  # when its turn came; much later than due means that this machine was too busy
    done: float
    outcome: str  # OK or one of LOST
    again: str  # one of AGAIN, or nothing
    version: str
    release: str

    @property
    def latency(self) -> float:
        """Seconds that the visitor waited."""
        return self.done - self.due


class Report:
    """The sum of some answers; as a text it is made for a test's message."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        """Count."""
        self.answers = list(answers)
        self.outcomes = Counter(answer.outcome for answer in self.answers)
        self.again = Counter((answer.again, answer.method) for answer in self.answers if answer.again)
        self.total = len(self.answers)
        self.lost = self.total - self.outcomes[OK]
        self.worst = max((answer.latency for answer in self.answers if answer.outcome == OK), default=0.0)
        self.late = max((answer.sent - answer.due for answer in self.answers), default=0.0)

    def by_client(self) -> dict[str, Report]:
        """Return a report for each kind of visitor."""
        names = dict.fromkeys(answer.client for answer in self.answers)
        return {name: Report(one for one in self.answers if one.client == name) for name in names}

    def losses(self) -> str:
        """Return how many were lost in which way."""
        return ", ".join(f"{self.outcomes[kind]} {kind}" for kind in LOST if self.outcomes[kind]) or "none"

    def reconnections(self) -> str:
        """Return how many were sent on a new connection because a kept one was closed."""
        return ", ".join(f"{count} {method} {again}" for (again, method), count in sorted(self.again.items())) or "none"

    def __str__(self) -> str:
        """Return a line for all, and one for each kind of visitor."""
        return "".join(
            f"{name}: lost {one.losses()} of {one.total}, worst {1000 * one.worst:.0f} ms, sent late"
            f" {1000 * one.late:.0f} ms at most, reconnected {one.reconnections()}\n"
            for name, one in {"all": self, **self.by_client()}.items()
        )


class Visitors:
    """Clients at work for as long as a ``with`` block lasts."""

    def __init__(self, port: int, *clients: Client, seconds: float = 120, requests: int = 100_000) -> None:
        """Prepare for a port of 127.0.0.1; nothing more is sent after ``seconds`` or ``requests``."""
        if len({client.name for client in clients}) < len(clients) or not clients:
            raise ValueError("each client has a name of its own, and there is one at least")
        self.clients = clients
        self.answers: list[Answer] = []
        self._order = {
            "port": port,
            "clients": [dataclasses.asdict(client) for client in clients],
            "seconds": seconds,
            "requests": requests,
        }
        self._first: dict[str, float] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Visitors:
        """Start."""
        # A session of its own: ^C is for us, and our end is its end.
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._process.stdin.write(json.dumps(self._order) + "\n")
        self._process.stdin.flush()
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop sending, and wait for the answers that are still to come."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(max(client.timeout for client in self.clients) + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        if code and kind is None:
            raise RuntimeError(f"the visitors' process ended with {code}")

    def _read(self) -> None:
        for line in self._process.stdout:
            answer = Answer(*json.loads(line))
            with self._news:
                self.answers.append(answer)
                if answer.outcome == OK and answer.done < self._first.get(answer.version, float("inf")):
                    self._first[answer.version] = answer.done
                    self._news.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until one of the limits is reached; False if none is within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def seen(self, version: str, seconds: float = 0) -> float | None:
        """Return when a version was first seen, None if it is not within so many seconds."""
        with self._news:
            self._news.wait_for(lambda: version in self._first, seconds)
            return self._first.get(version)

    def report(self, since: float = 0, until: float = float("inf")) -> Report:
        """Return the sum of all answers, or of those of requests that were under way in a span of time."""
        with self._news:
            answers = list(self.answers)
        return Report(answer for answer in answers if answer.done >= since and answer.due <= until)


# --- the process that sends -----------------------------------------------------------------------


class CutError(Exception):
    """The server closed before the answer was whole.

    ``begun`` tells whether a byte of it had come, ``unread`` that the server never read the request: only then is there
    a reset, at its end or at once after it.
    """

    def __init__(self, begun: bool, unread: bool) -> None:
        """Know how far it came."""
        super().__init__(begun, unread)
        self.begun, self.unread = begun, unread


class Connection:
    """One connection, asked one request at a time."""

    def __init__(self) -> None:
        """Prepare; :meth:`open` connects."""
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.begun = self.reusable = False

    async def open(self, port: int) -> None:
        """Connect."""
        await self.loop.sock_connect(self.socket, (ADDRESS, port))

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await self.loop.sock_sendall(self.socket, data)

    async def receive(self) -> bytes:
        """Wait for something to come; nothing at the end."""
        return await self.loop.sock_recv(self.socket, 65536)

    def closed(self) -> bool:
        """Whether the server has closed it; asked between two requests, when nothing is to come."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def cut(self, reset: bool = False) -> CutError:
        """Return what tells how far the answer came."""
        return CutError(self.begun, reset or self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)

    async def more(self) -> bool:
        """Read on; False at the end."""
        try:
            data = await self.receive()
        except ConnectionError:
            raise self.cut(reset=True) from None
        self.data += data
        self.begun = self.begun or bool(data)
        return bool(data)

    async def line(self) -> str:
        """Read a line."""
        while b"\r\n" not in self.data:
            if not await self.more():
                raise self.cut()
        line, _, self.data = self.data.partition(b"\r\n")
        return line.decode("latin-1")

    async def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        while len(self.data) < count:
            if not await self.more():
                raise self.cut()
        data, self.data = self.data[:count], self.data[count:]
        return data

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], str]:
        """Send a request and return the answer's status, headers and text."""
        self.begun = self.reusable = False
        try:
            await self.send(request)
        except ConnectionError:
            raise self.cut(reset=True) from None
        protocol, status, *_ = (await self.line()).split(" ", 2)
        headers = {}
        while line := await self.line():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        self.reusable = protocol == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(await self.line(), 16):
                body += await self.exactly(size)
                await self.exactly(2)
            while await self.line():
                pass
        elif "content-length" in headers:
            body = await self.exactly(int(headers["content-length"]))
        elif status in ("204", "304"):
            body = b""
        else:
            self.reusable = False
            while await self.more():
                pass
            body = self.data
        return int(status), headers, body.decode(errors="replace")


class TlsConnection(Connection):
    """The same over TLS."""

    def __init__(self, name: str) -> None:
        """Prepare, for the front's name."""
        super().__init__()
        self.coming, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = CONTEXT.wrap_bio(self.coming, self.going, server_hostname=name)

    async def open(self, port: int) -> None:
        """Connect and shake hands."""
        await super().open(port)
        while True:
            try:
                self.tls.do_handshake()
                return await super().send(self.going.read())
            except ssl.SSLWantReadError:
                await super().send(self.going.read())
                if not (data := await super().receive()):
                    raise ConnectionResetError("closed in the handshake") from None
                self.coming.write(data)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self.tls.write(data)
        await super().send(self.going.read())

    async def receive(self) -> bytes:
        """Wait for something to come; nothing at the end."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not (data := await super().receive()):
                    return b""
                self.coming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def closed(self) -> bool:
        """Whether the server has closed it; what it may say in between, such as tickets, is no end."""
        try:
            while data := self.socket.recv(65536):
                self.coming.write(data)
            return True
        except BlockingIOError:
            pass
        except OSError:
            return True
        try:
            self.tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True


class Sender:
    """Sends what all clients send and prints an answer a line."""

    def __init__(self, port: int, seconds: float, requests: int) -> None:
        """Prepare with the limits."""
        self.port, self.left = port, requests
        self.deadline = time.monotonic() + seconds
        self.stopped = False
        self.lines: list[str] = []
        self.numbers = itertools.count()

    def goes_on(self) -> bool:
        """Whether one more request may be sent."""
        return not self.stopped and self.left > 0 and time.monotonic() < self.deadline

    async def sleep(self, until: float) -> None:
        """Wait for a moment, or for the end."""
        await asyncio.sleep(0)
        while (left := until - time.monotonic()) > 0 and self.goes_on():
            await asyncio.sleep(min(left, 0.1))

    async def run(self, clients: list[Client]) -> None:
        """Let all clients work until they are stopped or a limit is reached, and print meanwhile."""
        async with asyncio.TaskGroup() as group:
            printer = group.create_task(self.print())
            async with asyncio.TaskGroup() as work:
                for number, client in enumerate(clients):
                    if client.rate:
                        # Not all in the same moment.
                        start = time.monotonic() + number / client.rate / len(clients)
                        work.create_task(self.open_loop(client, start, work))
                    for _ in range(client.connections):
                        work.create_task(self.closed_loop(client))
            printer.cancel()
        self.flush()

    async def print(self) -> None:
        """Print what there is, now and then."""
        while True:
            await asyncio.sleep(0.02)
            self.flush()

    def flush(self) -> None:
        """Print what there is."""
        sys.stdout.write("".join(self.lines))
        sys.stdout.flush()
        self.lines.clear()

    async def open_loop(self, client: Client, start: float, work: asyncio.TaskGroup) -> None:
        """Send each request when it is due."""
        idle: list[Connection] = []
        for number in itertools.count():
            due = start + number / client.rate
            await self.sleep(due)
            if not self.goes_on():
                break
            work.create_task(self.visit(client, idle, due))

    async def closed_loop(self, client: Client) -> None:
        """Send a request after the other."""
        idle: list[Connection] = []
        while self.goes_on():
            await self.visit(client, idle, time.monotonic())
            await self.sleep(time.monotonic() + client.pause)

    async def visit(self, client: Client, idle: list[Connection], due: float) -> None:
        """Send one request and note how it went; ``idle`` are the client's open connections."""
        self.left -= 1
        sent = time.monotonic()
        body = f"{client.name} {next(self.numbers)}" if client.method == "POST" else ""
        request = (
            f"{client.method} {client.path} HTTP/1.1\r\nHost: {client.host}\r\n"
            f"Connection: {'keep-alive' if client.keep_alive else 'close'}\r\n"
            + (f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n" if body else "")
            + f"\r\n{body}"
        ).encode()
        used: list[Connection] = []
        notes = {"again": "", "version": "", "release": ""}
        try:
            async with asyncio.timeout(client.timeout):
                status, headers, text = await self.request(client, request, idle, used, notes)
            outcome = self.judge(client, status, text, body, notes)
            notes["release"] = headers.get("x-release", "")
        except TimeoutError:
            outcome = "timeout"
        except ConnectionRefusedError:
            outcome = "refused"
        except (CutError, ConnectionError, ssl.SSLError):
            outcome = "reset"
        except ValueError:
            outcome = "wrong"
        done = time.monotonic()
        last = used.pop()
        if outcome in (OK, "5xx", "wrong") and client.keep_alive and last.reusable:
            idle.append(last)
        else:
            last.socket.close()
        answer = Answer(client.name, client.method, due, sent, done, outcome, **notes)
        self.lines.append(json.dumps(answer) + "\n")

    async def request(
        self,
        client: Client,
        request: bytes,
        idle: list[Connection],
        used: list[Connection],
        notes: dict[str, str],
    ) -> tuple[int, dict[str, str], str]:
        """Ask on an open connection, on a new one where there is none or the server has closed it."""
        while idle:
            connection = idle.pop()
            if connection.closed():
                connection.socket.close()
                notes["again"] = "closed idle"
                continue
            used.append(connection)
            start = time.monotonic()
            try:
                return await connection.ask(request)
            except CutError as cut:
                if cut.begun or not (cut.unread or time.monotonic() - start <= client.race):
                    raise
            used.pop().socket.close()
            notes["again"] = "sent twice"
            break
        used.append(TlsConnection(client.host) if client.tls else Connection())
        await used[-1].open(self.port)
        return await used[-1].ask(request)

    @staticmethod
    def judge(client: Client, status: int, text: str, body: str, notes: dict[str, str]) -> str:
        """Return the outcome of a whole answer."""
        if status >= 500:
            return "5xx"
        rest = text.removesuffix(body)
        match = re.fullmatch(client.expect, rest, re.DOTALL)
        if status != 200 or match is None or (body and rest == text):
            return "wrong"
        notes["version"] = match.groupdict().get("version") or ""
        return OK


async def send() -> None:
    """Do what the one line on stdin says, until stdin ends."""
    order = json.loads(sys.stdin.readline())
    sender = Sender(order["port"], order["seconds"], order["requests"])

    def watch() -> None:
        sys.stdin.read()
        sender.stopped = True

    threading.Thread(target=watch, daemon=True).start()
    await sender.run([Client(**client) for client in order["clients"]])


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(send())
