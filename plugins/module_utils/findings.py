"""What an examination finds: what is wrong, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.answers import line

# level ("error" or "warning"), check, what and do; who collects them adds the host and the app.
Finding = dict[str, str]
ERROR, WARNING = "error", "warning"
MIB = 1 << 20
SECONDS = 90  # for one check, more than any command in one may take


class Failed(OSError):
    """A command could not look; the text has its own words."""


class TooLong(OSError):
    """A check did not come to its end."""


class Skipped(Exception):
    """A check cannot be made here; the text says why."""


def error(check: str, what: str, do: str) -> Finding:
    """Return a finding that visitors or the next deploy suffer from."""
    return {"level": ERROR, "check": check, "what": line(what), "do": line(do)}


def warning(check: str, what: str, do: str) -> Finding:
    """Return a finding that will become an error, or may be wanted."""
    return {"level": WARNING, "check": check, "what": line(what), "do": line(do)}


def command(*words: str | Path, account: str = "") -> str:
    """Return a command that a person may type: each word is one, whatever it holds.

    What lies below a home an account may have made, and may put something else there before the command is typed. So
    that is never a command for root.

    :param account: who is to run it, empty for whoever types it.
    """
    return shlex.join([*(["sudo", "-u", account] if account else []), *map(str, words)])


def plain(name: str | Path) -> bool:
    """Whether a name can stand in a command of one line as it is; in words it is told in any case."""
    return line(str(name)) == str(name)


def examine(checks: dict[str, Callable[[], list[Finding]]]) -> dict[str, Any]:
    """Make all checks, whatever becomes of one.

    :param checks: what each is called, and what makes it.
    :returns: ``findings``, ``checked`` (the names of those that were made) and ``skipped`` (name to reason).
    """
    findings: list[Finding] = []
    checked, skipped = [], {}
    for name, check in checks.items():
        try:
            with deadline():
                findings += check()
        except Skipped as why:
            skipped[name] = line(str(why))
        except Exception as why:  # What is read there may be another's, who likes to see an examination end.
            findings.append(
                warning(name, f"cannot be checked: {type(why).__name__}: {why}", "Look at it by hand, and report this.")
            )
        else:
            checked.append(name)
    return {"findings": findings, "checked": checked, "skipped": skipped}


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """End what takes too long, such as a peer that answers byte by byte.

    :raises TooLong: it did.
    """

    def end(*_: object) -> None:
        raise TooLong(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def output(*command: str, no: int = 0, **options: Any) -> str:
    """Return what a command prints on its standard output; nothing where there is no such command.

    :param no: a code with which it answers too, as grep does with 1. It may fail with the same one: then it has words
        for it, and no answer.
    :raises Failed: it could not look.
    """
    # What is read here is not to be in the host's language, and may hold anything, as the kernel's log does.
    options |= {"env": {**os.environ, "LC_ALL": "C.UTF-8"}, "encoding": "utf-8", "errors": "replace"}
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **options)
    except FileNotFoundError:
        return ""
    only_words = run.stderr.strip() and not run.stdout.strip()
    if run.returncode and (run.returncode != no or only_words):
        said = (run.stderr.strip() or run.stdout.strip() or "no word").splitlines()[-1]
        raise Failed(f"{command[0]} ended with {run.returncode}: {said[-300:]}")
    return run.stdout


def disk(folders: Iterable[str | Path], account: str = "") -> list[Finding]:
    """See that the disks below ``folders`` have room, for data and for names.

    :param account: whose they are, empty where they are the host's.
    """
    found, seen = [], set()
    for folder in folders:
        try:
            device, at = os.stat(folder).st_dev, os.statvfs(folder)
        except (FileNotFoundError, PermissionError):
            continue
        except OSError as why:  # A home may be what its account has mounted there; the other disks are looked at.
            do = f"findmnt --target {shlex.quote(str(folder))} shows what is mounted there."
            found.append(warning("disk", f"{folder} cannot be looked at: {why.strerror}", do))
            continue
        if device not in seen:
            size, free = at.f_blocks * at.f_frsize, at.f_bavail * at.f_frsize
            found += room(str(folder), size, free, at.f_files, at.f_favail, account)
            seen.add(device)
    return found


def room(
    folder: str, size: int, free: int, names: int, free_names: int, account: str = "", quota: str = ""
) -> list[Finding]:
    """Judge one disk, or what an account may have of one.

    :param size: its bytes, ``free`` of them for accounts; 0 where there is no limit.
    :param names: its inodes; 0 where there is no limit.
    :param account: whose folder it is, empty where it is the host's.
    :param quota: where the account has a quota, empty where it is a whole disk.
    """
    check, where = "disk", f"on the disk of {folder}"
    if quota:
        check, where = "quota", f"in the quota of account {account} on {quota}"
    look = command("du", "-xh", "--max-depth=3", folder, account=account)
    do = f"{look} | sort -h | tail -20 shows what takes it; keep_releases says how many are kept"
    do += ", server_account_disk how much an account may take" if quota else ""
    left = f"{free // MIB} of {size // MIB} MiB are free {where}"
    found = []
    if free < min(size * 0.05, 512 * MIB):
        found.append(error(check, left, do))
    elif free < min(size * 0.1, 2048 * MIB):
        found.append(warning(check, left, do))
    if names and free_names < names * 0.05:
        what = f"{free_names} of {names} inodes are free {where}"
        look = command("du", "-x", "--inodes", "--max-depth=3", folder, account=account)
        do = f"{look} | sort -n | tail -20 shows where many small files are"
        found.append((error if free_names < names * 0.01 else warning)(check, what, do))
    return found
