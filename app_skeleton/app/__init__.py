"""A small Flask application: start with ``pages.py`` and ``templates/``."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from . import errors, pages, settings, status
from .sessions import MountedSessionInterface

TOP = Path(__file__).resolve().parent.parent


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Build the application.

    :param config: Flask settings which win over the environment and ``.env``.
    :returns: The application, ready to be served.
    :raises ValueError: If ``PROXY_HOPS`` is not a whole number, 0 or more.
    :raises RuntimeError: If ``SECRET_KEY`` is not set and none can be kept in the instance folder.
    """
    app = Flask(
        __name__,
        static_folder=str(TOP / "static"),
        static_url_path="/static",
        instance_path=str(TOP / "instance"),
    )
    app.config.from_mapping(SESSION_COOKIE_SAMESITE="Lax")
    app.config.from_mapping(settings.read(TOP))
    app.config.from_mapping(config or {})
    app.session_interface = MountedSessionInterface()

    instance = Path(app.instance_path)
    # A release may be read-only; nothing needs the folder until something is kept in it.
    with suppress(OSError):
        instance.mkdir(exist_ok=True)

    if not app.config["SECRET_KEY"]:
        app.config["SECRET_KEY"] = settings.saved_secret_key(instance)

    hops = settings.parse_proxy_hops(app.config["PROXY_HOPS"])
    app.config["PROXY_HOPS"] = hops
    # Without a proxy in front these headers come from the visitor, who may write anything.
    if hops > 0:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )

    app.register_blueprint(pages.bp)
    app.register_blueprint(status.bp)
    errors.register(app)
    return app
