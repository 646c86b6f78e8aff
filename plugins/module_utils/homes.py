"""One app in its account's home: where its things lie, what it serves, its lock and its history."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import http.client
import json
import os
import re
import secrets
import shlex
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ansible_collections.hosted.flask.plugins.module_utils.answers import ENTRY, NAME, RELEASE, Untrue, parsed, taken
from ansible_collections.hosted.flask.plugins.module_utils.files import contents, discard, last, write
from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask
from ansible_collections.hosted.flask.plugins.module_utils.programs import Programs, Refused
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask
from ansible_collections.hosted.flask.plugins.module_utils.venvs import Venv

LEFT = 3600  # seconds after which what lets a check in was left by one that was killed
# What a release knows of itself, as far as something depends on it.
TEXTS = ("module", "server", "mount", "migrate", "before_switch", "after_switch", "program", "standby_program",
         "python", "requirements_text", "server_text", "router", "commit")  # fmt: skip
DESCRIPTION = {
    **dict.fromkeys(TEXTS, str),
    "manifest": list,
    "generated": {str: str},
    "variables": {str: str},
    "domains": [str],
    "health": {"path": str, "timeout": float},
    "services": [dict],
    "secrets": [str],
}
KEY = re.compile(r"[!-~]{16,}")  # one word: what an app would keep as its key in a file
SETS_KEY = re.compile(r"\s*(export\s+)?SECRET_KEY=(.*)")


class Home:
    """An app's tree on its host, as README.md draws it."""

    def __init__(self, app: dict[str, Any], who: str = "", wait: int = 0) -> None:
        """Know where everything is; nothing is read yet.

        :param app: ``name``, ``home``, ``root``, ``supervisor_socket``, ``router``, ``front`` and, as far as
            the verb needs it, the description.
        :param who: who works on the app, for its lock and its history.
        :param wait: seconds to wait for a lock that somebody else holds.
        """
        self.app, self.who, self.wait = app, who, wait
        self.name: str = app["name"]
        self.home, self.root = Path(app["home"]), Path(app["root"])
        self.releases, self.slots, self.run = self.root / "releases", self.root / "slots", self.root / "run"
        self.ini = self.home / "etc/services.d" / f"{self.name}.ini"
        # There only while a release is proved: at rest the account sees one program named like the app.
        self.standby_ini = self.ini.with_name(f"{self.name}-standby.ini")
        self.programs = Programs(app)

    def log(self, program: str) -> Path:
        """Return where a program's output goes."""
        return self.home / "logs" / f"{program}.log"

    def venv(self) -> Venv:
        """Return the venv of the app as it is described."""
        texts = [self.app["requirements_text"], self.app["server_text"]]
        return Venv(self.root / "venvs", texts, self.app["python"])

    # --- what is there

    @property
    def closed(self) -> Path:
        """The file that is there while the app is in maintenance; the front looks for it on each request."""
        return self.run / "maintenance"

    def slot(self, name: str) -> str | None:
        """Return the id of the release that a slot points at."""
        link = self.slots / name
        release = os.path.basename(os.readlink(link)) if link.is_symlink() else ""
        return release if RELEASE.fullmatch(release) else None

    def live(self) -> str | None:
        """Return the id of the live release."""
        return self.slot("live")

    def sealed(self, release: str) -> bool:
        """Whether a release is whole."""
        return (self.releases / release / "release.json").exists()

    def read(self, release: str | None) -> dict[str, Any]:
        """Return a release's own description, empty where there is none that a deploy would have written."""
        try:
            description = json.loads(contents(self.releases / (release or "none") / "release.json"))
            for key, shape in DESCRIPTION.items():
                taken(description[key], shape)
            rows = description["manifest"]
            if any([type(part) for part in row] != [str, int, str] for row in rows):
                return {}
            if not all(NAME.fullmatch(service["name"]) for service in description["services"]):
                return {}
        except (OSError, ValueError, RecursionError, LookupError, TypeError):
            return {}
        return {key: description[key] for key in DESCRIPTION}

    def as_released(self, release: str) -> Home:
        """Return this app as a kept release describes it.

        :raises Refused: the release cannot be started from what it knows of itself.
        """
        description = self.read(release)
        if not description:
            raise Refused(
                f"app {self.name}: release {release} was shipped by an older hosted.flask, or somebody changed it:"
                " deploy its source instead"
            )
        # Whether there is a router is nothing that its account decides: on a server there is none.
        router = self.app["router"] and description["router"]
        # Of its secrets it knows the names alone.
        own = {"router": router, "front": router or self.app["front"], "secrets": self.app.get("secrets", {})}
        return Home({**self.app, **description, **own}, self.who, self.wait)

    # --- the app's own key

    def key(self) -> str:
        """Return the SECRET_KEY that was made for the app on this host, empty where none was."""
        found = [line[2] for line in map(SETS_KEY.fullmatch, self.env()) if line]
        with contextlib.suppress(ValueError):  # Cut short, or written by hand.
            return "".join(shlex.split(found[-1] if found else ""))
        return ""

    def env(self) -> list[str]:
        """Return the lines of the file that every release of the app reads before its own settings."""
        try:
            return contents(self.root / "env").decode(errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return []

    def keep_key(self) -> None:
        """Make the app's SECRET_KEY, where it has none yet; it is never replaced.

        A key that the app kept itself in ``data/secret_key``, before there was this one, is taken over.
        """
        if self.key():
            return
        kept = self.root / "data/secret_key"
        own = contents(kept).decode(errors="replace").strip() if kept.is_file() else ""
        key = own if KEY.fullmatch(own) else secrets.token_hex(32)
        lines = [*self.env(), f"SECRET_KEY={shlex.quote(key)}"]
        write(self.root / "env", "\n".join([*lines, ""]).encode(errors="surrogateescape"), 0o600)

    def secrets(self) -> set[str]:
        """Return the values that nobody may read in what a host says: those of all releases, and the app's own key."""
        found = {str(value) for value in self.app["secrets"].values()}
        with contextlib.suppress(OSError):  # What is there cannot be read, so nothing of it is told either.
            found.add(self.key())
        for release in self.releases.glob("*/release.json"):
            names = self.read(release.parent.name).get("secrets", [])
            with contextlib.suppress(OSError, ValueError):
                settings = shlex.split(contents(release.with_name(".hosted") / "env").decode())
                found |= {value for name, _, value in (word.partition("=") for word in settings) if name in names}
        return found - {""}

    def mask(self) -> Mask:
        """Return what takes these out of a text."""
        return Mask(self.secrets())

    # --- what answers

    def url(self) -> tuple[str, str]:
        """Return the Host header and the path that the app's health is asked with."""
        return (self.app["domains"] or ["localhost"])[0], self.app["mount"].rstrip("/") + self.app["health"]["path"]

    def serves(self, slot: str) -> str | None:
        """Return the release that answers a slot's health path with 2xx, None where none does."""
        host, path = self.url()
        try:
            status, headers, _ = ask(str(self.run / f"{slot}.sock"), path, host, 5)
        except OSError:
            return None
        return headers.get("x-release") if 200 <= status < 300 else None

    def front(self, timeout: float = 10) -> tuple[str, str | None]:
        """Ask for the app through its front, past limits and maintenance: what it answers, and which release."""
        host, path = self.url()
        scheme, _, address = self.app["front"].rpartition("://")
        try:
            kind = functools.partial(Tls, name=host) if scheme == "https" else http.client.HTTPConnection
            connection = kind(address, timeout=timeout)
            with contextlib.closing(connection), self._proof() as proof:
                connection.request("GET", path, headers={"Host": host, **proof})
                answer = connection.getresponse()
                return str(answer.status), answer.headers["X-Release"]
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__, None

    @contextlib.contextmanager
    def _proof(self) -> Iterator[dict[str, str]]:
        """Yield the header by which nginx lets in who deploys an app: it names a file that the account alone can make.

        Where there is no place on the disk for it, or another front, there is no header.
        """
        name, headers = f"{self.name}-{secrets.token_hex(16)}", {}
        file = self.run / f"check-{name}"
        try:
            if not self.app["router"]:
                with contextlib.suppress(OSError):
                    for left in self.run.glob("check-*"):
                        if time.time() - left.lstat().st_mtime > LEFT:
                            left.unlink()
                    # Not brought to the disk, it is for one request. For the front's group too, which is the folder's.
                    file.touch(0o600, exist_ok=False)
                    file.chmod(0o640)
                    headers = {"X-Hosted-Check": name}
            yield headers
        finally:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    # --- who works on it, and who did

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the app's lock; the kernel frees it when its holder dies.

        :raises Refused: somebody else holds it, and goes on holding it for ``wait`` seconds.
        """
        deadline = time.monotonic() + self.wait
        while (file := self._locked(deadline)) is None:
            pass
        with file:
            file.truncate(0)
            file.write(f"{self.who} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}\n")
            file.flush()
            yield

    def clear_lock(self) -> None:
        """Remove what lies in the place of the app's lock and cannot be locked, so that nobody holds it."""
        lock = self.root / ".lock"
        try:
            open(lock, "a+", opener=no_link).close()
        except FileNotFoundError:
            return
        except OSError:
            discard(lock)

    def _locked(self, deadline: float) -> TextIO | None:
        """Return the locked file, None where who had it before removed the app and the file with it."""
        lock = self.root / ".lock"
        with contextlib.ExitStack() as held, contextlib.suppress(FileNotFoundError):
            self.root.mkdir(0o710, parents=True, exist_ok=True)
            file = held.enter_context(open(lock, "a+", opener=no_link))
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= deadline:
                        file.seek(0)
                        waited = f" (waited {self.wait} s)" if self.wait else ". To wait for it: -e wait=60"
                        who = " ".join(file.read(200).split())
                        raise Refused(f"app {self.name}: another deploy is under way: {who}{waited}") from None
                    time.sleep(0.1)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                held.pop_all()
                return file
        return None

    def remember(self, action: str, release: str, begin: float, result: str, **more: Any) -> None:
        """Append to the history and bring it to the disk.

        :param begin: when it began, by time.monotonic().
        :param more: for what came to be live ``shown``, the seconds until visitors had it, and after a rollback
            ``left``, the release that was left as bad.
        """
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "who": self.who,
            "action": action,
            "release": release,
            "commit": self.app.get("commit", ""),
            "seconds": round(time.monotonic() - begin, 2),
            "result": result,
            **more,
        }
        with open(self.root / "history.jsonl", "a+b", opener=private) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")  # After a line that was cut short this one is still whole.
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> list[dict[str, Any]]:
        """Return the history, oldest first and the last MiB of it.

        Passed over is a line that a full disk cut short, and one that says what we would not have written.
        """
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in last(self.root / "history.jsonl", 1 << 20).splitlines():
                with contextlib.suppress(Untrue):
                    entries.append(parsed(line, ENTRY))
        return entries

    def good(self) -> list[str]:
        """Return the kept releases that once were live and that no rollback left, the latest first."""
        order: dict[str, None] = {}
        for entry in self.history():
            if entry["result"] == "live":
                order.pop(entry["release"], None)
                order[entry["release"]] = None
            if "left" in entry:
                order.pop(entry["left"], None)
        return [release for release in reversed(order) if self.sealed(release)]


class Tls(http.client.HTTPSConnection):
    """A connection to the front's own address that asks for a name; its certificate is not this one's business."""

    def __init__(self, address: str, name: str, timeout: float) -> None:
        """Know whom to ask for what."""
        super().__init__(address, timeout=timeout)
        self.name = name

    def connect(self) -> None:
        """Connect, and let the front choose the certificate by the name."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=self.name)


def private(path: str, flags: int) -> int:
    """Open a file that only its account may read, for open()'s ``opener``.

    :raises OSError: something else than a file is there.
    """
    file = os.open(path, flags | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no file", path)
    return file


def no_link(path: str, flags: int) -> int:
    """Open a file as :func:`private` does, and none that a link leads to: behind one to nowhere a lock never comes."""
    return private(path, flags | os.O_NOFOLLOW)
