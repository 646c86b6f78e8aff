"""What nginx, the servers, the workers and the app's own tests make of the skeleton on a host."""

import json
import re

import pytest
from asking import CHECKOUT, ask, pids, until
from browsing import PASSWORD

APPS = [("front", ""), ("mounted", "/your/path")]
apps = pytest.mark.parametrize(("app", "mount"), APPS, ids=[name for name, _ in APPS])


def log_in(host, mount: str, name: str) -> dict[str, str]:
    """Register and return the headers of who is logged in."""
    body = json.dumps({"username": name, "password": PASSWORD})
    ask(host, f"{mount}/api/users", method="POST", body=body, Content_Type="application/json")
    answer = ask(host, f"{mount}/api/auth/login", method="POST", body=body, Content_Type="application/json")
    assert answer.status == 200, answer.text
    return {"Authorization": f"Bearer {json.loads(answer.text)['access_token']}", "Content_Type": "application/json"}


def start(host, mount: str, who: dict[str, str], seconds: int) -> str:
    """Start a job and return its path."""
    body = json.dumps({"kind": "count", "seconds": seconds})
    answer = ask(host, f"{mount}/api/jobs", method="POST", body=body, **who)
    assert answer.status == 202, answer.text
    return f"{mount}/api/jobs/{json.loads(answer.text)['id']}"


def state(host, path: str, who: dict[str, str]) -> str:
    """Return a job's state."""
    return json.loads(ask(host, path, **who).text)["state"]


@apps
def test_everything_is_reachable(host, app, mount):
    told = json.loads(ask(host, f"{mount}/status").text)
    release = host.check_output(f"readlink /home/{app}/apps/{app}/slots/live").rpartition("/")[2]
    assert told == {"status": "ok", "release": release, "database": "ok", "broker": "ok"}


@apps
def test_page_is_asked_for_each_time_and_its_files_once_a_year(host, app, mount):
    for view in ("", "login", "jobs/00000000-0000-4000-8000-000000000000"):
        page = ask(host, f"{mount}/app/{view}")
        assert (page.status, page.headers["Cache-Control"]) == (200, "no-cache")
        assert page.release
        assert f'<head><base href="{mount}/app/">' in page.text
    files = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page.text)
    assert sorted(name.rpartition(".")[2] for name in files) == ["css", "js", "svg"]
    for name in files:
        answer = ask(host, f"{mount}/app/{name}")
        assert (answer.status, answer.release) == (200, None), "nginx serves it"
        assert answer.headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]
    missing = ask(host, f"{mount}/app/assets/index-00000000.js")
    assert missing.status == 404
    assert "immutable" not in (missing.headers["Cache-Control"] or "")


@apps
def test_static_file_is_asked_for_each_time(host, app, mount):
    answer = ask(host, f"{mount}/static/style.css")
    assert (answer.status, answer.release, answer.headers["Cache-Control"]) == (200, None, "no-cache")


@apps
def test_request_id_leads_to_the_log(host, app, mount):
    """The id that a visitor is told is nginx's own, and in the app's log line."""
    answer = ask(host, f"{mount}/no/such/page", X_Request_ID="0" * 32)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert answer.headers["X-Request-ID"] != "0" * 32


@apps
def test_secret_key_is_the_hosts_own(host, app, mount):
    """The toolkit makes one for each app; without one the skeleton would not start."""
    assert "SECRET_KEY" not in json.dumps(host.ansible.get_variables()["flask_apps"])
    assert ask(host, f"{mount}/").status == 200


@apps
def test_worker_that_is_restarted_ends_its_job_first(host, app, mount):
    who = log_in(host, mount, f"restarted-{app}")
    worker = rf"^{app} .*celery -A app.tasks worker"
    before = pids(host, worker)
    path = start(host, mount, who, 5)
    until(lambda: state(host, path, who) == "running")
    host.check_output(f"su - {app} -c 'supervisorctl restart {app}-worker'")
    assert state(host, path, who) == "done"
    until(lambda: pids(host, worker))
    assert not set(before) & set(pids(host, worker))
    after = start(host, mount, who, 1)
    until(lambda: state(host, after, who) == "done")


@apps
def test_broker_is_the_accounts_own(host, app, mount):
    """It listens on no port, and nobody else reaches its socket."""
    broker = f"/run/supervisord/{app}/redis.sock"
    assert host.file(broker).is_socket
    other = {name for name, _ in APPS} - {app}
    for name in (app, *other, "nobody"):
        run = host.run(f"setpriv --reuid={name} --clear-groups redis-cli -s {broker} ping")
        assert (run.stdout.strip() == "PONG") == (name == app), run.stdout + run.stderr
    assert len(pids(host, rf"^{app} .*redis-server")) == 1
    assert not host.run("ss -Hltn 'sport = :6379'").stdout
    assert not pids(host, "^redis .*redis-server")


@apps
def test_workers_of_the_apps_do_not_share_jobs(host, app, mount):
    """Each has a broker of its own: a job that the other's worker took would never be done."""
    who = log_in(host, mount, f"alone-{app}")
    paths = [start(host, mount, who, 1) for _ in range(4)]
    until(lambda: all(state(host, path, who) == "done" for path in paths))


@apps
def test_beat_runs(host, app, mount):
    assert len(pids(host, rf"^{app} .*celery -A app.tasks beat")) == 1
    assert host.file(f"/home/{app}/apps/{app}/data/beat-schedule.db").exists


@pytest.fixture(scope="module")
def pytest_folder(host):
    """Return a folder on the host with pytest, of the version that the skeleton's tests are locked to."""
    folder = "/opt/pytest"
    locked = (CHECKOUT / "app_skeleton/requirements-dev.txt").read_text()
    version = re.search(r"^pytest==(\S+)", locked, re.MULTILINE)[1]
    uv = host.check_output("ls /opt/hosted.flask/venvs/*/bin/uv | head -n 1")
    host.check_output(f"{uv} pip install -q --python /usr/bin/python3 --target {folder} pytest=={version}")
    return folder


def test_own_tests_pass_in_the_deployed_venv(host, pytest_folder):
    """With warnings as errors, as its account, in a copy of the release: they write beside what they test.

    They know nothing of server and mount, so one of the apps stands for both.
    """
    app = "mounted"
    release, copy = f"/home/{app}/apps/{app}/slots/live", f"/home/{app}/own-tests"
    host.check_output(f"rm -rf {copy} && cp -RL --no-preserve=mode,ownership {release} {copy} && chown -R {app} {copy}")
    # What the toolkit put into the release for its own server, and others would read as well.
    host.check_output(f"rm -f {copy}/gunicorn.conf.py {copy}/uwsgi.ini")
    run = host.run(
        f"su - {app} -c 'cd {copy} && PYTHONPATH={pytest_folder} PYTHONDONTWRITEBYTECODE=1"
        f" {release}/.hosted/venv/bin/python -m pytest -q -ra -p no:cacheprovider'"
    )
    assert run.rc == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout
    assert int(passed[1]) >= 150, run.stdout
