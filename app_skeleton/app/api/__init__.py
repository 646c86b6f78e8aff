"""The API below ``/api``: a module a subject, each with a blueprint.

It describes itself: ``/api/openapi.json``, and ``/api/docs`` to try it out.
"""

from importlib import import_module

import flask_smorest
import swagger_ui_bundle
from flask import Flask, Response, jsonify, render_template, request, send_from_directory
from flask_cors import CORS

from ..security import csrf

# One line a subject, with the parts of the application it is built on.
SUBJECTS = {
    "app.api.auth": {"database"},
    "app.api.users": {"database"},
    "app.api.jobs": {"database", "tasks"},
}


class Api(flask_smorest.Api):  # type: ignore[misc]  # it has no types
    """flask-smorest's, with the application's own error pages and files."""

    def _register_error_handlers(self) -> None:
        # app/errors.py answers for the API too.
        pass

    def _openapi_swagger_ui(self) -> str:
        return render_template("docs.html", title=self.spec.title)

    def _openapi_json(self) -> Response:
        # Its paths begin where the application is mounted.
        spec = {**self.spec.to_dict(), "servers": [{"url": request.script_root or "/"}]}
        return jsonify(spec)


def register(app: Flask) -> None:
    """Add the subjects whose parts are there.

    :param app: The application. ``CORS_ORIGINS`` is a list of origins, separated by commas, whose
        pages may use the API; none by default.
    """
    app.config.from_mapping(
        API_TITLE="API",
        API_VERSION="1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_SWAGGER_UI_PATH="/docs",
        OPENAPI_SWAGGER_UI_URL="/api/docs/",
        API_SPEC_OPTIONS={
            "components": {
                "securitySchemes": {
                    "access": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                    "refresh": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                }
            }
        },
    )
    origins = [origin.strip() for origin in app.config["CORS_ORIGINS"].split(",")]
    if any(origins):
        CORS(
            app,
            resources={"/api/*": {"origins": [origin for origin in origins if origin]}},
            expose_headers=["X-Pagination", "X-Request-ID", "Retry-After"],
            max_age=600,
        )
    api = Api(app)
    app.add_url_rule("/api/docs/<path:name>", "swagger_ui", swagger_ui)
    for name, needed in SUBJECTS.items():
        if needed <= app.extensions.keys():
            subject = import_module(name)
            # No cookie tells who asks, so no other site can ask in a visitor's name.
            csrf.exempt(subject.bp)
            subject.register(app, api)


def swagger_ui(name: str) -> Response:
    """Return a file of Swagger UI.

    :param name: Its name.
    """
    return send_from_directory(swagger_ui_bundle.swagger_ui_path, name)
