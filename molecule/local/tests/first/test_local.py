"""The apps run on this machine, out of one folder and without root."""

import pytest
from asking import CHECKOUT, PROJECT, ask, pids

PORTS = {"basic_flask": 18101, "mounted": 18102}


def test_page(host):
    answer = ask(host, port=18101)
    assert "<h1>Hello</h1>" in answer.text
    live = host.check_output("readlink %s/.hosted/apps/basic_flask/slots/live", str(PROJECT))
    assert answer.release == live.rpartition("/")[2]


def test_address_cannot_be_spoofed(host):
    assert '<dd id="address">127.0.0.1</dd>' in ask(host, port=18101, X_Forwarded_For="203.0.113.9").text


def test_static_files(host):
    assert ask(host, "/static/style.css", port=18101).headers["Content-Type"].startswith("text/css")
    assert ask(host, "/your/path/static/style.css", port=18102).status == 200


def test_app_under_a_path(host):
    answer = ask(host, "/your/path/", port=18102)
    assert "<h1>Mounted</h1>" in answer.text
    assert 'action="/your/path/forget"' in answer.text
    assert "Path=/your/path;" in answer.headers["Set-Cookie"]


def test_path_without_its_slash_leads_there(host):
    answer = ask(host, "/your/path", port=18102)
    assert (answer.status, answer.headers["Location"].removeprefix("http://127.0.0.1:18102")) == (308, "/your/path/")


@pytest.mark.parametrize("path", ["/", "/your", "/your/pathology", "/status", "/favicon.ico"])
def test_nothing_outside_of_the_path(host, path):
    assert ask(host, path, port=18102).status == 404


@pytest.mark.parametrize("app", PORTS)
def test_nobody_else_reaches_the_port(host, app):
    """Only this machine itself."""
    assert host.socket(f"tcp://127.0.0.1:{PORTS[app]}").is_listening
    assert not host.socket(f"tcp://0.0.0.0:{PORTS[app]}").is_listening


def test_supervisorctl_needs_no_option(host):
    status = host.run("%s/.hosted/bin/supervisorctl status", str(PROJECT)).stdout.splitlines()
    assert [line.split()[:2] for line in status] == [
        ["basic_flask", "RUNNING"],
        ["basic_flask-http", "RUNNING"],
        ["basic_flask-socket", "RUNNING"],
        ["mounted", "RUNNING"],
        ["mounted-http", "RUNNING"],
        ["mounted-socket", "RUNNING"],
    ]


def test_one_supervisord(host):
    assert len(pids(host, rf"{PROJECT}/.hosted/.*/supervisord ")) == 1


def test_nothing_beside_the_folder(host):
    assert sorted(item.name for item in PROJECT.iterdir() if item.name != ".cache") == [".hosted", "app_skeleton"]
    assert not (CHECKOUT / "app_skeleton/instance").exists()
