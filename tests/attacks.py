"""Requests that no decent client sends, as bytes, and what must not come of them.

The host that is attacked has an app on the name ``good.example`` that answers with what it saw of the request, as JSON.
In its folder ``/static`` lie a.css, what ``HIDDEN`` names, and ``link``, which points at /etc/passwd.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any

HIDDEN = {
    ".env": "SECRET",
    ".git/config": "SECRET",
    "a.css~": "SECRET",
    "app.ini": "SECRET",
    "data.sqlite3": "SECRET",
    "key.pem": "SECRET",
    "settings.py": "SECRET",
    "settings.pyc": "SECRET",
    "UPPER.PY": "SECRET",
    "app.sqlite3-wal": "SECRET",
    "app.db-journal": "SECRET",
    "settings.py.1": "SECRET",
    "settings.py.bak.gz": "SECRET",
    "config.yml": "SECRET",
    "config.YAML.old": "SECRET",
    "dump.sql.gz": "SECRET",
    "dump.sql.zst": "SECRET",
    "db.sqlite3.zip": "SECRET",
    "base.html.j2": "SECRET",
    "mail.jinja2": "SECRET",
    "app.log.1": "SECRET",
    "app.log.12.gz": "SECRET",
    "app.log-20261122": "SECRET",
    "id.pfx": "SECRET",
    "store.jks": "SECRET",
    "passwords.kdbx": "SECRET",
    "prod.env.save": "SECRET",
}
# Never in an answer: what is not for visitors, what answers a second request, what a client claims.
NEVER = re.compile(rb"SECRET|root:x:0|def app|smuggled|forged|evil\.example|^injected:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Attack:
    """Bytes, and which statuses may answer them; 0 is a connection that is closed without an answer."""

    raw: bytes
    statuses: tuple[int, ...]


def get(path: str, *headers: str, statuses: tuple[int, ...] = (400, 404), method: str = "GET") -> Attack:
    """Return a request for a path as it stands."""
    lines = [f"{method} {path} HTTP/1.1", "Host: good.example", *headers, "Connection: close", "", ""]
    return Attack("\r\n".join(lines).encode("latin-1"), statuses)


def post(body: str, *headers: str, statuses: tuple[int, ...] = (400,)) -> Attack:
    """Return a request with a body that its headers do not agree on; what follows would be a request of its own."""
    rest = "GET /smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n"
    lines = ["POST / HTTP/1.1", "Host: good.example", *headers, "", body + rest]
    return Attack("\r\n".join(lines).encode("latin-1"), statuses)


def raw(text: str, *statuses: int) -> Attack:
    """Return any bytes."""
    return Attack(text.encode("latin-1"), statuses)


ATTACKS: dict[str, Attack] = {
    # Out of the folder.
    "traversal": get("/static/../../../../../../../etc/passwd"),
    "traversal_in_the_site": get("/static/../wsgi.py", statuses=(200,)),  # The app's own path /wsgi.py.
    "traversal_encoded": get("/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    "traversal_encoded_slash": get("/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd"),
    "traversal_encoded_twice": get("/static/%252e%252e%252fwsgi.py"),
    "traversal_backslash": get("/static/..%5c..%5cwsgi.py"),
    "traversal_overlong": get("/static/%c0%ae%c0%ae/wsgi.py"),
    "traversal_doubled": get("/static/....//....//wsgi.py"),
    "traversal_alias": get("/static../wsgi.py", statuses=(200,)),
    "traversal_challenge": get("/.well-known/acme-challenge/../../../../../../../etc/passwd"),
    "traversal_challenge_encoded": get("/.well-known/acme-challenge/..%2f..%2f..%2f..%2f..%2fetc/passwd"),
    "traversal_absolute": get("//etc/passwd", statuses=(200,)),
    "null_byte": get("/static/a.css%00.html"),
    "null_byte_and_traversal": get("/static/%00/../../wsgi.py"),
    "null_byte_raw": get("/static/a.css\0.html"),
    "link": get("/static/link", statuses=(200, 404)),
    **{f"hidden_{name}": get(f"/static/{name}", statuses=(404,)) for name in HIDDEN},
    "hidden_encoded": get("/static/%2eenv", statuses=(404,)),
    "hidden_ending_encoded": get("/static/settings%2e%70%79", statuses=(404,)),
    "hidden_dot": get("/static/./settings.py", statuses=(404,)),
    "hidden_doubled_slash": get("/static//.git//config", statuses=(404,)),
    "hidden_posted": get("/static/settings.py", "Content-Length: 0", method="POST", statuses=(404, 405)),
    # One request that is two, or two that are one.
    "length_and_chunked": post("0\r\n\r\n", "Content-Length: 6", "Transfer-Encoding: chunked"),
    "chunked_and_length": post("0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 6"),
    "chunked_twice": post(
        "0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", statuses=(400, 501)
    ),
    "chunked_almost": post("0\r\n\r\n", "Transfer-Encoding: xchunked", statuses=(400, 501)),
    "chunked_listed": post("0\r\n\r\n", "Transfer-Encoding: identity, chunked", statuses=(400, 501)),
    "chunked_in_http_1_0": raw(
        "POST / HTTP/1.0\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        400,
        411,
        501,
    ),
    "chunk_size_overflows": post("fffffffffffffffff\r\nx\r\n", "Transfer-Encoding: chunked"),
    "chunk_size_negative": post("-1\r\nx\r\n", "Transfer-Encoding: chunked"),
    "chunk_longer_than_said": post("1\r\nxyz\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "length_twice": post("", "Content-Length: 0", "Content-Length: 54"),
    "length_negative": post("", "Content-Length: -1"),
    "length_plus": post("", "Content-Length: +0"),
    "length_hexadecimal": post("", "Content-Length: 0x0"),
    "length_list": post("", "Content-Length: 0, 54"),
    "length_overflows": post("", "Content-Length: 99999999999999999999"),
    "space_before_colon": post("", "Content-Length : 54"),
    "header_folded": post("", "X-A: b", " Content-Length: 54", "Content-Length: 54"),
    "carriage_return_alone": post("", "X-A: b\rContent-Length: 54", "Content-Length: 54"),
    "null_in_header": post("", "X-A: b\0c", "Content-Length: 54"),
    # Another name than the own.
    "host_unknown": raw("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 0),
    "host_missing": raw("GET / HTTP/1.1\r\n\r\n", 400),
    "host_missing_1_0": raw("GET / HTTP/1.0\r\n\r\n", 0),
    "host_empty": raw("GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400),
    "host_twice": raw("GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n", 400),
    "host_with_user": raw("GET / HTTP/1.1\r\nHost: good.example@evil.example\r\n\r\n", 0, 400),
    "host_with_path": raw("GET / HTTP/1.1\r\nHost: good.example/evil.example\r\n\r\n", 0, 400),
    "host_of_the_line_is_good": raw(
        "GET http://good.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 200
    ),
    "host_of_the_line_is_bad": raw("GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", 0),
    "host_with_null": raw("GET / HTTP/1.1\r\nHost: good.example\0.evil.example\r\n\r\n", 0, 400),
    # What only the front may say.
    "forwarded_for": get("/", "X-Forwarded-For: forged", "X-Real-IP: forged", statuses=(200,)),
    "forwarded_host": get("/", "X-Forwarded-Host: evil.example", statuses=(200,)),
    "forwarded_proto": get("/", "X-Forwarded-Proto: forged", statuses=(200,)),
    "forwarded_port": get("/", "X-Forwarded-Port: forged", statuses=(200,)),
    "forwarded_prefix": get("/", "X-Forwarded-Prefix: /forged", statuses=(200,)),
    "forwarded_protocol": get("/", "X-Forwarded-Protocol: ssl", statuses=(200,)),
    "forwarded_scheme": get("/", "X-Forwarded-Scheme: https", statuses=(200,)),
    "forwarded_server": get("/", "X-Forwarded-Server: evil.example", statuses=(200,)),
    "forwarded_ssl": get("/", "X-Forwarded-Ssl: on", statuses=(200,)),
    "forwarded": get("/", "Forwarded: for=forged;host=evil.example", statuses=(200,)),
    "forwarded_underscores": get("/", "X_Forwarded_For: forged", "X_Forwarded_Host: forged", statuses=(200,)),
    "request_id": get("/", "X-Request-ID: forged", statuses=(200,)),
    "remote_user_underscores": get("/", "REMOTE_USER: forged", "Remote_User: forged", statuses=(200,)),
    "httpoxy": get("/", "Proxy: http://evil.example/", statuses=(200,)),
    # Methods and protocols.
    "trace": get("/", method="TRACE", statuses=(405,)),
    "track": get("/", method="TRACK", statuses=(200, 405)),
    "connect": raw("CONNECT good.example:80 HTTP/1.1\r\nHost: good.example\r\n\r\n", 400, 405),
    "method_lower_case": get("/", method="get"),
    "method_with_null": get("/", method="G\0T"),
    "http_9": raw("GET / HTTP/9.9\r\nHost: good.example\r\n\r\n", 400, 505),
    "http_0_9": raw("GET /smuggled\r\n", 0, 400),
    "h2c_upgrade": get(
        "/", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Connection: Upgrade", statuses=(200,)
    ),
    "h2c_known": raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 400, 405, 505),
    "answer_split_path": get("/%0d%0aInjected:%20yes", statuses=(200,)),
    "answer_split_query": get("/?a=%0d%0aInjected:%20yes", statuses=(200,)),
    # Too much.
    "long_path": get("/" + "a" * 9000, statuses=(414,)),
    "long_query": get("/?" + "a" * 9000, statuses=(414,)),
    "long_header": get("/", "X-A: " + "a" * 9000),
    "many_headers": get("/", *[f"X-{n}: {'a' * 4000}" for n in range(12)]),
    "long_body": get("/", "Content-Length: 99999999999", method="POST", statuses=(413,)),
    "many_ranges": get("/static/a.css", "Range: bytes=" + ",".join(["0-"] * 1000), statuses=(200, 206, 416)),
}
# Those that are tried over TLS too, where other servers of the front take part.
OVER_TLS = [
    "traversal",
    "length_and_chunked",
    "host_unknown",
    "host_twice",
    "host_of_the_line_is_good",
    "host_of_the_line_is_bad",
    "many_headers",
    "forwarded_proto",
]


def send(address: tuple[str, int], attack: Attack, tls: str = "") -> tuple[int, bytes]:
    """Send an attack and read until the other side has nothing more to say.

    :param tls: the name to ask for over TLS; empty for plain HTTP.
    :returns: the status of the first answer, 0 for none, and all that came.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(address, 10))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=tls))
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(attack.raw)
            # What would be answered to a second request is answered soon after; a kept connection ends with it.
            connection.settimeout(30)
            while data := connection.recv(65536):
                received += data
                connection.settimeout(3)
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", received)
    return int(found[1]) if found else 0, received


