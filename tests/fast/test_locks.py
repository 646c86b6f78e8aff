"""Locks hold all that their input asks for, and the oldest pip that users have installs them, also tomorrow.

Tomorrow there are newer releases. Until 23.2 pip takes a package without extras, or with others, for another one than
the lock pins, chooses its newest release, and refuses it for having no hash. So it is tried with an index of our own,
with what the packages really ask for, in which each has a newer release.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT, tool

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
PLAIN = PROJECT["project"]["dependencies"]
SKELETON = ROOT / "app_skeleton"
# Debian 12's; a later Python cannot run it.
PIP = "23.0.1" if sys.version_info < (3, 12) else "23.2"
LATER = "99999"


def read(file: Path) -> list[str]:
    """Return what a file of requirements asks for, with what it includes."""
    found = []
    for line in file.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        if text.startswith("-r "):
            found += read(file.parent / text.removeprefix("-r "))
        elif text and not text.startswith(("#", "-c ")):
            found.append(text)
    return found


INPUTS = {
    "requirements.txt": PLAIN,
    "requirements-dev.txt": PLAIN + GROUPS["dev"],
    **{f"roles/{name}/files/requirements.txt": asked for name, asked in GROUPS.items() if name != "dev"},
    **{
        str(file.with_suffix(".txt").relative_to(ROOT)): read(file)
        for folder in (SKELETON, SKELETON / "container")
        for file in folder.glob("requirements*.in")
    },
}


def pins(lock: str) -> list[Requirement]:
    """Return what a lock pins on the Python and the system that run this."""
    lines = (line.partition("--hash")[0] for line in (ROOT / lock).read_text().replace("\\\n", " ").splitlines())
    found = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [pin for pin in found if pin.marker is None or pin.marker.evaluate()]


def version(pin: Requirement) -> str:
    """Return the version that is pinned."""
    [only] = pin.specifier
    assert only.operator == "=="
    return only.version


def test_every_lock_has_an_input_that_is_known() -> None:
    command = ["git", "-C", str(ROOT), "grep", "--untracked", "-lE", "^ +--hash=sha256:[0-9a-f]{64}", "--", "*.txt"]
    locks = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(locks) == sorted(INPUTS)


@pytest.mark.parametrize("lock", INPUTS)
def test_a_lock_pins_and_hashes_every_package(lock: str) -> None:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    assert [line for line in lines if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("lock", INPUTS)
def test_a_lock_pins_all_that_is_asked_for_with_its_extras(lock: str) -> None:
    pinned = {canonicalize_name(pin.name): pin for pin in pins(lock)}
    assert INPUTS[lock]
    for asked in map(Requirement, INPUTS[lock]):
        pin = pinned[canonicalize_name(asked.name)]
        assert asked.extras <= pin.extras, f"{asked} is {pin}: see pyproject.toml on how locks are made"
        assert asked.specifier.contains(version(pin)), f"{asked} is {pin}"


# --- the oldest pip

Distributions = dict[tuple[str, str], importlib.metadata.Distribution]
Runs = dict[str, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def installed() -> Distributions:
    """Return all packages of the two venvs that are made from the locks."""
    folders = [path for name in (".venv-test", ".venv-skeleton") for path in ROOT.glob(f"{name}/lib/*/site-packages")]
    found = importlib.metadata.distributions(path=[*sys.path, *map(str, folders)])
    return {(canonicalize_name(item.name), item.version): item for item in found}


def asked(lock: str, installed: Distributions) -> list[Requirement]:
    """Return what the packages of a lock ask for, with the extras that are pinned."""
    found = []
    for pin in pins(lock):
        own = canonicalize_name(pin.name), version(pin)
        assert own in installed, f"{pin} of {lock} is not installed: bin/test makes the venvs"
        for wanted in map(Requirement, installed[own].requires or []):
            marker = wanted.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *pin.extras)):
                found.append(wanted)
    return found


@pytest.mark.parametrize("lock", INPUTS)
def test_a_lock_pins_a_package_as_everybody_asks_for_it(lock: str, installed: Distributions) -> None:
    """With one set of extras: the old pip takes another one for another package, which the lock does not pin."""
    pinned = {canonicalize_name(pin.name): pin for pin in pins(lock)}
    wanted = [*map(Requirement, INPUTS[lock]), *asked(lock, installed)]
    others = [str(item) for item in wanted if item.extras != pinned[canonicalize_name(item.name)].extras]
    assert others == []


def test_the_broker_is_one_that_celery_can_use(installed: Distributions) -> None:
    """Whose requirements would say so, if they could be asked for."""
    pinned = {canonicalize_name(pin.name): version(pin) for pin in pins("app_skeleton/requirements.txt")}
    told = map(Requirement, installed["kombu", pinned["kombu"]].requires or [])
    wanted = [item for item in told if item.marker and item.marker.evaluate({"extra": "redis"})]
    assert "redis" in [item.name for item in wanted]
    assert [str(item) for item in wanted if not item.specifier.contains(pinned[canonicalize_name(item.name)])] == []


def wheel(folder: Path, name: str, number: str, more: list[str]) -> str:
    """Make a wheel of nothing but metadata, and return its sha256."""
    stem = f"{name.replace('-', '_')}-{number}"
    path = folder / f"{stem}-py3-none-any.whl"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}", *more, ""]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{stem}.dist-info/METADATA", "\n".join(metadata))
        file.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{stem}.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(
    lock: str, extras: bool, folder: Path, pip: Path, installed: Distributions
) -> subprocess.CompletedProcess[str]:
    """Let the old pip resolve a lock, with its extras or without them."""
    folder.mkdir()
    lines = []
    for pin in pins(lock):
        name, number = canonicalize_name(pin.name), version(pin)
        item = installed[name, number]
        more = [f"Provides-Extra: {extra}" for extra in item.metadata.get_all("Provides-Extra", [])]
        more += [f"Requires-Dist: {wanted}" for wanted in item.requires or []]
        digest = wheel(folder, name, number, more)
        wheel(folder, name, LATER, [])
        chosen = f"[{','.join(sorted(pin.extras))}]" if pin.extras and extras else ""
        lines.append(f"{name}{chosen}=={number} --hash=sha256:{digest}\n")
    file = folder / "requirements.txt"
    file.write_text("".join(lines))
    return subprocess.run(
        [sys.executable, str(pip), "install", "--dry-run", "--ignore-installed", "--no-cache-dir", "--no-index",
         "--disable-pip-version-check", f"--find-links={folder}", "--require-hashes", f"--requirement={file}"],
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True,
    )  # fmt: skip


# What users install with their own pip: the control node's tools, and all of the skeleton.
TRIED = {
    "control": ("requirements.txt", True),
    "skeleton": ("app_skeleton/requirements-dev.txt", True),
    "stripped": ("app_skeleton/requirements-dev.txt", False),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, installed: Distributions) -> Iterator[Runs]:
    """Try them all at once."""
    folder = tmp_path_factory.mktemp("pip")
    command = [tool("uv"), "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "old"), f"pip=={PIP}"]
    subprocess.run(command, check=True)
    with ThreadPoolExecutor() as pool:
        yield {
            name: pool.submit(install, lock, extras, folder / name, folder / "old/pip", installed)
            for name, (lock, extras) in TRIED.items()
        }


@pytest.mark.parametrize("name", ["control", "skeleton"])
def test_the_oldest_pip_installs_a_lock_when_all_has_a_newer_release(name: str, runs: Runs) -> None:
    run = runs[name].result()
    assert run.returncode == 0, run.stderr
    said = run.stdout.splitlines()[-1].removeprefix("Would install ").split()
    chosen = {(canonicalize_name(name), number) for name, _, number in (word.rpartition("-") for word in said)}
    assert chosen == {(canonicalize_name(pin.name), version(pin)) for pin in pins(TRIED[name][0])}


def test_the_oldest_pip_refuses_a_lock_without_its_extras(runs: Runs) -> None:
    """Or the test before would prove nothing."""
    run = runs["stripped"].result()
    assert run.returncode
    assert "all requirements must have their versions pinned with ==" in run.stderr
