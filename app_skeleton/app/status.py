"""The page a deployment or a monitor asks whether the application runs."""

import os
from collections.abc import Callable

from flask import Blueprint, Flask, Response, current_app, json

bp = Blueprint("status", __name__)

# What a part adds to app.extensions["status"]: its name, and a function that tells how it is.
Check = Callable[[], str]


def register(app: Flask) -> None:
    """Add ``/status``.

    :param app: The application.
    """
    app.extensions.setdefault("status", {})
    app.register_blueprint(bp)


@bp.get("/status")
def status() -> Response:
    """Tell how the application is, never from a cache.

    503 where a part is ``down``: the application cannot work without it. A part that is ``off`` or
    ``unreachable`` costs only what needs it.
    """
    checks: dict[str, Check] = current_app.extensions["status"]
    parts = {name: check() for name, check in checks.items()}
    well = "down" not in parts.values()
    # Set by hosted.flask; elsewhere by whoever wants to know.
    release = os.environ.get("HOSTED_RELEASE") or os.environ.get("RELEASE") or "unknown"
    return Response(
        json.dumps({"status": "ok" if well else "down", "release": release, **parts}),
        status=200 if well else 503,
        mimetype="application/json",
        headers={"Cache-Control": "no-store"},
    )
