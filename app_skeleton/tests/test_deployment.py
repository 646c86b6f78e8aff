"""Behind proxies, and mounted below the root of a site."""

import re

import pytest
from flask import request
from werkzeug.test import run_wsgi_app

PEER = "192.0.2.1"


def seen(make_app, hops, **headers):
    """Return the address, scheme and host an application with ``hops`` proxies sees."""
    app = make_app(PROXY_HOPS=hops)

    @app.get("/seen")
    def show():
        return [request.remote_addr, request.scheme, request.host]

    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    client = app.test_client()
    return client.get("/seen", headers=sent, environ_base={"REMOTE_ADDR": PEER}).json


def test_no_proxy_ignores_headers(make_app):
    """With no proxy a client's headers change nothing."""
    assert seen(
        make_app,
        0,
        X_Forwarded_For="203.0.113.9",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="evil.example",
        X_Real_IP="203.0.113.9",
        Forwarded="for=203.0.113.9",
    ) == [PEER, "http", "localhost"]


def test_one_proxy(make_app):
    """One proxy is believed."""
    assert seen(
        make_app,
        "1",
        X_Forwarded_For="198.51.100.4",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="site.example",
    ) == ["198.51.100.4", "https", "site.example"]


def test_one_proxy_spoofed(make_app):
    """What the client wrote comes before what the proxy added, and is ignored."""
    assert seen(
        make_app,
        1,
        X_Forwarded_For="203.0.113.9, 198.51.100.4",
        X_Forwarded_Proto="http, https",
        X_Forwarded_Host="evil.example, site.example",
    ) == ["198.51.100.4", "https", "site.example"]


def test_two_proxies(make_app):
    """With two proxies the outer one's word is taken, and nothing before it."""
    both = "198.51.100.4, 10.0.0.1"
    assert seen(make_app, 2, X_Forwarded_For=both)[0] == "198.51.100.4"
    assert seen(make_app, 2, X_Forwarded_For=f"203.0.113.9, {both}")[0] == "198.51.100.4"


def test_two_proxies_but_one_value(make_app):
    """Too few values for the proxies there should be are not believed."""
    assert seen(make_app, 2, X_Forwarded_For="203.0.113.9")[0] == PEER


def test_prefix_header_is_never_believed(make_app):
    """The mount point comes from the server alone."""
    client = make_app(PROXY_HOPS=1).test_client()
    page = client.get("/", headers={"X-Forwarded-Prefix": "/evil"})
    assert "/evil" not in page.text


@pytest.mark.parametrize("mount", ["/my", "/my/app"])
def test_mounted_links(make_app, mount):
    """Every link and the form lead below the mount point, and work there."""
    client = make_app().test_client()
    page = client.get("/", base_url=f"http://localhost{mount}")
    links = re.findall(r'(?:href|src|action)="([^"]+)"', page.text)
    assert f"{mount}/static/style.css" in links
    assert f"{mount}/forget" in links
    assert all(link.startswith(f"{mount}/") for link in links)
    with client.get("/static/style.css", base_url=f"http://localhost{mount}") as file:
        assert file.mimetype == "text/css"
    page = client.get("/missing", base_url=f"http://localhost{mount}")
    assert f'href="{mount}/"' in page.text


def test_mounted_redirects(make_app):
    """Redirects stay below the mount point, slashes added included."""
    app = make_app()

    @app.get("/list/")
    def show_list():
        return "list"

    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    base = "http://localhost/my"
    assert client.post("/forget", base_url=base).location == "/my/"
    answer = client.get("/list", base_url=base)
    assert answer.status_code == 308
    assert answer.location == "http://localhost/my/list/"


def test_mount_point_without_slash(make_app):
    """The bare mount point leads to the first page."""
    environ = make_app().test_request_context(base_url="http://localhost/my").request.environ
    environ["PATH_INFO"] = ""
    body, status, headers = run_wsgi_app(make_app(), environ)
    assert status.startswith("308")
    assert headers["Location"] == "http://localhost/my/"


@pytest.mark.parametrize(("mount", "path"), [("", "/"), ("/my", "/my"), ("/a b", "/a%20b")])
def test_cookie_path(make_app, mount, path):
    """The session cookie is for the mount point only."""
    page = make_app().test_client().get("/", base_url=f"http://localhost{mount}/")
    parts = page.headers["Set-Cookie"].split("; ")
    assert f"Path={path}" in parts
    assert {"HttpOnly", "SameSite=Lax"} <= set(parts)
    assert "Secure" not in parts


def test_cookie_path_when_forgotten(make_app):
    """Forgetting removes the very cookie which was set."""
    client = make_app(WTF_CSRF_ENABLED=False).test_client()
    client.get("/", base_url="http://localhost/my")
    assert client.get_cookie("session", path="/my")
    client.post("/forget", base_url="http://localhost/my")
    assert client.get_cookie("session", path="/my") is None


def test_cookie_path_setting_wins(make_app):
    """SESSION_COOKIE_PATH is still obeyed."""
    client = make_app(SESSION_COOKIE_PATH="/all").test_client()
    assert "Path=/all" in client.get("/", base_url="http://localhost/my").headers["Set-Cookie"]


def test_cookie_is_secure_over_https(make_app):
    """A cookie set over HTTPS, as the proxy tells, never travels without it."""
    client = make_app(PROXY_HOPS=1).test_client()
    page = client.get("/", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in page.headers["Set-Cookie"].split("; ")
