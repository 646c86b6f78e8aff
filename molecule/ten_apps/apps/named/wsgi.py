"""An app that tells its name, and where it believes to be."""

import os

from flask import Flask, request

app = Flask(__name__)


@app.get("/status")
def status():
    """For the deploy."""
    return "ok"


@app.get("/")
def name():
    """Which app this is, and its mount."""
    return f"{os.environ['NAME']} at {request.script_root}/"
