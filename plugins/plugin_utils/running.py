"""Programs that end with all that they have started. Runs on the control node only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def run(command: list[str], timeout: float, data: Any = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program in a session of its own, and end what is left of that when the program has ended.

    :param timeout: seconds.
    :param data: its standard input, where ``options`` of ``Popen`` name none.
    :raises subprocess.TimeoutExpired: it takes longer; all of it has ended.
    """
    started: list[subprocess.Popen[Any]] = []

    def end() -> None:
        for child in started:
            # Of another's rights, or already gone.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)

    if "stdin" not in options:
        options["stdin"] = subprocess.DEVNULL if data is None else subprocess.PIPE
    with before_the_end(end):
        child = subprocess.Popen(command, start_new_session=True, **options)
        started.append(child)
        with child:
            try:
                out, err = child.communicate(data, timeout)
            finally:
                end()
    return subprocess.CompletedProcess(command, child.returncode, out, err)


@contextlib.contextmanager
def before_the_end(end: Callable[[], None]) -> Iterator[None]:
    """Call ``end`` as well when somebody ends this process: Ansible's own end reaches no other session."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        end()
        former = before[number]
        if callable(former):
            former(number, frame)
        elif former != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
