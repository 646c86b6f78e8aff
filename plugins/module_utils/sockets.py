"""Talking to an app and to supervisord over their unix sockets, with the standard library alone."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Of one answer of supervisord: bytes, and seconds until all of it is there. None of the calls waits for a program.
LIMIT, SECONDS = 4 << 20, 30
STATUS = re.compile("[1-9][0-9]{2}")

# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, NLMSG_DONE, NLMSG_ERROR = 4, 20, 0x301, 3, 2
SHOW_NAME_AND_QUEUE, LISTENING, ATTRIBUTE_NAME, ATTRIBUTE_QUEUE = 0x11, 1 << 10, 0, 4


def ask(
    path: str, url: str, host: str = "localhost", timeout: float = 5.0, alive: Callable[[], None] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send one GET to an app server's unix socket in the uwsgi protocol.

    The request looks as if it came through the front over HTTPS, so that an app that redirects to HTTPS or
    checks Host answers it like a visitor's.

    :param path: the socket.
    :param url: the request's path with the mount, without a query.
    :param host: what the Host header says.
    :param timeout: seconds for the whole answer.
    :param alive: called while there is no answer yet, some 20 times a second; what it raises ends the wait. A socket
        that a holder keeps open takes a connection also when no app is there to answer it.
    :returns: status, headers with lower-case names, and at most 64 KiB of the body.
    :raises OSError: nobody listens, or the time is over.
    """
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": url,
        "PATH_INFO": url,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTPS": "on",
        "HTTP_HOST": host,
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": host,
        "HTTP_USER_AGENT": "hosted.flask health check",
    }
    body = b"".join(
        struct.pack("<H", len(part)) + part for pair in variables.items() for part in (text.encode() for text in pair)
    )
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        client.connect(path)
        client.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
        answer = b""
        while len(answer) < 65536:
            left = deadline - time.monotonic()
            client.settimeout(max(0.001, min(left, 0.05) if alive else left))
            try:
                piece = client.recv(65536)
            except TimeoutError:
                if alive is None or time.monotonic() >= deadline:
                    raise
                alive()
                continue
            if not piece:
                break
            answer += piece
    return answered(answer)


def answered(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers with lower-case names and body of an answer in HTTP.

    :raises OSError: it is none.
    """
    head, _, content = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    # Not by isdigit: it takes a superscript of Latin-1 for a digit, which no int is made of.
    if len(words) < 2 or not STATUS.fullmatch(words[1]):
        raise OSError("the app closed the connection without an answer")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(words[1]), headers, content


def backlog(path: str) -> int | None:
    """Return how many connections wait on a listening unix socket, or None where the kernel does not tell.

    The figure is ``Recv-Q`` of ``ss -xl``, asked from the kernel by sock_diag(7).
    """
    request = struct.pack(
        "<IHHII BBHIIIII", 40, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0,
        socket.AF_UNIX, 0, 0, LISTENING, 0, SHOW_NAME_AND_QUEUE, 0xFFFFFFFF, 0xFFFFFFFF,
    )  # fmt: skip
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(2)
            kernel.send(request)
            while True:
                data = kernel.recv(65536)
                while len(data) >= 16:
                    length, kind = struct.unpack_from("<IH", data)
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return None
                    found = attributes(data[32:length])
                    name = found.get(ATTRIBUTE_NAME, b"").rstrip(b"\0").decode(errors="replace")
                    if name == path and ATTRIBUTE_QUEUE in found:
                        return struct.unpack_from("<I", found[ATTRIBUTE_QUEUE])[0]
                    data = data[(length + 3) & ~3 :]
    except OSError:
        return None


def attributes(data: bytes) -> dict[int, bytes]:
    """Split netlink attributes into a dict by their type."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("<HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def listens(port: int) -> bool:
    """Whether somebody on this host accepts TCP connections on a port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as file:
            if any(row.split()[3] == "0A" and row.split()[1].endswith(f":{port:04X}") for row in list(file)[1:]):
                return True
    return False


class Until(socket.socket):
    """A unix socket for one answer, which has to be there by a time also where it comes in many pieces."""

    def __init__(self, seconds: float) -> None:
        """Begin to count."""
        super().__init__(socket.AF_UNIX)
        self.settimeout(seconds)
        self.until = time.monotonic() + seconds

    def recv_into(self, *arguments: Any) -> int:
        """Receive a piece.

        :raises TimeoutError: the time is over.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().recv_into(*arguments)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; the host is the socket's path."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = Until(SECONDS)
        self.sock.connect(self.host)


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket."""

    def __init__(self, path: str) -> None:
        """Speak to the socket at ``path``."""
        super().__init__()
        self.path = path

    def make_connection(self, host: object) -> UnixConnection:
        """Return a connection of its own for each call: supervisord keeps none."""
        return UnixConnection(self.path)

    def request(self, *arguments: Any, **options: Any) -> Any:
        """Send a call.

        :raises OSError: there is no answer, or it is no supervisord's.
        """
        try:
            return super().request(*arguments, **options)
        except (http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise OSError(f"its answer cannot be read ({type(error).__name__}: {str(error)[:200]})") from None

    def parse_response(self, response: http.client.HTTPResponse) -> Any:
        """Return what an answer says, if it is as short as supervisord's are.

        :raises OSError: it is longer, or not XML.
        """
        data = response.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise OSError(f"it answers with more than {LIMIT} bytes")
        parser, unmarshaller = self.getparser()
        try:
            parser.feed(data)
            parser.close()
            return unmarshaller.close()
        except xmlrpc.client.Fault:
            raise
        except Exception as error:  # xmlrpc.client names none; a decimal that is none has one of its own.
            raise OSError(f"its answer cannot be read ({type(error).__name__}: {str(error)[:200]})") from None


def supervisor(path: str) -> xmlrpc.client.ServerProxy:
    """Return the XML-RPC interface of the supervisord that listens at ``path``."""
    return xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=UnixTransport(path))
