"""What `bin/test changed` chooses: nothing that a change can have touched is left out, and not all is chosen."""

from __future__ import annotations

import pytest
import touched
from support import ROOT

SCENARIOS = {
    path.parent.name: [f"molecule/{path.parent.name}", *touched.MOLECULE]
    for path in ROOT.glob("molecule/*/molecule.yml")
}
FAST = {path.name: [f"tests/fast/{path.name}", *touched.FAST] for path in ROOT.glob("tests/fast/test_*.py")}
PRODUCT = sorted(path for path in touched.tracked() if path.startswith(("roles/", "plugins/", "playbooks/")))


@pytest.fixture(scope="module")
def reaching() -> dict[str, set[str]]:
    """Return the scenarios by the files that they reach."""
    found: dict[str, set[str]] = {}
    for name, starts in SCENARIOS.items():
        for path in touched.reached(starts):
            found.setdefault(path, set()).add(name)
    return found


@pytest.mark.parametrize("path", [path for path in PRODUCT if not path.endswith("__init__.py")])
def test_no_file_of_the_product_is_touched_without_a_scenario(path: str, reaching: dict[str, set[str]]) -> None:
    assert reaching.get(path)


@pytest.mark.parametrize(
    "path", ["roles/flask_app/tasks/main.yml", "plugins/module_utils/releases.py", "plugins/plugin_utils/apps.py"]
)
def test_what_every_deploy_uses_touches_every_scenario(path: str, reaching: dict[str, set[str]]) -> None:
    assert reaching[path] == set(SCENARIOS)


def test_what_is_of_one_scenario_does_not_touch_all() -> None:
    touched_by = {path: touched.touched({path}, SCENARIOS) for path in ("molecule/tls/prepare.yml", "tests/attacks.py")}
    assert "tls" in touched_by["molecule/tls/prepare.yml"]
    assert touched_by["tests/attacks.py"] == ["front"]
    assert len(touched_by["molecule/tls/prepare.yml"]) < 4
    assert touched.touched({"README.md"}, FAST | SCENARIOS) == []


def test_a_fast_test_is_touched_by_what_it_imports() -> None:
    assert "test_masking.py" in touched.touched({"plugins/module_utils/masking.py"}, FAST)
    assert "test_masking.py" not in touched.touched({"tests/attacks.py"}, FAST)
    assert "test_visitors.py" in touched.touched({"tests/visitors.py"}, FAST)


def test_what_all_stand_on_touches_all() -> None:
    assert touched.touched({"requirements-dev.txt"}, FAST) == list(FAST)
