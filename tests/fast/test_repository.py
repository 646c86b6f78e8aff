"""The checkout as a whole: a collection that builds, playbooks that parse, files that fit together."""

from __future__ import annotations

import ast
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import ROLES, ROOT, tool

PLAYBOOKS = ["deploy.yml", *sorted(f"playbooks/{path.name}" for path in ROOT.glob("playbooks/*.yml"))]
MODULES = sorted(path.stem for path in ROOT.glob("plugins/modules/*.py") if path.stem != "__init__")
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
# In parts, so that this file does not name one itself.
REGISTRIES = [
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("galaxy.ansible", "com"),
        ("docker", "io"),
        ("quay", "io"),
        ("ghcr", "io"),
        ("deb.debian", "org"),
        ("registry.npmjs", "org"),
    )
]


@pytest.fixture(scope="module", autouse=True)
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start Ansible's own tools at once, most of their seconds are spent on imports; each test waits for its own."""
    out = tmp_path_factory.mktemp("build")
    commands = {
        "build": ["ansible-galaxy", "collection", "build", "--output-path", str(out), str(ROOT)],
        "doc": ["ansible-doc", "--type=module", "--json", *(f"hosted.flask.{name}" for name in MODULES)],
        "syntax": ["ansible-playbook", "--syntax-check", *PLAYBOOKS],
    }
    children = {
        name: subprocess.Popen(
            [tool(command[0]), *command[1:]],
            cwd=ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if name != "doc" else subprocess.PIPE,
        )
        for name, command in commands.items()
    }
    yield children
    for child in children.values():
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture(scope="module")
def archive(started: dict[str, subprocess.Popen[str]]) -> set[str]:
    """Return the files of the collection's archive."""
    said, _ = started["build"].communicate(timeout=300)
    assert started["build"].returncode == 0, said
    [path] = Path(started["build"].args[4]).glob("hosted-flask-*.tar.gz")  # type: ignore[index]
    with tarfile.open(path) as tar:
        return {member.name for member in tar if not member.isdir()}


def tracked() -> list[Path]:
    """Return the files of the checkout that git knows or would add."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def test_the_archive_holds_the_roles_playbooks_and_plugins(archive: set[str]) -> None:
    wanted = {
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in ("roles", "playbooks", "plugins")
    }
    assert len(wanted) > 50
    assert wanted <= archive
    assert {"MANIFEST.json", "meta/runtime.yml", "README.md"} <= archive


def test_the_archive_holds_no_tests_and_nothing_that_tools_left(archive: set[str]) -> None:
    unwanted = (
        "tests",
        "molecule",
        "benchmarks",
        ".git",
        ".venv",
        ".venv-skeleton",
        ".venv-test",
        ".cache",
        ".collections",
        ".hosted",
        ".ansible",
        ".ruff_cache",
        ".pytest_cache",
    )
    found = {Path(name).parts[0] for name in archive}
    assert sorted(found.intersection(unwanted)) == []
    assert [name for name in archive if "__pycache__" in name or name.endswith(".pyc")] == []


def test_playbooks_parse(started: dict[str, subprocess.Popen[str]]) -> None:
    said, _ = started["syntax"].communicate(timeout=300)
    assert started["syntax"].returncode == 0, said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("playbook: ")] == PLAYBOOKS


def test_modules_have_a_manual(started: dict[str, subprocess.Popen[str]]) -> None:
    said, errors = started["doc"].communicate(timeout=300)
    assert started["doc"].returncode == 0, errors
    manual = json.loads(said)
    assert sorted(manual) == [f"hosted.flask.{name}" for name in MODULES]
    for name, page in manual.items():
        assert page["doc"]["short_description"], name
        assert page["doc"]["attributes"]["check_mode"]["support"] == "full", name
        assert page["examples"].strip(), name
        assert all(option["description"] for option in page["doc"].get("options", {}).values()), name


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_play_and_task_is_named(name: str) -> None:
    for play in yaml.safe_load((ROOT / name).read_text()):
        assert play.get("name"), play
        for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            assert all(task.get("name") for task in play.get(part, [])), play["name"]


@pytest.mark.parametrize("role", ROLES)
def test_roles_have_what_every_role_has(role: str) -> None:
    for file in ("defaults/main.yml", "tasks/main.yml", "meta/argument_specs.yml"):
        assert (ROOT / "roles" / role / file).is_file(), file


def test_no_file_names_a_registry() -> None:
    """Which index or mirror is asked is the user's own configuration, in locks, scripts and texts alike."""
    found = [
        f"{path.relative_to(ROOT)}: {registry}"
        for path in tracked()
        for text in [path.read_bytes().decode(errors="replace")]
        for registry in REGISTRIES
        if registry in text
    ]
    assert found == []


def test_there_are_scenarios() -> None:
    assert SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_a_test(scenario: str) -> None:
    """A scenario without one would only show that nothing fails."""
    functions = [
        node.name
        for file in (ROOT / "molecule" / scenario).glob("tests/**/test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert functions


def test_the_checkout_is_the_collection() -> None:
    """By a link that a clone brings along: deploy.yml works without an installation."""
    link = ROOT / ".collections/ansible_collections/hosted/flask"
    assert link.is_symlink()
    assert link.resolve() == ROOT
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert (galaxy["namespace"], galaxy["name"]) == ("hosted", "flask")
