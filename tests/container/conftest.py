"""app_skeleton's image, and its compose.yaml brought up with PostgreSQL and Redis: no image registry is needed."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from simple_websocket import Client, ConnectionClosed

ROOT = Path(__file__).resolve().parents[2]
SKELETON = ROOT / "app_skeleton"
# One of each for every checkout, so that two of them may test at the same time.
MARK = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
PROJECT = f"hosted-test-compose-{MARK}"
APP_IMAGE = f"localhost/hosted-flask-test:app-{MARK}"
SERVICES_IMAGE = f"localhost/hosted-flask-test:services-{MARK}"
BASE_IMAGE = "localhost/hosted-flask-test:13-slim"
RELEASE = "20260101T000000Z"
METRICS_TOKEN = "metrics"
# Where systemd is there, podman would ask for the health now and then, and tests count requests.
os.environ["DISABLE_HC_SYSTEMD"] = "true"
# Characters that mean something in a URL: they must not matter.
POSTGRES_PASSWORD = "p@ss/w:rd#1%"


def free_port():
    """Return a port of this machine that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


def run(*command, check=True, **options):
    """Run a command and return what came of it; a failure shows what it said."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False, **options
    )
    if check and done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done


def podman(*arguments, check=True):
    """Run podman with the settings of the test hosts."""
    return run(ROOT / "tests" / "hosts", "podman", "--", *arguments, check=check)


def build(image, folder, *options):
    """Build an image. The steps that did not change come from the last build."""
    find = ["image", "inspect", "--format", "{{ .Id }}", image]
    old = podman(*find, check=False)
    podman("build", "--format=docker", f"--build-arg=BASE_IMAGE={BASE_IMAGE}", f"--tag={image}", *options, str(folder))
    if old.returncode == 0 and old.stdout != podman(*find).stdout:
        podman("rmi", old.stdout.strip(), check=False)
    return image


@pytest.fixture(scope="session")
def base():
    """Debian's packages alone, as small as its slim image."""
    run(ROOT / "tests" / "hosts", "image", "13-slim")
    return BASE_IMAGE


@pytest.fixture(scope="session")
def image(base, tmp_path_factory):
    """The application's image. This machine's way to PyPI and npm is lent to the build and stays out of the image."""
    folder = tmp_path_factory.mktemp("build")
    bundle, inside = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"), "/etc/ssl/build.pem"
    pip, npm, lent = ["[global]"], [], []
    if os.path.isfile(bundle):
        lent.append(f"--volume={bundle}:{inside}:ro")
        pip.append(f"cert = {inside}")
        npm.append(f"cafile={inside}")
    if index := os.environ.get("PIP_INDEX_URL"):
        pip.append(f"index-url = {index}")
    if registry := os.environ.get("NPM_CONFIG_REGISTRY", os.environ.get("npm_config_registry")):
        npm.append(f"registry={registry}")
    for name, lines, place in (("pip.conf", pip, "/etc/pip.conf"), ("npmrc", npm, "/root/.npmrc")):
        (folder / name).write_text("\n".join([*lines, ""]))
        lent.append(f"--volume={folder / name}:{place}:ro")
    return build(APP_IMAGE, SKELETON, f"--build-arg=RELEASE={RELEASE}", *lent)


@pytest.fixture(scope="session")
def services_image(base):
    """PostgreSQL and Redis."""
    return build(SERVICES_IMAGE, Path(__file__).parent / "services")


