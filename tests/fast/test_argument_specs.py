"""What a role takes is written once in its defaults and once in its argument_specs: both say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.hosted.flask.plugins.plugin_utils import apps
from support import ROLES, ROOT

TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "list": list,
    "dict": dict,
    "raw": object,
    "path": str,
    "float": (int, float),
}

# No role's own: the inventory says it, and a default would hide that it is missing.
FROM_THE_INVENTORY = {"flask_apps"}


def load(role: str, file: str) -> Any:
    """Return a YAML file of a role, an empty dict where there is none."""
    path = ROOT / "roles" / role / file
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    """Return the options of all entry points of a role."""
    return {
        name: option
        for entry in load(role, "meta/argument_specs.yml")["argument_specs"].values()
        for name, option in entry["options"].items()
    }


def public(role: str) -> dict[str, Any]:
    """Return a role's defaults that are for its users."""
    return {key: value for key, value in load(role, "defaults/main.yml").items() if not key.startswith("__")}


def nested(found: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each option with its path, those of dicts and lists of dicts too."""
    for name, option in found.items():
        yield f"{at}{name}", option
        yield from nested(option.get("options", {}), f"{at}{name}.")


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_name_the_same_variables(role: str) -> None:
    assert set(options(role)) - FROM_THE_INVENTORY == set(public(role))


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_and_option_is_described(role: str) -> None:
    for name, entry in load(role, "meta/argument_specs.yml")["argument_specs"].items():
        assert entry.get("short_description"), name
        assert entry.get("description"), name
    for name, option in nested(options(role)):
        assert str(option.get("description", "")).strip(), name
        assert option["type"] in TYPES, name


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_its_tasks(role: str) -> None:
    for entry in load(role, "meta/argument_specs.yml")["argument_specs"]:
        assert (ROOT / f"roles/{role}/tasks/{entry}.yml").is_file(), entry


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_in_one_place(role: str) -> None:
    assert [name for name, option in nested(options(role)) if "default" in option] == []


@pytest.mark.parametrize("role", ROLES)
def test_defaults_have_the_types_and_choices_of_the_specs(role: str) -> None:
    specs = options(role)
    for name, value in public(role).items():
        if isinstance(value, str) and "{{" in value:
            continue
        assert isinstance(value, TYPES[specs[name]["type"]]), name
        assert "choices" not in specs[name] or value in specs[name]["choices"], name


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_name_of_their_role(role: str) -> None:
    assert [name for name in public(role) if not name.startswith(role)] == []
    internal = [name for name in load(role, "defaults/main.yml") if name not in public(role)]
    internal += load(role, "vars/main.yml")
    assert [name for name in internal if not name.startswith(f"__{role}_")] == []


def set_by(tasks: Any) -> Iterator[str]:
    """Yield the names of the variables that tasks set, blocks included."""
    for task in tasks or []:
        for block in ("block", "rescue", "always"):
            yield from set_by(task.get(block))
        yield from task.get("ansible.builtin.set_fact", {})
        yield from filter(None, [task.get("register"), task.get("loop_control", {}).get("loop_var")])


@pytest.mark.parametrize("role", ROLES)
def test_variables_that_tasks_set_carry_the_name_of_their_role(role: str) -> None:
    files = [*(ROOT / "roles" / role).glob("tasks/*.yml"), *(ROOT / "roles" / role).glob("handlers/*.yml")]
    assert files
    names = [name for file in files for name in set_by(yaml.safe_load(file.read_text()))]
    assert [name for name in names if not name.startswith((f"{role}_", f"__{role}_")) and name != "cacheable"] == []


def test_app_keys_of_the_spec_have_defaults() -> None:
    """Only the name has none, and the account, which is the name where nothing else is said."""
    assert set(apps.spec()) == {*apps.builtin_defaults(), "name", "account"}


def test_app_defaults_have_the_types_and_choices_of_the_spec() -> None:
    for key, value in apps.builtin_defaults().items():
        option = apps.spec()[key]
        assert isinstance(value, TYPES[option["type"]]), key
        assert "choices" not in option or value in option["choices"], key
    assert set(apps.builtin_defaults()["health"]) == set(apps.spec()["health"]["options"])


def test_only_the_name_of_an_app_is_required() -> None:
    assert [key for key, option in apps.spec().items() if option.get("required")] == ["name"]


def test_the_checker_knows_every_type_of_the_spec() -> None:
    used = {option[word] for _, option in nested(apps.spec()) for word in ("type", "elements") if word in option}
    assert used <= set(apps.TYPES)
