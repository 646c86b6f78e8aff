"""Running this collection's own Python on a host, in one round trip and as fast as ssh alone.

Ansible's way for a module (AnsiballZ) parses, packs and sends 68 files of its own besides ours and unpacks them there:
0.3 s here and 0.2 s on the host for each call, a fifth of a whole redeploy.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.hosted.flask.plugins.module_utils import answers
from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask
from ansible_collections.hosted.flask.plugins.plugin_utils import bounds
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import ROOT
from ansible_collections.hosted.flask.plugins.plugin_utils.bounds import distrust

PACKAGE = "ansible_collections.hosted.flask.plugins.module_utils"
IMPORTS = re.compile(rf"^from {re.escape(PACKAGE)}(?:\.(\w+) import | import ([\w, ]+)$)", re.MULTILINE)
# Reads what was sent: a line with our modules and the call, and behind it the contents as they are.
START = (
    "import base64, json, sys, zlib; line = sys.stdin.buffer.readline();"
    " sent = json.loads(zlib.decompress(base64.b64decode(line))); exec(sent['boot'])"
)
# Debian's own goes first: a login's PATH may name folders of others.
FIND = (
    'for python in /usr/bin/python3 /usr/local/bin/python3 "$(command -v python3)"; do'
    ' [ ! -x "$python" ] || exec "$python" -Ic "$1"; done; exit 127'
)
# Makes the modules that were sent importable, and runs one of them.
BOOT = """
import importlib.abc, importlib.util


class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name in sent["modules"]:
            return importlib.util.spec_from_loader(name, self)
        if any(other.startswith(name + ".") for other in sent["modules"]):
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return None

    def get_source(self, name):
        return sent["modules"].get(name, "")

    def is_package(self, name):
        return name not in sent["modules"]


sys.meta_path.insert(0, Sent())
module = importlib.import_module(sent["run"])
print(json.dumps(getattr(module, sent.get("function", "main"))(sent["call"], sys.stdin.buffer.read())))
"""

LAST = 1 << 20  # characters of what a host said instead of an answer that are looked at


class NoAnswer(Exception):
    """What ran on the host ended without an answer; ``code`` is the exit code and the text what was said instead."""

    def __init__(self, code: int, words: str) -> None:
        """Keep both."""
        super().__init__(words)
        self.code = code


def run(
    action: ActionBase,
    module: str,
    call: dict[str, Any],
    contents: bytes,
    task_vars: dict[str, Any],
    secrets: list[str],
    shape: Any,
) -> dict[str, Any]:
    """Call ``main(call, contents)`` of one of this collection's ``module_utils`` on the task's host.

    :param module: its name.
    :param call: what it is told, and all that JSON can carry.
    :param contents: sent as they are, of any size.
    :param secrets: texts that are taken out of the answer.
    :param shape: what the answer must be like, see ``module_utils/answers.py``.
    :returns: the answer, all text in it visible; ``failed`` and ``msg`` where there is none, or none to be believed.
    """
    named, mask = interpreter(action, task_vars), Mask(secrets)

    def show(text: str) -> str:
        return answers.visible(mask.text(text))

    command = f"{shlex.quote(named)} -Ic {shlex.quote(START)}"
    try:
        return ask(action, command, module, call, contents, shape, show)
    except NoAnswer as error:
        words = f"host: what ran there ended with {error.code} and no answer:\n{error}"
    except answers.Untrue as why:
        words = distrust(why)
    return {"failed": True, "msg": show(words)}


def look(action: ActionBase, call: dict[str, Any], task_vars: dict[str, Any], sudoable: bool) -> dict[str, Any]:
    """Look at the task's host with ``module_utils/look.py``, and with a Python that is looked for unless it is named.

    :param sudoable: False takes the rights of the user who logs in.
    :raises NoAnswer: the host has no Python, or let nobody in.
    :raises answers.Untrue: its answer is not believed.
    """
    named = action._templar.template(task_vars.get("ansible_python_interpreter", "auto"))
    command = f"sh -c {shlex.quote(FIND)} sh {shlex.quote(START)}"
    if Path(named).is_absolute():
        command = f"{shlex.quote(str(named))} -Ic {shlex.quote(START)}"
    return ask(action, command, "look", call, b"", answers.LOOK, answers.visible, sudoable=sudoable)


def ask(
    action: ActionBase,
    command: str,
    module: str,
    call: dict[str, Any],
    contents: bytes,
    shape: Any,
    show: Callable[[str], str],
    **options: Any,
) -> dict[str, Any]:
    """Return what the host answers to a call.

    :param command: what reads the call there, a Python with ``START``.
    :raises NoAnswer: it ended without an answer.
    :raises answers.Untrue: it is not an answer to this call.
    """
    sent = {"boot": BOOT, "start": START, "modules": modules(module), "run": f"{PACKAGE}.{module}", "call": call}
    line = base64.b64encode(zlib.compress(json.dumps(sent).encode()))
    limit = (answers.LIMIT + answers.BESIDES) * max(1, len(call.get("apps", ())))
    bounds.install()
    with bounds.up_to(2 * limit):  # With what is said besides, which is no part of the answer.
        given = action._low_level_execute_command(command, in_data=line + b"\n" + contents, **options)
    said = given["stdout"].strip()
    last = said.rpartition("\n")[2]
    if len(last) > limit:
        raise answers.Untrue(f"it is longer than {limit} characters")
    if not last.startswith("{"):
        words = (show(text[-LAST:])[-6000:] for text in (given["stderr"].strip(), said) if text)
        raise NoAnswer(given["rc"], answers.visible("\n".join(words)))
    return answers.parsed(last, shape, show)


@functools.cache
def modules(name: str) -> dict[str, str]:
    """Return the texts of one of ``module_utils`` and of those that it imports, by their whole names."""
    found: dict[str, str] = {}
    needed = [name]
    while needed:
        name = needed.pop()
        path = ROOT / "plugins/module_utils" / f"{name}.py"
        if f"{PACKAGE}.{name}" in found or not path.is_file():
            continue
        found[f"{PACKAGE}.{name}"] = path.read_text()
        for one, several in IMPORTS.findall(found[f"{PACKAGE}.{name}"]):
            needed += [one] if one else several.replace(",", " ").split()
    return found


def interpreter(action: ActionBase, task_vars: dict[str, Any]) -> str:
    """Return the host's Python: the one its inventory names, else the one that the preflight saw there."""
    named = action._templar.template(task_vars.get("ansible_python_interpreter", "auto"))
    if Path(named).is_absolute():
        return str(named)
    return str(task_vars.get("ansible_facts", {}).get("discovered_interpreter_python", "python3"))
