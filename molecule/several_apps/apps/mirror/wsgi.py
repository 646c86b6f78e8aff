"""An app that tells what it sees of a request, and where it believes to be."""

from pathlib import Path

from flask import Flask, make_response, redirect, request, url_for

app = Flask(__name__)
NAME = (Path(__file__).parent / "static/name.txt").read_text()
VERSION = 1


@app.get("/status")
def status():
    """For the deploy."""
    return "ok"


@app.get("/")
@app.get("/say/<path:words>")
def show(words=""):
    """What arrived."""
    return {
        "app": NAME,
        "version": VERSION,
        "script_root": request.script_root,
        "path": request.path,
        "words": words,
        "query": request.query_string.decode(),
        "page": url_for("folder"),
        "static": url_for("static", filename="name.txt"),
        "outside": url_for("show", words="a b/ü", _external=True),
    }


@app.get("/folder/")
def folder():
    """A page whose URL ends with a slash; without it Flask redirects."""
    return "folder"


@app.get("/go")
def go():
    """Redirect as most apps do it."""
    return redirect(url_for("folder"))


@app.get("/go/outside")
def go_outside():
    """Redirect with the whole URL."""
    return redirect(url_for("folder", _external=True))


@app.get("/cookie")
def cookie():
    """Set a cookie of the same name as every other app here."""
    answer = make_response("set")
    answer.set_cookie("name", NAME, path=request.script_root or "/")
    return answer
