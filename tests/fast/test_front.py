"""What visitors get through nginx and through the router of platform local, from real apps at / and below a path."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.action.release import PLACE_KEYS
from support import completed, free_port, nginx_files, process, short_folder, tool, until
from test_releases import Site, visited

# Tells what it sees of a request, and repeats what it is told through a WebSocket, in the manner of each server.
APP = """\
import base64
import hashlib
import json
import os


def shake_hands(environ, respond):
    import uwsgi

    try:
        uwsgi.websocket_handshake()
    except OSError:  # The wheel of uWSGI is built without SSL, and has no SHA-1 of its own.
        key = environ["HTTP_SEC_WEBSOCKET_KEY"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
        respond("101 Switching Protocols", headers)(b"")


def repeat(environ, respond):
    me = f"{os.environ['HOSTED_RELEASE']} {environ.get('SCRIPT_NAME', '')}"
    try:
        import uwsgi
    except ImportError:
        from simple_websocket import ConnectionClosed, Server

        channel = Server(environ)
        channel.send(me)
        try:
            while True:
                channel.send("again: " + channel.receive())
        except ConnectionClosed:
            raise StopIteration from None  # gunicorn's own word for a connection that is closed.
    shake_hands(environ, respond)
    uwsgi.websocket_send(me)
    try:
        while True:
            uwsgi.websocket_send("again: " + uwsgi.websocket_recv().decode())
    except OSError:
        return []


def app(environ, respond):
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        return repeat(environ, respond)
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    if environ["PATH_INFO"] == "/read":
        seen["READ"] = hashlib.sha256(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))).hexdigest()
    if environ["PATH_INFO"] == "/large":
        respond("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "16000000")])
        return [b"x" * 16_000_000]
    status = "404 Not Found" if environ["PATH_INFO"].endswith("gone.css") else "200 OK"
    respond(status, [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
"""
STATIC = {"/static": "static", "/app/assets": "front/dist/assets", "/whole": "front/dist", "/gone": "no/where"}
ROWS: dict[str, dict[str, Any]] = {
    "uwsgi": {"mount": "/", "server": "uwsgi"},
    "uwsgi_below": {"mount": "/your/path", "server": "uwsgi"},
    "gunicorn": {"mount": "/gevent", "server": "gunicorn", "server_options": {"worker_class": "gevent"}},
}
for row in ROWS.values():
    row |= {"static": STATIC, "frontend": "front"}
# What type of what file; under /static, /app/assets and /whole alike.
TYPES = {
    "a.css": "text/css",
    "a.js": "(text|application)/javascript",
    "a.mjs": "text/javascript",
    "a.svg": "image/svg\\+xml",
    "a.woff2": "font/woff2",
    "a.json": "application/json",
    "a.js.map": "application/json",
    "a.webmanifest": "application/manifest\\+json",
}
# Files below a front end's dist/assets, and whether Vite named them.
NAMES = {
    "index-DiwrgTda.js": True,
    "index-B4f_x-Zk.css": True,
    "index-DiwrgTda.js.map": True,
    "font-latin-600-normal-s0m3Th1n.woff2": True,
    "my-calendar.js": False,
    "my-Calendar.js": False,
    "my-component.js": False,
    "my-version2.js": False,
    "photo-20240131.jpg": False,
    "screenshot-1920x1080.png": False,
    "jquery-3.7.1.min.js": False,
    "DiwrgTda.js": False,
}
NEEDS = {name: "gevent\nsimple-websocket\n" if row["server"] == "gunicorn" else "" for name, row in ROWS.items()}


class WebSocket:
    """A client, as a browser speaks it."""

    def __init__(self, port: int, path: str) -> None:
        """Connect, and see that the server takes it up."""
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Origin: http://127.0.0.1:{port}", "", "",
        ]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        self.file = self.socket.makefile("rb")
        head = b"".join(iter(self.file.readline, b"\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        accept = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\n"))}
        assert headers["sec-websocket-accept"] == base64.b64encode(accept).decode()
        assert headers["upgrade"].lower() == "websocket"
        assert "upgrade" in headers["connection"].lower()

    def send(self, text: str, kind: int = 1) -> None:
        """Send a text, or with ``kind`` 8 the wish to close."""
        data, mask = text.encode(), os.urandom(4)
        assert len(data) < 126
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(data))
        self.socket.sendall(struct.pack("BB", 0x80 | kind, 0x80 | len(data)) + mask + masked)

    def receive(self) -> str:
        """Return the next text, empty when the connection ends."""
        try:
            head = self.file.read(2)
        except ConnectionResetError:
            return ""
        if len(head) < 2 or head[0] & 15 == 8:
            return ""
        return self.file.read(head[1]).decode()

    def close(self) -> None:
        """Leave."""
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def sites(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Deploy the apps, each with an HTTP port of platform local."""
    before, folder = os.umask(0o027), tmp_path_factory.mktemp("fronts")
    found = {name: Site(home, folder / name, free_port(), f"front_{name}") for name in ROWS}

    dist = folder / "dist"
    (dist / "assets").mkdir(parents=True)
    for file in (*TYPES, *NAMES):
        (dist / "assets" / file).write_text(f"built {file}")
        (dist / file).write_text(f"built {file}")

    def deploy(name: str) -> None:
        files = {f"static/{file}": f"static {file}" for file in (*TYPES, "deeper/a.css", "index-DiwrgTda.js")}
        found[name].write(APP, NEEDS[name], **files, **{"static/space in it.css": "", "front/src/main.js": ""})
        found[name].deploy(**ROWS[name], threads=4, frontend_built=str(dist))

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(deploy, found))
        yield found
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda site: site.deploy(state="absent", purge=True), found.values()))
        os.umask(before)


