"""What may be said of the accounts of own servers: who may log in to them. Runs on the control node only."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems, check_types

# What `server_accounts` may say of one account, in the manner of argument_specs.
OPTIONS: dict[str, Any] = {
    "ssh_keys": {"type": "list", "elements": "str"},
}
# A line of authorized_keys, see sshd(8): options, the type, the key in base64, a comment.
KEY = re.compile(
    r"([^\s#][^\r\n]*[ \t])?"
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" AAAA[A-Za-z0-9+/]+={0,2}( [^\r\n]*)?"
)


def check(variables: dict[str, Any], apps: list[dict[str, Any]], problems: Problems) -> None:
    """Check role server's variables about accounts, into ``problems``.

    :param variables: the variables that are set, by their names.
    :param apps: the completed apps, whose accounts may be spoken of.
    """
    accounts = sorted({app["account"] for app in apps})
    _check_keys("server_ssh_keys", variables.get("server_ssh_keys", []), problems)
    own = variables.get("server_accounts", {})
    if not isinstance(own, dict):
        problems.add("server_accounts", own, "a dict of accounts, each with a dict of " + ", ".join(OPTIONS))
        return
    for name, row in own.items():
        at = f"server_accounts.{name}"
        if name not in accounts:
            problems.add(at, row, "an account of the host's apps: " + ", ".join(accounts))
        elif not isinstance(row, dict):
            problems.add(at, row, "a dict of " + ", ".join(OPTIONS))
        else:
            check_types(row, OPTIONS, at, problems)
            _check_keys(f"{at}.ssh_keys", row.get("ssh_keys", []), problems)


def _check_keys(key: str, lines: Any, problems: Problems) -> None:
    """Check that ``lines`` are public keys."""
    if not isinstance(lines, list):
        problems.add(key, lines, "a list of public keys")
        return
    for number, line in enumerate(lines):
        if not isinstance(line, str) or not KEY.fullmatch(line.strip()):
            shown = "(a private key, not shown)" if "PRIVATE" in str(line) else line
            problems.add(f"{key}[{number}]", shown, "one line of a .pub file, like ssh-ed25519 AAAA... me@laptop")
