"""The Celery application and its tasks. No Flask in here."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery import Celery
from celery.signals import setup_logging
from sqlalchemy import delete

from .. import settings
from ..model import FailedLogin, Job, Login, database
from ..model.base import now

_settings = settings.read()

celery = Celery("app", broker=_settings["CELERY_BROKER_URL"] or None, set_as_current=False)
celery.conf.update(
    task_ignore_result=True,
    # A job whose worker dies is given to another: tasks can be run twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=3,
    broker_transport_options={"socket_connect_timeout": 3},
    beat_schedule_filename=str(settings.instance() / "beat-schedule"),
    beat_schedule={"tidy": {"task": "app.tidy", "schedule": timedelta(hours=1)}},
)


@setup_logging.connect
def log_as_the_application_does(**_: Any) -> None:
    """Keep Celery from setting up logging of its own."""
    from ..logs import configure

    configure(_settings["LOG_FORMAT"])


@celery.task(name="app.run")
def run(job_id: str) -> None:
    """Do a job, and write down how far it is.

    :param job_id: Its id; a job that is gone or done already is left alone.
    """
    job = update(UUID(job_id), state="running", progress=0)
    if job is None:
        return
    try:
        result = KINDS[job.kind](job.id, **job.arguments)
    except Exception as error:
        update(job.id, state="failed", error=f"{type(error).__name__}: {error}"[:1000])
        raise
    update(job.id, state="done", progress=100, result=result)


def update(job_id: UUID, **values: Any) -> Job | None:
    """Change a job that has not ended.

    :param job_id: Its id.
    :param values: New values by the names of its columns.
    :returns: The job, or nothing if there is none to change.
    """
    with database().writing() as session:
        job = session.get(Job, job_id)
        if job is None or job.ended:
            return None
        for name, value in values.items():
            setattr(job, name, value)
        if job.ended:
            job.finished = now()
        return job


def count(job_id: UUID, seconds: int) -> dict[str, Any]:
    """Count to 100, as an example of something that takes its time.

    :param job_id: Of the job, to tell how far it is.
    :param seconds: How long to take.
    :returns: What becomes the job's result.
    """
    steps = seconds * 4
    for step in range(1, steps + 1):
        time.sleep(seconds / steps)
        update(job_id, progress=100 * step // steps)
    return {"counted": 100}


# What POST /api/jobs may ask for.
KINDS = {"count": count}


@celery.task(name="app.tidy")
def tidy() -> None:
    """Forget log-ins that have expired and failures that no longer count."""
    with database().writing() as session:
        session.execute(delete(Login).where(Login.expires < now()))
        session.execute(delete(FailedLogin).where(FailedLogin.moment < now() - timedelta(days=1)))
