"""What may be said of accounts: every bad value is refused with words that help, every good one passes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.plugin_utils import accounts
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems
from support import completed, render, role_variables

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVVbm90IGEgcmVhbCBrZXksIGJ1dCBhcyBsb25n"
ANY_KEY = "one line of a .pub file"

GOOD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "plain": {"server_ssh_keys": [ED]},
    "comment_and_newline": {"server_ssh_keys": [f"{ED} ann's laptop\n"]},
    "options": {"server_ssh_keys": [f'from="192.0.2.1",restrict,command="/bin/sh -c \\"x\\"" {ED}']},
    "rsa": {"server_ssh_keys": ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ== a@b"]},
    "hardware": {"server_ssh_keys": ["sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t"]},
    "curve": {"server_ssh_keys": ["ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI="]},
    "one_account": {"server_accounts": {"shop": {"ssh_keys": [ED]}, "pair": {}}},
}
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no_list": ({"server_ssh_keys": ED}, "server_ssh_keys", "a list of public keys"),
    "file_name": ({"server_ssh_keys": ["~/.ssh/id_ed25519.pub"]}, "server_ssh_keys[0]", ANY_KEY),
    "two_lines": ({"server_ssh_keys": [f"{ED}\n{ED}"]}, "server_ssh_keys[0]", ANY_KEY),
    "comment": ({"server_ssh_keys": [ED, f"# {ED}"]}, "server_ssh_keys[1]", ANY_KEY),
    "certificate": ({"server_ssh_keys": [ED.replace("AAAA", "BBBB")]}, "server_ssh_keys[0]", ANY_KEY),
    "dss": ({"server_ssh_keys": ["ssh-dss AAAAB3NzaC1kc3M="]}, "server_ssh_keys[0]", ANY_KEY),
    "accounts_list": ({"server_accounts": ["shop"]}, "server_accounts", "a dict of accounts"),
    "account_unknown": ({"server_accounts": {"shpo": {}}}, "server_accounts.shpo", "the host's apps: pair, shop"),
    "account_no_dict": ({"server_accounts": {"shop": ED}}, "server_accounts.shop", "a dict of "),
    "option_unknown": ({"server_accounts": {"shop": {"keys": []}}}, "server_accounts.shop.keys", "ssh_keys"),
    "option_misspelt": ({"server_accounts": {"shop": {"memmory": "4G"}}}, "server_accounts.shop.memmory", "memory"),
    "option_type": (
        {"server_accounts": {"shop": {"ssh_keys": "x"}}},
        "server_accounts.shop.ssh_keys",
        "a list of public keys",
    ),
    "key": ({"server_accounts": {"shop": {"ssh_keys": ["x"]}}}, "server_accounts.shop.ssh_keys[0]", ANY_KEY),
}


def found(variables: dict[str, Any]) -> list[str]:
    """Return the messages about variables on a host with two accounts."""
    problems = Problems("inventory/group_vars")
    accounts.check(variables, [completed(), completed("other") | {"account": "pair"}], problems)
    return problems.found


@pytest.mark.parametrize("variables", GOOD.values(), ids=GOOD)
def test_good(variables: dict[str, Any]) -> None:
    assert found(variables) == []


@pytest.mark.parametrize(("variables", "key", "allowed"), BAD.values(), ids=BAD)
def test_bad(variables: dict[str, Any], key: str, allowed: str) -> None:
    message = found(variables)[0]
    assert message.startswith(f"{key}: ")
    assert allowed in message
    assert message.endswith(" Fix it in inventory/group_vars.")


def test_a_private_key_is_not_shown() -> None:
    [message] = found({"server_ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n"]})
    assert "b3Blb" not in message
    assert "a private key, not shown" in message


def test_an_account_has_its_own_keys_and_those_of_all_once_each() -> None:
    own = {"shop": {"ssh_keys": [ED, "ssh-rsa AAAAB3 b"]}}
    text = render(
        "server", "authorized_keys.j2", __server_account="shop", server_ssh_keys=[f"{ED}\n"], server_accounts=own
    )
    assert [line for line in text.splitlines() if not line.startswith("#")] == [ED, "ssh-rsa AAAAB3 b"]
    text = render("server", "authorized_keys.j2", __server_account="pair", server_ssh_keys=[], server_accounts=own)
    assert [line for line in text.splitlines() if not line.startswith("#")] == []


# --- what an account may take

GOOD_LIMITS: dict[str, list[Any]] = {
    "memory": ["1%", "60%", "100%", "800M", "4G"],
    "tasks": [32, 512, 4_000_000],
    "cpu_weight": [1, 10000],
    "disk": ["", "0", "20G", "500M"],
}
BAD_LIMITS: dict[str, list[Any]] = {
    "memory": ["", "0%", "101%", "much", "4 G", 1024, None, "infinity\n"],
    "tasks": [0, 31, -1, "512", True, 1.5],
    "cpu_weight": [0, 10001, "high", False],
    "disk": ["20", "-1G", "all", 5, "20G\nx"],
}


def pairs(values: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return each key with each of its values."""
    return [(key, value) for key, found in values.items() for value in found]


@pytest.mark.parametrize(("key", "value"), pairs(GOOD_LIMITS))
def test_good_limits(key: str, value: Any) -> None:
    assert found({f"server_account_{key}": value, "server_accounts": {"shop": {key: value}}}) == []


@pytest.mark.parametrize(("key", "value"), pairs(BAD_LIMITS))
def test_bad_limits_are_refused_wherever_they_are(key: str, value: Any) -> None:
    common, own = found({f"server_account_{key}": value, "server_accounts": {"shop": {key: value}}})
    for at, message in ((f"server_account_{key}", common), (f"server_accounts.shop.{key}", own)):
        assert message.startswith(f"{at}: ")
        assert accounts.LIMITS[key][1] in message
        assert message.endswith(" Fix it in inventory/group_vars.")


def test_defaults_are_good() -> None:
    defaults = role_variables("server")
    assert found({key: value for key, value in defaults.items() if key.startswith("server_")}) == []


@pytest.mark.parametrize(("kind", "section"), [("Service", "[Service]"), ("Slice", "[Slice]")])
def test_an_account_differs_in_what_its_row_says(kind: str, section: str) -> None:
    apps = [
        {"account": name, "home": f"/home/{name}", "state": "present", "account_ours": True}
        for name in ("shop", "blog")
    ]
    more = {"server_apps": apps, "server_accounts": {"shop": {"memory": "4G", "tasks": 2000}}}
    lines = {
        name: render("server", "limits.conf.j2", __server_account=name, __server_kind=kind, **more).splitlines()
        for name in ("shop", "blog")
    }
    assert section in lines["shop"]
    assert {"MemoryMax=4G", "TasksMax=2000", "CPUWeight=100"} <= set(lines["shop"])
    assert {"MemoryMax=60%", "TasksMax=512", "CPUWeight=100"} <= set(lines["blog"])
    # Nobody's /tmp is of the memory that all share.
    folder = "/var/lib/hosted.flask/tmp/programs-blog"
    assert (f"BindPaths=-{folder}:/tmp" in lines["blog"]) == (kind == "Service")
    made = render("server", "tmpfiles.conf.j2", __server_homes={"blog": "/home/blog"}, **more)
    assert f"d {folder} 1777 root root 10d" in made.splitlines()
