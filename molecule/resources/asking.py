"""How the scenarios' tests ask a host: over HTTP as a visitor does, and for its processes."""

import http.client
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import warm

# What a scenario on this machine deploys from and into; it makes it and removes it.
PROJECT = Path("/tmp/hosted-test-" + os.environ["MOLECULE_SCENARIO_NAME"])
CHECKOUT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])


@dataclass(frozen=True)
class Answer:
    """What a visitor gets."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def release(self) -> str | None:
        """Which release answered; None where it was not the app."""
        return self.headers["X-Release"]


def ask(host, path="/", *, name="", port=80, method="GET", body=None, **headers: str) -> Answer:
    """Send one request from outside and follow no redirect.

    :param host: testinfra's; the host's port is asked where it is published on this machine.
    :param path: sent as it stands.
    :param name: the Host header, the address by default.
    :param headers: more of them, with ``_`` for ``-``.
    """
    published = host.ansible.get_variables().get("test_publish", [])
    ports = {int(inside): int(outside) for outside, inside in (pair.split(":") for pair in published)}
    connection = http.client.HTTPConnection("127.0.0.1", ports.get(port, port), timeout=30)
    sent = {key.replace("_", "-"): value for key, value in headers.items()} | ({"Host": name} if name else {})
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))
    finally:
        connection.close()


def until(true: Callable[[], object], seconds: float = 90) -> None:
    """Return as soon as something is true.

    :raises TimeoutError: it never was; what it raised last is shown with it.
    """
    deadline = time.monotonic() + seconds
    while True:
        last = None
        try:
            if true():
                return
        except (OSError, http.client.HTTPException, AssertionError) as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true within {seconds} s") from last
        time.sleep(0.2)


def pids(host, pattern: str) -> list[int]:
    """Return the processes whose command line, started with its account, matches: ``^account .*uwsgi``."""
    return matching(host.check_output("ps axwwo pid,user:32,args --no-headers"), pattern)


def remembered(host, pattern: str) -> list[int]:
    """Return what :func:`pids` would have returned when ``remember.yml`` ran."""
    return matching(host.check_output("cat /var/tmp/remembered"), pattern)


def matching(table: str, pattern: str) -> list[int]:
    """Return the pids of a table's rows of pid, account and command line."""
    rows = [line.split(None, 2) for line in table.splitlines()]
    return sorted(int(pid) for pid, user, words in rows if re.search(pattern, f"{user} {words}"))


def playbook(name: str, *words: str, folder: str | Path = ".", own: bool = False) -> subprocess.CompletedProcess:
    """Run a playbook of the checkout as a person does, with the scenario's inventory unless ``words`` have one.

    :param name: relative to the checkout.
    :param folder: where the person stands.
    :param own: as a command that others see with its words, instead of by an Ansible that is kept warm.
    """
    inventory = [] if "-i" in words else ["-i", os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"]
    words = (str(CHECKOUT / name), *inventory, *words)
    if own:
        command = ["ansible-playbook", *words]
        return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return warm.playbook(words, cwd=folder)


def recap(run: subprocess.CompletedProcess) -> dict[str, dict[str, int]]:
    """Return each host's counts from the end of a playbook's output."""
    rows = re.findall(r"^(\S+) +: (ok=.*)$", run.stdout, re.MULTILINE)
    return {host: {key: int(count) for key, count in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}
