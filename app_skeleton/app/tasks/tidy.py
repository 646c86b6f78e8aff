"""What recurs: forgets what is no longer needed."""

from datetime import timedelta

from sqlalchemy import delete

from ..model import Attempt, FailedLogin, Login, database
from ..model.base import now
from .celery import celery

celery.conf.beat_schedule = {"tidy": {"task": "app.tidy", "schedule": timedelta(hours=1)}}


@celery.task(name="app.tidy")
def tidy() -> None:
    """Forget log-ins that have expired and attempts that no longer count."""
    with database().writing() as session:
        session.execute(delete(Login).where(Login.expires < now()))
        session.execute(delete(Attempt).where(Attempt.ends < now()))
        session.execute(delete(FailedLogin).where(FailedLogin.moment < now() - timedelta(days=1)))
