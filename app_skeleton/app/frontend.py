"""The page of the front end, built from ``frontend/`` by Vite.

Its files with a hash in their name are served by the front (or else from here); the page itself
comes from here, since it must name the place the application is mounted at.
"""

from html import escape

from flask import Blueprint, Flask, Response, abort, send_from_directory, url_for

from . import settings

bp = Blueprint("frontend", __name__, url_prefix="/app")


def register(app: Flask) -> None:
    """Add ``/app/`` and what lies below.

    :param app: The application.
    """
    app.register_blueprint(bp)


@bp.get("/")
@bp.get("/<path:view>")
def index(view: str = "") -> Response:
    """Return the page, for every address below: the front end itself knows its views.

    :param view: What the front end shows.
    """
    try:
        page = (settings.TOP / "frontend" / "dist" / "index.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        abort(503, "The front end is not built: npm was absent where the application was deployed.")
    base = f'<base href="{escape(url_for("frontend.index"))}">'
    page = page.replace("<head>", f"<head>{base}", 1)
    return Response(page, mimetype="text/html", headers={"Cache-Control": "no-cache"})


@bp.get("/assets/<path:name>")
def asset(name: str) -> Response:
    """Return a file whose name changes with its content, so that it may be kept for a year.

    :param name: Its path below ``frontend/dist/assets``.
    """
    folder = settings.TOP / "frontend" / "dist" / "assets"
    response = send_from_directory(folder, name, max_age=31536000)
    response.cache_control.immutable = True
    return response
