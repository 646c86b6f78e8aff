"""The data: plain SQLAlchemy 2, so that a worker or a script uses it without the web part.

from app.model import User, database
with database().reading() as session: ...
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from .. import settings
from .base import Base
from .database import Database
from .jobs import Job
from .users import Attempt, FailedLogin, Group, Login, User

if TYPE_CHECKING:
    from flask import Flask

__all__ = [
    "Attempt",
    "Base",
    "Database",
    "FailedLogin",
    "Group",
    "Job",
    "Login",
    "User",
    "database",
]


@cache
def database() -> Database:
    """Return the database of the settings: for whoever has no Flask application at hand."""
    return Database(settings.read()["DATABASE_URL"])


def register(app: Flask) -> None:
    """Put the database into ``app.extensions["database"]``, and ``flask db`` on the command line.

    :param app: The application.
    """
    from sqlalchemy.exc import OperationalError, TimeoutError

    from .busy import busy
    from .commands import db, users

    opened = Database(app.config["DATABASE_URL"])
    app.extensions["database"] = opened
    app.extensions.setdefault("status", {})["database"] = opened.state
    for kind in (OperationalError, TimeoutError):
        app.register_error_handler(kind, busy)
    app.cli.add_command(db)
    app.cli.add_command(users)
