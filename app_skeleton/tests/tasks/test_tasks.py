"""The worker's side."""

import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app import factory

tasks = pytest.importorskip("app.tasks")
HERE = Path(factory.__file__).resolve().parent.parent


@pytest.fixture
def jobs(database_url, monkeypatch):
    """Return the module that does jobs, on an empty database."""
    model = pytest.importorskip("app.model")
    monkeypatch.setenv("DATABASE_URL", database_url)
    model.database.cache_clear()
    from app.tasks import jobs

    yield jobs
    model.database().engine.dispose()
    model.database.cache_clear()


@pytest.fixture
def make_job(jobs):
    """Return a function storing a job."""
    from app.model import Job, User, database

    def make(**values):
        with database().writing() as session:
            user = User(username="ada", password_hash="-", memberships=[])
            session.add(user)
            session.flush()
            job = Job(
                **{"user_id": user.id, "kind": "count", "arguments": {"seconds": 1}, **values}
            )
            session.add(job)
        return job

    return make


def find(job):
    """Return what became of a job."""
    from app.model import Job, database

    with database().reading() as session:
        return session.scalars(select(Job).where(Job.id == job.id)).one()


def test_tasks_need_no_flask():
    """A worker runs without the web part."""
    code = "import sys, app.tasks.celery as c; c.celery.loader.import_default_modules();"
    code += "print(sorted({'flask', 'werkzeug'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_done(jobs, make_job):
    """A job is done, and done once."""
    job = make_job()
    jobs.run(str(job.id))
    done = find(job)
    assert (done.state, done.progress, done.result) == ("done", 100, {"counted": 100})
    assert done.finished > done.created
    jobs.run(str(job.id))
    assert find(job).finished == done.finished


def test_failed(jobs, make_job):
    """A job that fails says so; what an exception tells is not for its user."""
    job = make_job(arguments={"hours": 1})
    with pytest.raises(TypeError):
        jobs.run(str(job.id))
    failed = find(job)
    assert (failed.state, failed.error) == (
        "failed",
        f"Something went wrong with the job {job.id}.",
    )
    assert failed.finished


def test_failed_with_words(jobs, make_job, monkeypatch):
    """Unless the job says it for its user."""

    def fail(job_id, seconds):
        raise jobs.JobFailed("Too late. " + 2000 * "x")

    monkeypatch.setitem(jobs.KINDS, "count", fail)
    job = make_job()
    with pytest.raises(jobs.JobFailed):
        jobs.run(str(job.id))
    failed = find(job)
    assert failed.state == "failed"
    assert failed.error.startswith("Too late. x")
    assert len(failed.error) == 1000


def test_tidy(jobs):
    """What has expired is forgotten, and nothing else."""
    from app.model import Attempt, FailedLogin, Job, Login, User, database
    from app.model.base import now
    from app.tasks.tidy import tidy

    with database().writing() as session:
        user = User(username="ada", password_hash="-", memberships=[])
        session.add(user)
        session.flush()
        for days in (-2, 2):
            moment = now() + timedelta(days=days)
            session.add(Login(user_id=user.id, expires=moment))
            session.add(Attempt(key=str(days), count=1, ends=moment))
            session.add(FailedLogin(username="ada", address="-", moment=moment))
        for days, state in ((29, "done"), (31, "done"), (31, "waiting")):
            created = now() - timedelta(days=days)
            session.add(Job(user_id=user.id, kind="count", state=state, created=created))
    tidy()
    with database().reading() as session:
        assert [entry > now() for entry in session.scalars(select(Login.expires))] == [True]
        assert session.scalars(select(Attempt.key)).all() == ["2"]
        assert [entry > now() for entry in session.scalars(select(FailedLogin.moment))] == [True]
        (created,) = session.scalars(select(Job.created))
        assert now() - created < timedelta(days=30)


def test_state_of_a_broker(tmp_path):
    """The status page says whether the broker is there."""
    assert tasks.state("") == "off"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert tasks.state(f"redis://:secret@127.0.0.1:{port}/0") == "ok"
    assert tasks.state(f"amqp://127.0.0.1:{port}//") == "unreachable"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "redis.sock"))
        server.listen()
        assert tasks.state(f"redis+socket://{tmp_path}/redis.sock") == "ok"
    assert tasks.state(f"redis+socket://{tmp_path}/none.sock") == "unreachable"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("redis-server"), reason="there is no redis-server here")
def test_worker(make_app, jobs, make_job, tmp_path, monkeypatch):
    """A job goes through a real broker to a real worker and comes back done."""
    place = str(tmp_path / "redis.sock")
    broker = f"redis+socket://{place}"
    options = ["--port", "0", "--unixsocket", place, "--save", "", "--dir", str(tmp_path)]
    environment = {**os.environ, "CELERY_BROKER_URL": broker}
    worker = [sys.executable, "-m", "celery", "-A", "app.tasks", "worker", "--pool", "solo"]
    redis = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    with open(tmp_path / "worker.log", "w") as log:
        process = subprocess.Popen(worker, cwd=HERE, env=environment, stdout=log, stderr=log)
    try:
        monkeypatch.setattr(jobs.celery.conf, "broker_url", broker)
        job = make_job()
        deadline = time.monotonic() + 120
        while tasks.state(broker) != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        tasks.start(job.id)
        while not find(job).ended:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.1)
        assert find(job).result == {"counted": 100}
    finally:
        for running in (process, redis):
            running.terminate()
            running.wait(timeout=30)
