"""Jobs, and the WebSocket that shows them."""

import json
import socket
import threading
import time
import uuid
from datetime import timedelta

import pytest
import simple_websocket
from werkzeug.serving import make_server

from .conftest import Caller

pytest.importorskip("app.api")
model = pytest.importorskip("app.model")
pytest.importorskip("app.tasks")
from app.api import jobs, watch, websocket  # noqa: E402  # after the check whether it is there
from app.model.base import now  # noqa: E402  # likewise

JOB = {"kind": "count", "seconds": 1}


@pytest.fixture
def started(ada):
    """Return the ids of the jobs that were handed over, by an application with a way to do so."""
    ids = []
    ada.client.application.extensions["tasks"] = ids.append
    return ids


def test_no_broker(ada):
    """Without a broker jobs are off, and it is said so."""
    answer = ada.ask("POST", "/api/jobs", json=JOB)
    assert answer.status_code == 503
    assert "CELERY_BROKER_URL" in answer.json["message"]
    assert ada.ask("GET", "/api/jobs").json == []
    assert ada.client.get("/status").json["broker"] == "off"


def test_broker_is_away(make_api):
    """A broker that cannot be reached costs the job, not the application."""
    app = make_api(CELERY_BROKER_URL="redis://127.0.0.1:9/0")
    ada = Caller(app.test_client(), "ada")
    status = ada.client.get("/status")
    assert (status.status_code, status.json["broker"]) == (200, "unreachable")

    def start(job_id):
        raise ConnectionError("away")

    app.extensions["tasks"] = start
    answer = ada.ask("POST", "/api/jobs", json=JOB)
    assert answer.status_code == 503
    (job,) = ada.ask("GET", "/api/jobs").json
    assert (job["state"], job["error"]) == ("failed", "No broker")
    assert job["finished"]


def test_start(ada, started):
    """A job is stored, handed over, and shown."""
    answer = ada.ask("POST", "/api/jobs", json=JOB)
    assert answer.status_code == 202
    assert (answer.json["state"], answer.json["progress"]) == ("waiting", 0)
    assert [str(job_id) for job_id in started] == [answer.json["id"]]
    assert ada.ask("GET", f"/api/jobs/{answer.json['id']}").json == answer.json
    assert ada.ask("GET", "/api/jobs").json == [answer.json]


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "rm"), ("seconds", 0), ("seconds", 61), ("seconds", "1"), ("seconds", 1.5)],
)
def test_what_is_wrong_is_said(ada, started, field, value):
    """Only what can be done is begun."""
    answer = ada.ask("POST", "/api/jobs", json={**JOB, field: value})
    assert answer.status_code == 422
    assert set(answer.json["errors"]["json"]) == {field}
    assert started == []


def test_jobs_of_others(ada, started):
    """Nobody sees another's jobs."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    eve = Caller(ada.client, "eve")
    assert eve.ask("GET", f"/api/jobs/{job['id']}").status_code == 404
    assert eve.ask("GET", "/api/jobs").json == []


def test_too_many_jobs(ada, started, monkeypatch):
    """Nobody fills the queue of all: so many jobs may wait, and one more when one has ended."""
    monkeypatch.setattr(jobs, "OPEN", 2)
    first, second = (ada.ask("POST", "/api/jobs", json=JOB).json for _ in range(2))
    refused = ada.ask("POST", "/api/jobs", json=JOB)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert len(started) == 2
    assert Caller(ada.client, "eve").ask("POST", "/api/jobs", json=JOB).status_code == 202
    change(ada, first["id"], state="failed")
    assert ada.ask("POST", "/api/jobs", json=JOB).status_code == 202
    assert ada.ask("POST", "/api/jobs", json=JOB).status_code == 429
    # What was lost on its way to a worker does not count for ever.
    change(ada, second["id"], created=now() - timedelta(days=2))
    assert ada.ask("POST", "/api/jobs", json=JOB).status_code == 202


def test_many_old_jobs(ada, started, monkeypatch):
    """The oldest jobs that have ended are forgotten, those that have not are not."""
    monkeypatch.setattr(jobs, "KEPT", 2)
    made = []
    for state in ("running", "done", "failed", "done", "waiting"):
        made.append(ada.ask("POST", "/api/jobs", json=JOB).json["id"])
        change(ada, made[-1], state=state)
    eve = Caller(ada.client, "eve")
    eve.ask("POST", "/api/jobs", json=JOB)
    del made[1]
    assert [job["id"] for job in ada.ask("GET", "/api/jobs").json] == made[::-1]
    assert len(eve.ask("GET", "/api/jobs").json) == 1


@pytest.fixture
def port(ada):
    """Return where a real server listens."""
    server = make_server("127.0.0.1", 0, ada.client.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect(port):
    """Return a function opening the WebSocket of a job there."""
    clients = []

    def open_client(job_id):
        clients.append(simple_websocket.Client(f"ws://127.0.0.1:{port}/api/jobs/{job_id}/watch"))
        return clients[-1]

    yield open_client
    for client in clients:
        client.thread.join(timeout=10)


def closed(client):
    """Return with what code the server closes."""
    with pytest.raises(simple_websocket.ConnectionClosed) as info:
        while client.receive(timeout=10) is not None:
            pass
    return info.value.reason


def change(ada, job_id, **values):
    """Change a job as a worker does."""
    with ada.client.application.extensions["database"].writing() as session:
        job = session.get_one(model.Job, uuid.UUID(job_id))
        for name, value in values.items():
            setattr(job, name, value)


def test_watch(ada, started, connect):
    """Each change is pushed, and the end closes the connection."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    client = connect(job["id"])
    client.send(json.dumps({"access_token": ada.tokens["access_token"]}))
    assert json.loads(client.receive(timeout=10)) == job
    change(ada, job["id"], state="running", progress=40)
    assert json.loads(client.receive(timeout=10))["progress"] == 40
    change(ada, job["id"], state="done", progress=100, result={"counted": 100})
    assert json.loads(client.receive(timeout=10))["result"] == {"counted": 100}
    assert closed(client) == watch.NORMAL


