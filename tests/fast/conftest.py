"""What all fast tests share: the collection made importable, short folders, and one real supervisord."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
init_plugin_loader([str(ROOT / ".collections")])

import support  # noqa: E402  it imports from the collection


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """Let nothing of the caller's settings into the tests, and nginx be found by users without /usr/sbin."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("HOSTED_", "UWSGI_", "PYTHONDONT"))]:
        del os.environ[name]
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ.update(ANSIBLE_NOCOLOR="1", NO_COLOR="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a folder with a short name, for one test."""
    yield from support.short_folder()


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Return the home of an account with a running supervisord, as role supervisord sets it up for local."""
    for folder in support.short_folder():
        with support.supervisord(folder):
            yield folder
