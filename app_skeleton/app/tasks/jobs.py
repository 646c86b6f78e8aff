"""Does the jobs that the API is asked for."""

import time
from typing import Any
from uuid import UUID

from ..model import Job, database
from ..model.base import now
from .celery import celery


class JobFailed(Exception):
    """A job cannot be done, and the user whose job it is may read why."""


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
    except JobFailed as error:
        update(job.id, state="failed", error=str(error)[:1000])
        raise
    # What other exceptions say is for the log: where a file is, what is in a table.
    except Exception:
        update(job.id, state="failed", error=f"Something went wrong with the job {job.id}.")
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
