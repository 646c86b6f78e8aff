"""WebSockets under uWSGI, gunicorn, gevent's server and Flask's own, by simple-websocket."""

import os
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Response
from simple_websocket import ConnectionError as HandshakeError
from simple_websocket import Server
from werkzeug.exceptions import BadRequest
from wsproto.utilities import RemoteProtocolError

__all__ = ["Answered", "Connection", "accept"]

# Bytes; a client has only its token to say.
MESSAGE = 16 * 1024

# Seconds. A client that reads nothing for so long is given up.
SENDING = 2

# Each connection takes a thread from the requests, where there are threads. One is left to them.
_spare: threading.BoundedSemaphore | None = None
_lock = threading.Lock()


class Answered(Response):
    """The response of a request that was answered over its socket: nothing is left to send."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Send nothing.

        :param environ: The request.
        :param start_response: Called for uWSGI's log alone.
        :raises StopIteration: Under gunicorn, which takes that for an end without a response.
        :raises ConnectionError: Under Flask's own server, for the same reason.
        """
        if "uwsgi.version" in environ:
            # For its log, where it would be a 500; see uwsgi_connection for where else it goes.
            start_response("101 Switching Protocols", [])
            return []
        if "gunicorn.socket" in environ:
            raise StopIteration
        if "werkzeug.socket" in environ:
            raise ConnectionError
        return []


class Waiting(list[str | bytes]):
    """The messages that nobody has read yet: one at most, or a client could fill the memory."""

    def append(self, message: str | bytes) -> None:
        """Keep a message.

        :param message: What the client says.
        :raises OSError: If one waits already; simple-websocket then ends the connection.
        """
        if self:
            raise OSError("the client says more than is read")
        super().append(message)


class Connection(Server):  # type: ignore[misc]  # it has no types
    """simple-websocket's, with an end to what a client may have it keep and wait for."""

    def handshake(self) -> None:
        """Answer the handshake; after that the connection begins to read."""
        super().handshake()
        self.input_buffer = Waiting()
        # For sending alone: a client may say nothing for as long as it likes.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", SENDING, 0))


@contextmanager
def accept(environ: dict[str, Any]) -> Iterator[Connection | None]:
    """Make a request a WebSocket for as long as the context lasts.

    :param environ: The request, which asks to be one.
    :returns: The connection, or nothing where the server cannot spare a thread for it.
    :raises BadRequest: If the handshake is wrong.
    """
    spare = spare_threads(environ)
    # Nobody waits here: it would be on the thread that is left to the requests.
    if spare is not None and not spare.acquire(blocking=False):
        yield None
        return
    try:
        if "uwsgi.version" in environ:
            with uwsgi_connection(environ) as connection:
                yield connection
        else:
            connection = handshake(environ)
            try:
                yield connection
            finally:
                finish(connection, connection.sock)
    finally:
        if spare is not None:
            spare.release()


@contextmanager
def uwsgi_connection(environ: dict[str, Any]) -> Iterator[Connection]:
    """Speak over uWSGI's own end of the connection: its functions cannot close with a code.

    :param environ: The request.
    """
    import uwsgi

    # Two ends: simple-websocket closes the one that it is given, which does not end the connection.
    number = uwsgi.connection_fd()
    with socket.socket(fileno=os.dup(number)) as own, socket.socket(fileno=os.dup(number)) as end:
        own.setblocking(True)
        connection = handshake({**environ, "werkzeug.socket": own})
        try:
            yield connection
        finally:
            finish(connection, end)
            # uWSGI ends each request with words of its own, which are no part of a WebSocket.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), number, inheritable=False)


def finish(connection: Connection, end: socket.socket) -> None:
    """End the connection, and the thread that reads from it.

    :param connection: What was closed, by whichever side.
    :param end: An end of it.
    """
    # The client says that it has read the end; then nobody is left who reads.
    connection.thread.join(timeout=1)
    # An error: it is closed already.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    connection.thread.join()


def handshake(environ: dict[str, Any]) -> Connection:
    """Answer the request that asks for a WebSocket.

    :param environ: The request.
    :raises BadRequest: If it does not ask as the protocol wants it.
    """
    try:
        return Connection(environ, max_message_size=MESSAGE)
    except (HandshakeError, RemoteProtocolError) as error:
        raise BadRequest("This is no handshake of a WebSocket.") from error


def spare_threads(environ: dict[str, Any]) -> threading.BoundedSemaphore | None:
    """Return what counts the threads of this process that WebSockets may take; none: any number.

    :param environ: A request, which tells what server this is.
    """
    global _spare
    if "werkzeug.socket" in environ or is_gevent():
        return None
    with _lock:
        if _spare is None:
            _spare = threading.BoundedSemaphore(threads(environ) - 1)
        return _spare


def is_gevent() -> bool:
    """Tell whether threads are gevent's, of which there are as many as one likes."""
    if "gevent" not in sys.modules:
        return False
    from gevent import monkey

    return bool(monkey.is_module_patched("threading"))


def threads(environ: dict[str, Any]) -> int:
    """Return how many threads of this process answer requests, or the least number there may be.

    :param environ: A request.
    """
    if "uwsgi.version" in environ:
        import uwsgi

        return int(uwsgi.opt.get("threads", 1))
    return 2 if environ["wsgi.multithread"] else 1
