"""What recurs: forgets what is no longer needed."""

from datetime import timedelta

from sqlalchemy import delete

from ..model import FailedLogin, Job, Login, database
from ..model.base import now
from ..model.users import outdated
from .celery import celery

celery.conf.beat_schedule = {"tidy": {"task": "app.tidy", "schedule": timedelta(hours=1)}}

JOBS = timedelta(days=30)


@celery.task(name="app.tidy")
def tidy() -> None:
    """Forget log-ins that have expired, attempts that no longer count, and jobs of a month ago."""
    with database().writing() as session:
        session.execute(delete(Login).where(Login.expires < now()))
        session.execute(outdated())
        # Those too that have not ended: after so long they are lost.
        session.execute(delete(Job).where(Job.created < now() - JOBS))
        session.execute(delete(FailedLogin).where(FailedLogin.moment < now() - timedelta(days=1)))
