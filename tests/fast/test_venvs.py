"""A venv is built once for its content, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import venvs
from ansible_collections.hosted.flask.plugins.module_utils.venvs import Venv, VenvError

MISSING = "nothing @ file:///nowhere/nothing-1.0-py3-none-any.whl\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """Return a venv without packages, built."""
    venv = Venv(tmp_path_factory.mktemp("venvs"), [], sys.executable)
    assert not venv.ready
    venv.build()
    return venv


def test_a_built_venv_is_ready_and_runs(built: Venv) -> None:
    assert built.ready
    code = "import sys; print(sys.prefix != sys.base_prefix, sys.prefix)"
    run = subprocess.run([built.path / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"True {built.path}\n"


def test_a_second_build_does_nothing(built: Venv) -> None:
    before = {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in built.path.rglob("*")}
    Venv(built.path.parent, [], sys.executable).build()
    assert before == {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in built.path.rglob("*")}


def test_a_venv_without_its_interpreter_is_not_ready_and_is_built_again(tmp_path: Path) -> None:
    venv = Venv(tmp_path, [], sys.executable)
    venv.build()
    (venv.path / "bin/python").unlink()
    (venv.path / "bin/python").symlink_to("/nowhere/python3.1")
    assert not venv.ready
    venv.build()
    assert venv.ready
    subprocess.run([venv.path / "bin/python", "-c", ""], check=True)


def test_what_an_interrupted_build_left_is_replaced(tmp_path: Path) -> None:
    venv = Venv(tmp_path, [], sys.executable)
    (venv.path / "bin").mkdir(parents=True)
    (venv.path / "bin/python").symlink_to(sys.executable)
    (venv.path / "half").touch()
    assert not venv.ready
    venv.build()
    assert venv.ready
    assert not (venv.path / "half").exists()


def test_packages_that_cannot_be_had_are_told_and_nothing_is_left(tmp_path: Path) -> None:
    venv = Venv(tmp_path / "venvs", [MISSING], sys.executable)
    with pytest.raises(VenvError, match="failed:\n") as error:
        venv.build()
    assert "/nowhere/nothing-1.0-py3-none-any.whl" in str(error.value)
    assert not venv.ready
    assert list((tmp_path / "venvs").iterdir()) == []


def test_a_build_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(command: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(venvs, "call", stopped)
    venv = Venv(tmp_path, [], sys.executable)
    with pytest.raises(KeyboardInterrupt):
        venv.build()
    assert list(tmp_path.iterdir()) == []


def test_without_uv_the_packages_are_pips_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File by file: pip wants hashes on every line of a run or on none."""
    calls: list[list[str]] = []
    monkeypatch.setattr(venvs, "call", calls.append)
    monkeypatch.setattr(venvs, "UV_PLACES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    venv = Venv(tmp_path, ["a\n", "b --hash=sha256:1\n"], sys.executable)
    venv.build()
    python = str(venv.path / "bin/python")
    assert calls[0][1:] == ["-m", "venv", str(venv.path)]
    assert [call[:4] for call in calls[1:3]] == [[python, "-m", "pip", "install"]] * 2
    assert [Path(call[-1]).name for call in calls[1:3]] == ["requirements-0.txt", "requirements-1.txt"]


def test_the_packages_are_on_the_disk_before_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not leave a seal without what it vouches for."""
    venv = Venv(tmp_path, ["a\n"], sys.executable)
    calls: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(venvs, "call", lambda command: calls.append((command, venv.sealed.exists())))
    venv.build()
    assert calls[-1] == (["sync", "--file-system", str(venv.path)], False)
    assert venv.sealed.exists()


@pytest.mark.parametrize("python", ["python9.9", "/nowhere/python3", ""])
def test_an_interpreter_that_is_not_there_is_named(python: str, tmp_path: Path) -> None:
    with pytest.raises(VenvError, match="is not on this host") as error:
        Venv(tmp_path, [], python)
    assert repr(python) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_name_is_made_of_interpreter_and_requirements(tmp_path: Path) -> None:
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    made_of = [
        ([], sys.executable),
        (["a\n"], sys.executable),
        (["a\n", "b\n"], sys.executable),
        (["a\nb\n"], sys.executable),
        (["a\n"], str(other)),
    ]
    names = [Venv(tmp_path, requirements, python).path.name for requirements, python in made_of]
    assert len(set(names)) == len(names)
    again = [Venv(tmp_path / "elsewhere", requirements, python).path.name for requirements, python in made_of]
    assert again == names


def test_empty_requirements_are_none(tmp_path: Path) -> None:
    assert Venv(tmp_path, ["", "\n", "a\n"], sys.executable).path == Venv(tmp_path, ["a\n"], sys.executable).path


@pytest.mark.parametrize("emptied", ["*.py", "WHEEL"])
def test_a_cache_that_a_power_cut_emptied_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emptied: str
) -> None:
    """uv installs empty modules without a word, and refuses empty descriptions."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    Venv(tmp_path / "venvs", ["blinker==1.9.0\n"], sys.executable).build()
    files = [path for path in (tmp_path / "cache").rglob(emptied) if "blinker" in str(path)]
    assert files
    for path in files:
        path.write_bytes(b"")
    venv = Venv(tmp_path / "venvs", ["# another\n", "blinker==1.9.0\n"], sys.executable)
    venv.build()
    assert venv.packages() == ["blinker==1.9.0"]
    subprocess.run([venv.path / "bin/python", "-c", "import blinker; blinker.signal"], check=True)
