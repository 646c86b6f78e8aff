"""Bounds for what hosts say to Ansible itself: how much of it is read, and what is taken for the answer of a module.

Ansible reads from ssh what comes, 100 MB take it gigabytes, and answers of its modules with other types than it expects
end a run for all hosts. It has no place for a plugin to look at either, so that its own functions are wrapped here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import types
from collections.abc import Iterator
from functools import wraps
from typing import IO, Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ssh
from ansible_collections.hosted.flask.plugins.module_utils import answers

# Bytes that one command on a host may say, and how much of it is read at once.
COMMAND = 16 << 20
PIECE = 1 << 16
# Of one answer of a module, which becomes many objects and is copied for each part of Ansible that sees it.
ITEMS, LEVELS = 200_000, 50
# What only Ansible itself, and no module, has to say. Ansible leaves out some of them, each with a warning.
OURS = ("add_host", "add_group", "ansible_stats", "parent_groups", "unreachable")
# async_wrapper says so, and Ansible takes it out.
PLAIN = ("_ansible_parsed", "_ansible_suppress_tmpdir_delete")
# What Ansible takes for granted of what it reads in each answer.
TYPES: dict[str, Any] = {
    "ansible_facts": dict,
    "attempts": int,
    "changed": (bool, int),
    "deprecations": list,
    "diff": (list, dict),
    "failed": (bool, int),
    "invocation": dict,
    "results": list,
    "skipped": (bool, int),
    "stderr": str,
    "stdout": str,
    "warnings": list,
}
LISTED: dict[str, Any] = {"deprecations": (str, dict), "diff": dict, "warnings": str}
# Of what a module says about itself Ansible makes objects of its own, which are no JSON any more.
JSON = (str, int, float, list, dict, type(None))


class Refused(AnsibleConnectionFailure):
    """A host said what cannot be taken; nothing more is asked of it, by this play or the next."""


class Pipe:
    """An output of a program that is read up to a limit, in place of a file that reads all there is."""

    def __init__(self, file: IO[bytes], program: Bounded) -> None:
        """Read this file, an output of that program."""
        self._file, self._program = file, program

    def read(self) -> bytes:
        """Return what there is, a piece at the most.

        :raises Refused: the program has said too much, and was ended.
        """
        piece = os.read(self._file.fileno(), PIECE)
        self._program.said += len(piece)
        if self._program.said > (limit := self._program.limit):
            self._program.kill()
            raise Refused(distrust(answers.Untrue(f"to one command it said more than {limit} bytes")))
        return piece

    def __getattr__(self, name: str) -> Any:
        """Return what else a file has."""
        return getattr(self._file, name)


class Bounded(subprocess.Popen):
    """A program whose outputs are read by their ``read``, up to a limit."""

    limit = COMMAND

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start it."""
        super().__init__(*args, **options)
        self.said = 0
        self.stdout, self.stderr = Pipe(self.stdout, self), Pipe(self.stderr, self)

    def communicate(self, *args: Any, **options: Any) -> Any:
        """Return what short programs say, as they do of ssh's own files."""
        self.stdout, self.stderr = self.stdout._file, self.stderr._file
        return super().communicate(*args, **options)


@contextlib.contextmanager
def up_to(limit: int) -> Iterator[None]:
    """Let a command say more, while a block runs."""
    before, Bounded.limit = Bounded.limit, max(COMMAND, limit)
    try:
        yield
    finally:
        Bounded.limit = before


def distrust(why: answers.Untrue) -> str:
    """Return what is said of an answer that is not believed."""
    return (
        f"host: its answer is not believed, and nothing of it was used: {why}. Look who is root there, or may write the"
        " files of the account that logs in, before you do anything else with it."
    )


def check(data: dict[str, Any]) -> None:
    """Look whether a module's answer is one.

    :raises answers.Untrue: it is none.
    """
    for name in data:
        if name in OURS or (name.startswith("_ansible_") and name not in PLAIN):
            raise answers.Untrue(f"it has {answers.visible(name)[:80]!r}, which nobody asked for")
    for name, kinds in TYPES.items():
        # Some modules of others have a null there, and Ansible is content with it but for facts.
        if name in data and not isinstance(data[name], kinds) and (data[name] is not None or kinds is dict):
            raise answers.Untrue(f"{name} is {answers.described(data[name])}")
    for name, kinds in LISTED.items():
        items = data[name] if isinstance(data.get(name), list) else []
        if any(isinstance(item, JSON) and not isinstance(item, kinds) for item in items):
            raise answers.Untrue(f"{name} has items of another type")
    waiting, count = [(data, 1)], 0
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, (dict, list)):
            count += len(value)
            if count > ITEMS:
                raise answers.Untrue(f"it has more than {ITEMS} items")
            if level > LEVELS:
                raise answers.Untrue(f"it has more than {LEVELS} levels")
            waiting += ((item, level + 1) for item in (value.values() if isinstance(value, dict) else value))


def parsing(parse: Any) -> Any:
    """Return Ansible's own way to read a module's answer, with bounds."""

    @wraps(parse)
    def bounded(self: ActionBase, res: dict[str, Any], *args: Any, **options: Any) -> dict[str, Any]:
        try:
            if len(res.get("stdout", "")) > answers.LIMIT:
                raise answers.Untrue(f"it is longer than {answers.LIMIT} characters")
            try:
                data = parse(self, res, *args, **options)
            except RecursionError:
                raise answers.Untrue("it has too many levels") from None
            except (TypeError, AttributeError, KeyError) as error:
                raise answers.Untrue(f"it is no module's ({type(error).__name__})") from None
            check(data)
        except answers.Untrue as why:
            raise Refused(distrust(why)) from None
        return data

    bounded.bounded = True  # type: ignore[attr-defined]
    return bounded


def install() -> None:
    """Put the bounds into this process and all that it forks; Ansible's workers are forked after its callbacks load."""
    if not hasattr(ActionBase._parse_returned_data, "bounded"):
        ActionBase._parse_returned_data = parsing(ActionBase._parse_returned_data)
    if ssh.subprocess is subprocess:
        programs = types.ModuleType("subprocess", subprocess.__doc__)
        programs.__dict__.update(vars(subprocess), Popen=Bounded)
        ssh.subprocess = programs