def judge(name: str, status: int, received: bytes, peer: str = "") -> dict[str, Any]:
    """Fail where an attack came through; return what the app saw, where it was asked.

    :param peer: the address that the app must have seen.
    """
    attack = ATTACKS[name]
    assert status in attack.statuses, (status, received[:2000])
    head, _, body = received.partition(b"\r\n\r\n")
    # The mirror tells the path and the query back, which is no harm.
    text = re.sub(rb'"(PATH_INFO|REQUEST_URI|QUERY_STRING)": "[^"]*"', b"", received)
    assert not NEVER.search(text), received[:2000]
    assert len(re.findall(rb"^HTTP/1\.[01] \d{3} ", received, re.MULTILINE)) <= 1, received[:2000]
    assert b"\r\nInjected" not in head
    if status != 200 or b"application/json" not in head:
        return {}
    seen = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])  # Around it the sizes of its chunks.
    assert seen["HTTP_HOST"] == "good.example"
    assert seen.get("HTTP_X_FORWARDED_PROTO") in ("http", "https")
    for word in ("PORT", "PREFIX", "PROTOCOL", "SCHEME", "SERVER", "SSL"):
        assert not seen.get(f"HTTP_X_FORWARDED_{word}"), word
    assert not seen.get("HTTP_PROXY")
    if peer:
        assert seen["REMOTE_ADDR"] == seen["HTTP_X_FORWARDED_FOR"] == seen["HTTP_X_REAL_IP"] == peer
    return seen
