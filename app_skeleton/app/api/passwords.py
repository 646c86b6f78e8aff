"""Passwords: hashed with argon2id, and not to be guessed by trying."""

import math
from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ..model import FailedLogin
from ..model.base import now

# RFC 9106's second recommendation (64 MiB, 3 passes), the library's default.
hasher = PasswordHasher()

WINDOW = timedelta(minutes=15)
# Failures within the window: by one address for one name, by one address, and for one name.
PAIR, ADDRESS, NAME = 5, 50, 100


@cache
def nobody() -> str:
    """Return the hash that is checked where there is no such user, so that the time tells nothing.

    Made when it is needed: that takes a fifth of what the application takes to start.
    """
    return hasher.hash("nobody has this password")


def matches(password: str, stored: str | None) -> bool:
    """Tell whether a password is the right one, in the same time for an unknown user.

    :param password: As it was typed.
    :param stored: The hash, or nothing where there is no such user.
    """
    try:
        hasher.verify(stored or nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def wait(session: Session, username: str, address: str) -> int:
    """Return for how many seconds nobody may try again, 0 if one may.

    The failures are counted in the database, so that all processes count as one and a restart
    forgets nothing.

    :param session: To read with.
    :param username: Who is about to log in.
    :param address: From where.
    """
    name, place = FailedLogin.username == username, FailedLogin.address == address
    for condition, limit in ((name & place, PAIR), (place, ADDRESS), (name, NAME)):
        begin = now() - WINDOW
        count, first = session.execute(
            select(func.count(), func.min(FailedLogin.moment)).where(
                condition, FailedLogin.moment > begin
            )
        ).one()
        if count >= limit:
            return max(1, math.ceil((first - begin).total_seconds()))
    return 0


def forgive(session: Session, username: str, address: str) -> None:
    """Forget the failures of somebody who knew the password in the end.

    :param session: To write with.
    :param username: Who logged in.
    :param address: From where.
    """
    session.execute(
        delete(FailedLogin).where(FailedLogin.username == username, FailedLogin.address == address)
    )
