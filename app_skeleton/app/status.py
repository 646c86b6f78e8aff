"""The page a deployment or a monitor asks whether the application runs."""

from flask import Blueprint, Response

bp = Blueprint("status", __name__)


@bp.get("/status")
def status() -> Response:
    """Answer ``{"status": "ok"}``, never from a cache."""
    return Response(
        '{"status": "ok"}',
        mimetype="application/json",
        headers={"Cache-Control": "no-store"},
    )
