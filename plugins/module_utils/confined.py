"""Work of several apps at once in processes of their own, each of which is believed only as far as its account is.

Root itself opens no file and no socket of an account. What is to be done there a process with the account's rights
does: in the account's slice, shut in as its programs are, without a terminal and with an environment of its own, until
a deadline and up to a limit of bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO

# As in roles/supervisord/templates/supervisord@.service.j2, which says why; tests/fast/test_confined.py compares them.
# Not RestrictSUIDSGID: folders of a release hand the front's group down by their setgid bit.
SANDBOX = (
    "UMask=0077",
    "ProtectSystem=strict",
    "ProtectHome=tmpfs",
    "PrivateTmp=true",
    "TemporaryFileSystem=/dev/shm:mode=1777,nosuid,nodev",
    "TemporaryFileSystem=/run/lock:mode=1777,nosuid,nodev,noexec,size=1m",
    "ProtectProc=invisible",
    "PrivateIPC=true",
    "RemoveIPC=true",
    "NoNewPrivileges=true",
    "CapabilityBoundingSet=",
    "RestrictNamespaces=true",
    "RestrictRealtime=true",
    "LockPersonality=true",
    "PrivateDevices=true",
    "ProtectClock=true",
    "ProtectControlGroups=true",
    "ProtectHostname=true",
    "ProtectKernelLogs=true",
    "ProtectKernelModules=true",
    "ProtectKernelTunables=true",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "LimitNOFILE=16384",
    # What it leaves behind goes with it, also what does not want to.
    "KillSignal=SIGKILL",
)
# Of role server: where an account's programs have their /tmp, on the disk; a host without it has the unit's own.
TEMPORARY = "/var/lib/hosted.flask/tmp/programs-{}:/tmp"
# What may be taken over from root's environment: the way out of the host's network, and where packages come from.
PASSED = re.compile(
    r"(https?|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|(PIP|NODE_EXTRA)_(CA_)?CERTS?|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|(PIP|UV)_((DEFAULT_|EXTRA_)?INDEX(_URL|_\w+)?|FIND_LINKS|NO_INDEX|TRUSTED_HOST|INSECURE_HOST|NATIVE_TLS|SYSTEM_CERTS)"
    r"|LANG|LC_ALL|TZ",
    re.IGNORECASE,
)
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
PATH = "/usr/local/bin:/usr/bin:/bin"
GRACE = 3.0  # seconds for a process that has said all, or was killed, to be seen as ended
# With the last unit of an account systemd ends its slice, and starts nothing in it meanwhile: not a fault of the work.
DESTRUCTIVE = r"Failed to start transient service unit: Transaction for {}/start is destructive [^\n]*\n"
PAUSE = 0.2  # seconds until the next try


def environment() -> dict[str, str]:
    """Return what a process with an account's rights is told of this one's environment."""
    return {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}


class Job:
    """One process whose answer is waited for."""

    def __init__(self, deadline: float) -> None:
        """Begin to count.

        :param deadline: seconds from now.
        """
        self.deadline = deadline
        self.until = time.monotonic() + deadline
        self.answer = bytearray()
        self.output: IO[bytes]

    def end(self) -> None:
        """Wait for its end, a moment at the most: it has said all."""

    def refused(self) -> bool:
        """Return whether it was not started, and may be a moment later; called after its end."""
        return False

    def kill(self) -> None:
        """End it at once."""


class Fork(Job):
    """A child of this process, with its own rights: the account itself, or whoever deploys to his own machine."""

    def __init__(self, do: Callable[[], str], deadline: float) -> None:
        """Start it.

        :param do: returns the answer.
        """
        super().__init__(deadline)
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(reader)
                with open(writer, "w") as pipe:
                    pipe.write(do())
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        self.output = open(reader, "rb", buffering=0)  # noqa: SIM115  closed by end()

    def end(self) -> None:
        """Wait for its end."""
        self.output.close()
        os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Command(Job):
    """A command with one's own rights; what it starts ends with it."""

    def __init__(self, command: list[str], deadline: float) -> None:
        """Start it."""
        super().__init__(deadline)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def end(self) -> None:
        """Wait for its end."""
        self.output.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self.kill()
        self.process.wait()

    def kill(self) -> None:
        """End it and what it has started at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Unit(Job):
    """A transient unit of systemd with an account's rights."""

    def __init__(self, account: str, home: str, command: list[str], data: bytes, deadline: float) -> None:
        """Start it.

        :param home: the only one of all homes that it sees.
        :param data: its standard input.
        """
        super().__init__(deadline)
        entry = pwd.getpwnam(account)
        self.unit = f"hosted-work-{account}-{uuid.uuid4().hex[:8]}.service"
        properties = [
            *SANDBOX,
            f"Slice=user-{entry.pw_uid}.slice",
            f"User={account}",
            # Should whoever waits be killed. It would not know who else works on the app then.
            f"RuntimeMaxSec={deadline + GRACE:.0f}",
            f"BindPaths=-{TEMPORARY.format(account)}",
            # Where somebody deleted it there is none to be seen, and the work itself says so.
            f"BindPaths={quoted('-' + home)}",
            "WorkingDirectory=/",
        ]
        options = [f"--property={one}" for one in properties]
        # Not a pipe: a process that does not read must not keep this one. Sealed: it is nobody's to change.
        stdin = os.memfd_create("work", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(stdin, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            file.seek(0)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
            self.process = subprocess.Popen(
                ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec",
                 f"--unit={self.unit}", *options, "--", *command],
                stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def end(self) -> None:
        """Wait for its end; all that was in its control group has ended then."""
        self.output.close()
        for end in (self.kill, self.process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
                return
            end()
        self.process.wait()

    def refused(self) -> bool:
        """Return whether the account's slice was just ending."""
        # Work that says this itself gains that it is begun again, until its own deadline.
        said = self.answer.decode(errors="replace")
        return self.process.returncode != 0 and bool(re.fullmatch(DESTRUCTIVE.format(re.escape(self.unit)), said))

    def kill(self) -> None:
        """End all of it at once."""
        command = ["systemctl", "kill", "--signal=KILL", self.unit]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GRACE)


def quoted(path: str) -> str:
    """Return a path as systemd takes it in a list of mounts."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace(":", "\\:")
    return f'"{text}"'


class Unanswered(Exception):
    """A process gave no answer; the text says why."""


def each(
    jobs: Iterable[tuple[str, Callable[[], Job]]], at_once: int, limit: int, owners: dict[str, str] | None = None
) -> dict[str, bytes | Unanswered]:
    """Run jobs, several at once, and return what each answers.

    :param jobs: each with its name and what starts it.
    :param at_once: how many run at the same time.
    :param limit: bytes of one answer.
    :param owners: whose a job is, by its name. While others wait nobody has more than half of what runs at once: his
        own may take as long as he likes, up to their deadlines.
    """
    waiting, found, whose = list(jobs), {}, owners or {}
    untils: dict[str, float] = {}
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < at_once:
                busy = [whose.get(key.data[0], key.data[0]) for key in selector.get_map().values()]
                fair = (
                    place for place, (name, _) in enumerate(waiting) if busy.count(whose.get(name, name)) * 2 < at_once
                )
                name, start = waiting.pop(next(fair, 0))
                try:
                    job = start()
                    job.until = untils.setdefault(name, job.until)
                except (OSError, KeyError) as error:
                    found[name] = Unanswered(f"it could not be started: {error}")
                    continue
                selector.register(job.output, selectors.EVENT_READ, (name, job))
            if not selector.get_map():
                continue
            first = min(key.data[1].until for key in selector.get_map().values())
            ready = {key.fd for key, _ in selector.select(max(0.0, first - time.monotonic()))}
            for key in list(selector.get_map().values()):
                name, job = key.data
                piece = os.read(key.fd, 1 << 16) if key.fd in ready else None
                job.answer += piece or b""
                why = ""
                if len(job.answer) > limit:
                    why = f"it said more than {limit} bytes and was ended"
                elif time.monotonic() >= job.until:
                    why = f"it gave no answer within {job.deadline:g} s and was ended"
                if piece == b"" or why:
                    selector.unregister(key.fileobj)
                    if why:
                        job.kill()
                    job.end()
                    if not why and job.refused():
                        time.sleep(PAUSE)
                        waiting.append((name, start))
                        continue
                    found[name] = Unanswered(why) if why else bytes(job.answer)
    return found


def starter(account: str, command: list[str], data: bytes, deadline: float) -> Callable[[], Job]:
    """Return what starts a command with the rights of an account.

    :param account: empty for the rights that this process has.
    :param data: its standard input, where it has another account's rights.
    :param deadline: seconds.
    """
    if not account:
        return partial(Command, command, deadline)

    def start() -> Job:
        return Unit(account, pwd.getpwnam(account).pw_dir, command, data, deadline)

    return start


def run(account: str, command: list[str], data: bytes = b"", deadline: float = 60, limit: int = 65536) -> bytes:
    """Return what a command says with the rights of an account, on both its outputs.

    :param account: empty for the rights that this process has.
    :param data: its standard input, where it has another account's rights.
    :param deadline: seconds.
    :param limit: bytes of its answer.
    :raises Unanswered: it gave none.
    """
    answer = each([(account, starter(account, command, data, deadline))], 1, limit)[account]
    if isinstance(answer, Unanswered):
        raise answer
    return answer
