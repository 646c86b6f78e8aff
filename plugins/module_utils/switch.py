"""Bringing another release to an app's visitors without losing one of their requests.

The order of a switch reads from the top of :meth:`Switch.run` to its end.
"""

from __future__ import annotations

import os
import subprocess
import time

from ansible_collections.hosted.flask.plugins.module_utils import listen
from ansible_collections.hosted.flask.plugins.module_utils.files import (
    discard,
    point,
    restore,
    size,
    tail,
    text_of,
    write,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.processes import children
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask, backlog, listens

# Seconds for which a release must live after its first good answer before the one before it is stopped. A process
# that ends by itself (a thread that gives up, memory that runs out) mostly does so in its first two.
WATCH = 3.0
# From its loader: on a host it is no file, it was sent with the call.
_source = listen.__loader__.get_source(listen.__name__)
# Text in what Ansible sends to a host, bytes from its loader of collections.
LISTEN = _source if isinstance(_source, str) else _source.decode()


class Switch:
    """Proves a sealed release on the standby, shows it to visitors, and makes it the live one."""

    def __init__(self, home: Home, release: str) -> None:
        """Prepare the switch of the app in ``home``, described as in ``release``, to that release's id."""
        self.home, self.app, self.release = home, home.app, release
        self.programs = home.programs
        self.warnings: list[str] = []
        self.shown = 0.0  # when visitors first got the release, by time.monotonic()

    def run(self) -> None:
        """Do it.

        :raises Refused: the release is not fit; visitors get what they got before.
        """
        self.recover()
        self.shown = 0.0  # What was recovered is not the release to come.
        self.open_sockets()
        if self.home.live() is None or self.programs.state(self.programs.app) is None:
            self.first()
        else:
            self.prove()
            young = self.young("standby")
            self.show("standby")
            self.watch(young)
            self.settle()
        self.restart_others()
        if message := self.run_hook("after_switch"):
            self.warnings.append(f"app {self.home.name}: release {self.release} is live, but {message}")

    # --- before visitors see anything

    def recover(self) -> None:
        """Finish what a killed switch left: visitors go back to the live program before the standby is used again.

        :raises Refused: the live program does not come up; the standby goes on serving.
        """
        current = self.home.run / "current.sock"
        if not self.home.standby_ini.exists():
            return
        if current.is_symlink() and os.readlink(current) == "standby.sock":
            if self.programs.ended(self.programs.app):
                self.programs.stop(self.programs.app)  # Between two tries of its own it would not start at once.
            try:
                self.start("live", self.home.live() or "")
            except Refused as error:
                raise Refused(
                    f"program {self.programs.app} does not come up, {self.programs.standby} goes on serving"
                    f" what an interrupted deploy showed. Correct what is below, then deploy again.\n{error}"
                ) from error
            self.show("live")
            self.drain("standby")
        self.retire()

    def open_sockets(self) -> None:
        """Have the program that holds the app's sockets, where it is not there yet."""
        holder = self.programs.holder
        if self.programs.state(holder) is not None:
            self.programs.start(holder)
            return
        self.write_holder()
        write(self.home.ini, self.app["program"], 0o600)
        self.programs.reload()
        self.programs.add(holder)
        self.programs.start(holder)

    def write_holder(self) -> bool:
        """Write the file that the holder runs, and the link to its interpreter; tell whether it is another one."""
        file, python = self.home.root / "listen.py", self.home.root / "python"
        interpreter = self.home.venv().interpreter
        if python.is_symlink() and os.readlink(python) == interpreter and text_of(file) == LISTEN:
            return False
        write(file, LISTEN, 0o400)
        point(python, interpreter)
        return True

    def first(self) -> None:
        """Start an app that does not run here: nobody to keep serving, all to take back when it fails."""
        before = self.home.live()
        earlier = text_of(self.home.ini) if before else ""
        try:
            if message := self.run_hook("before_switch"):
                raise Refused(f"app {self.home.name}: release {self.release} is refused: {message}")
            write(self.home.ini, self.app["program"], 0o600)
            self.forget_removed(self.programs.reload()[2])
            self.programs.stop(self.programs.app)
            point(self.home.slots / "live", f"../releases/{self.release}")
            self.programs.add(self.programs.app)
            self.start("live", self.release)
            young = self.young("live")
            self.show("live")
            self.stays("live", young)
        except Refused:
            self.forget(before, earlier)
            raise

    def forget(self, before: str | None, ini: str) -> None:
        """Take a first start back: its programs, and the slot that pointed at it."""
        restore(self.home.ini, ini)
        if before is None:
            discard(self.home.slots / "live")
            discard(self.home.slots / "current")
        else:
            point(self.home.slots / "live", f"../releases/{before}")
        self.forget_removed(self.programs.reload()[2])

    def forget_removed(self, names: set[str]) -> None:
        """Stop programs that the description has no more."""
        for name in names:
            self.programs.remove(name)

    def prove(self) -> None:
        """Start the release beside the live one, until it answers as it should.

        :raises Refused: it does not.
        """
        standby = self.programs.standby
        write(self.home.standby_ini, self.app["standby_program"], 0o600)
        try:
            _, changed, _ = self.programs.reload()
            if standby in changed:
                self.programs.remove(standby)
            point(self.home.slots / "standby", f"../releases/{self.release}")
            self.programs.add(standby)
            self.start("standby", self.release)
            if message := self.run_hook("before_switch"):
                raise Refused(f"app {self.home.name}: release {self.release} is refused: {message}")
        except Refused:
            self.programs.kill(standby)
            self.retire()
            raise

    # --- visitors are on the standby

    def watch(self, young: tuple[int, set[int]]) -> None:
        """See that the release lives on, the one before still at hand.

        :param young: see :meth:`young`.
        :raises Refused: it ended; visitors are back on the one before.
        """
        try:
            self.stays("standby", young)
        except Refused:
            self.show("live")
            self.serve_the_rest()
            self.retire()
            raise

    def serve_the_rest(self) -> None:
        """Let the live release answer those who still wait at the socket of a standby that ended."""
        time.sleep(0.02)  # The front may have read the old name just before it changed.
        if not backlog(str(self.home.run / "standby.sock")):
            return
        live = self.home.live()
        self.programs.stop(self.programs.standby)  # Its master may still start one worker after the other.
        point(self.home.slots / "standby", f"../releases/{live}")
        self.start("standby", live or "")
        self.drain("standby")

    def settle(self) -> None:
        """Make the release the live program's, bring visitors there and stop the standby.

        :raises Refused: it does not start once more; visitors are back on the one before.
        """
        before, earlier = self.home.live(), text_of(self.home.ini)
        self.drain("live")
        try:
            self.change_live(self.release, self.app["program"])
        except Refused as error:
            try:
                self.change_live(before or "", earlier)
            except Refused:
                raise Refused(
                    f"{error}\nIt goes on serving as {self.programs.standby}, where it is healthy, because the release"
                    f" before, {before}, does not come up any more either. Correct what is above, then deploy again."
                ) from error
            self.leave_standby()
            raise Refused(f"It was healthy on the standby, but not as the live program.\n{error}") from error
        self.leave_standby()

    def change_live(self, release: str, program: str) -> None:
        """Stop the live program and start it on another release, while nobody asks it."""
        name, holder = self.programs.app, self.programs.holder
        if text_of(self.home.ini) != program:
            write(self.home.ini, program, 0o600)
        _, changed, removed = self.programs.reload()
        self.programs.stop(name)
        point(self.home.slots / "live", f"../releases/{release}")
        if self.write_holder() or holder in changed:
            self.programs.renew(holder)
        if name in changed:
            self.programs.remove(name)
            self.programs.add(name)
        self.forget_removed(removed)
        self.start("live", release)

    def leave_standby(self) -> None:
        """Bring visitors from the standby to the live program."""
        self.show("live")
        self.drain("standby")
        self.retire()

    def retire(self) -> None:
        """Stop the standby and forget it."""
        discard(self.home.standby_ini)
        self.programs.remove(self.programs.standby)
        discard(self.home.slots / "standby")  # Where it serves nothing, it must not keep a refused release either.

    def restart_others(self) -> None:
        """Restart the release's services, and the HTTP router where its own description changed."""
        _, changed, removed = self.programs.reload()
        self.forget_removed(removed)
        for service in self.programs.services:
            self.programs.renew(service)
        router = self.programs.router
        if router is None:
            return
        if router in changed:
            self.programs.remove(router)
        self.programs.add(router)
        self.programs.start(router)
        self.await_router(router)

    # --- the steps of all of them

    def start(self, slot: str, release: str) -> None:
        """Start a slot's program and wait until its release is healthy.

        :raises Refused: it ended, or did not answer with 2xx in time; its own output is in the text.
        """
        name = self.programs.of(slot)
        log = self.home.log(name)
        offset = size(log)
        # Another release than the one to come may have another mount, and another page that says that it is well.
        described = self.home if release == self.release else self.home.as_released(release)
        host, url = described.url()
        timeout = described.app["health"]["timeout"]
        deadline = time.monotonic() + timeout
        self.programs.start(name)
        last, pause = "nothing listened", 0.02

        def alive() -> None:
            if self.programs.ended(name):
                raise Ended

        while time.monotonic() < deadline:
            try:
                socket = str(self.home.run / f"{slot}.sock")
                status, headers, _ = ask(socket, url, host, max(0.1, deadline - time.monotonic()), alive)
            except Ended:
                last = "the program ended"
                break
            except OSError as error:
                last = str(error) or type(error).__name__
            else:
                if 200 <= status < 300 and headers.get("x-release") == release:
                    return
                served = headers.get("x-release", "none")
                # The holder's own 503 only says that the app has not come for its socket yet.
                if status != 503 or served != "none":
                    last = f"it answered {status}" + (f" of {served}" if served not in (release, "none") else "")
                if headers.get("x-release") == release and status < 500:
                    break  # A clear answer of the release itself: waiting does not change it.
                if status != 503 or served != "none":
                    pause = min(2 * pause, 1)  # It fails, and says so in its log each time.
            if self.programs.ended(name):
                last = "the program ended"
                break
            time.sleep(pause)
        wanted = f"2xx at health.path {described.app['health']['path']!r} within {timeout} s"
        self.refuse(slot, release, f"{last}; wanted is {wanted}", offset)

    def young(self, slot: str) -> tuple[int, set[int]]:
        """Return a slot's process and its workers, as they are before a visitor comes."""
        pid = (self.programs.info(self.programs.of(slot)) or {"pid": 0})["pid"]
        return pid, children(pid)

    def stays(self, slot: str, young: tuple[int, set[int]]) -> None:
        """See that a slot's program does not end by itself while it is young.

        :param young: see :meth:`young`.
        :raises Refused: it did; its own output is in the text.
        """
        (pid, workers), begin = young, time.monotonic()
        while os.path.exists(f"/proc/{pid}") and pid:
            if time.monotonic() - begin > WATCH:
                if not workers or workers & children(pid):
                    return
                break  # Its master starts one worker after the other.
            time.sleep(0.01)
        self.refuse(slot, self.release, f"it was healthy, and ended within {WATCH:g} s", 0)

    def refuse(self, slot: str, release: str, why: str, offset: int) -> None:
        """Say why a release is not fit, with what it said itself.

        :raises Refused: always.
        """
        log = self.home.log(self.programs.of(slot))
        time.sleep(0.1)  # The last lines of a program that just ended may still be on their way.
        raise Refused(
            f"app {self.home.name}: release {release} is refused: {why}."
            f" Visitors still get what they got before.\nIts own output ({log}):\n{tail(log, offset, self.home.mask())}"
        )

    def run_hook(self, key: str) -> str:
        """Run one of the app's own commands in the release; return what went wrong, nothing where it went well."""
        command = self.app[key]
        if not command:
            return ""
        start = self.home.releases / self.release / ".hosted/start"
        run = subprocess.run(
            [str(start), "run", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
        if run.returncode == 0:
            return ""
        return f"{key}: {command!r} ended with {run.returncode}:\n{self.home.mask().end(run.stdout + run.stderr, 6000)}"

    def show(self, slot: str) -> None:
        """Let the front's next connection go to a slot, and its static files come from there."""
        point(self.home.slots / "current", os.readlink(self.home.slots / slot))
        point(self.home.run / "current.sock", f"{slot}.sock")
        self.shown = self.shown or time.monotonic()

    def drain(self, slot: str) -> None:
        """Wait until nobody waits on a slot's socket any more, 30 s at the most."""
        path = str(self.home.run / f"{slot}.sock")
        deadline = time.monotonic() + 30
        time.sleep(0.02)  # The front may have read the old name just before it changed.
        while time.monotonic() < deadline and (backlog(path) or 0) > 0:
            time.sleep(0.01)

    def await_router(self, name: str) -> None:
        """Give the app's own HTTP router the time to listen; whether visitors get the release by it is asked later."""
        port = int(self.app["router"].rpartition(":")[2])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not self.programs.ended(name) and not listens(port):
            time.sleep(0.02)


class Ended(Exception):
    """The program that is waited for does not run any more."""
