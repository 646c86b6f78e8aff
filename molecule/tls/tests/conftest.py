"""A host whose names have certificates, and the internet around it: the ACME server and its DNS."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from asking import CHECKOUT, pids, playbook, until
from changing import changed
from cryptography import x509

FILES = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
ZONES = {"hosted-test-tls": "twelve.test", "hosted-test-tls-13": "thirteen.test"}
UNIT = "hosted-flask-tls.service"
BLIND = ssl.create_default_context()
BLIND.check_hostname, BLIND.verify_mode = False, ssl.CERT_NONE


def acme(path, port=8462):
    """Ask the ACME server's own management."""
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=BLIND) as answer:
        return answer.read().decode()


def resolve(name, address=None):
    """Let the DNS know a name, or forget it."""
    order = {"host": f"{name}."} | ({"addresses": [address]} if address else {})
    path = "add-a" if address else "clear-a"
    urllib.request.urlopen(f"http://127.0.0.1:8062/{path}", json.dumps(order).encode())


def on_acme_host(*words):
    """Run a command where the ACME server runs."""
    command = [CHECKOUT / "tests/hosts", "podman", "exec", "hosted-test-tls-acme", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Site:
    """One host and its names."""

    def __init__(self, host):
        self.host = host
        self.name = host.ansible.get_variables()["inventory_hostname"]
        self.zone = ZONES[self.name]
        pairs = host.ansible.get_variables()["test_publish"]
        self.ports = {int(inside): int(outside) for outside, inside in (pair.split(":") for pair in pairs)}
        self.address = host.check_output("hostname -I").split()[0]

    def full(self, name):
        """Return a name with its zone."""
        return f"{name}.{self.zone}"

    # --- as visitors

    def certificate(self, name):
        """Return the certificate that a name is served with, whatever it is."""
        with socket.create_connection(("127.0.0.1", self.ports[443]), 20) as plain:
            with BLIND.wrap_socket(plain, server_hostname=self.full(name)) as connection:
                return x509.load_der_x509_certificate(connection.getpeercert(True))

    def serial(self, name):
        """Return its number."""
        return self.certificate(name).serial_number

    def names(self, name):
        """Return what it is for."""
        extension = self.certificate(name).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(extension.value.get_values_for_type(x509.DNSName))

    def trusted(self, name):
        """Return whether a browser that trusts pebble's root takes the certificate."""
        context = ssl.create_default_context(cadata=acme("/roots/0"))
        try:
            with socket.create_connection(("127.0.0.1", self.ports[443]), 20) as plain:
                context.wrap_socket(plain, server_hostname=self.full(name)).close()
        except ssl.SSLCertVerificationError:
            return False
        return True

    def get(self, name, path="/", tls=True):
        """Return status, headers and text of a page; follow no redirect."""
        plain = socket.create_connection(("127.0.0.1", self.ports[443 if tls else 80]), 20)
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = BLIND.wrap_socket(plain, server_hostname=self.full(name)) if tls else plain
        connection.request("GET", path, headers={"Host": self.full(name)})
        answer = connection.getresponse()
        try:
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def until(self, true):
        """Wait until something is true of what nginx serves, and its workers from before accept nothing any more."""
        until(true)
        workers = int(self.host.check_output("nproc"))
        until(lambda: len(pids(self.host, "nginx: worker process$")) == workers)

    # --- as people who run it

    def play(self, name, *words, **variables):
        """Run a playbook for this host."""
        return playbook(f"playbooks/{name}.yml", "--limit", self.name, "-e", json.dumps(variables), *words)

    def deploy(self, *words, **variables):
        """Deploy, which must succeed; return how many tasks changed something."""
        return changed(self.play("deploy", *words, **variables))

    def due(self, is_due=True):
        """Let certbot take all certificates for due, as if time had passed."""
        files = "/etc/hosted.flask/certbot/*/renewal/*.conf"
        self.host.check_output(f"sed -i /^renew_before_expiry/d {files}")
        if is_due:
            self.host.check_output(f"sed -i '1i renew_before_expiry = 100 days' {files}")

    def renew(self):
        """Run what the timer runs; return how it ended and what it said."""
        invocation = self.host.run(f"systemctl start {UNIT}; echo $?; systemctl show -P InvocationID {UNIT}").stdout
        code, number = invocation.split()
        read = f"journalctl --sync; journalctl -o cat _SYSTEMD_INVOCATION_ID={number}"
        return int(code), self.host.check_output(read)

    @contextmanager
    def away(self):
        """Let the ACME server be away."""
        before = self.host.check_output("cat /etc/hosts")
        line = next(line for line in before.splitlines() if line.endswith(" acme.test"))
        self.host.check_output("printf '%%s\\n' %s > /etc/hosts", before.replace(line, "127.0.0.1 acme.test"))
        try:
            yield
        finally:
            self.host.check_output("printf '%%s\\n' %s > /etc/hosts", before)


@pytest.fixture
def site(host):
    return Site(host)


@pytest.fixture
def once(site):
    """What is the control node's own work need not be seen on each host."""
    if not site.name.endswith("-13"):
        pytest.skip("seen on another host")
