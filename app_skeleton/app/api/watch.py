"""A WebSocket that tells how far a job is.

The client sends ``{"access_token": "..."}`` and gets the job as JSON at each change.
"""

import json
import time
from uuid import UUID

from flask import Response, abort, request
from flask_jwt_extended import decode_token
from simple_websocket import ConnectionClosed
from sqlalchemy import select

from ..model import Job, User
from . import tokens, websocket
from .schemas import JobOut

# Bounds how long a server that stops waits for its last requests; the client connects again.
SECONDS = 15
EVERY = 0.25
# For the token. Until then anybody may be the client, and it takes a thread.
PATIENCE = 2

NORMAL, GOING_AWAY, NOT_ALLOWED, BAD_TOKEN, NO_JOB = 1000, 1001, 1008, 4401, 4404


def watch(job_id: UUID) -> Response:
    """Send a job at each change until it ends.

    :param job_id: Of one of the client's jobs.
    """
    with websocket.accept(request.environ) as connection:
        if connection is None:
            abort(503, "No WebSocket can be had here now: ask for the job again and again.")
        try:
            code, why = follow(connection, job_id)
            connection.close(code, why)
        # The client has left; the second where that is seen in the middle of sending.
        except (ConnectionClosed, OSError):
            pass
    return websocket.Answered()


def follow(connection: websocket.Connection, job_id: UUID) -> tuple[int, str]:
    """Send what changes.

    :param connection: Where to.
    :param job_id: The job's id.
    :returns: Why there is nothing more to send: a code of the protocol, and a word.
    :raises ConnectionClosed: If the client leaves.
    """
    first = connection.receive(timeout=PATIENCE)
    if first is None:
        # A slow way, perhaps: no reason to log anybody out, as a bad token is.
        return NOT_ALLOWED, "no token in time"
    user = identify(first)
    if user is None:
        return BAD_TOKEN, "no good access token"
    end = time.monotonic() + SECONDS
    shown = None
    while time.monotonic() < end:
        job = find(user.id, job_id)
        if job is None:
            return NO_JOB, "no such job"
        text = JobOut().dumps(job)
        if text != shown:
            connection.send(text)
            shown = text
        if job.ended:
            return NORMAL, job.state
        # That the client leaves is an exception. There is nothing that it has to say.
        if connection.receive(timeout=EVERY) is not None:
            return NOT_ALLOWED, "nothing more is to be said"
    return GOING_AWAY, "connect again"


def identify(message: str | bytes) -> User | None:
    """Return who sent the first message.

    :param message: It.
    """
    try:
        token = json.loads(message)["access_token"]
        payload = decode_token(token)
    # The library raises one kind of a dozen for a token that is not good.
    except Exception:
        return None
    return tokens.find_user({}, payload) if payload["type"] == "access" else None


def find(user_id: int, job_id: UUID) -> Job | None:
    """Return a job of a user.

    :param user_id: The user's id.
    :param job_id: The job's.
    """
    with tokens.database().reading() as session:
        return session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user_id))
