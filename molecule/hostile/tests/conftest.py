"""Mallory and his kit on the host, the witness that root has there, and the honest apps."""

import json
import os
import re
import shlex
import subprocess
import time
from dataclasses import dataclass

import pytest
from changing import App

WITNESS = "/run/hostile"
PYTHON = "/usr/bin/python3 -I"


@dataclass
class Run:
    """What a playbook did."""

    code: int
    text: str
    seconds: float


class Mallory(App):
    """The hostile tenant's app, which he may deploy himself."""

    def __init__(self, host):
        """Know his number."""
        super().__init__(host, "mallory", "mallory.example")
        found = host.run("id -u mallory")
        if found.rc == 0:  # It stays known when the account is gone.
            Mallory.uid = int(found.stdout)
        self.begun = []

    def kit(self, *words: str, background: bool = False) -> str:
        """Let him run his kit with his own rights, in his own slice; return what it prints."""
        unit = "kit-" + "-".join(words)
        options = ["--quiet", "--collect", f"--unit={unit}", f"--slice=user-{self.uid}.slice", "--uid=mallory"]
        options += [] if background else ["--wait", "--pipe"]
        program = ["/opt/kit/sweep.py", *words[1:]] if words[0] == "sweep" else ["/opt/kit/kit.py", *words]
        self.begun += [unit] if background else []
        return self.host.check_output(shlex.join(["systemd-run", *options, *PYTHON.split(), *program]))

    def end(self) -> None:
        """End what he runs in the background."""
        while self.begun:
            self.host.run(f"systemctl stop {self.begun.pop()}")

    def messages(self, run: Run) -> list[str]:
        """Return what a playbook said of his app, which is nothing that a terminal obeys and no fault of ours."""
        for word in ("Traceback", "a fault of hosted.flask", "\x1b", "app alice: ", "app bob: "):
            assert word not in run.text, run.text
        said = run.text.partition("Task failed: Action failed: ")[2].partition("\nOrigin: ")[0]
        return re.findall(r"app mallory: .*?(?=\n\n|$)", said, re.DOTALL)

    def met(self) -> list[dict]:
        """Return what the kernel said of each of his programs that ran."""
        return [json.loads(line) for line in self.host.run(f"cat {WITNESS}/programs").stdout.splitlines()]


def start(verb: str, *words: str, alone: bool = False):
    """Start a playbook, as root or as mallory's account alone, and return it with the time."""
    inventory = os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"
    more = ["-e", "ansible_user=mallory", "-e", "app=mallory"] if alone else []
    name = f"{os.environ['MOLECULE_PROJECT_DIRECTORY']}/playbooks/{verb}.yml"
    command = ["ansible-playbook", name, "-i", inventory, *more, *words]
    return time.monotonic(), subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def done(started) -> Run:
    """Wait for a playbook's end."""
    begin, process = started
    text = process.communicate(timeout=900)[0].decode()
    run = Run(process.returncode, text, time.monotonic() - begin)
    print(f"{run.seconds:.0f} s, ended with {run.code}: {process.args[1:]}")
    return run


def run(verb: str, *words: str, alone: bool = False) -> Run:
    """Run a playbook, as root or as mallory's account alone."""
    return done(start(verb, *words, alone=alone))


@pytest.fixture
def mallory(host):
    return Mallory(host)


@pytest.fixture
def alice(host):
    return App(host, "alice", "alice.example")


@pytest.fixture
def bob(host):
    return App(host, "bob", "bob.example")


@pytest.fixture(autouse=True)
def witness(host, mallory):
    """See that what mallory has runs as mallory, in his slice, and gains nothing."""
    if host.run("systemctl is-active hostile-witness").stdout.strip() != "active":
        unit = "systemd-run --quiet --collect --unit=hostile-witness"
        host.check_output(f"rm -rf {WITNESS} && {unit} {PYTHON} /opt/kit/watch.py {WITNESS}")
    yield
    for one in mallory.met():
        assert {one["uid"], *map(int, one["Uid"].split())} == {mallory.uid}, one
        assert (int(one["CapPrm"], 16), int(one["CapAmb"], 16)) == (0, 0), one
        # His supervisord has a unit of its own, with his rights and less than those of a login.
        assert re.search(rf"/(user-{mallory.uid}\.slice|supervisord@mallory\.service)(/|$)", one["group"]), one
        # Whoever logs in as him has what a login has.
        assert one["NoNewPrivs"] == "1" or "/session-" in one["group"], one
