"""What an examination finds: what is wrong, and what to do about it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

# level ("error" or "warning"), check, what and do; who collects them adds the host and the app.
Finding = dict[str, str]
ERROR, WARNING = "error", "warning"


class Failed(OSError):
    """A command could not look; the text has its own words."""


class Skipped(Exception):
    """A check cannot be made here; the text says why."""


def error(check: str, what: str, do: str) -> Finding:
    """Return a finding that visitors or the next deploy suffer from."""
    return {"level": ERROR, "check": check, "what": " ".join(what.split()), "do": do}


def warning(check: str, what: str, do: str) -> Finding:
    """Return a finding that will become an error, or may be wanted."""
    return {"level": WARNING, "check": check, "what": " ".join(what.split()), "do": do}


def examine(checks: dict[str, Callable[[], list[Finding]]]) -> dict[str, Any]:
    """Make all checks, whatever becomes of one.

    :param checks: what each is called, and what makes it.
    :returns: ``findings``, ``checked`` (the names of those that were made) and ``skipped`` (name to reason).
    """
    findings: list[Finding] = []
    checked, skipped = [], {}
    for name, check in checks.items():
        try:
            findings += check()
        except Skipped as why:
            skipped[name] = str(why)
        except (OSError, ValueError, KeyError, LookupError, subprocess.SubprocessError) as why:
            findings.append(
                warning(name, f"cannot be checked: {type(why).__name__}: {why}", "Look at it by hand, and report this.")
            )
        else:
            checked.append(name)
    return {"findings": findings, "checked": checked, "skipped": skipped}


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
