"""Log lines as JSON on standard error, each with the id of the request it belongs to."""

import logging
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

# Of the request that this thread answers at the moment.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class RequestFilter(logging.Filter):
    """Adds ``request_id`` to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through.

        :param record: What is about to be logged.
        """
        record.request_id = request_id.get()
        return True


def configure(form: str) -> None:
    """Send all logging of the process to standard error, whoever calls this how often.

    :param form: ``json``, or ``text`` for people.
    """
    handler = logging.StreamHandler()
    handler.set_name("app")
    handler.addFilter(RequestFilter())
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}{request_id}",
                style="{",
                timestamp=True,
                rename_fields={"levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "app"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
