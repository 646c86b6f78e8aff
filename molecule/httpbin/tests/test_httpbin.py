"""An unmodified app answers as it does anywhere: what it says of URLs, headers and cookies is right, mount included."""

import json

import pytest
from asking import ask


@pytest.fixture(params=["", "/httpbin"], ids=["root", "mounted"])
def site(request, host):
    """Return a function that asks the app at one of its places, and its URL as visitors know it."""
    local = host.backend.get_hostname() == "localhost"
    port = 80 if not local else 18112 if request.param else 18111
    shown = port if local else 8016

    def get(path, **options):
        return ask(host, request.param + path, **({"port": port, "name": f"127.0.0.1:{shown}"} | options))

    return get, request.param, f"http://127.0.0.1:{shown}{request.param}"


def test_get_tells_its_url(site):
    get, _, url = site
    told = json.loads(get("/get?a=1&b=%C3%BC").text)
    assert told["args"] == {"a": "1", "b": "ü"}
    assert told["url"] == f"{url}/get?a=1&b=ü"


def test_url_has_the_name_that_the_client_used(site):
    get, mount, _ = site
    told = json.loads(get("/get", name="site.example").text)
    assert told["url"] == f"http://site.example{mount}/get"


def test_headers_arrive(site):
    get, _, _ = site
    told = json.loads(get("/headers", X_Test="ü".encode().decode("latin-1"), Accept="text/x").text)["headers"]
    assert told["Accept"] == "text/x"
    assert told["X-Test"] == "ü".encode().decode("latin-1")


def test_origin_is_the_client(site, host):
    """On this machine there is no front that could know better than a client's own header."""
    get, _, url = site
    client = "127.0.0.1" if ":8016" not in url else host.check_output("ip route show default").split()[2]
    assert json.loads(get("/ip").text)["origin"] == client
    if ":8016" in url:
        assert json.loads(get("/ip", X_Forwarded_For="203.0.113.9").text)["origin"] == client


@pytest.mark.parametrize("status", [200, 204, 301, 404, 418, 503])
def test_status(site, status):
    get, _, _ = site
    answer = get(f"/status/{status}")
    assert (answer.status, bool(answer.release)) == (status, True)


def test_redirect_to_any_place(site):
    get, _, _ = site
    answer = get("/redirect-to?url=http%3A%2F%2Fexample.com%2Fa%20b")
    assert answer.status == 302
    assert answer.headers["Location"].startswith("http://example.com/a")


def test_redirects_stay_at_the_place(site):
    get, mount, url = site
    assert get("/relative-redirect/1").headers["Location"] == f"{mount}/get"
    assert get("/absolute-redirect/1").headers["Location"] == f"{url}/get"
    assert get("/cookies/set?name=value").headers["Location"] == f"{mount}/cookies"


def test_cookies(site):
    get, _, _ = site
    assert get("/cookies/set?name=value").headers["Set-Cookie"].startswith("name=value;")
    assert json.loads(get("/cookies", Cookie="name=value").text) == {"cookies": {"name": "value"}}


@pytest.mark.parametrize(("sent", "told"), [("encoded%20path", "encoded%20path"), ("a%2Fb", "a/b"), ("%C3%BC", "ü")])
def test_encoded_paths(site, sent, told):
    get, _, url = site
    assert json.loads(get(f"/anything/{sent}").text)["url"] == f"{url}/anything/{told}"


def test_body_arrives(site):
    get, _, _ = site
    body = bytes(range(256)) * 4096
    answer = get("/post", method="POST", body=body, Content_Type="application/octet-stream")
    assert answer.status == 200
    assert json.loads(answer.text)["headers"]["Content-Length"] == str(len(body))


def test_stream(site):
    get, _, _ = site
    assert len(get("/stream/20").text.splitlines()) == 20


def test_its_own_pages_and_static_files(site):
    get, mount, _ = site
    page = get("/").text
    assert f'href="{mount}/get"' in page
    assert get("/forms/post").status == 200
    assert get("/static/favicon.ico").status == 200
    assert get("/image/png").headers["Content-Type"] == "image/png"
