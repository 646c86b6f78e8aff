"""An app whose tests change it from release to release, with its deploys and its visitors."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path

import pytest
from asking import CHECKOUT, Answer, ask, pids, playbook, recap, until

sys.path.insert(0, str(CHECKOUT / "tests"))

from visitors import Client, Report, Visitors  # noqa: E402  it lies in tests/

PRISTINE = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "apps/changing"
SOURCES = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "apps"


class App:
    """One app of a scenario's inventory, of an account with its name."""

    def __init__(self, host, name: str, domain: str = "localhost") -> None:
        """Know where it is.

        :param host: testinfra's.
        :param domain: the name that its visitors use.
        """
        self.host, self.name, self.domain = host, name, domain
        self.source = SOURCES / name
        self.root = f"/home/{name}/apps/{name}"
        (ports,) = host.ansible.get_variables()["test_publish"]
        self.port = int(ports.partition(":")[0])

    # --- its source

    def edit(self, code: str = "", **files: str) -> str:
        """Make the source a good one of a new version, then as a test wants it, and return the version.

        :param code: appended to wsgi.py.
        :param files: texts of more files by their names, with ``_`` for ``.``.
        """
        shutil.rmtree(self.source)
        shutil.copytree(PRISTINE, self.source)
        version = uuid.uuid4().hex[:8]
        wsgi = self.source / "wsgi.py"
        wsgi.write_text(wsgi.read_text().replace('"first"', f'"{version}"') + code)
        for name, text in files.items():
            (self.source / name.replace("_", ".")).write_text(text)
        return version

    # --- its playbooks

    def play(self, name: str, *words: str, **more: object) -> subprocess.CompletedProcess:
        """Run a playbook for this app alone, described by ``more`` besides what the inventory says."""
        return playbook(f"playbooks/{name}.yml", *self.words(**more), *words)

    def words(self, **more: object) -> list[str]:
        """Return the options that let a playbook work on this app alone."""
        return ["-e", f"app={self.name}", "-e", dumps({f"{self.name}_more": more})]

    def deploy(self, *words: str, **more: object) -> str:
        """Deploy a source that must be good; return the release that visitors get afterwards."""
        run = self.play("deploy", *words, **more)
        assert run.returncode == 0, run.stdout + run.stderr
        return self.release()

    def update(self, code: str = "", **more: object) -> tuple[str, str]:
        """Deploy a new good version; return it and its release."""
        version = self.edit(code)
        release = self.deploy(**more)
        assert self.ask().text == version
        return version, release

    # --- what it is doing

    def ask(self, path: str = "/", **headers: str) -> Answer:
        """Ask it as a visitor does."""
        return ask(self.host, path, name=self.domain, **headers)

    def release(self) -> str:
        """Return the release that visitors get."""
        answer = self.ask()
        assert (answer.status, bool(answer.release)) == (200, True), answer
        return answer.release

    def sealed(self) -> set[str]:
        """Return the releases that are whole."""
        found = self.host.check_output(f"ls {self.root}/releases/*/release.json").split()
        return {path.split("/")[-2] for path in found if ".partial/" not in path}

    def servers(self) -> list[int]:
        """Return the pids of its server, of both slots."""
        return pids(
            self.host, rf"^{self.name} .*/apps/{self.name}/venvs/[^ ]*/bin/(uwsgi|gunicorn|python[^ ]* .*gunicorn)"
        )

    def holder(self) -> list[int]:
        """Return the pid of what holds its sockets."""
        return pids(self.host, rf"^{self.name} .*/apps/{self.name}/listen.py hold ")

    def account(self, command: str) -> str:
        """Run a command as the app's account, logged in, and return what it prints."""
        return self.host.run(f"su - {self.name} -c %s", command).stdout

    def programs(self) -> dict[str, str]:
        """Return the states of its programs by their names."""
        lines = self.account("supervisorctl status").splitlines()
        return dict(line.split()[:2] for line in lines)

    def rests(self) -> None:
        """See that one release runs and nothing is left of the way to it."""
        # For its first second supervisord says that a program is starting, though it serves already.
        until(lambda: self.programs() == {self.name: "RUNNING", f"{self.name}-socket": "RUNNING"})
        assert self.host.check_output(f"readlink {self.root}/run/current.sock") == "live.sock"
        assert self.host.check_output(f"readlink {self.root}/slots/live").rpartition("/")[2] == self.release()
        assert self.host.check_output(f"ls {self.root}/releases | grep -c partial || :") == "0"

    # --- its visitors

    @contextmanager
    def visited(self, rate: float = 60, *more: Client) -> Iterator[Visitors]:
        """Let visitors come meanwhile; each of them gets a good answer."""
        expect = r"(?P<version>\w+)"
        clients = (
            Client("new connections", rate=rate / 2, host=self.domain, expect=expect, timeout=20),
            Client("kept connections", rate=rate / 2, keep_alive=True, host=self.domain, expect=expect, timeout=20),
            *more,
        )
        with Visitors(self.port, *clients, seconds=300) as visitors:
            until(lambda: visitors.report().total > rate / 2)
            yield visitors
        report = visitors.report()
        assert report.lost == 0, report


@pytest.fixture
def blog(host):
    """An app of another account than the one that is tried."""
    return App(host, "blog")


@pytest.fixture
def neighbour(blog):
    """The app of another account, which nothing of what happens meanwhile may touch."""
    before = blog.servers(), blog.holder()
    assert all(before)
    yield blog
    assert (blog.servers(), blog.holder()) == before


def versions(report: Report) -> set[str]:
    """Return what visitors saw."""
    return {answer.version for answer in report.answers}


def said(run: subprocess.CompletedProcess) -> str:
    """Return what a playbook said, its indentation and line breaks as one space."""
    return re.sub(r"\s+", " ", run.stdout + run.stderr)


def changed(run: subprocess.CompletedProcess) -> int:
    """Return how many tasks of a successful run changed something."""
    assert run.returncode == 0, run.stdout + run.stderr
    return sum(counts["changed"] for counts in recap(run).values())
