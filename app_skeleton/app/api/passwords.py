"""Passwords: hashed with argon2id."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106's second recommendation (64 MiB, 3 passes), the library's default.
hasher = PasswordHasher()


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
