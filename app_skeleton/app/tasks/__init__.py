"""Work in the background: ``celery -A app.tasks worker``, and ``... beat`` for what recurs.

Here is what the web part needs of it; ``celery.py`` lists the modules with the tasks.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID

if TYPE_CHECKING:
    from flask import Flask

PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


def register(app: Flask) -> None:
    """Put the way to start a job into ``app.extensions["tasks"]``, if there is a broker.

    :param app: The application.
    """
    broker: str = app.config["CELERY_BROKER_URL"]
    app.extensions["tasks"] = start if broker else None
    app.extensions.setdefault("status", {})["broker"] = lambda: state(broker)


def start(job_id: UUID) -> None:
    """Hand a job to the workers.

    :param job_id: Of a job that is committed already.
    :raises kombu.exceptions.OperationalError: If the broker cannot be reached.
    """
    # Celery takes a tenth of a second to import; a release is shown to its visitors before that.
    from .jobs import run

    # The worker's log shows the task's id: by the job's one finds there why it failed.
    run.apply_async((str(job_id),), task_id=str(job_id), retry=False)


def state(broker: str) -> str:
    """Tell how the broker is: ``ok``, ``unreachable``, or ``off`` if there is none.

    :param broker: Its URL.
    """
    if not broker:
        return "off"
    url = urlsplit(broker)
    try:
        if url.scheme.endswith("+socket"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(unquote(url.path))
        else:
            address = (url.hostname or "localhost", url.port or PORTS.get(url.scheme, 0))
            socket.create_connection(address, timeout=1).close()
    except OSError:
        return "unreachable"
    return "ok"
