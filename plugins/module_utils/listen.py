"""Keeps an app's sockets open while the app restarts, so that a restart by hand loses no request either.

A program of its own beside the app, which runs this file with the standard library alone:

    listen.py hold FOLDER                     own FOLDER/live.sock and FOLDER/standby.sock, hand them out
    listen.py take FOLDER SLOT COMMAND...     become COMMAND with the slot's socket as file descriptor 3

While an app restarts its visitors wait in the socket's queue. An app that stays away is said to be away: after
``AWAY`` seconds they get a 503 at once instead of waiting.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import sys
import time

SLOTS = ("live", "standby")
QUEUE = 2048  # connections that may wait; the host's net.core.somaxconn is the upper limit
AWAY = 10.0  # seconds after which an app that has ended is not expected back in a moment
PATIENCE = 10.0  # seconds that an app waits for its socket's holder, which may be starting too
TITLE, WORDS = "Away for a moment", "This app does not run at the moment. Please try again in a few seconds."
# What visitors get, by the word in the request's Accept that asks for it; the last is for all others.
PAGES = (
    (
        b"text/html",
        f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{TITLE}</title>
<style>body {{ font: 1.1em/1.5 sans-serif; max-width: 30em; margin: 15vh auto; padding: 0 1em }}</style>
<main>
<h1>{TITLE}</h1>
<p>{WORDS}</p>
</main>
</html>
""",
    ),
    (b"application/json", f'{{"status": 503, "error": "{TITLE}", "message": "{WORDS}"}}\n'),
    (b"text/plain", f"{WORDS}\n"),
)
ACCEPT = b"\x0b\x00HTTP_ACCEPT"  # as the uwsgi protocol writes the name; two bytes with the value's length follow


def bind(path: str, mode: int) -> socket.socket:
    """Return a socket that listens at ``path`` with a file ``mode``, in place of whatever was there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(QUEUE)
    return listener


def answers(path: str) -> bool:
    """Whether somebody accepts connections at ``path``."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) in (0, errno.EAGAIN)  # EAGAIN: somebody does, and the queue is full.


class Slot:
    """One socket and the apps that have it."""

    def __init__(self, path: str) -> None:
        """Bind the socket, unless an app still has it from a holder that was killed.

        That app goes on with it; its next start gets a new one.
        """
        self.path = path
        self.listener = None if answers(path) else bind(path, 0o660)
        self.takers: set[socket.socket] = set()
        self.left = time.monotonic()  # when the last taker ended

    def give(self, client: socket.socket) -> None:
        """Hand the socket to an app; as long as a process of it lives, it keeps ``client`` open."""
        if self.listener is None:
            self.listener = bind(self.path, 0o660)
        socket.send_fds(client, [b"+"], [self.listener.fileno()])
        self.takers.add(client)

    def ended(self, client: socket.socket) -> None:
        """Note that the last process of an app that had the socket has ended."""
        self.takers.discard(client)
        self.left = time.monotonic()

    def away(self) -> bool:
        """Whether its visitors had better not wait."""
        return self.listener is not None and not self.takers and time.monotonic() - self.left > AWAY


def answer(request: bytes) -> bytes:
    """Return the 503 for a request: a page, JSON or a line of text, as it asks for."""
    start = request.find(ACCEPT) + len(ACCEPT) + 2
    size = int.from_bytes(request[start - 2 : start], "little") if ACCEPT in request else 0
    accepted = request[start : start + size].lower()
    kind, text = next((page for page in PAGES if page[0] in accepted), PAGES[-1])
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {kind.decode()}\r\nRetry-After: 10\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return (head + text).encode()


def refuse(listener: socket.socket) -> None:
    """Answer all who wait at a socket with a 503."""
    listener.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.settimeout(0.1)
                request = b""
                with contextlib.suppress(TimeoutError):
                    # What was sent and never read would reset the connection before its answer.
                    request = client.recv(1 << 16)
                client.sendall(answer(request))
    listener.setblocking(True)  # An app that is handed the socket shares this too.


def hold(folder: str) -> None:
    """Own the sockets in ``folder`` for as long as this process lives."""
    slots = {name: Slot(f"{folder}/{name}.sock") for name in SLOTS}
    control = bind(f"{folder}/listen.sock", 0o600)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    refusing: set[socket.socket] = set()
    while True:
        for slot in slots.values():
            if slot.listener is not None and slot.away() != (slot.listener in refusing):
                if slot.away():
                    selector.register(slot.listener, selectors.EVENT_READ)
                    refusing.add(slot.listener)
                else:
                    selector.unregister(slot.listener)
                    refusing.discard(slot.listener)
        for key, _ in selector.select(1):
            client = key.fileobj
            if client is control:
                taker, _ = control.accept()
                selector.register(taker, selectors.EVENT_READ)
            elif client in refusing:
                refuse(client)
            else:
                try:
                    word = client.recv(64).decode()
                    if word in slots:
                        slots[word].give(client)
                        continue
                except (OSError, UnicodeDecodeError):
                    pass  # It went away in the middle of asking, or asked for nothing that is a word.
                selector.unregister(client)
                client.close()
                for slot in slots.values():
                    if client in slot.takers:
                        slot.ended(client)


def take(folder: str, slot: str, command: list[str]) -> None:
    """Become ``command`` with a slot's socket as file descriptor 3.

    Descriptor 4 stays open in it and in its children: by its end the holder knows that they have ended.

    :raises OSError: the holder does not answer.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(f"{folder}/listen.sock")
            client.sendall(slot.encode())
            _, [listener], _, _ = socket.recv_fds(client, 1, 1)
            break
        except (OSError, ValueError):
            client.close()
            if time.monotonic() > deadline:
                raise OSError(f"nobody hands out {folder}/{slot}.sock: supervisorctl status") from None
            time.sleep(0.02)
    kept = [os.dup2(os.dup(listener), 10), os.dup2(os.dup(client.fileno()), 11)]
    os.dup2(kept[0], 3)
    os.dup2(kept[1], 4)
    os.closerange(5, 12)
    os.execvp(command[0], command)


def main(verb: str, folder: str, *words: str) -> None:
    """Do what the command line says."""
    if verb == "hold":
        hold(folder)
    take(folder, words[0], list(words[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
