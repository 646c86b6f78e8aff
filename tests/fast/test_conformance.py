"""An app gets the request that was sent, and a visitor the answer that was given: each server behind each front.

The reference is gunicorn's own HTTP server with the same app. Every difference from it is listed in ALLOWED with its
reason, and README's section "What an app sees" tells of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import completed, free_port, nginx_files, nginx_version, process, short_folder, tool, until
from test_releases import Site

# Validates the server's side of WSGI with each request, and tells what it saw.
APP = r"""
import hashlib
import json
import os
import threading
import time
from wsgiref.validate import validator

HERE = os.path.dirname(os.path.abspath(__file__))


def read(environ):
    # As werkzeug does.
    stream, ended = environ["wsgi.input"], environ.get("wsgi.input_terminated")
    left = None if ended else int(environ.get("CONTENT_LENGTH") or 0)
    digest, count = hashlib.sha256(), 0
    while left is None or left > 0:
        piece = stream.read(65536 if left is None else min(65536, left))
        if not piece:
            break
        digest.update(piece)
        count += len(piece)
        left = None if left is None else left - len(piece)
    return count, digest.hexdigest()[:16]


class Events:
    # Four events with pauses; knows whether it was closed.
    def __init__(self, name, count, pause, fails=False):
        self.name, self.left, self.pause, self.fails = name, count, pause, fails

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            if self.fails:
                raise RuntimeError("no more")
            raise StopIteration
        self.left -= 1
        if self.pause:
            time.sleep(self.pause)
        return b"data: %d\n\n" % self.left

    def close(self):
        with open(os.path.join(HERE, "instance", self.name), "w") as file:
            file.write(str(self.left))


