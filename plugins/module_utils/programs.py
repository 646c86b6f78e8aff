"""The programs of one app in its account's supervisord."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import xmlrpc.client
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.answers import Untrue, taken
from ansible_collections.hosted.flask.plugins.module_utils.sockets import supervisor

# What is of use in what it tells of a program.
INFO = {"name": str, "group": str, "state": int, "statename": str, "pid": int, "spawnerr": str, "exitstatus": int}
BACKOFF, STOPPING = 30, 40
DEAD = (100, 200, 1000)  # EXITED, FATAL, UNKNOWN


class Refused(Exception):
    """The release or the host is not fit; the text is for the user, and says what visitors get."""


class Programs:
    """Starts, stops and watches an app's programs by their names."""

    def __init__(self, app: dict[str, Any]) -> None:
        """Know the app's programs; nothing is asked yet."""
        self.app, self.account = app["name"], app["account"]
        self.standby = f"{self.app}-standby"
        self.holder = f"{self.app}-socket"
        self.router = f"{self.app}-http" if app["router"] else None
        self.services = [f"{self.app}-{service['name']}" for service in app["services"]]
        self.socket = app["supervisor_socket"]
        self.api = supervisor(self.socket).supervisor

    def of(self, slot: str) -> str:
        """Return the name of the program that runs a slot's release."""
        return self.standby if slot == "standby" else self.app

    def ours(self, group: str) -> bool:
        """Whether a program's name is one of this app's, also of an earlier description of it."""
        return group == self.app or group.startswith(f"{self.app}-")

    def reload(self) -> tuple[set[str], set[str], set[str]]:
        """Let supervisord read ``services.d`` and return this app's added, changed and removed programs.

        :raises Refused: a file of the account cannot be read, or supervisord does not answer.
        """
        self._wait_for_socket()
        try:
            [[added, changed, removed]] = self.answered(self.api.reloadConfig(), [[[str]]])
        except xmlrpc.client.Fault as fault:
            raise Refused(
                f"app {self.app}: supervisord refuses the files in etc/services.d of account {self.account}:"
                f" {fault.faultString}. Correct or remove the file it names, then deploy again."
            ) from fault
        except (OSError, ValueError) as error:
            raise Refused(
                f"app {self.app}: supervisord does not answer at {self.socket} ({error})."
                " Run playbooks/provision.yml, which starts it."
            ) from error
        return tuple({name for name in names if self.ours(name)} for names in (added, changed, removed))

    def _wait_for_socket(self) -> None:
        """Give a supervisord that was started a moment ago the time to listen."""
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.05)

    @staticmethod
    def answered(value: Any, shape: Any) -> Any:
        """Return what supervisord answered, if it is of a shape.

        :raises OSError: it is not.
        """
        try:
            return taken(value, shape)
        except Untrue as error:
            raise OSError(f"its answer is not supervisord's: {error}") from None

    def known(self, info: Any) -> dict[str, Any]:
        """Return what is of use in what supervisord tells of a program.

        :raises OSError: it is no such thing.
        """
        said = info if isinstance(info, dict) else {}
        return self.answered({key: said.get(key) for key in INFO}, INFO)

    def known_all(self) -> list[dict[str, Any]]:
        """Return what supervisord tells of all programs of its account.

        :raises OSError: it does not answer as one.
        """
        infos = self.api.getAllProcessInfo()
        return [self.known(info) for info in (infos if isinstance(infos, list) else [None])]

    def info(self, name: str) -> dict[str, Any] | None:
        """Return what supervisord knows of a program, None where it has no such program or does not answer."""
        try:
            return self.known(self.api.getProcessInfo(name))
        except (xmlrpc.client.Fault, OSError):
            return None

    def all(self) -> list[dict[str, Any]]:
        """Return what supervisord knows of each program of this app; nothing where it does not answer."""
        try:
            return [info for info in self.known_all() if self.ours(info["group"])]
        except (xmlrpc.client.Fault, OSError):
            return []

    def state(self, name: str) -> int | None:
        """Return a program's state as supervisord counts it, None where it has no such program."""
        info = self.info(name)
        return None if info is None else info["state"]

    def ended(self, name: str) -> bool:
        """Whether a program that was started is not running any more."""
        return self.state(name) in (BACKOFF, *DEAD)

    def _do(self, call: Any, *arguments: Any) -> None:
        """Ask supervisord for what may be done already, which it calls a fault.

        :raises Refused: it does not answer.
        """
        try:
            with contextlib.suppress(xmlrpc.client.Fault):
                call(*arguments)
        except OSError as error:
            raise Refused(
                f"app {self.app}: supervisord of account {self.account} went away ({error})."
                " It is started again by itself; run this again."
            ) from error

    def start(self, name: str) -> None:
        """Start a program without waiting for it; one that runs already is left alone."""
        self._do(self.api.startProcess, name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait until its last request is answered."""
        # Not by a call that waits: supervisord spins at 100 % of a CPU as long as one is open.
        self._do(self.api.stopProcess, name, False)
        while self.state(name) == STOPPING:
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        """End a program that no visitor has seen at once; a graceful stop would wait for what hangs in it."""
        info = self.info(name)
        if info and info["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(info["pid"], signal.SIGKILL)  # supervisord gives each program a group of its own.

    def add(self, name: str) -> None:
        """Make a program known; supervisord starts it where its ini says so."""
        self._do(self.api.addProcessGroup, name)

    def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        self.stop(name)
        self._do(self.api.removeProcessGroup, name)

    def renew(self, name: str) -> None:
        """Stop a program and start it as its ini says now."""
        self.remove(name)
        self.add(name)
        self.start(name)

    def remove_all(self) -> None:
        """Stop and forget all that supervisord runs of this app, also what has no file any more.

        It reads no file for that, so that one which somebody broke is not in the way.

        :raises Refused: supervisord is there and cannot be asked, or something goes on.
        """
        if not os.path.isdir(os.path.dirname(self.socket)):
            return  # Its unit does not run: the socket's folder is there before supervisord is.
        self._wait_for_socket()
        try:
            groups = {info["group"] for info in self.known_all()}
        except (FileNotFoundError, ConnectionRefusedError):
            return  # Nobody listens: without a supervisord nothing of it runs.
        except (xmlrpc.client.Fault, OSError) as error:
            raise Refused(
                f"app {self.app}: supervisord at {self.socket} does not tell what runs of it ({error})."
                " Its files stay until that has ended: run this again."
            ) from error
        for group in sorted(filter(self.ours, groups)):
            self.remove(group)
        if going := [info["name"] for info in self.all()]:
            raise Refused(
                f"app {self.app}: {', '.join(going)} cannot be stopped, or was started again meanwhile."
                f" Its files stay until that has ended: see supervisorctl status and {self.app}'s logs, and run this"
                " again."
            )
