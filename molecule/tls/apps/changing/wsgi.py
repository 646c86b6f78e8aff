"""An app whose tests change it from release to release."""

import time

from flask import Flask, request

app = Flask(__name__)
VERSION = "first"


@app.get("/status")
def status():
    """For the deploy."""
    return "ok"


@app.route("/", methods=["GET", "POST"])
def page():
    """Which release answers, and what was posted to it."""
    return VERSION + request.get_data(as_text=True)


@app.get("/slow/<float:seconds>")
def slow(seconds):
    """A page that takes its time."""
    time.sleep(seconds)
    return VERSION
