"""Error pages: HTML, or JSON for a client which prefers it."""

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

    :param error: What went wrong; an unexpected exception comes here as a plain 500.
    """
    response = error.get_response(request.environ)
    if prefers_json():
        body = {"code": error.code, "error": error.name, "message": error.description}
        response.set_data(current_app.json.dumps(body))
        response.content_type = "application/json"
    else:
        response.set_data(render_template("error.html", error=error))
        response.content_type = "text/html; charset=utf-8"
    response.vary.add("Accept")
    return response


def prefers_json() -> bool:
    """Tell whether the client would rather have JSON than HTML; a tie means HTML."""
    kinds = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(kinds, kinds[0]) == kinds[1]
