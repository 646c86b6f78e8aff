"""What may be said of the accounts of own servers: who may log in to them, and what they may take.

Runs on the control node only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems

# A line of authorized_keys, see sshd(8): options, the type, the key in base64, a comment.
KEY = re.compile(
    r"([^\s#][^\r\n]*[ \t])?"
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" AAAA[A-Za-z0-9+/]+={0,2}( [^\r\n]*)?"
)
SIZE = re.compile(r"[1-9][0-9]*[KMGT]")
PERCENT = re.compile(r"([1-9][0-9]?|100)%")


def number(low: int, high: int) -> Callable[[Any], bool]:
    """Return what tells whether a value is a whole number in a range."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def text(*patterns: re.Pattern[str] | str) -> Callable[[Any], bool]:
    """Return what tells whether a value is a text that matches one of the patterns."""
    return lambda value: isinstance(value, str) and any(re.fullmatch(pattern, value) for pattern in patterns)


LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "memory": (text(SIZE, PERCENT), "a share of the host's memory like 60%, or a size like 800M or 4G"),
    "tasks": (number(32, 4_000_000), "a whole number from 32 to 4000000"),
    "cpu_weight": (number(1, 10000), "a whole number from 1 to 10000"),
    "disk": (text(SIZE, "0?"), "a size like 20G, '0' to take a limit away, or '' for none"),
}
KEYS = ", ".join([*LIMITS, "ssh_keys"])


def check(variables: dict[str, Any], apps: list[dict[str, Any]], problems: Problems) -> None:
    """Check role server's variables about accounts, into ``problems``.

    :param variables: the variables that are set, by their names.
    :param apps: the completed apps, whose accounts may be spoken of.
    """
    names = sorted({app["account"] for app in apps})
    _check_keys("server_ssh_keys", variables.get("server_ssh_keys", []), problems)
    for key, (valid, allowed) in LIMITS.items():
        name = f"server_account_{key}"
        if name in variables and not valid(variables[name]):
            problems.add(name, variables[name], allowed)
    own = variables.get("server_accounts", {})
    if not isinstance(own, dict):
        problems.add("server_accounts", own, f"a dict of accounts, each with a dict of {KEYS}")
        return
    for account, row in own.items():
        at = f"server_accounts.{account}"
        if account not in names:
            problems.add(at, row, "an account of the host's apps: " + ", ".join(names))
        elif not isinstance(row, dict):
            problems.add(at, row, f"a dict of {KEYS}")
        else:
            _check_row(at, row, problems)


def _check_row(at: str, row: dict[str, Any], problems: Problems) -> None:
    """Check what is said of one account."""
    for key, value in row.items():
        if key == "ssh_keys":
            _check_keys(f"{at}.{key}", value, problems)
        elif key not in LIMITS:
            problems.add(f"{at}.{key}", value, f"one of the keys {KEYS}")
        elif not LIMITS[key][0](value):
            problems.add(f"{at}.{key}", value, LIMITS[key][1])


def _check_keys(key: str, lines: Any, problems: Problems) -> None:
    """Check that ``lines`` are public keys."""
    if not isinstance(lines, list):
        problems.add(key, lines, "a list of public keys")
        return
    for place, line in enumerate(lines):
        if not isinstance(line, str) or not KEY.fullmatch(line.strip()):
            shown = "(a private key, not shown)" if "PRIVATE" in str(line) else line
            problems.add(f"{key}[{place}]", shown, "one line of a .pub file, like ssh-ed25519 AAAA... me@laptop")
