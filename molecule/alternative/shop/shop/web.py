"""The site: shows what it was given, and can be slow, loud or large on demand."""

import os
import sys
import time

from flask import Flask, request


def create_app():
    """Build it."""
    app = Flask(__name__, static_folder=None)

    @app.get("/")
    def show():
        names = ("GREETING", "FLAG", "NUMBER", "ROUND", "API_KEY", "PASSPHRASE", "PROXY_HOPS")
        return {name: os.environ.get(name) for name in names} | {"python": list(sys.version_info[:2])}

    @app.get("/healthy")
    def healthy():
        return "", 204

    @app.get("/slow/<float:seconds>")
    def slow(seconds):
        time.sleep(seconds)
        return "slow"

    @app.get("/loud/<int:kilobytes>")
    def loud(kilobytes):
        for _ in range(kilobytes):
            print("x" * 1023)
        return "loud"

    @app.post("/size")
    def size():
        return str(len(request.get_data()))

    @app.get("/headers")
    def headers():
        return str(sum(len(value) for value in request.headers.values()))

    return app
