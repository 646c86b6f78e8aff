"""The pages people see."""

from flask import (
    Blueprint,
    Flask,
    current_app,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response

bp = Blueprint("pages", __name__)


def register(app: Flask) -> None:
    """Add the pages.

    :param app: The application.
    """
    app.register_blueprint(bp)


@bp.get("/")
def index() -> str:
    """Show ``MESSAGE``, the visitor's address and how often they came."""
    session["visits"] = session.get("visits", 0) + 1
    return render_template(
        "index.html",
        message=current_app.config["MESSAGE"],
        # A server listening on a Unix socket knows no address.
        address=request.remote_addr or "unknown",
        visits=session["visits"],
        # Links to the other parts, where they are.
        parts=[
            (name, url_for(endpoint))
            for name, endpoint in (
                ("Jobs", "frontend.index"),
                ("The API", "api-docs.openapi_swagger_ui"),
            )
            if endpoint in current_app.view_functions
        ],
    )


@bp.post("/forget")
def forget() -> Response:
    """Forget the visitor's session and go back to the first page."""
    session.clear()
    return redirect(url_for(".index"), code=303)
