"""Tokens: who asks, and for how long the answer to that is believed."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Flask, Response, current_app, jsonify
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token
from sqlalchemy import select

from ..errors import describe
from ..model import Database, Login, User
from ..model.base import now

ACCESS = timedelta(minutes=15)
REFRESH = timedelta(days=30)


def database() -> Database:
    """Return the database of the application that answers."""
    opened: Database = current_app.extensions["database"]
    return opened


def register(app: Flask) -> None:
    """Sign tokens with ``SECRET_KEY``, and believe those whose log-in is still there.

    :param app: The application.
    """
    app.config.setdefault("JWT_ACCESS_TOKEN_EXPIRES", ACCESS)
    app.config.setdefault("JWT_REFRESH_TOKEN_EXPIRES", REFRESH)
    app.config["JWT_TOKEN_LOCATION"] = ["headers"]
    jwt = JWTManager(app)
    jwt.user_lookup_loader(find_user)
    jwt.unauthorized_loader(refuse)
    jwt.invalid_token_loader(refuse)
    jwt.expired_token_loader(lambda *_: refuse("The token has expired."))
    jwt.user_lookup_error_loader(lambda *_: refuse("The log-in of this token has ended."))


def refuse(why: str) -> Response:
    """Return the answer to a request without a good token.

    :param why: What is wrong with it.
    """
    response = jsonify(describe(401, "Unauthorized", why))
    response.status_code = 401
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def find_user(header: dict[str, Any], payload: dict[str, Any]) -> User | None:
    """Return the user whose log-in a token belongs to, if it has not ended.

    :param header: The token's header.
    :param payload: What the token says.
    """
    try:
        login = UUID(payload["login"])
    except (KeyError, TypeError, ValueError):
        return None
    with database().reading() as session:
        return session.scalar(
            select(User).join(Login).where(Login.id == login, Login.expires > now())
        )


def issue(login: Login) -> dict[str, str]:
    """Return the two tokens of a new log-in.

    :param login: The log-in.
    """
    claims = {"login": str(login.id)}
    name = str(login.user_id)
    return {
        "access_token": create_access_token(name, additional_claims=claims),
        "refresh_token": create_refresh_token(name, additional_claims=claims),
    }


def renew(payload: dict[str, Any]) -> dict[str, str]:
    """Return a new access token.

    :param payload: What a good refresh token says.
    """
    claims = {"login": payload["login"]}
    return {"access_token": create_access_token(payload["sub"], additional_claims=claims)}
