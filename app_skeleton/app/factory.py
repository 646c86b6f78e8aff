"""Builds the application from its parts."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from . import errors, logs, request_id, security, settings
from .sessions import MountedSessionInterface

# Bytes. A body of JSON takes some thirty times its size in memory, whoever sends it.
BODY = 64 * 1024

# Characters. Who has one token can try shorter keys until one fits.
KEY = 32

# One line a part, in the order in which they are put in: each has a function register(app).
# docs/skeleton.md of the toolkit tells how to take one out and put another in.
PARTS = (
    "app.pages",
    "app.status",
    "app.metrics",
    "app.model",
    "app.tasks",
    "app.api",
    "app.frontend",
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application.

    :param config: Flask settings which win over the environment and ``.env``.
    :returns: The application, ready to be served.
    :raises ValueError: If ``PROXY_HOPS`` is not a whole number, 0 or more.
    :raises RuntimeError: If ``SECRET_KEY`` is not set, or too short.
    """
    app = Flask(
        "app",
        static_folder=str(settings.TOP / "static"),
        static_url_path="/static",
        instance_path=str(settings.instance()),
    )
    app.config.from_mapping(SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=BODY)
    app.config.from_mapping(settings.read())
    app.config.from_mapping(config or {})
    app.session_interface = MountedSessionInterface()
    logs.configure(app.config["LOG_FORMAT"])

    # A release may be read-only; nothing needs the folder until something is kept in it.
    with suppress(OSError):
        settings.instance().mkdir(exist_ok=True)

    key = app.config["SECRET_KEY"]
    if len(key) < KEY:
        raise RuntimeError(
            f"SECRET_KEY is {'too short' if key else 'not set'}. It signs sessions and tokens: put "
            f"a line SECRET_KEY=... with {KEY} or more random characters into the environment or "
            "into .env"
        )

    hops = settings.parse_proxy_hops(app.config["PROXY_HOPS"])
    app.config["PROXY_HOPS"] = hops
    # Without a proxy in front these headers come from the visitor, who may write anything.
    if hops > 0:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # how Flask's manual does it
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )

    request_id.register(app)
    errors.register(app)
    security.register(app)
    for part in PARTS:
        import_module(part).register(app)
    return app
