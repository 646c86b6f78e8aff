"""Error pages: HTML for people, JSON for the API and for a client which prefers it."""

from typing import Any

from flask import Flask, current_app, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response


def register(app: Flask) -> None:
    """Give ``app`` these pages for every HTTP error, 404, 405 and 500 among them.

    :param app: The application.
    """
    app.register_error_handler(HTTPException, error_page)


def error_page(error: HTTPException) -> Response:
    """Return the page for an error, keeping the error's own headers such as ``Allow``.

    :param error: What went wrong; an unexpected exception comes here as a plain 500. Its ``data``,
        as webargs and flask-smorest set it, may hold ``message``, ``messages`` or ``errors`` (why,
        by place and field) and ``headers``.
    """
    data: dict[str, Any] = getattr(error, "data", None) or {}
    response = error.get_response(request.environ)
    response.headers.update(data.get("headers") or {})
    if prefers_json():
        body = describe(error.code, error.name, data.get("message") or error.description)
        if why := data.get("messages") or data.get("errors"):
            body["errors"] = why
        response.set_data(current_app.json.dumps(body))
        response.content_type = "application/json"
    else:
        response.set_data(render_template("error.html", error=error))
        response.content_type = "text/html; charset=utf-8"
    response.vary.add("Accept")
    return response


def describe(code: int | None, status: str, message: str | None) -> dict[str, Any]:
    """Return what every error in JSON looks like.

    :param code: HTTP status code.
    :param status: Its name.
    :param message: What to tell the client.
    """
    return {"code": code, "status": status, "message": message}


def prefers_json() -> bool:
    """Tell whether the client is to have JSON: always below ``/api/``; elsewhere a tie is HTML."""
    if request.path.startswith("/api/"):
        return True
    kinds = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(kinds, kinds[0]) == kinds[1]