@pytest.mark.parametrize(
    "message", ["", "{}", "[]", '{"access_token": 7}', '{"access_token": "x.y.z"}', "refresh"]
)
def test_watch_without_a_token(ada, started, connect, message):
    """Without a good access token nothing is shown."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    client = connect(job["id"])
    if message == "refresh":
        message = json.dumps({"access_token": ada.tokens["refresh_token"]})
    client.send(message)
    assert closed(client) == watch.BAD_TOKEN


def test_watch_the_job_of_another(ada, started, connect):
    """Nobody watches another's jobs."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    eve = Caller(ada.client, "eve")
    client = connect(job["id"])
    client.send(json.dumps({"access_token": eve.tokens["access_token"]}))
    assert closed(client) == watch.NO_JOB


def test_watch_has_an_end(ada, started, connect, monkeypatch):
    """A server that wants to stop does not wait long: the client comes again."""
    monkeypatch.setattr(watch, "SECONDS", 0.6)
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    client = connect(job["id"])
    client.send(json.dumps({"access_token": ada.tokens["access_token"]}))
    assert closed(client) == watch.GOING_AWAY


def test_watch_and_leave(ada, started, connect):
    """A client that leaves is not waited for."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    client = connect(job["id"])
    client.send(json.dumps({"access_token": ada.tokens["access_token"]}))
    client.receive(timeout=10)
    client.close()


def test_watch_without_a_word(connect, monkeypatch):
    """Who says nothing does not keep a thread from others; it is no bad token."""
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    assert closed(connect(uuid.uuid4())) == watch.NOT_ALLOWED


def test_watch_and_talk(ada, started, connect):
    """After the token nothing is to be said."""
    job = ada.ask("POST", "/api/jobs", json=JOB).json
    client = connect(job["id"])
    client.send(json.dumps({"access_token": ada.tokens["access_token"]}))
    client.receive(timeout=10)
    client.send("")
    assert closed(client) == watch.NOT_ALLOWED


def test_watch_and_flood(connect, monkeypatch):
    """What is not read yet is not kept without end."""
    full = threading.Event()

    class Waiting(websocket.Waiting):
        def append(self, message):
            try:
                super().append(message)
            except OSError:
                full.set()
                raise

    monkeypatch.setattr(websocket, "Waiting", Waiting)
    monkeypatch.setattr(watch, "identify", lambda message: full.wait(timeout=10) and None)
    client = connect(uuid.uuid4())
    for _ in range(3):
        client.send("x")
    closed(client)
    assert full.is_set()


def test_watch_and_stay(port, monkeypatch):
    """A client that never closes its end leaves no thread behind."""
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        lines = [f"GET /api/jobs/{uuid.uuid4()}/watch HTTP/1.1", "Host: localhost"]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "", ""]
        client.sendall("\r\n".join(lines).encode())
        while client.recv(4096):
            pass
        deadline = time.monotonic() + 10
        while threading.active_count() > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_watch_where_no_thread_is_left(monkeypatch):
    """Who finds none is told at once: it would wait on the thread that the requests need."""
    spare = threading.BoundedSemaphore(1)
    monkeypatch.setattr(websocket, "_spare", spare)
    spare.acquire()
    waited = []
    for _ in range(5):
        begun = time.monotonic()
        with websocket.accept({"wsgi.multithread": True}) as connection:
            assert connection is None
        waited.append(time.monotonic() - begun)
    assert min(waited) < 0.1


def test_watch_without_a_websocket(ada):
    """An ordinary request is told off."""
    answer = ada.ask("GET", f"/api/jobs/{uuid.uuid4()}/watch")
    assert answer.status_code == 400
