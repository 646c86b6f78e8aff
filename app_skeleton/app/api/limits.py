"""Limits: what can be guessed by trying is counted before it is tried.

In the database, so that all processes count as one and a restart forgets nothing.
"""

import hashlib
import json
import math
import secrets
from datetime import timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from uuid import UUID

from flask import request
from sqlalchemy import Integer, bindparam, delete, text, update
from webargs.flaskparser import abort

from ..model import Attempt
from ..model.base import Moment, now
from ..model.users import outdated
from . import tokens

WINDOW = timedelta(minutes=15)
# Log-ins within the window: as one user from one network, as one user, and from one network. The
# second is for changes of the password, too.
PAIR, USER, NETWORK = 5, 100, 50
# Registrations from one network, and changes of the password by one log-in, which ask for the old
# one.
REGISTRATIONS, CHANGES = 50, 5

# Once in so many attempts, by chance.
TIDY = 100

# One statement: whoever comes at the same time gets another number.
COUNT = (
    text(
        """
        INSERT INTO attempt (key, count, ends) VALUES (:key, 1, :ends)
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN attempt.ends > :now THEN attempt.count + 1 ELSE 1 END,
            ends = CASE WHEN attempt.ends > :now THEN attempt.ends ELSE :ends END
        RETURNING count, ends
        """
    )
    .bindparams(bindparam("now", type_=Moment), bindparam("ends", type_=Moment))
    .columns(count=Integer, ends=Moment)
)


class Limit(NamedTuple):
    """How often something may be tried within the window."""

    key: str
    most: int


def limit(most: int, *what: str | int) -> Limit:
    """Return a limit.

    :param most: How often.
    :param what: What is tried, by whom and from where.
    """
    return Limit(hashlib.sha256(json.dumps(what).encode()).hexdigest(), most)


def network() -> str:
    """Return from where the request comes, as far as a visitor cannot choose.

    A subscriber to IPv6 has at least a /64, in which every address is theirs. All of 127.0.0.0/8 is
    whoever has an account on the host.
    """
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:
        return ""  # A server that listens on a Unix socket knows none.
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(IPv6Network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return "127.0.0.0/8" if address.is_loopback else str(address)


def login(username: str, device: str | None) -> list[Limit]:
    """Return the limits of a log-in.

    Who fails is kept out where they failed. What strangers do to an account, from however many
    networks, or in a network that they share with its owner, slows down strangers only: a known
    device counts for itself.

    :param username: Who is about to log in.
    :param device: The known device, if it is one.
    """
    place = network()
    if device:
        return [limit(PAIR, "device", device, place), limit(USER, "device", device)]
    return [
        limit(PAIR, "name", username, place),
        limit(USER, "name", username),
        limit(NETWORK, "place", place),
    ]


def registration() -> list[Limit]:
    """Return the limits of a registration."""
    return [limit(REGISTRATIONS, "registration", network())]


def change_of_password(user_id: int, login: UUID) -> list[Limit]:
    """Return the limits of a change of the password.

    Who has found a token of one log-in keeps the user out of no other.

    :param user_id: Whose. Nobody comes that far without a token of theirs.
    :param login: The log-in that the token belongs to.
    """
    return [
        limit(CHANGES, "change of password", str(login)),
        limit(USER, "changes of password", user_id),
    ]


def count(limits: list[Limit]) -> None:
    """Count an attempt that is about to be made, or answer 429: then it counts nowhere.

    :param limits: All that it counts for, always in the same order: no two wait for each other.
    """
    tidy()
    moment = now()
    with tokens.database().writing() as session:
        for key, most in limits:
            values = {"key": key, "now": moment, "ends": moment + WINDOW}
            counted, ends = session.execute(COUNT, values).one()
            if counted > most:
                seconds = max(1, math.ceil((ends - moment).total_seconds()))
                why = f"Too many attempts. Try again in {seconds} seconds."
                # An exception: the session forgets what it has counted.
                abort(429, message=why, headers={"Retry-After": str(seconds)})


def tidy() -> None:
    """Forget attempts that no longer count, now and then: nobody else may do so.

    Each name that a visitor makes up is one, and what recurs is done only where beat runs.
    """
    if secrets.randbelow(TIDY) == 0:
        with tokens.database().writing() as session:
            session.execute(outdated())


def forgive(limits: list[Limit]) -> None:
    """Forget the attempts of somebody who knew the password in the end.

    :param limits: What this one was counted for. Of those after the first, which others count for
        as well, it takes back this one only.
    """
    first, *others = (key for key, _ in limits)
    with tokens.database().writing() as session:
        session.execute(delete(Attempt).where(Attempt.key == first))
        for key in others:
            given = update(Attempt).where(Attempt.key == key, Attempt.count > 0)
            session.execute(given.values(count=Attempt.count - 1))