def probe(environ, respond):
    path = environ["PATH_INFO"].rpartition("/")[2]
    name, _, rest = path.partition("-")
    plain = [("Content-Type", "text/plain")]
    if name == "status":
        status, headers = f"{rest} Whatever", [] if rest in ("204", "304") else plain
        if rest == "304":
            headers = [("ETag", '"x"')]
        respond(status, headers)
        return [] if rest in ("204", "304") else [b"told " + rest.encode()]
    if name == "headers":
        respond("200 OK", [*plain, *((f"X-Large-{n}", "x" * 1000) for n in range(int(rest)))])
        return [b"many"]
    if name == "repeated":
        respond("200 OK", [*plain, ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("X-A", "1"), ("X-A", "2")])
        return [b"twice"]
    if name == "events":
        respond("200 OK", [("Content-Type", "text/event-stream")])
        return Events(rest, 4, 0.3)
    if name == "endless":
        respond("200 OK", [("Content-Type", "text/event-stream")])
        return Events(rest, 10000, 0.05)
    if name == "breaks":
        respond("200 OK", plain)
        return Events(rest, 2, 0, True)
    if name == "unread":
        respond("401 Unauthorized", [*plain, ("Content-Length", "4")])
        return [b"who?"]
    if name == "large":
        respond("200 OK", [*plain, ("Content-Length", "3000000")])
        return [b"x" * 3000000]
    if name == "raises":
        raise RuntimeError("on purpose")
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    seen["scheme"] = environ["wsgi.url_scheme"]
    seen["body"] = read(environ)
    respond("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


app = validator(probe)
"""
SERVERS: dict[str, dict[str, Any]] = {
    "uwsgi": {"server": "uwsgi"},
    "gthread": {"server": "gunicorn"},
    "gevent": {"server": "gunicorn", "server_options": {"worker_class": "gevent"}},
}
MOUNTS = {"root": "/", "below": "/a/mount"}
ROWS = {
    f"{server}_{place}_{way}": {**row, "mount": mount, "stream_uploads": way == "streamed"}
    for server, row in SERVERS.items()
    for place, mount in MOUNTS.items()
    for way in ("whole", "streamed")
}
FRONTS = ["nginx", "router"]


def http1(line: str, *headers: str, body: bytes = b"", host: str = "Host: HOST") -> bytes:
    """Return a request byte by byte."""
    lines = [f"{line} HTTP/1.1", *([host] if host else []), "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CHUNKS = "Transfer-Encoding: chunked"
BIG = os.urandom(300_000)
# What is sent, with BASE for the mount.
REQUESTS: dict[str, bytes] = {
    "plain": http1("GET BASE/echo"),
    "query": http1("GET BASE/echo?a=b&c=%20d&e=%C3%BC+f"),
    "empty_query": http1("GET BASE/echo?"),
    "query_of_question_marks": http1("GET BASE/echo?a=?&b=/"),
    "non_ascii": http1("GET BASE/%C3%BC/%E2%82%AC"),
    "latin": http1("GET BASE/%FC/x"),
    "encoded_slash": http1("GET BASE/a%2Fb/c"),
    "encoded_percent": http1("GET BASE/100%25/%2541"),
    "encoded_plain": http1("GET BASE/%65cho"),
    "plus": http1("GET BASE/a+b/c%2Bd"),
    "space": http1("GET BASE/a%20b"),
    "semicolon": http1("GET BASE/a;b=c/d;e"),
    "double_slash": http1("GET BASE/a//b///c"),
    "double_slash_at_the_end": http1("GET BASE/a//"),
    "double_slash_first": http1("GET BASE//echo"),
    "marks": http1("GET BASE/!$&'()*,:@~-._"),
    "top": http1("GET BASE/"),
    "post": http1("POST BASE/echo", "Content-Type: text/x; charset=utf-8", "Content-Length: 5", body=b"hello"),
    "post_of_nothing": http1("POST BASE/echo", "Content-Length: 0"),
    "post_without_length": http1("POST BASE/echo"),
    "post_large": http1("POST BASE/echo", f"Content-Length: {len(BIG)}", body=BIG),
    "chunked": http1("POST BASE/echo", CHUNKS, body=chunked(b"hello", b" ", b"world")),
    "chunked_nothing": http1("POST BASE/echo", CHUNKS, body=chunked()),
    "chunked_large": http1("PUT BASE/echo", CHUNKS, body=chunked(BIG[:9000], BIG[9000:9001], BIG[9001:])),
    "put": http1("PUT BASE/echo", "Content-Length: 3", body=b"put"),
    "patch": http1("PATCH BASE/echo", "Content-Length: 5", body=b"patch"),
    "delete_with_a_body": http1("DELETE BASE/echo", "Content-Length: 2", body=b"it"),
    "get_with_a_body": http1("GET BASE/echo", "Content-Length: 2", body=b"it"),
    "propfind": http1("PROPFIND BASE/echo", "Depth: 1", "Content-Length: 2", body=b"<>"),
    "mkcol": http1("MKCOL BASE/echo"),
    "head": http1("HEAD BASE/echo"),
    "options": http1("OPTIONS BASE/echo", "Origin: http://other.example"),
    "continue": http1("POST BASE/echo", "Expect: 100-continue", "Content-Length: 5", body=b"hello"),
    "repeated_headers": http1("GET BASE/echo", "X-A: 1", "X-A: 2"),
    "repeated_cookies": http1("GET BASE/echo", "Cookie: a=1", "Cookie: b=2"),
    "large_header": http1("GET BASE/echo", "X-Large: " + "x" * 7000),
    "large_cookies": http1("GET BASE/echo", "Cookie: a=" + "x" * 7000, "X-B: " + "y" * 7000, "X-C: " + "z" * 7000),
    "long_path": http1("GET BASE/" + "x" * 4000),
    "header_of_latin": http1("GET BASE/echo", "X-Name: J\xfcrgen"),
    "empty_header": http1("GET BASE/echo", "X-Empty:"),
    "authorization": http1("GET BASE/echo", "Authorization: Basic dTpw"),
    "accepted": http1("GET BASE/echo", "Accept: */*", "Accept-Encoding: gzip, br", "Range: bytes=0-9"),
    "matched": http1("GET BASE/echo", 'If-None-Match: "x"', "If-Modified-Since: Sun, 29 Nov 2026 00:00:00 GMT"),
    "forged_address": http1("GET BASE/echo", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"),
    "absolute": http1("GET http://HOSTBASE/echo"),
    "http_1_0": b"GET BASE/echo HTTP/1.0\r\nHost: HOST\r\n\r\n",
    "other_host": http1("GET BASE/echo", host="Host: shop.example:8080"),
    "204": http1("GET BASE/status-204"),
    "304": http1("GET BASE/status-304"),
    "404": http1("GET BASE/status-404"),
    "418": http1("GET BASE/status-418"),
    "503": http1("GET BASE/status-503"),
    "head_of_404": http1("HEAD BASE/status-404"),
    "headers_of_3_KB": http1("GET BASE/headers-3"),
    "headers_of_8_KB": http1("GET BASE/headers-8"),
    "headers_of_30_KB": http1("GET BASE/headers-30"),
    "repeated_headers_of_an_answer": http1("GET BASE/repeated"),
    "large_answer": http1("GET BASE/large"),
    "unread": http1("POST BASE/unread", f"Content-Length: {len(BIG)}", body=BIG),
    "unread_chunked": http1("POST BASE/unread", CHUNKS, body=chunked(BIG)),
    "raises": http1("GET BASE/raises"),
}  # fmt: skip
# What is compared of what the app saw.
KEYS = (
    "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "CONTENT_TYPE", "CONTENT_LENGTH",
    "REMOTE_ADDR", "scheme", "body",
)  # fmt: skip
# What the front says itself; what became of what a client said in it is the matter of test_nginx.py.
OWN = re.compile("HTTP_(X_FORWARDED_.*|X_REAL_IP|X_REQUEST_ID|X_HOSTED_APP|CONNECTION|X_FORWARDED|FORWARDED|PROXY)$")
# Headers of an answer that are the server's or the front's own.
SERVERS_OWN = {
    "date", "server", "connection", "transfer-encoding", "x-release", "keep-alive", "x-content-type-options",
    "referrer-policy", "vary",
}  # fmt: skip


def exchange(port: int, raw: bytes, base: str) -> dict[str, Any]:
    """Send a request, and return what came back and what the app saw of it."""
    raw = raw.replace(b"BASE", base.encode(), 1).replace(b"HOST", f"127.0.0.1:{port}".encode())
    method = raw.split(b" ", 1)[0].decode()
    with socket.create_connection(("127.0.0.1", port), 30) as client, contextlib.ExitStack() as stack:
        client.settimeout(30)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(raw)
        answer = http.client.HTTPResponse(client, method=method)
        stack.callback(answer.close)
        try:
            answer.begin()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return {"answer": type(error).__name__}
        found: dict[str, Any] = {"answer": answer.status}
        for name, value in answer.getheaders():
            if name.lower() not in SERVERS_OWN and not (name.lower() == "content-length" and method != "HEAD"):
                found.setdefault(f"header {name.lower()}", []).append(value)
    kind = answer.headers.get("Content-Type", "")
    if kind == "application/json" and body:
        seen = json.loads(body)
        found |= {key: seen.get(key) for key in KEYS}
        found |= {key: value for key, value in seen.items() if key.startswith("HTTP_") and not OWN.match(key)}
        found["HTTP_HOST"] = seen.get("HTTP_HOST", "").replace(f"127.0.0.1:{port}", "HOST")
    elif answer.status != 500:
        found["text"] = (len(body), body[:50].decode())
    return found


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """Run the app in gunicorn's own HTTP server, for each mount; return the ports."""
    folder, ports = tmp_path_factory.mktemp("reference"), {mount: free_port() for mount in MOUNTS.values()}
    (folder / "wsgi.py").write_text(APP)
    (folder / "instance").mkdir()
    with contextlib.ExitStack() as stack:
        for mount, port in ports.items():
            command = [tool("gunicorn"), "--bind", f"127.0.0.1:{port}", "--threads=8", "wsgi:app"]
            environment = os.environ | ({"SCRIPT_NAME": mount} if mount != "/" else {})
            stack.enter_context(process(command, folder / "log", cwd=folder, env=environment))
        for mount, port in ports.items():
            until(f"gunicorn serves, see {folder}/log", lambda at=(port, mount): answers(*at))
        yield ports


def answers(port: int, mount: str) -> bool:
    try:
        return exchange(port, REQUESTS["plain"], mount.rstrip("/"))["answer"] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def sites(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """Deploy the app once for each row, each with an HTTP port of platform local."""
    before, folder = os.umask(0o027), tmp_path_factory.mktemp("conformance")
    found = {name: Site(home, folder / name, free_port(), f"same_{number}") for number, name in enumerate(ROWS)}

    def deploy(name: str) -> None:
        found[name].write(APP, "gevent\n" if "gevent" in name else "")
        found[name].deploy(**ROWS[name], threads=4, health={"path": "/status-200"})

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(deploy, found))
        yield found
    finally:
        for site in found.values():
            site.write(APP)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda site: site.deploy(state="absent", purge=True), found.values()))
        os.umask(before)


