"""Known devices: a browser in which a user has logged in before is no stranger.

OWASP's "device cookies". Without them one has to choose: limit the failures of an account, and any
stranger locks its owner out; or do not, and who has many networks guesses on and on.
"""

from datetime import timedelta
from uuid import UUID

from flask import Response, after_this_request, current_app, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer

COOKIE = "device"
AGE = timedelta(days=365)


def known(password_hash: str) -> str | None:
    """Return the id of the device that asks, if the user has logged in there.

    :param password_hash: Of who is about to log in.
    """
    given = request.cookies.get(COOKIE, "")
    try:
        found = serializer(password_hash).loads(given, int(AGE.total_seconds()))
    except BadSignature:
        return None
    return str(found)


def remember(password_hash: str, login: UUID) -> None:
    """Let the device that asks be known from now on. The cookie tells nobody who asks.

    :param password_hash: Of who has just given the password.
    :param login: The log-in, by which the device is called.
    """
    value = serializer(password_hash).dumps(str(login))

    @after_this_request
    def add_cookie(response: Response) -> Response:
        response.set_cookie(
            COOKIE,
            value,
            max_age=AGE,
            path=url_for("auth.login"),
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
        return response


def serializer(password_hash: str) -> URLSafeTimedSerializer:
    """Return what signs the cookies of a user, until the password changes.

    :param password_hash: The user's.
    """
    key = current_app.config["SECRET_KEY"]
    return URLSafeTimedSerializer(key, salt=f"device {password_hash}")
