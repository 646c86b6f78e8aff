"""A throw-away release folder, and applications living in it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import factory, settings
from app.factory import create_app

KEY = "a key for tests: " + 32 * "0"
HERE = Path(factory.__file__).resolve().parent.parent


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the application in an empty release folder, with none of its settings set."""
    for name in (*settings.DEFAULTS, "HOSTED_RELEASE", "RELEASE", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.delenv(name, raising=False)
    top = tmp_path / "release"
    shutil.copytree(settings.TOP / "static", top / "static")
    monkeypatch.setattr(settings, "TOP", top)
    return top


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the code, for processes that start the application: it writes beside it."""
    top = tmp_path / "copied"
    shutil.copytree(HERE / "app", top / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "wsgi.py", top)
    return top


@pytest.fixture
def make_app(release: Path) -> Callable[..., Flask]:
    """Return a function building an application from the settings given by name."""

    def make(**config: Any) -> Flask:
        return create_app({"TESTING": True, "SECRET_KEY": KEY, **config})

    return make


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file with all tables, made by the migrations."""
    pytest.importorskip("app.model")
    path = tmp_path_factory.mktemp("database") / "app.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "instance", lambda: path.parent)
        app = create_app({"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{path}"})
        result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert result.exit_code == 0, result.exception
    return path


@pytest.fixture
def database_url(migrated: Path, tmp_path: Path) -> str:
    """Return the address of an empty database with all tables."""
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'app.sqlite')}"
