"""What the tests of all steps ask of a host."""

import json
import os
import socket
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from asking import CHECKOUT, playbook, until


class Host:
    """A host as somebody else on the network sees it, by its own address and not by a published port."""

    password = "known-to-the-test"  # Of user guest; prepare.yml has its hash.

    def __init__(self, host) -> None:
        """Take testinfra's host."""
        self.host = host
        self.name = host.ansible.get_variables()["inventory_hostname"]
        self.port = host.ansible.get_variables()["ansible_port"]
        self.address = host.check_output("hostname -I").split()[0]

    def opens(self, port: int) -> bool:
        """Whether a connection from outside is accepted; False where nothing answers at all."""
        with closing(socket.socket()) as client:
            client.settimeout(2)
            try:
                client.connect((self.address, port))
            except TimeoutError:
                return False
            return True

    @contextmanager
    def listening(self, *ports: int):
        """Let something listen on all of the host's addresses."""
        for port in ports:
            self.host.check_output(f"systemd-run --unit=listens-{port} python3 -m http.server {port}")
        try:
            for port in ports:
                until(lambda port=port: f":{port} " in self.host.check_output("ss -Htln"))
            yield
        finally:
            for port in ports:
                self.host.check_output(f"systemctl stop listens-{port}")

    def ssh(self, *words: str, user: str = "root", **environment: str) -> subprocess.CompletedProcess:
        """Come in by a new connection."""
        key = CHECKOUT / ".cache/test-hosts/id_ed25519"
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
        options += ["ControlPath=none", "IdentitiesOnly=yes", f"IdentityFile={key}", *words]
        command = ["ssh", "-p", str(self.port), *(f"-o{option}" for option in options), f"{user}@127.0.0.1", "true"]
        return subprocess.run(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )

    def attacker(self, *words: str, stdin: str) -> subprocess.CompletedProcess:
        """Run a command on the other host."""
        key = CHECKOUT / ".cache/test-hosts/id_ed25519"
        other = {2244: 2245, 2245: 2244}[self.port]
        options = [
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oLogLevel=ERROR",
            "-oControlPath=none",
        ]
        command = ["ssh", "-p", str(other), *options, f"-oIdentityFile={key}", "root@127.0.0.1", " ".join(words)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)

    def with_password(self, folder: Path) -> subprocess.CompletedProcess:
        """Come in as the user whose password is known."""
        answers = folder / "password"
        answers.write_text(f"#!/bin/sh\necho {self.password}\n")
        answers.chmod(0o700)
        only = ("PreferredAuthentications=password,keyboard-interactive", "NumberOfPasswordPrompts=1")
        return self.ssh(*only, user="guest", SSH_ASKPASS=str(answers), SSH_ASKPASS_REQUIRE="force", DISPLAY=":0")

    def sshd(self) -> dict[str, str]:
        """Return the settings in force."""
        return dict(line.partition(" ")[::2] for line in self.host.check_output("sshd -T").splitlines())

    def rules(self) -> str:
        """Return our table as the kernel has it, without what it counted, empty without one."""
        return self.host.run("nft -s -t list table inet hosted_flask").stdout

    def provision(self, *words: str, **more: object) -> subprocess.CompletedProcess:
        """Let role server do its work on this host, with other variables."""
        return playbook("molecule/hardened/resources/server.yml", "--limit", self.name, "-e", json.dumps(more), *words)


@pytest.fixture
def outside(host) -> Host:
    """Return the host as seen from outside."""
    return Host(host)
