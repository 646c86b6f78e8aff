"""gevent's WSGI server: one process in which thousands of visitors may wait."""

# First of all, so that everything imported from here on waits in gevent's way.
from gevent import monkey

monkey.patch_all()

import signal  # noqa: E402  # after the patch
import socket  # noqa: E402  # after the patch
import sys  # noqa: E402  # after the patch
from contextlib import suppress  # noqa: E402  # after the patch

import gevent  # noqa: E402  # after the patch
from gevent.pywsgi import WSGIHandler, WSGIServer  # noqa: E402  # after the patch

from wsgi import app  # noqa: E402  # after the patch

# Seconds: between two requests of a visitor; for requests in flight when the container stops.
KEEP_ALIVE = 60
GRACE = 30


class Handler(WSGIHandler):
    """One visitor's connection, which ends between two requests when the server stops."""

    def read_requestline(self):
        """Wait for the next request, or for the end: then what is returned is empty."""
        if self.server.stopping:
            return ""
        self.server.idle.add(self.socket)
        try:
            with gevent.Timeout(KEEP_ALIVE, False):
                return super().read_requestline()
            return ""
        finally:
            self.server.idle.discard(self.socket)


class Server(WSGIServer):
    """A server that answers everybody who has asked before it ends."""

    stop_timeout = GRACE

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.idle = set()
        self.stopping = False

    def end(self):
        """Take no more visitors; ``serve_forever`` then waits for the answers in flight."""
        self.stopping = True
        self.close()
        for connection in list(self.idle):
            with suppress(OSError):  # The visitor has just left.
                connection.shutdown(socket.SHUT_RD)


def main():
    """Serve until SIGTERM or SIGINT."""
    server = Server(
        ("0.0.0.0", 8000), app, handler_class=Handler, log=None, spawn=10_000, backlog=1024
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, server.end)
    print("gevent's server listens on port 8000", file=sys.stderr)
    server.serve_forever()


if __name__ == "__main__":
    main()
