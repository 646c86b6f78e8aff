"""The smallest app that tells which version of it is running."""

from flask import Flask

VERSION = "0"

app = Flask(__name__)


@app.get("/")
def index():
    """Answer with the version alone."""
    return VERSION
