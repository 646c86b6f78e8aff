"""An app with nothing to it."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def page():
    """What every visitor gets."""
    return "here"
