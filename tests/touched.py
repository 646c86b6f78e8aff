"""Which tests a change can have touched: each file knows which others it uses, and what these use is followed.

- Python uses what it imports, and ``hosted.flask.NAME`` the module and the action of that name.
- YAML uses modules, roles and playbooks by ``hosted.flask.NAME``, and what it gives a path of.
- Tests use what they give a path of, and playbooks by their names.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Each scenario begins here, and so does each fast test.
MOLECULE = [
    ".config/molecule/config.yml",
    "molecule/conftest.py",
    "tests/hosts",
    "tests/containers.conf",
    "ansible.cfg",
]
FAST = ["tests/fast/conftest.py"]
# What every test stands on: the locks, and how tests are run.
EVERYTHING = ["requirements-dev.txt", "pyproject.toml", "bin/test", "bin/venv"]
COLLECTION = re.compile(r"\bhosted\.flask\.(\w+)")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+|[\w-]+\.(?:ya?ml|py|cfg|j2|txt|sh)\b|\bapp_skeleton\b")
WORD = re.compile(r"\"(\w+)\"")


@functools.cache
def tracked() -> frozenset[str]:
    """Return the paths of the checkout's files, also of those that git would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(path for path in out.split("\0") if path and not path.startswith(".collections/"))


def changes(base: str) -> set[str]:
    """Return the paths that differ from a commit, and those that git does not know yet.

    :raises subprocess.CalledProcessError: there is no such commit.
    """
    commands = (["git", "diff", "--name-only", "-z", base], ["git", "ls-files", "-z", "--others", "--exclude-standard"])
    out = "".join(
        subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout for command in commands
    )
    return {path for path in out.split("\0") if path}


def within(path: str) -> set[str]:
    """Return a file, or the files of a folder."""
    return {file for file in tracked() if file == path or file.startswith(path.rstrip("/") + "/")}


def plugins(name: str) -> set[str]:
    """Return a module of the collection, and the action that goes with it."""
    return {f"plugins/{kind}/{name}.py" for kind in ("modules", "action", "callback")} & tracked()


def imported(tree: ast.AST) -> set[str]:
    """Return the files that a Python file imports: of the collection, and of the tests' own folders."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = set()
    for name in names:
        inner = name.removeprefix("ansible_collections.hosted.flask.").replace(".", "/")
        found |= {
            f"{folder}{inner}.py" for folder in ("", "tests/", "tests/fast/", "tests/browser/", "molecule/resources/")
        }
    return found & tracked()


@functools.cache
def uses(path: str) -> frozenset[str]:
    """Return the files that a file uses."""
    file, found = ROOT / path, set()
    test = path.startswith(("molecule/", "tests/"))
    if not path.endswith((".py", ".yml", ".yaml", ".cfg")) or not file.is_file():
        return frozenset()
    text = file.read_text()
    if path.endswith(".py"):
        found |= imported(ast.parse(text))
    for name in COLLECTION.findall(text):
        found |= plugins(name)
        if not path.endswith(".py"):
            found |= within(f"roles/{name}") | within(f"playbooks/{name}.yml")
    if path.startswith("plugins/"):
        # What is sent to hosts is given by its name.
        found |= {f"plugins/module_utils/{word}.py" for word in WORD.findall(text)} & tracked()
    if test or not path.endswith(".py"):
        for token in set(PATH.findall(text)):
            for whole in ((ROOT / token).resolve(), (file.parent / token).resolve()):
                if whole.exists() and whole.is_relative_to(ROOT) and whole != ROOT:
                    found |= within(str(whole.relative_to(ROOT)))
    if test:
        found |= {f"playbooks/{word}.yml" for word in WORD.findall(text)} & tracked()
    return frozenset(found)


def reached(starts: Iterable[str]) -> set[str]:
    """Return these files and folders, what they use, what that uses, and so on."""
    found, left = set(), [file for start in starts for file in within(start)]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            # A link leads to a file of another name.
            left.extend({*uses(path), str((ROOT / path).resolve().relative_to(ROOT))} - found)
    return found


def touched(changed: set[str], starts: dict[str, list[str]]) -> list[str]:
    """Return those tests, of ``starts`` by what each begins with, that reach a changed file."""
    if changed & set(EVERYTHING):
        return list(starts)
    return [test for test, begin in starts.items() if changed & reached(begin)]
