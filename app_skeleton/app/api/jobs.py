"""Jobs: start one, see how far it is."""

import logging
from typing import Any
from uuid import UUID

from flask import Flask, current_app
from flask_jwt_extended import current_user, jwt_required
from flask_smorest import Api
from sqlalchemy import select
from webargs.flaskparser import abort

from ..model import Job
from ..model.base import now
from . import tokens, watch
from .blueprint import Blueprint
from .schemas import JobOut, NewJob

bp = Blueprint("jobs", __name__, url_prefix="/api/jobs", description="Work in the background")
log = logging.getLogger(__name__)


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
