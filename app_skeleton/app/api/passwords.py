"""Passwords: hashed with argon2id."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..model import User

# RFC 9106's second recommendation (64 MiB, 3 passes), the library's default.
hasher = PasswordHasher()


@cache
def nobody() -> str:
    """Return the hash that is checked where there is no such user, so that the time tells nothing.

    Made when it is needed: that takes a fifth of what the application takes to start.
    """
    return hasher.hash("nobody has this password")


def matches(password: str, stored: str) -> bool:
    """Tell whether a password is the right one.

    :param password: As it was typed.
    :param stored: The hash, nobody's where there is no such user.
    """
    try:
        return hasher.verify(stored, password) and stored != nobody()
    except (VerificationError, InvalidHashError):
        return False


def still(session: Session, user_id: int, stored: str) -> bool:
    """Tell whether a password that was checked is still the user's, and keep it so.

    :param session: A session to write with; until it ends the password cannot be changed.
    :param user_id: The user's id.
    :param stored: The hash that was checked.
    """
    same = select(User.id).where(User.id == user_id, User.password_hash == stored)
    return session.scalar(same.with_for_update()) is not None
