"""Programs that end with all that they have started. Runs on the control node only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from types import FrameType
from typing import Any


def run(command: list[str], timeout: float, data: Any = None, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program in a session of its own, and end what is left of that when the program has ended.

    :param timeout: seconds.
    :param data: its standard input, where ``options`` of ``Popen`` name none.
    :raises subprocess.TimeoutExpired: it takes longer; all of it has ended.
    """
    if "stdin" not in options:
        options["stdin"] = subprocess.DEVNULL if data is None else subprocess.PIPE
    with Guard() as guard, guard.start(command, options) as child:
        try:
            out, err = child.communicate(data, timeout)
        finally:
            guard.end()
    return subprocess.CompletedProcess(command, child.returncode, out, err)


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
