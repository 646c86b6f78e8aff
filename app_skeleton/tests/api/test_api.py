"""What the API is like whatever it is about."""

import re

import pytest

pytest.importorskip("app.api")


def test_description(make_app):
    """The API describes itself, below the place it is mounted at."""
    client = make_app().test_client()
    spec = client.get("/api/openapi.json", base_url="http://localhost/my/path").json
    assert spec["openapi"].startswith("3.")
    assert spec["servers"] == [{"url": "/my/path"}]


def test_pages_of_the_description(make_app):
    """Swagger UI comes from the application alone, with nothing inside the page."""
    client = make_app().test_client()
    page = client.get("/api/docs", base_url="http://localhost/my")
    assert page.status_code == 200
    assert 'data-spec="/my/api/openapi.json"' in page.text
    assert not re.search(r"<style|\sstyle=|\son\w+=|//|<script>", page.text)
    files = re.findall(r'(?:src|href)="/my([^"]+)"', page.text)
    assert len(files) == 4
    for path in files:
        with client.get(path) as file:
            assert file.status_code == 200
    assert client.get("/api/docs/../../wsgi.py").status_code == 404


@pytest.mark.parametrize("accept", [None, "text/html"])
@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/api/none", 404), ("PUT", "/api/docs", 405)]
)
def test_errors_are_json(make_app, method, path, code, accept):
    """Errors of the API are JSON, whatever a client prefers."""
    headers = {"Accept": accept} if accept else {}
    answer = make_app().test_client().open(path, method=method, headers=headers)
    assert answer.status_code == code
    assert answer.json["code"] == code
    assert answer.json["status"]


@pytest.mark.parametrize(
    "body",
    [
        "[" * 20_000,
        '{"a":' * 10_000,
        '{"username": ' + "9" * 5000 + "}",
        b'{"username": "\xff"}',
        "{",
    ],
)
def test_json_that_nobody_can_read(make_app, body):
    """Whatever is wrong with a body is the client's fault."""
    pytest.importorskip("app.model")
    kind = {"Content-Type": "application/json"}
    answer = make_app().test_client().post("/api/auth/login", data=body, headers=kind)
    assert answer.status_code == 400
    assert answer.json["errors"] == {"json": ["Invalid JSON body."]}


@pytest.mark.parametrize(
    ("allowed", "origin", "shown"),
    [
        ("", "https://a.example", None),
        ("https://a.example, https://b.example", "https://b.example", "https://b.example"),
        ("https://a.example", "https://evil.example", None),
        ("https://a.example", "https://a.example.evil.example", None),
    ],
)
def test_pages_of_other_sites(make_app, allowed, origin, shown):
    """Only the pages of listed sites may use the API, and the rest is never theirs."""
    client = make_app(CORS_ORIGINS=allowed).test_client()
    for path in ("/api/openapi.json", "/"):
        answer = client.get(path, headers={"Origin": origin})
        expected = shown if path != "/" else None
        assert answer.headers.get("Access-Control-Allow-Origin") == expected
        assert "Access-Control-Allow-Credentials" not in answer.headers
