"""Jobs: start one, see how far it is."""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Flask, current_app
from flask_jwt_extended import current_user, jwt_required
from flask_smorest import Api
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from webargs.flaskparser import abort

from ..model import Job, User
from ..model.base import now
from ..model.jobs import ENDS
from . import tokens, watch
from .blueprint import Blueprint
from .schemas import JobOut, NewJob

bp = Blueprint("jobs", __name__, url_prefix="/api/jobs", description="Work in the background")
log = logging.getLogger(__name__)

# Of one user: jobs that have not ended, and those that have and are kept.
OPEN, KEPT = 20, 500
# Who has not ended after so long does not count any more.
LOST = timedelta(days=1)
# Seconds.
RETRY_AFTER = 30


def register(app: Flask, api: Api) -> None:
    """Add the subject.

    :param app: The application.
    :param api: Where it is described.
    """
    api.register_blueprint(bp)
    # A WebSocket, which OpenAPI has no words for.
    app.add_url_rule("/api/jobs/<uuid:job_id>/watch", "jobs.watch", watch.watch, websocket=True)


@bp.post("")
@bp.arguments(NewJob)
@bp.response(202, JobOut)
@bp.alt_response(401, description="No good access token")
@bp.alt_response(429, description="Too many jobs that have not ended; see Retry-After")
@bp.alt_response(503, description="There is no broker that would hand the job to a worker")
@bp.doc(security=[{"access": []}])
@jwt_required()
def create(given: dict[str, Any]) -> Job:
    """Start a job."""
    start = current_app.extensions["tasks"]
    if start is None:
        abort(503, message="Jobs are off: CELERY_BROKER_URL is not set.")
    kind = given.pop("kind")
    job = Job(user_id=current_user.id, kind=kind, arguments=given, state="waiting", progress=0)
    with tokens.database().writing() as session:
        make_room(session, current_user.id)
        session.add(job)
    try:
        start(job.id)
    # Whatever a broker's library raises: the user is told, and the job does not wait for ever.
    except Exception:
        log.exception("job %s could not be handed to the broker", job.id)
        with tokens.database().writing() as session:
            stored = session.get_one(Job, job.id)
            stored.state, stored.error, stored.finished = "failed", "No broker", now()
        abort(503, message="The broker cannot be reached. Try again later.")
    return job


def make_room(session: Session, user_id: int) -> None:
    """Forget the oldest jobs of a user who has many, or answer 429.

    :param session: A session to write with, in which one more job is about to be stored.
    :param user_id: The user's id.
    """
    # Two requests at the same time would each leave room for the other.
    session.execute(select(User.id).where(User.id == user_id).with_for_update())
    own = Job.user_id == user_id
    # What a broker has lost never ends: it must not keep its user out for ever.
    open_ones = own, Job.state.not_in(ENDS), Job.created > now() - LOST
    if (session.scalar(select(func.count(Job.id)).where(*open_ones)) or 0) >= OPEN:
        why = f"You have {OPEN} jobs that have not ended. Try again when one has."
        abort(429, message=why, headers={"Retry-After": str(RETRY_AFTER)})
    ended = select(Job.id).where(own, Job.state.in_(ENDS)).order_by(Job.created.desc(), Job.id)
    session.execute(delete(Job).where(Job.id.in_(ended.offset(KEPT))))


@bp.get("")
@bp.response(200, JobOut(many=True))
@bp.alt_response(401, description="No good access token")
@bp.doc(security=[{"access": []}])
@jwt_required()
def index() -> list[Job]:
    """List one's 50 newest jobs."""
    with tokens.database().reading() as session:
        own = select(Job).where(Job.user_id == current_user.id)
        return list(session.scalars(own.order_by(Job.created.desc(), Job.id).limit(50)))


@bp.get("/<uuid:job_id>")
@bp.response(200, JobOut)
@bp.alt_response(401, description="No good access token")
@bp.alt_response(404, description="No such job of one's own")
@bp.doc(security=[{"access": []}])
@jwt_required()
def show(job_id: UUID) -> Job:
    """Show a job."""
    job = watch.find(current_user.id, job_id)
    if job is None:
        abort(404, message="You have no such job.")
    return job
