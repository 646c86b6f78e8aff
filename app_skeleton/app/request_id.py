"""Gives each request an id, which its log lines and its answer show."""

import re
import secrets

from flask import Flask, Response, request

from . import logs

# What nginx makes of $request_id.
PATTERN = re.compile(r"[0-9a-f]{32}")


def register(app: Flask) -> None:
    """Number every request.

    :param app: The application.
    """
    app.before_request(take)
    app.after_request(show)


def take() -> None:
    """Use the id the front gave this request, or make one."""
    given = request.headers.get("X-Request-ID", "")
    logs.request_id.set(given if PATTERN.fullmatch(given) else secrets.token_hex(16))


def show(response: Response) -> Response:
    """Name the request in its answer, so that a visitor's report leads to the log lines.

    :param response: What a view returned.
    """
    if number := logs.request_id.get():
        response.headers["X-Request-ID"] = number
    return response