@pytest.fixture(scope="module")
def nginx(sites: dict[str, Site]) -> Iterator[dict[str, int]]:
    """Run an nginx with the sites that role nginx writes for these apps; return a port for each app."""
    found: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        # Two apps of one path are on two fronts.
        for server in SERVERS:
            for way in ("whole", "streamed"):
                port = free_port()
                names = [f"{server}_{place}_{way}" for place in MOUNTS]
                for folder in stack.enter_context(contextlib.closing(short_folder())):
                    apps = [completed(sites[name].name, root=str(sites[name].root), **ROWS[name]) for name in names]
                    conf = nginx_files(folder, apps, nginx_http_port=port, nginx_worker_connections=64)
                    command = [tool("nginx"), "-c", str(conf), "-g", "daemon off;"]
                    stack.enter_context(process(command, folder / "log"))
                    break
                found |= dict.fromkeys(names, port)
        for name, port in found.items():
            base = ROWS[name]["mount"].rstrip("/")
            until("nginx serves", lambda at=(port, base): answers(*at))
        yield found


# Which request, server and front, which key, and why.
ALLOWED = [
    (
        "chunked.* nginx",
        "CONTENT_LENGTH|HTTP_TRANSFER_ENCODING",
        "nginx has put the pieces together, and knows how many",
    ),
    ("(unread_)?chunked.* router", "answer", "uWSGI's router hands over no pieces: refused with 411, or by a reset"),
    ("absolute .* router", "answer", "uWSGI's router knows no URL as a request's target; nobody but proxies sends one"),
    ("repeated_cookies .* nginx", "HTTP_COOKIE", "joined by '; ', as RFC 9113 says, and not by a comma"),
    ("repeated_cookies .* router", "HTTP_COOKIE", "uWSGI's router joins all by ', '; no browser sends two"),
    (
        "unread.* .*_streamed .*",
        "answer",
        "who takes bodies as they come reads them, or the closed socket cuts off his answer",
    ),
    ("raises uwsgi.*", "answer", "uWSGI says nothing where a WSGI app raises, which Flask never does"),
]
if tuple(map(int, re.findall(r"\d+", nginx_version())[:2])) < (1, 23):
    ALLOWED.append(("repeated_headers .* nginx", "HTTP_X_A", "this nginx hands over the last one alone"))