class Project:
    """compose.yaml, brought up."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.podman = folder / "podman-of-the-test-hosts"
        self.podman.write_text(f'#!/bin/sh\nexec {ROOT}/tests/hosts podman -- "$@"\n')
        self.podman.chmod(0o755)
        self.env = folder / "env"
        values = {
            "POSTGRES_PASSWORD": POSTGRES_PASSWORD,
            "SECRET_KEY": "of the test, and of nobody else: 0123456789",
            "APP_IMAGE": APP_IMAGE,
            "POSTGRES_IMAGE": SERVICES_IMAGE,
            "REDIS_IMAGE": SERVICES_IMAGE,
            "METRICS_TOKEN": METRICS_TOKEN,
            "LISTEN": f"127.0.0.1:{self.port}",
        }
        self.env.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def compose(self, *arguments, check=True, **variables):
        """Run podman-compose with these variables."""
        command = [Path(sys.executable).with_name("podman-compose"), "--podman-path", self.podman]
        command += ["--project-name", PROJECT, "--env-file", self.env, *arguments]
        return run(*command, check=check, cwd=SKELETON, env=os.environ | variables)

    def name(self, service):
        """Return the name of a service's container."""
        return f"{PROJECT}_{service}_1"

    def exec(self, service, *command, check=True):
        """Run a command in a service's container."""
        return podman("exec", self.name(service), *command, check=check)

    def logs(self, service="app"):
        """Return what a service has said."""
        return podman("logs", self.name(service)).stdout

    def healthy(self, service):
        """Run a service's health check, as systemd does where there is one."""
        return podman("healthcheck", "run", self.name(service), check=False).returncode == 0

    def wait(self, service, seconds=120):
        """Return when a service is healthy."""
        until(lambda: self.healthy(service), seconds, lambda: self.logs(service))

    def inspect(self, service, form):
        """Return what podman knows of a service's container."""
        return podman("inspect", "--format", form, self.name(service)).stdout.strip()

    def down(self):
        """Remove everything, the data too."""
        self.compose("--profile", "tools", "down", "--volumes", "--timeout=0", check=False)
        networks = podman("network", "ls", "--quiet", f"--filter=label=io.podman.compose.project={PROJECT}").stdout
        if networks.split():
            podman("network", "rm", "--force", *networks.split())


def until(true, seconds, why):
    """Ask until it is true; after that many seconds it is a failure, and why tells more."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s:\n{why()}")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def data(image, services_image, tmp_path_factory):
    """PostgreSQL and Redis are up, the database is migrated, worker and beat run; the application does not yet.

    One after the other: this podman may be too old to wait for a container's health.
    """
    project = Project(tmp_path_factory.mktemp("compose"))
    project.down()
    try:
        project.compose("up", "--detach", "--no-build", "postgres", "redis")
        project.wait("postgres")
        project.wait("redis")
        project.compose("run", "--rm", "--no-deps", "migrate")
        project.compose("up", "--detach", "--no-build", "--no-deps", "worker", "beat")
        # A slow machine's worker comes after the first job's watcher has been sent away.
        project.wait("worker")
        yield project
    finally:
        project.down()


class Site:
    """The running application as a visitor sees it."""

    def __init__(self, project, server):
        self.project, self.server = project, server
        self.url = project.url

    def ask(self, method, path, body=None, token=None):
        """Return status, headers and the body, read as JSON if it is that."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
                status, headers, text = answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, headers, text = error.code, error.headers, error.read().decode()
        return status, headers, json.loads(text) if headers.get_content_type() == "application/json" else text

    def log_in(self, name):
        """Register, log in, return an access token."""
        who = {"username": name, "password": "correct horse"}
        assert self.ask("POST", "/api/users", who)[0] in (201, 409)
        status, _, tokens = self.ask("POST", "/api/auth/login", who)
        assert status == 200, tokens
        return tokens["access_token"]

    def start_job(self, token, seconds):
        """Start a job that takes so many seconds, return its id."""
        status, _, job = self.ask("POST", "/api/jobs", {"kind": "count", "seconds": seconds}, token)
        assert status == 202, job
        return job["id"]

    def watch(self, job, token):
        """Open the job's WebSocket and say who one is."""
        client = Client(f"{self.url.replace('http', 'ws')}/api/jobs/{job}/watch")
        client.send(json.dumps({"access_token": token}))
        return client

    def requests(self):
        """Return how many requests for /status were counted."""
        status, _, text = self.ask("GET", "/metrics", token=METRICS_TOKEN)
        assert status == 200, text
        wanted = 'http_requests_total{endpoint="status.status",method="GET",status="200"}'
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


def follow(client):
    """Return what a WebSocket says until it ends, and the code of its end."""
    said = []
    try:
        while (message := client.receive(timeout=20)) is not None:
            said.append(json.loads(message))
    except ConnectionClosed as end:
        return said, end.reason
    pytest.fail(f"the WebSocket neither spoke nor ended: {said}")


SERVERS = {
    "gevent": {"SERVER": "gevent"},
    "gunicorn": {"SERVER": "gunicorn"},
    "gunicorn-gevent": {"SERVER": "gunicorn", "WORKER_CLASS": "gevent"},
    "uwsgi": {"SERVER": "uwsgi"},
}


@pytest.fixture(scope="module", params=SERVERS)
def site(request, data):
    """The application, served by one server after the other."""
    podman("rm", "--force", "--time=0", data.name("app"), check=False)
    data.compose("up", "--detach", "--no-build", "--no-deps", "app", **SERVERS[request.param])
    data.wait("app")
    return Site(data, request.param)
