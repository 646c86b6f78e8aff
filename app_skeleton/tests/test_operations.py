"""Status, metrics, logs, request ids and the headers that protect visitors."""

import json
import logging
import os
import re
import subprocess
import sys

import pytest

from app import logs

STRANGE = ["", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\u00e9"]


def test_status(make_app, monkeypatch):
    """The status page says what runs, is never cached and sets no cookie."""
    monkeypatch.setenv("HOSTED_RELEASE", "abc123")
    page = make_app().test_client().get("/status")
    assert page.status_code == 200
    assert page.mimetype == "application/json"
    assert (page.json["status"], page.json["release"]) == ("ok", "abc123")
    assert page.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in page.headers


def test_status_of_a_part_that_is_down(make_app):
    """A part that the application cannot do without makes it unhealthy; others do not."""
    app = make_app()
    app.extensions["status"]["printer"] = lambda: "unreachable"
    assert app.test_client().get("/status").status_code == 200
    app.extensions["status"]["printer"] = lambda: "down"
    page = app.test_client().get("/status")
    assert page.status_code == 503
    assert (page.json["status"], page.json["printer"]) == ("down", "down")


def test_metrics_are_off(make_app):
    """Without METRICS_TOKEN there are none."""
    assert make_app().test_client().get("/metrics").status_code == 404


@pytest.mark.parametrize("header", [None, "Bearer wrong", "secret", "Bearer s\u00e9cret"])
def test_metrics_are_not_for_everybody(make_app, header):
    """Without the token nothing is shown."""
    client = make_app(METRICS_TOKEN="secret").test_client()
    page = client.get("/metrics", headers={"Authorization": header} if header else {})
    assert page.status_code == 401
    assert "http_request" not in page.text


def counted(text, **labels):
    """Return the value of http_requests_total with these labels, 0 if there is none."""
    for line in text.splitlines():
        if line.startswith("http_requests_total{") and all(
            f'{name}="{value}"' in line for name, value in labels.items()
        ):
            return float(line.rsplit(" ", 1)[1])
    return 0


def test_metrics(make_app):
    """Requests are counted by endpoint, whatever paths and methods visitors make up."""
    client = make_app(METRICS_TOKEN="secret").test_client()

    def read():
        page = client.get("/metrics", headers={"Authorization": "Bearer secret"})
        assert page.status_code == 200
        assert page.mimetype == "text/plain"
        return page.text

    before = read()
    for path in ("/", "/", "/made", "/up"):
        client.get(path)
    client.open("/", method="BREW")
    after = read()
    for labels, more in (
        ({"method": "GET", "endpoint": "pages.index", "status": "200"}, 2),
        ({"method": "GET", "endpoint": "none", "status": "404"}, 2),
        ({"method": "other", "status": "405"}, 1),
    ):
        assert counted(after, **labels) - counted(before, **labels) == more
    assert 'http_request_duration_seconds_bucket{endpoint="pages.index",le="0.5"' in after
    assert "/made" not in after
    assert "BREW" not in after


def test_metrics_of_several_processes(copied, tmp_path):
    """Each process adds to the same numbers."""
    code = (
        "from app.factory import create_app; import os\n"
        "app = create_app({'SECRET_KEY': 32 * 'x', 'METRICS_TOKEN': 't'})\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        [app.test_client().get('/') for _ in range(3)]; os._exit(0)\n"
        "[os.wait() for _ in range(2)]\n"
        "print(app.test_client().get('/metrics', headers={'Authorization': 'Bearer t'}).text)\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "figures")}
    (tmp_path / "figures").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copied,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert counted(ran.stdout, endpoint="pages.index", status="200") == 6


def test_request_id_of_the_front(make_app):
    """The front's id is used and shown."""
    given = "0123456789abcdef" * 2
    page = make_app().test_client().get("/", headers={"X-Request-ID": given})
    assert page.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", STRANGE)
def test_request_id_that_no_front_made(make_app, given):
    """What does not look like nginx's is not believed."""
    page = make_app().test_client().get("/", headers={"X-Request-ID": given} if given else {})
    assert re.fullmatch("[0-9a-f]{32}", page.headers["X-Request-ID"])
    assert page.headers["X-Request-ID"] != given


def test_log_lines(make_app, capsys):
    """An error is one line of JSON with the request's id and the traceback."""
    app = make_app(PROPAGATE_EXCEPTIONS=False, LOG_FORMAT="json")

    @app.get("/fail")
    def fail():
        raise ZeroDivisionError("a detail")

    page = app.test_client().get("/fail", headers={"X-Request-ID": "a" * 32})
    assert page.status_code == 500
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record["level"] == "ERROR"
    assert record["request_id"] == page.headers["X-Request-ID"] == "a" * 32
    assert "ZeroDivisionError: a detail" in record["exc_info"]
    assert record["timestamp"]


def test_log_text(capsys):
    """For people there is text."""
    logs.configure("text")
    logging.getLogger("some.where").warning("look %s", "out")
    assert capsys.readouterr().err == "WARNING some.where: look out\n"


@pytest.mark.parametrize("path", ["/", "/status", "/missing", "/static/style.css"])
def test_headers(make_app, path):
    """Each answer has the headers, errors and files too."""
    with make_app().test_client().get(path) as page:
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "same-origin"