def is_allowed(request: str, row: str, front: str, key: str) -> bool:
    return any(re.fullmatch(what, f"{request} {row} {front}") and re.fullmatch(of, key) for what, of, _ in ALLOWED)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("row", ROWS)
def test_an_app_gets_what_was_sent(
    row: str, front: str, sites: dict[str, Site], nginx: dict[str, int], references: dict[str, int]
) -> None:
    mount = ROWS[row]["mount"]
    port = nginx[row] if front == "nginx" else sites[row].port
    wrong = []
    for name, raw in REQUESTS.items():
        ours, theirs = (exchange(at, raw, mount.rstrip("/")) for at in (port, references[mount]))
        for key in sorted({*ours, *theirs}):
            # PEP 3333 lets a server leave out what is empty.
            mine, other = ours.get(key) or None, theirs.get(key) or None
            if key == "HTTP_X_A" and mine:
                mine = mine.replace(", ", ",")
            if ours["answer"] != theirs["answer"] and key != "answer":
                continue
            if mine != other and not is_allowed(name, row, front, key):
                wrong.append(f"{name} {row} {front}: {key} is {str(mine)[:150]} instead of {str(other)[:150]}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(params=FRONTS)
def port(request: pytest.FixtureRequest, row: str, sites: dict[str, Site], nginx: dict[str, int]) -> int:
    """Return the port of a front."""
    return nginx[row] if request.param == "nginx" else sites[row].port


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> str:
    """Return which server, mount and way of uploads."""
    return request.param


def asked(port: int, row: str, path: str, body: bytes = b"") -> socket.socket:
    """Send a request, and return the connection."""
    client = socket.create_connection(("127.0.0.1", port), 20)
    raw = http1(f"{'POST' if body else 'GET'} {ROWS[row]['mount'].rstrip('/')}/{path}", body=body)
    client.sendall(raw.replace(b"HOST", b"127.0.0.1"))
    return client


def test_events_come_as_they_happen(row: str, port: int) -> None:
    begin, came = time.monotonic(), []
    with asked(port, row, "events-seen") as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        while piece := answer.read1(1000):
            came += [time.monotonic() - begin] * piece.count(b"data:")
    assert len(came) == 4
    # One each 0.3 s; a machine that does much else may be late by some of them.
    assert came[3] - came[0] > 0.2


def test_who_leaves_is_noticed_and_is_no_error(row: str, port: int, sites: dict[str, Site]) -> None:
    """What gave the answer is closed, soon, and no traceback is written."""
    site, told = sites[row], sites[row].root / "data/left"
    told.unlink(missing_ok=True)
    log = site.home / f"logs/{site.name}.log"
    before = log.stat().st_size
    with asked(port, row, "endless-left") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    until("close() was called", told.exists, 20)
    assert int(told.read_text()) > 9000
    assert b"Traceback" not in log.read_bytes()[before:]


def test_an_answer_that_breaks_off_is_not_taken_for_whole(row: str, port: int, sites: dict[str, Site]) -> None:
    """It is closed, and its error stands in the app's log."""
    told = sites[row].root / "data/broken"
    told.unlink(missing_ok=True)
    with asked(port, row, "breaks-broken") as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
            assert answer.read().count(b"data:") <= 2
    until("close() was called", told.exists, 20)
    log = sites[row].home / f"logs/{sites[row].name}.log"
    until("its error is written", lambda: "no more" in log.read_text(), 20)
    assert exchange(port, REQUESTS["plain"], ROWS[row]["mount"].rstrip("/"))["answer"] == 200


def test_a_body_in_pieces_never_arrives_as_none(row: str, port: int) -> None:
    """It arrives, or the request is refused."""
    found = exchange(port, REQUESTS["chunked"], ROWS[row]["mount"].rstrip("/"))
    if found["answer"] == 200:
        assert found["body"][0] == 11
    else:
        assert found["answer"] == 411


def test_requests_one_after_the_other_on_one_connection(row: str, port: int) -> None:
    base = ROWS[row]["mount"].rstrip("/")
    one, two = (f"GET {base}/echo?{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in (1, 2))
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(one)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert json.loads(answer.read())["QUERY_STRING"] == "1"
        if answer.will_close:
            assert "close" in answer.headers["Connection"].lower(), "closed without a word"
            return
        client.sendall(two)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert json.loads(answer.read())["QUERY_STRING"] == "2"
