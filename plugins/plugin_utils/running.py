"""Programs that end with all that they have started. Runs on the control node only."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

# Bytes that a program may print, of each kind of output, and how much of it is read at once.
MOST, PIECE = 64 << 20, 1 << 16


class TooMuch(ValueError):
    """A program printed more than it may."""


def run(
    command: list[str], timeout: float, data: bytes | str | None = None, most: int = MOST, text: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:  # fmt: skip
    """Run a program in a session of its own, and end what is left of that when the program has ended.

    What it prints is another's word: a repository of a megabyte can have a list of files of many gigabytes.

    :param timeout: seconds.
    :param data: its standard input, where ``options`` of ``Popen`` name none.
    :param most: bytes that it may print on standard output, and on standard error.
    :param text: return what it printed as text; what is no UTF-8 is replaced.
    :raises subprocess.TimeoutExpired: it takes longer; all of it has ended.
    :raises TooMuch: it printed more; all of it has ended.
    """
    if "stdin" not in options:
        options["stdin"] = subprocess.DEVNULL if data is None else subprocess.PIPE
    with Guard() as guard, guard.start(command, options) as child:
        try:
            out, err = heard(child, data.encode() if isinstance(data, str) else data or b"", timeout, most)
        finally:
            guard.end()
    if text:
        out, err = (said if said is None else said.decode(errors="replace") for said in (out, err))
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def heard(child: subprocess.Popen[bytes], data: bytes, timeout: float, most: int) -> list[Any]:
    """Give a program its input, wait for its end and return what it printed, as ``communicate`` does, up to a limit."""
    end, left = time.monotonic() + timeout, memoryview(data)
    said = {pipe: bytearray() for pipe in (child.stdout, child.stderr) if pipe}
    with selectors.DefaultSelector() as selector:
        for pipe in said:
            selector.register(pipe, selectors.EVENT_READ)
        if child.stdin:
            selector.register(child.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            if (rest := end - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(child.args, timeout)
            for key, _ in selector.select(rest):
                pipe: Any = key.fileobj
                if pipe is child.stdin:
                    try:
                        left = left[os.write(key.fd, left[: select.PIPE_BUF]) :]
                    except BrokenPipeError:
                        left = left[:0]
                    done = not left
                else:
                    done = not (piece := os.read(key.fd, PIECE))
                    said[pipe] += piece
                    if len(said[pipe]) > most:
                        raise TooMuch(f"{os.path.basename(child.args[0])} printed more than {most} bytes")
                if done:
                    selector.unregister(pipe)
                    pipe.close()
    child.wait(max(0.0, end - time.monotonic()))
    return [bytes(said[pipe]) if pipe else None for pipe in (child.stdout, child.stderr)]


class Guard:
    """Ends a program as well when somebody ends this process: Ansible's own end reaches no other session."""

    def __init__(self) -> None:
        """Prepare to wait for signals."""
        self.child: subprocess.Popen[Any] | None = None
        self.before: dict[int, Any] = {}
        self.early: list[int] = []

    def __enter__(self) -> Guard:
        """Wait for signals, where that can be done."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                former = signal.getsignal(number) or signal.SIG_DFL
                if former != signal.SIG_IGN:
                    self.before[number] = former
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        """Leave signals to who had them, also those that came before there was a program."""
        for number, former in self.before.items():
            signal.signal(number, former)
        for number in self.early:
            signal.raise_signal(number)

    def start(self, command: list[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        """Start the program, and end it at once where somebody wanted the end meanwhile."""
        self.child = subprocess.Popen(command, start_new_session=True, **options)
        early, self.early = self.early, []
        for number in early:
            signal.raise_signal(number)
        return self.child

    def end(self) -> None:
        """End the program and what it has started."""
        # Of another's rights, or already gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.child:
                os.killpg(self.child.pid, signal.SIGKILL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.child is None:  # It may run already, and not be known yet.
            self.early.append(number)
            return
        self.end()
        former = self.before[number]
        if callable(former):
            former(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
