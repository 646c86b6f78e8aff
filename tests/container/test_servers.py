"""Each server in the container, asked over HTTP, with PostgreSQL, Redis and the worker beside it."""

import json
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from conftest import RELEASE, ROOT, SKELETON, follow

PROCESSES = {"gevent": 1, "gunicorn": 3, "gunicorn-gevent": 3, "uwsgi": 3}
# Of 40: any number where threads are gevent's; uWSGI tells how many threads there are, and gunicorn does not.
WATCHERS = {"gevent": 40, "gunicorn": 3, "gunicorn-gevent": 40, "uwsgi": 7}


def test_status(site):
    status, _, said = site.ask("GET", "/status")
    assert (status, said) == (200, {"status": "ok", "release": RELEASE, "database": "ok", "broker": "ok"})


def test_runs_as_nobody_special(site):
    ids = site.project.exec("app", "python", "-c", "print(*open('/proc/1/status'))").stdout
    assert re.search(r"Uid:\s+10001\s+10001\s+10001\s+10001", ids)
    assert re.search(r"CapEff:\s+0{16}", ids)
    assert re.search(r"NoNewPrivs:\s+1", ids)


def test_a_job_is_done_and_watched(site):
    token = site.log_in("watcher")
    job = site.start_job(token, 6)
    said, code = follow(site.watch(job, token))
    assert code == 1000, said
    assert said[-1]["state"] == "done"
    assert said[-1]["result"] == {"counted": 100}
    progress = [job["progress"] for job in said]
    assert progress == sorted(progress)
    assert len(set(progress)) > 3, "the WebSocket does not tell of the progress"
    assert site.ask("GET", f"/api/jobs/{job}", token=token)[2] == said[-1]


def test_a_watcher_without_right_is_sent_away(site):
    token = site.log_in("watcher")
    job = site.start_job(token, 1)
    assert follow(site.watch(job, "wrong")) == ([], 4401)
    assert follow(site.watch(job, site.log_in("stranger"))) == ([], 4404)
    assert follow(site.watch(uuid4(), token)) == ([], 4404)


def test_watchers_leave_threads_for_the_others(site):
    """More WebSockets than the server has threads: requests are answered all the same."""
    token = site.log_in("watcher")
    job = site.start_job(token, 10)

    def watch(_):
        try:
            return follow(site.watch(job, token))[1]
        except Exception as error:  # The handshake is refused with a 503: the library has one error for all.
            return str(error)

    with ThreadPoolExecutor(40) as pool:
        codes = [pool.submit(watch, number) for number in range(40)]
        time.sleep(1)
        answered = 0
        while answered < 10 and not all(code.done() for code in codes):
            assert site.ask("GET", "/status")[0] == 200
            answered += 1
        assert answered > 2, "not only when the WebSockets end"
        codes = [code.result() for code in codes]
    assert codes.count(1000) >= WATCHERS[site.server], codes
    assert set(codes) <= {1000, "Connection error: 503"}, codes


def test_metrics_of_all_processes(site):
    before = site.requests()
    with ThreadPoolExecutor(8) as pool:
        assert {answer[0] for answer in pool.map(lambda _: site.ask("GET", "/status"), range(60))} == {200}
    assert site.requests() == before + 60
    files = site.project.exec("app", "ls", "/tmp/metrics").stdout.split()
    counting = {name for name in files if name.startswith("counter")}
    assert 1 <= len(counting) <= PROCESSES[site.server]


def test_front_end(site):
    built = (SKELETON / "frontend").is_dir()
    status, headers, page = site.ask("GET", "/app/")
    assert status == (200 if built else 503), page
    if built:
        assert headers["Cache-Control"] == "no-cache"
        assets = re.findall(r'(?:src|href)="(?:\./)?(assets/[^"]+)"', page)
        assert assets
        assert {site.ask("GET", f"/app/{asset}")[0] for asset in assets} == {200}


def test_nothing_went_wrong_unseen(site):
    """After all of the above: a fault that a client does not notice is in the log."""
    log = site.project.logs()
    assert "Traceback" not in log, log
    assert not re.search(r'"level": "(ERROR|CRITICAL)"', log), log


def test_stop_is_graceful(site):
    """A request that is half here and a WebSocket: both come to their end, and then the server."""
    token = site.log_in("watcher")
    client = site.watch(site.start_job(token, 25), token)
    body = json.dumps({"username": "watcher", "password": "correct horse"}).encode()
    head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    address = ("127.0.0.1", site.project.port)
    with socket.create_connection(address, timeout=30) as slow, socket.create_connection(address, timeout=30) as idle:
        # A visitor who was answered and whose connection is open must not hold up the end.
        idle.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        slow.sendall(head.encode() + b"\r\n\r\n" + body[:10])
        time.sleep(0.5)
        begun = time.monotonic()
        stop = [ROOT / "tests" / "hosts", "podman", "--", "stop", "--time=35", site.project.name("app")]
        with subprocess.Popen(stop, stdout=subprocess.DEVNULL) as stopping:
            time.sleep(2)
            slow.sendall(body[10:])
            answer = slow.recv(4096)
            said, code = follow(client)
            stopping.wait(timeout=40)
    took = time.monotonic() - begun
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert (said[-1]["state"], code) == ("running", 1001)
    # The WebSocket takes 15 s of it.
    assert took < 33, "not killed after 35 s"
    assert site.project.inspect("app", "{{ .State.ExitCode }}") in ("0", "143")
    log = site.project.logs()
    assert "Traceback" not in log, log
