"""What visitors get while the database cannot answer."""

import logging
import sqlite3

from sqlalchemy.exc import OperationalError, TimeoutError
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.wrappers import Response

from ..errors import error_page

log = logging.getLogger(__name__)

RETRY_AFTER = 5


def busy(error: OperationalError | TimeoutError) -> Response:
    """Return 503: the same request may succeed in a moment.

    :param error: SQLite's file is locked, PostgreSQL cannot be reached or wants the transaction
        once more, or no connection became free in time.
    :raises OperationalError: It is none of these, but a fault of the application.
    """
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_BUSY)
    # The rest of the number tells details.
    if code & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise error
    log.error("the database cannot answer: %s", cause)
    why = "The database cannot answer now. Try again in a moment."
    return error_page(ServiceUnavailable(why, retry_after=RETRY_AFTER))