@pytest.fixture(scope="module")
def nginx(sites: dict[str, Site]) -> Iterator[int]:
    """Run an nginx with the site that role nginx writes for these apps; return its port."""
    port = free_port()
    for folder in short_folder():
        apps = [completed(site.name, root=str(site.root), **ROWS[name]) for name, site in sites.items()]
        conf, log = nginx_files(folder, apps, nginx_http_port=port, nginx_worker_connections=64), folder / "log"
        with process([tool("nginx"), "-c", str(conf), "-g", "daemon off;"], log):

            def listens() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            try:
                until("nginx listens", listens)
            except AssertionError as error:
                raise AssertionError(log.read_text()) from error
            yield port


FRONTS = ["nginx", "router"]


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    """Return which front is asked."""
    return request.param


@pytest.fixture(params=ROWS)
def app(request: pytest.FixtureRequest) -> str:
    """Return which app is asked."""
    return request.param


def port_of(front: str, site: Site, nginx: int) -> int:
    return nginx if front == "nginx" else site.port


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask a front: status, headers with lower-case names, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def post(port: int, path: str, body: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and what the app saw of a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body=body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


# --- visitors on slow lines


def test_a_visitor_may_pause(sites: dict[str, Site], nginx: int) -> None:
    """For seconds, while he sends or gets something."""
    ways = [(front, name) for front in FRONTS for name in ROWS]

    def connected(front: str, name: str) -> tuple[socket.socket, str]:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        small.settimeout(60)
        small.connect(("127.0.0.1", port_of(front, sites[name], nginx)))
        return small, ROWS[name]["mount"].rstrip("/")

    def send(way: tuple[str, str]) -> str:
        client, base = connected(*way)
        with client:
            client.sendall(f"POST {base}/read HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc".encode())
            time.sleep(6)
            client.sendall(b"def")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            return str(json.loads(answer.read())["READ"])

    def receive(way: tuple[str, str]) -> int:
        client, base = connected(*way)
        with client:
            client.sendall(f"GET {base}/large HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = http.client.HTTPResponse(client)
            answer.begin()
            time.sleep(6)
            return len(answer.read())

    with ThreadPoolExecutor(2 * len(ways)) as pool:
        sent, received = pool.map(send, ways), pool.map(receive, ways)
        assert dict(zip(ways, sent, strict=True)) == dict.fromkeys(ways, hashlib.sha256(b"abcdef").hexdigest())
        assert dict(zip(ways, received, strict=True)) == dict.fromkeys(ways, 16_000_000)


# --- WebSockets


def test_a_websocket_stays_open_both_ways(front: str, app: str, sites: dict[str, Site], nginx: int) -> None:
    site, base = sites[app], ROWS[app]["mount"].rstrip("/")
    with contextlib.closing(WebSocket(port_of(front, site, nginx), f"{base}/watch?x=1")) as client:
        assert client.receive() == f"{site.live()} {base}"
        for text in ("one", "two", "ünï"):
            client.send(text)
            assert client.receive() == f"again: {text}"
        assert get(port_of(front, site, nginx), f"{base}/other")[0] == 200, "others are served meanwhile"


def short_of_patience(site: Site, row: dict[str, Any], **more: Any) -> str:
    """Deploy with a supervisor that kills what has not stopped after two seconds; return the release."""
    plan = site.prepare(**row, threads=4, **more)
    site.place = {key: plan.home.app[key] for key in PLACE_KEYS}
    for program in ("program", "standby_program"):
        assert "stopwaitsecs = 60\n" in plan.home.app[program]
        plan.home.app[program] = plan.home.app[program].replace("stopwaitsecs = 60\n", "stopwaitsecs = 2\n")
    assert plan.run()["changed"]
    return plan.release


def redeployed_under_a_websocket(site: Site, row: dict[str, Any], needs: str) -> None:
    """Deploy twice, the second time with a client that does not leave."""
    try:
        site.write(APP, needs)
        first = short_of_patience(site, row)
        client = WebSocket(site.port, "/watch")
        assert client.receive() == f"{first} "
        begin = time.monotonic()
        with visited(site) as seen:
            second = short_of_patience(site, row, environment={"N": 2})
        assert time.monotonic() - begin < 55, "not held up for the 60 s that supervisor would wait"
        site.assert_at_rest(second)
        assert seen == [first, second]
        assert client.receive() == ""
        with contextlib.closing(WebSocket(site.port, "/watch")) as again:
            assert again.receive() == f"{second} "
    finally:
        site.deploy(state="absent", purge=True)


def test_a_websocket_that_nobody_closes_holds_no_deploy_up(sites: dict[str, Site], home: Path, tmp_path: Path) -> None:
    """It ends when the old release has had its time; nobody else notices, and the client finds the new one."""
    with ThreadPoolExecutor() as pool:
        stories = [
            pool.submit(
                redeployed_under_a_websocket,
                Site(home, tmp_path / name, free_port(), f"held_{name}"),
                {**ROWS[name], "mount": "/"},
                NEEDS[name],
            )
            for name in ("uwsgi", "gunicorn")
        ]
    for story in stories:
        story.result()


@pytest.mark.parametrize(("leads", "led"), [("uwsgi", "uwsgi_below"), ("uwsgi", "gunicorn"), ("gunicorn", "uwsgi")])
def test_an_app_answers_to_its_own_name_only(leads: str, led: str, sites: dict[str, Site], nginx: int) -> None:
    """Who makes a link of his app's address leads his visitors to a neighbour's app, past all that limits it there."""
    address, path = sites[leads].root / "run/current.sock", ROWS[leads]["mount"].rstrip("/") + "/"
    before = os.readlink(address)
    assert get(nginx, path)[0] == 200
    address.unlink()
    address.symlink_to(sites[led].root / "run/live.sock")
    try:
        assert get(nginx, path)[0] == 421
    finally:
        address.unlink()
        address.symlink_to(before)
    assert get(nginx, path)[0] == 200


def test_the_name_of_a_request_is_the_fronts(app: str, sites: dict[str, Site], nginx: int) -> None:
    """However a client spells its own."""
    seen = set()
    for name in ("X-Request-ID", "x-request-id", "X_Request_ID"):
        _, _, body = get(nginx, f"{ROWS[app]['mount'].rstrip('/')}/", **{name: "forged"})
        assert b"forged" not in body
        seen.add(json.loads(body)["HTTP_X_REQUEST_ID"])
    assert len(seen) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in seen)


# --- static files


# gunicorn serves no files: on platform local its app does it itself.
SERVING = [(front, app) for front in FRONTS for app in ROWS if (front, app) != ("router", "gunicorn")]


@pytest.fixture(params=SERVING, ids="-".join)
def served(request: pytest.FixtureRequest, sites: dict[str, Site], nginx: int) -> tuple[int, str]:
    """Return the port of a front that serves an app's static files itself, and what URLs of the app start with."""
    front, app = request.param
    return port_of(front, sites[app], nginx), ROWS[app]["mount"].rstrip("/")


ANEW, FOR_EVER = "no-cache", "public, max-age=31536000, immutable"


@pytest.mark.parametrize("url", ["/static", "/app/assets", "/whole", "/whole/assets"])
def test_static_files_are_what_they_are(url: str, served: tuple[int, str]) -> None:
    port, base = served
    for file, kind in TYPES.items():
        status, headers, body = get(port, f"{base}{url}/{file}")
        text = f"static {file}" if url == "/static" else f"built {file}"
        assert (status, body.decode()) == (200, text)
        assert re.fullmatch(kind, headers["content-type"].partition(";")[0]), file
        assert headers["cache-control"] == ANEW


def test_what_is_named_by_its_content_is_kept(served: tuple[int, str]) -> None:
    """Where it was built here; elsewhere, and by its name alone, none can be told from what a person named."""
    port, base = served
    for file, named in NAMES.items():
        for url in ("/app/assets", "/whole/assets"):
            status, headers, body = get(port, f"{base}{url}/{file}")
            assert (status, body.decode()) == (200, f"built {file}")
            assert headers["cache-control"] == (FOR_EVER if named else ANEW), file
        assert get(port, f"{base}/whole/{file}")[1]["cache-control"] == ANEW
    assert get(port, f"{base}/static/index-DiwrgTda.js")[1]["cache-control"] == ANEW


def test_what_did_not_change_is_not_sent_again(served: tuple[int, str]) -> None:
    port, base = served
    _, headers, _ = get(port, f"{base}/static/a.css")
    again = get(port, f"{base}/static/a.css", If_None_Match=headers["etag"])
    assert (again[0], again[2], again[1]["etag"]) == (304, b"", headers["etag"])
    assert again[1]["cache-control"] == ANEW
    status, _, body = get(port, f"{base}/static/a.css", If_None_Match='"another"')
    assert (status, body) == (200, b"static a.css")
    later = "Fri, 31 Dec 2100 00:00:00 GMT"
    if "last-modified" in headers:
        assert get(port, f"{base}/static/a.css", If_Modified_Since=headers["last-modified"])[0] == 304
        assert get(port, f"{base}/static/a.css", If_Modified_Since=later)[0] == 200, "back to an older release"


ELSEWHERE = [
    "/static/",
    "/static",
    "/static/deeper",
    "/static/missing.css",
    "/static/gone.css",
    "/staticky/a.css",
    "/app/",
    "/app/jobs/1",
    "/app/assets/gone-DiwrgTda.js",
    "/app/assets/",
    "/gone/x.css",
    "/static/%2e%2e/wsgi.py",
    "/static/../wsgi.py",
    "/app/assets/..%2f..%2f..%2fwsgi.py",
    "/front/src/main.js",
    "/",
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_what_is_no_static_file_is_the_apps_own(path: str, served: tuple[int, str]) -> None:
    """With its path as it should be, and without a word of caching."""
    port, base = served
    status, headers, body = get(port, f"{base}{path}")
    assert b"def app" not in body
    if status == 400:
        assert ".." in path
        return
    assert status == (404 if path.endswith("gone.css") else 200)
    seen = json.loads(body)
    assert "cache-control" not in headers
    assert "etag" not in headers
    if ".." not in path and "%" not in path:
        assert (seen.get("SCRIPT_NAME", ""), seen["PATH_INFO"]) == (base, path)


def test_static_files_below_a_folder_and_with_a_space(served: tuple[int, str]) -> None:
    port, base = served
    assert get(port, f"{base}/static/deeper/a.css")[2] == b"static deeper/a.css"
    assert get(port, f"{base}/static/space%20in%20it.css")[0] == 200


def test_a_body_that_the_app_does_not_read_cuts_off_no_answer(served: tuple[int, str]) -> None:
    """Not even one whose length the app does not tell. And a POST to a static URL that is no file finds the app."""
    port, base = served
    for length in (1000, 500_000):
        status, seen = post(port, f"{base}/static/upload", b"x" * length)
        assert (status, seen["REQUEST_METHOD"], seen["CONTENT_LENGTH"]) == (200, "POST", str(length))


@pytest.mark.parametrize("length", [0, 1, 65_536, 500_000])
def test_an_app_reads_what_was_sent(length: int, front: str, app: str, sites: dict[str, Site], nginx: int) -> None:
    body = os.urandom(length)
    status, seen = post(port_of(front, sites[app], nginx), ROWS[app]["mount"].rstrip("/") + "/read", body)
    assert (status, seen["READ"]) == (200, hashlib.sha256(body).hexdigest())
