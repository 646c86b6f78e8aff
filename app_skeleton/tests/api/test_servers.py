"""The API and the WebSocket in each of the servers that the application is made for."""

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import simple_websocket
from sqlalchemy import update

pytest.importorskip("app.api")
model = pytest.importorskip("app.model")
pytest.importorskip("app.tasks")

GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys
from gevent.pywsgi import WSGIServer
from wsgi import app
WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
"""
UWSGI = ["--master", "--need-app", "--enable-threads", "--module", "wsgi:app", "--http-websockets"]
UWSGI += ["--hook-master-start", "unix_signal:15 gracefully_kill_them_all"]
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}
# Module, command, and whether it can spare a thread for a WebSocket, and for a second one.
SERVERS = {
    "gevent": ("gevent", ["python", "-c", GEVENT, "PORT"], (True, True)),
    "gunicorn-gevent": ("gunicorn", ["gunicorn", "-k", "gevent"], (True, True)),
    "gunicorn-threads": ("gunicorn", ["gunicorn", "--threads", "3"], (True, False)),
    "gunicorn-sync": ("gunicorn", ["gunicorn"], (False, False)),
    "uwsgi-threads": ("pyuwsgi", ["uwsgi", *UWSGI, "--threads", "2"], (True, False)),
    "uwsgi-alone": ("pyuwsgi", ["uwsgi", *UWSGI], (False, False)),
}
# With several processes, in which as many log-ins are tried at once as one likes.
MANY = {
    "gunicorn-processes": ("gunicorn", ["gunicorn", "--workers", "4", "--threads", "2"]),
    "uwsgi-processes": ("pyuwsgi", ["uwsgi", *UWSGI, "--processes", "4", "--threads", "2"]),
}


class Client(simple_websocket.Client):
    """simple-websocket's, which leaves its socket open where it is refused."""

    def handshake(self):
        """Ask for the WebSocket."""
        try:
            super().handshake()
        except simple_websocket.ConnectionError:
            self.sock.close()
            raise


class Server:
    """A server that runs, and an account there."""

    def __init__(self, port, process):
        self.port, self.process, self.clients = port, process, []

    def ask(self, method, path, body=None, token=""):
        """Return the status and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text else None

    def log_in(self, name):
        """Register, log in and return the access token."""
        credentials = {"username": name, "password": "correct horse 1"}
        assert self.ask("POST", "/api/users", credentials)[0] == 201
        status, tokens = self.ask("POST", "/api/auth/login", credentials)
        assert status == 200
        return tokens["access_token"]

    def watch(self, job_id, token):
        """Return a WebSocket that has sent the token."""
        url = f"ws://127.0.0.1:{self.port}/api/jobs/{job_id}/watch"
        client = Client(url)
        self.clients.append(client)
        client.send(json.dumps({"access_token": token}))
        return client

    def shake(self, job_id, **headers):
        """Return the status that a handshake is answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        path, headers = f"/api/jobs/{job_id}/watch", {**HANDSHAKE, **headers}
        connection.request("GET", path, headers={k: v for k, v in headers.items() if v})
        with connection.getresponse() as answer:
            connection.close()
            return answer.status


def find_uwsgi():
    """Return where the program is: in the venv that the module pyuwsgi is in."""
    spec = importlib.util.find_spec("pyuwsgi")
    return spec and Path(spec.origin).parents[3] / "bin" / "uwsgi"


@pytest.fixture
def database(database_url):
    """Return the server's database."""
    opened = model.Database(database_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture(params=SERVERS)
def server(request, database_url, copied, tmp_path):
    """Start one of the servers."""
    module, command, *_ = {**SERVERS, **MANY}[request.param]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program, *options = [str(port) if word == "PORT" else word for word in command]
    command = {
        "python": [sys.executable, *options],
        "gunicorn": [sys.executable, "-m", "gunicorn", *options],
        # It lies beside Python, or in the venv that Python was told to look into.
        "uwsgi": [str(find_uwsgi()), *options],
    }[program]
    if program == "gunicorn":
        command += ["--bind", f"127.0.0.1:{port}", "--no-control-socket", "wsgi:app"]
    elif program == "uwsgi":
        command += ["--http", f"127.0.0.1:{port}", "--binary-path", sys.executable]
    environment = {
        **os.environ,
        "SECRET_KEY": "a key for tests: " + 32 * "0",
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": "",
        # Python adds where it runs; uWSGI and gunicorn do not all.
        "PYTHONPATH": str(copied),
    }
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=copied, env=environment, stdout=log, stderr=log)
    started = Server(port, process)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert started.ask("GET", "/status")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield started
    finally:
        for client in started.clients:
            client.sock.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_server(server, database, request):
    """Each server has the API; the WebSocket where it has threads for it, else says so."""
    token = server.log_in("ada")
    status, me = server.ask("GET", "/api/users/me", token=token)
    assert (status, me["username"]) == (200, "ada")
    with database.writing() as session:
        job = model.Job(user_id=me["id"], kind="count", state="running", progress=10)
        session.add(job)
    first, second = SERVERS[request.node.callspec.params["server"]][2]
    if not first:
        assert server.shake(job.id) == 503
        return
    assert server.shake(job.id, **{"Sec-WebSocket-Key": ""}) == 400
    client = server.watch(job.id, token)
    assert json.loads(client.receive(timeout=10))["progress"] == 10
    # While one is open, requests are answered, and a second one has a thread or is refused.
    assert server.ask("GET", "/api/users/me", token=token)[0] == 200
    if second:
        other = server.watch(job.id, token)
        assert json.loads(other.receive(timeout=10))["progress"] == 10
    else:
        assert server.shake(job.id) == 503
    with database.writing() as session:
        found = session.get_one(model.Job, job.id)
        found.state, found.progress = "done", 100
    for watcher in [client, other] if second else [client]:
        assert json.loads(watcher.receive(timeout=10))["state"] == "done"
        with pytest.raises(simple_websocket.ConnectionClosed) as info:
            watcher.receive(timeout=10)
        assert info.value.reason == 1000
    # The thread is free again: in a moment, when it has seen that the client has left.
    deadline = time.monotonic() + 10
    while True:
        try:
            last = server.watch(uuid.uuid4(), token)
            break
        except simple_websocket.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with pytest.raises(simple_websocket.ConnectionClosed) as info:
        last.receive(timeout=10)
    assert info.value.reason == 4404


def at_once(times, ask):
    """Return how often each status was the answer to requests of that many threads."""
    together = threading.Barrier(times)

    def one(number):
        together.wait(timeout=20)
        return ask(number)[0]

    with ThreadPoolExecutor(times) as pool:
        return Counter(pool.map(one, range(times)))


@pytest.mark.slow
@pytest.mark.parametrize("server", MANY, indirect=True)
def test_attempts_at_the_same_time(server, database):
    """Of many that come at once so many are tried as may be, whichever process they meet."""
    token = server.log_in("ada")
    wrong = {"username": "ada", "password": "wrong password"}
    codes = at_once(32, lambda _: server.ask("POST", "/api/auth/login", wrong))
    assert codes == {401: 5, 429: 27}
    wrong = {"current_password": "wrong password", "new_password": "a new password"}
    codes = at_once(32, lambda _: server.ask("PUT", "/api/users/me/password", wrong, token))
    assert codes == {403: 5, 429: 27}
    # Of 50 five are left.
    with database.writing() as session:
        session.execute(update(model.Attempt).values(count=45))
    who = {"password": "correct horse 1"}
    codes = at_once(32, lambda n: server.ask("POST", "/api/users", {**who, "username": f"eve{n}"}))
    assert codes == {201: 5, 429: 27}
