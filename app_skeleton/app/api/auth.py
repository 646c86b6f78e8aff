"""Log in, go on, log out."""

from typing import Any
from uuid import UUID

from flask import Flask
from flask_jwt_extended import get_jwt, jwt_required
from flask_smorest import Api, Blueprint
from sqlalchemy import delete, select
from webargs.flaskparser import abort

from ..model import Login, User
from ..model.base import now
from . import devices, limits, passwords, tokens
from .schemas import AccessToken, Credentials, Tokens

bp = Blueprint("auth", __name__, url_prefix="/api/auth", description="Log in, go on, log out")


def register(app: Flask, api: Api) -> None:
    """Add the subject.

    :param app: The application.
    :param api: Where it is described.
    """
    tokens.register(app)
    api.register_blueprint(bp)


@bp.post("/login")
@bp.arguments(Credentials)
@bp.response(200, Tokens)
@bp.alt_response(401, description="Wrong name or password")
@bp.alt_response(429, description="Too many attempts; Retry-After says for how many seconds")
def login(given: dict[str, str]) -> dict[str, str]:
    """Log in."""
    name = given["username"]
    with tokens.database().reading() as session:
        user = session.scalar(select(User).where(User.username == name))
    limited = limits.login(name, devices.known(user))
    limits.count(limited)
    # Outside any transaction: it takes a while on purpose.
    right = passwords.matches(given["password"], user.password_hash if user else None)
    if user is None or not right:
        abort(401, message="The name or the password is wrong.")
    limits.forgive(limited)
    entry = Login(user_id=user.id, expires=now() + tokens.REFRESH)
    with tokens.database().writing() as session:
        session.add(entry)
    devices.remember(user, entry.id)
    return tokens.issue(entry)


@bp.post("/refresh")
@bp.response(200, AccessToken)
@bp.alt_response(401, description="No good refresh token")
@bp.doc(security=[{"refresh": []}])
@jwt_required(refresh=True)
def refresh() -> dict[str, str]:
    """Get a new access token for a refresh token."""
    return tokens.renew(get_jwt())


@bp.post("/logout")
@bp.response(204)
@bp.alt_response(401, description="No good access token")
@bp.doc(security=[{"access": []}])
@jwt_required()
def logout() -> None:
    """End this log-in: neither of its tokens is good any more."""
    payload: dict[str, Any] = get_jwt()
    with tokens.database().writing() as session:
        session.execute(delete(Login).where(Login.id == UUID(payload["login"])))
