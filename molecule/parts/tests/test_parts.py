"""The skeleton without a part: the rest passes its own tests, and is served."""

import json
import subprocess

import pytest
from asking import CHECKOUT, PROJECT, ask

# What each part shows to visitors, and the ports of the apps without it.
SHOWN = {"api": "/api/openapi.json", "model": "/api/users/me", "tasks": "/api/jobs", "frontend": "/app/"}
PORTS = {"api": 18121, "model": 18122, "tasks": 18123, "frontend": 18124, "all": 18125}


@pytest.mark.parametrize("part", PORTS)
def test_the_rest_is_served(host, part):
    port = PORTS[part]
    assert "<h1>Hello</h1>" in ask(host, port=port).text
    status = json.loads(ask(host, "/status", port=port).text)
    assert status["status"] == "ok"
    assert status.get("database") == (None if part in ("model", "all") else "ok")
    assert status.get("broker") == (None if part in ("tasks", "all") else "off")
    # Without users nobody can have jobs.
    gone = {"api": {"api", "model", "tasks"}, "model": {"model", "tasks"}, "all": set(SHOWN)}.get(part, {part})
    answers = {name: ask(host, path, port=port).status for name, path in SHOWN.items()}
    wanted = {"api": 200, "model": 401, "tasks": 401, "frontend": 200}
    assert answers == {name: 404 if name in gone else wanted[name] for name in SHOWN}


@pytest.mark.parametrize("part", PORTS)
def test_the_rest_passes_its_tests(part):
    python = CHECKOUT / ".venv-skeleton/bin/python"
    command = [python, "-m", "pytest", "-q", "-m", "not slow"]
    done = subprocess.run(command, cwd=PROJECT / f"without_{part}", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
