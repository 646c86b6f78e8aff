"""What protects visitors: response headers and CSRF tokens in forms."""

from flask import Flask, Response
from flask_wtf.csrf import CSRFProtect

# Every page works with files of the site alone: nothing inline, nothing foreign.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Flask-WTF wants the referrer of a form sent over HTTPS.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

csrf = CSRFProtect()


def register(app: Flask) -> None:
    """Add the headers to each response, and refuse forms without this site's token.

    :param app: The application.
    """
    # As long as the session lives: a form left open overnight still works.
    app.config.setdefault("WTF_CSRF_TIME_LIMIT", None)
    csrf.init_app(app)
    app.after_request(add_headers)


def add_headers(response: Response) -> Response:
    """Add each header that the response does not bring along.

    :param response: What a view returned.
    """
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
