"""The Celery application. No Flask in here."""

from importlib.util import find_spec
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from .. import logs, settings

# One line a module of tasks, with the part of the application it is built on.
MODULES = {
    "app.tasks.jobs": "app.model",
    "app.tasks.tidy": "app.model",
}

_settings = settings.read()

celery = Celery(
    "app",
    broker=_settings["CELERY_BROKER_URL"] or None,
    include=[name for name, needed in MODULES.items() if find_spec(needed)],
    set_as_current=False,
)
celery.conf.update(
    task_ignore_result=True,
    # A job whose worker dies is given to another: tasks can be run twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=3,
    # It outlives a release: what is due once a day must not wait for a day after each deploy.
    beat_schedule_filename=str(settings.instance() / "beat-schedule"),
)


@setup_logging.connect
def log_as_the_web_part_does(**_: Any) -> None:
    """Keep Celery from setting up logging of its own."""
    logs.configure(_settings["LOG_FORMAT"])
