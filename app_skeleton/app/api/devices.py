"""Known devices: a browser in which a user has logged in before is no stranger.

OWASP's "device cookies". Without them one has to choose: limit the failures of an account, and any
stranger locks its owner out; or do not, and who has many networks guesses on and on.
"""

from datetime import timedelta
from uuid import UUID

from flask import Response, after_this_request, current_app, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ..model import User

COOKIE = "device"
AGE = timedelta(days=365)


def known(user: User | None) -> str | None:
    """Return the id of the device that asks, if the user has logged in there.

    :param user: Who is about to log in.
    """
    if user is None:
        return None
    try:
        found = serializer(user).loads(request.cookies.get(COOKIE, ""), int(AGE.total_seconds()))
    except BadSignature:
        return None
    return str(found)


def remember(user: User, login: UUID) -> None:
    """Let the device that asks be known from now on. The cookie tells nobody who asks.

    :param user: Who has just given the password.
    :param login: The log-in, by which the device is called.
    """
    value = serializer(user).dumps(str(login))

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


def serializer(user: User) -> URLSafeTimedSerializer:
    """Return what signs the cookies of a user, until the password changes.

    :param user: The user.
    """
    key = current_app.config["SECRET_KEY"]
    return URLSafeTimedSerializer(key, salt=f"device {user.password_hash}")
