"""``/metrics`` for Prometheus: how many requests, how long they took.

Where several processes serve, ``PROMETHEUS_MULTIPROC_DIR`` names a folder that they share; whoever
starts the server makes it, empty. hosted.flask does, and so does the container.
"""

import hmac
import os
import time

from flask import Blueprint, Flask, Response, abort, current_app, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

bp = Blueprint("metrics", __name__)

REQUESTS = Counter("http_requests", "Requests answered.", ["method", "endpoint", "status"])
SECONDS = Histogram("http_request_duration_seconds", "Time to answer.", ["method", "endpoint"])
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def register(app: Flask) -> None:
    """Count every request, and add ``/metrics``.

    :param app: The application. Without ``METRICS_TOKEN`` nobody is shown anything.
    """
    app.before_request(begin)
    app.after_request(count)
    app.register_blueprint(bp)


def begin() -> None:
    """Note when the request came."""
    g.begun = time.perf_counter()


def count(response: Response) -> Response:
    """Count the request under its endpoint: paths and methods that visitors make up would be
    numbers without end.

    :param response: What a view returned.
    """
    endpoint = request.endpoint or "none"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(method, endpoint, response.status_code).inc()
    if "begun" in g:
        SECONDS.labels(method, endpoint).observe(time.perf_counter() - g.begun)
    return response


@bp.get("/metrics")
def metrics() -> Response:
    """Return the numbers of all processes to who sends ``Authorization: Bearer METRICS_TOKEN``."""
    token = current_app.config["METRICS_TOKEN"]
    if not token:
        abort(404, "Metrics are off: METRICS_TOKEN is not set.")
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        abort(401, "Send METRICS_TOKEN as bearer token.")
    registry: CollectorRegistry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # its own lack
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
