"""The pages, the status page and the error pages."""

import io
import json
import re

import pytest
from flask import Blueprint, request


def test_index(make_app):
    """The first page shows the message and the address."""
    page = make_app().test_client().get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert "<h1>Hello</h1>" in page.text
    assert '<dd id="address">192.0.2.7</dd>' in page.text


def test_index_without_address(make_app):
    """Behind a Unix socket there is no address to show."""
    page = make_app().test_client().get("/", environ_base={"REMOTE_ADDR": ""})
    assert '<dd id="address">unknown</dd>' in page.text


def test_message_is_escaped(make_app):
    """A message is text, never HTML."""
    page = make_app(MESSAGE="<b>&").test_client().get("/")
    assert "<h1>&lt;b&gt;&amp;</h1>" in page.text


def token(client):
    """Return what the form on the first page sends along."""
    found = re.search('name="csrf_token" value="([^"]+)"', client.get("/").text)
    return {"csrf_token": found[1]}


def test_form_of_another_site(make_app):
    """A form without the page's token is refused."""
    client = make_app().test_client()
    client.get("/")
    answer = client.post("/forget")
    assert answer.status_code == 400
    assert "CSRF" in answer.text
    assert '<dd id="visits">2</dd>' in client.get("/").text


def test_visits(make_app):
    """Visits are counted until forgotten."""
    client = make_app().test_client()
    client.get("/")
    assert '<dd id="visits">2</dd>' in client.get("/").text
    page = client.post("/forget", data=token(client), follow_redirects=True)
    assert page.request.path == "/"
    assert '<dd id="visits">1</dd>' in page.text


def test_large_body(make_app):
    """Who sends much is refused before it is read, with the page's token too."""
    client = make_app().test_client()
    for size, code in ((60_000, 303), (70_000, 413)):
        given = {**token(client), "file": (io.BytesIO(b"x" * size), "name")}
        assert client.post("/forget", data=given).status_code == code
    assert make_app(MAX_CONTENT_LENGTH=100_000).config["MAX_CONTENT_LENGTH"] == 100_000


def test_upload(make_app):
    """A view of one's own may take more, as docs/skeleton.md of the toolkit says."""
    uploads = Blueprint("uploads", __name__)

    @uploads.url_value_preprocessor
    def allow(endpoint, values):
        if endpoint == "uploads.take":
            request.max_content_length = 100_000

    @uploads.post("/take")
    def take():
        return str(len(request.files["file"].read()))

    @uploads.post("/other")
    def other():
        return ""

    app = make_app()
    app.register_blueprint(uploads)
    client = app.test_client()
    for path, size, code in (
        ("/take", 70_000, 200),
        ("/take", 110_000, 413),
        ("/other", 70_000, 413),
    ):
        given = {**token(client), "file": (io.BytesIO(b"x" * size), "name")}
        assert client.post(path, data=given).status_code == code


def test_nothing_inline_or_foreign(make_app):
    """The page works under a policy allowing nothing but the site's own files."""
    client = make_app().test_client()
    text = client.get("/").text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|//", text)
    for link in re.findall(r'<link[^>]* href="([^"]+)"', text):
        with client.get(link) as file:
            assert file.status_code == 200


@pytest.fixture
def failing(make_app):
    """Return a client of an application with a page which fails."""
    app = make_app(PROPAGATE_EXCEPTIONS=False)

    @app.get("/fail")
    def fail():
        raise ZeroDivisionError("a private detail")

    return app.test_client()


ERRORS = [
    ("/missing", 404, "Not Found"),
    ("/forget", 405, "Method Not Allowed"),
    ("/fail", 500, "Internal Server Error"),
]


@pytest.mark.parametrize(("path", "code", "name"), ERRORS)
@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "text/html,*/*;q=0.8", "text/html, application/json", "image/png"],
)
def test_error_html(failing, path, code, name, accept):
    """Errors are HTML unless JSON is preferred."""
    page = failing.get(path, headers={"Accept": accept} if accept else {})
    assert page.status_code == code
    assert page.content_type == "text/html; charset=utf-8"
    assert f"<h1>{name}</h1>" in page.text
    assert 'href="/static/style.css"' in page.text
    assert "private" not in page.text
    assert "Accept" in page.vary


@pytest.mark.parametrize(("path", "code", "name"), ERRORS)
@pytest.mark.parametrize(
    "accept",
    ["application/json", "application/json, text/plain, */*", "text/html;q=0.5, application/json"],
)
def test_error_json(failing, path, code, name, accept):
    """Errors are JSON for a client which prefers it."""
    page = failing.get(path, headers={"Accept": accept})
    assert page.status_code == code
    assert page.content_type == "application/json"
    answer = json.loads(page.data)
    assert (answer["code"], answer["status"]) == (code, name)
    assert answer["message"]
    assert "private" not in page.text
    assert "Accept" in page.vary


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_method_error_names_allowed_methods(failing, accept):
    """A 405 still says what is allowed."""
    page = failing.get("/forget", headers={"Accept": accept})
    assert set(page.allow) == {"POST", "OPTIONS"}
