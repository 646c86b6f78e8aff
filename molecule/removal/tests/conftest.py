"""Logging in to an account as its owner does, over ssh with a key that lies in its home."""

import subprocess
from collections.abc import Callable

import pytest


@pytest.fixture
def log_in(host) -> Callable[[str], subprocess.CompletedProcess]:
    """Return what tries to log in to an account; its answer is the account's name."""

    def connect(account: str) -> subprocess.CompletedProcess:
        variables = host.ansible.get_variables()
        options = variables["ansible_ssh_common_args"].split()
        command = ["ssh", "-o", "ControlPath=none", "-p", str(variables["ansible_port"]), *options]
        return subprocess.run(
            [*command, f"{account}@127.0.0.1", "whoami"], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    return connect
