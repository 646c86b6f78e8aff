"""The smallest app that tells which version of it is running, and takes as long as it is told."""

import os
import time

from flask import Flask, request

VERSION = "0"

# A larger app takes as long to load.
time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def index():
    """Answer with the version, and with what was sent."""
    return VERSION + request.get_data(as_text=True)


@app.get("/json")
def page():
    """Answer with JSON, as an API does."""
    return {"version": VERSION, "items": [{"name": "first", "price": 1.5}, {"name": "second", "price": 2.5}]}


@app.get("/slow")
def slow():
    """Answer with the version after 2 seconds."""
    time.sleep(2)
    return VERSION
