"""Log in, go on, log out."""

from typing import Any
from uuid import UUID

from flask import Flask
from flask_jwt_extended import get_jwt, jwt_required
from flask_smorest import Api
from sqlalchemy import delete, select
from webargs.flaskparser import abort

from ..model import Login, User
from ..model.base import now
from . import devices, limits, passwords, tokens
from .blueprint import Blueprint
from .schemas import AccessToken, Credentials, Tokens

bp = Blueprint("auth", __name__, url_prefix="/api/auth", description="Log in, go on, log out")

# Of one user, at a time.
LOGINS = 50
WRONG = "The name or the password is wrong."


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
        # No more than is needed: what else belongs to a user takes a time that tells who is one.
        found = select(User.id, User.password_hash).where(User.username == name)
        user_id, stored = session.execute(found).first() or (None, passwords.nobody())
    limited = limits.login(name, devices.known(stored))
    limits.count(limited)
    # Outside any transaction: it takes a while on purpose.
    right = passwords.matches(given["password"], stored)
    if user_id is None or not right:
        abort(401, message=WRONG)
    entry = Login(user_id=user_id, expires=now() + tokens.REFRESH)
    with tokens.database().writing() as session:
        if not passwords.still(session, user_id, stored):
            abort(401, message=WRONG)
        session.add(entry)
        # The oldest log-ins of who has many end: each is a row for 30 days.
        own = select(Login.id).where(Login.user_id == user_id)
        old = own.order_by(Login.expires.desc(), Login.id).offset(LOGINS)
        session.execute(delete(Login).where(Login.id.in_(old)))
    limits.forgive(limited)
    devices.remember(stored, entry.id)
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
