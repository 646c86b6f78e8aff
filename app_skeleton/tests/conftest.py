"""A throw-away release folder, and applications living in it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import app as package


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the application in an empty release folder, with none of its settings set."""
    for name in package.settings.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    top = tmp_path / "release"
    shutil.copytree(package.TOP / "static", top / "static")
    monkeypatch.setattr(package, "TOP", top)
    return top


@pytest.fixture
def make_app(release: Path) -> Callable[..., Flask]:
    """Return a function building an application from the settings given by name."""

    def make(**config: Any) -> Flask:
        return package.create_app({"TESTING": True, **config})

    return make
