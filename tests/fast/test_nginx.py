"""What nginx does for an app and keeps from it, with all that role nginx writes and an app that tells what it saw."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import itertools
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.hosted.flask.plugins.module_utils.homes import LEFT, Home
from attacks import ATTACKS, HIDDEN, OVER_TLS, judge, send
from support import ROOT, completed, free_port, nginx_files, process, render, short_folder, tool, until

Answer = tuple[int, dict[str, str], bytes]
LIMITED = {
    "limits": {"body": "10k", "timeout": 1, "requests": 2, "connections": 3},
    "logins": ["/login"],
    "nginx_extra": "gzip on;\nbrotli on;\nadd_header X-Extra 1;",
    "stream_uploads": True,
    "maintenance": {"page": "static/later.html", "allow": ["192.0.2.2", "203.0.113.0/24"]},
}
ROWS: list[dict[str, Any]] = [
    {"name": "good", "domains": ["good.example"], "logins": ["/login"]},
    {"name": "limited", "domains": ["good.example"], "mount": "/limited", **LIMITED},
    {"name": "secure", "domains": ["acme.example", "own.example", "self.example"]},
    {"name": "gone", "domains": ["gone.example"]},
    {"name": "sister", "domains": ["sister.example"], "account": "good"},
    {
        "name": "linked",
        "domains": ["linked.example"],
        "static": {"/static": "static", "/etc": "etc"},
        "maintenance": {"page": "etc/passwd", "allow": []},
    },
]
TLS = {"acme.example": "acme", "own.example": "own", "self.example": "self_signed"}


class App(socketserver.StreamRequestHandler):
    """Speaks uwsgi, and does as the query says: ``status``, ``size``, ``wait`` (for the event), and headers."""

    first_bytes: list[bytes] = []
    go_on = threading.Event()

    def handle(self) -> None:
        """Answer one request."""
        _, size, _ = struct.unpack("<BHB", self.rfile.read(4))
        block, words = self.rfile.read(size), []
        while block:
            length = struct.unpack("<H", block[:2])[0]
            words.append(block[2 : 2 + length].decode("latin-1"))
            block = block[2 + length :]
        seen = dict(zip(words[::2], words[1::2], strict=True))
        asked = dict(urllib.parse.parse_qsl(seen["QUERY_STRING"]))
        left = int(seen["CONTENT_LENGTH"] or 0)
        while left:
            data = self.rfile.read1(left)
            self.first_bytes.append(data)
            left -= len(data)
        if "wait" in asked:
            self.go_on.wait(20)
        headers = {"Content-Type": "application/json", **{k: v for k, v in asked.items() if k[0].isupper()}}
        body = json.dumps(seen).encode() + b" " * int(asked.get("size", 0))
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        with contextlib.suppress(OSError):
            self.wfile.write(f"HTTP/1.1 {asked.get('status', '200 OK')}\r\n{head}\r\n".encode() + body)


class Apps(socketserver.ThreadingUnixStreamServer):
    """One for all apps."""

    daemon_threads = True
    request_queue_size = 1000


class Front:
    """A running nginx and what it has."""

    def __init__(self, folder: Path, port: int, tls_port: int) -> None:
        """Know its folder and ports."""
        self.folder, self.port, self.tls_port = folder, port, tls_port

    def get(self, path: str, name: str = "good.example", method: str = "GET", **more: Any) -> Answer:
        """Ask over plain HTTP: as who deploys the app, with no limits, or from the address ``source``."""
        who = {"X_Test_Address": more.pop("source")} if "source" in more else {"X_Hosted_Check": self.check(path, name)}
        return self.ask(http.client.HTTPConnection("127.0.0.1", self.port, 10), path, name, method, **who, **more)

    @staticmethod
    def check(path: str, name: str) -> str:
        """Return what lets in who deploys the app that is asked."""
        app = "limited" if re.match("/limited(/|$)", path) else name.partition(".")[0]
        return f"{app}-{CHECK}"

    def get_tls(self, path: str, name: str) -> Answer:
        """Ask over TLS, by the name."""
        raw = socket.create_connection(("127.0.0.1", self.tls_port), 10)
        connection = http.client.HTTPConnection("127.0.0.1", self.tls_port)
        connection.sock = context().wrap_socket(raw, server_hostname=name)
        return self.ask(connection, path, name)

    @staticmethod
    def ask(
        connection: http.client.HTTPConnection,
        path: str,
        name: str,
        method: str = "GET",
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """Return status, headers with lower-case names, and body."""
        with contextlib.closing(connection):
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, {"Host": name, **sent})
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()

    @contextlib.contextmanager
    def maintenance(self, app: str) -> Iterator[None]:
        """Have an app in maintenance."""
        file = self.folder / app / "run/maintenance"
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    def log(self, app: str) -> list[dict[str, Any]]:
        """Return an app's access log, whose lines must be JSON; one that is still being written is not there yet."""
        whole = (self.folder / f"logs/{app}.access.log").read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


class Http2:
    """A connection that speaks HTTP/2, as far as the tests want it."""

    def __init__(self, port: int, name: str) -> None:
        """Shake hands for a name."""
        client = context()
        client.set_alpn_protocols(["h2"])
        self.connection = client.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=name)
        self.connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b""))

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        """Return a frame."""
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    @staticmethod
    def block(**pseudo: str) -> bytes:
        """Return a block of pseudo-headers, each as a text that is not compressed."""
        words = [word.encode() for key, value in pseudo.items() for word in (f":{key}", value)]
        texts = [bytes([len(word)]) + word for word in words]
        return b"".join(b"\0" + key + value for key, value in zip(texts[::2], texts[1::2], strict=True))

    def ask(self, stream: int, block: bytes) -> bytes:
        """Return the block that answers; empty where the stream or the connection is closed instead."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.connection.sendall(self.frame(1, 5, stream, block))
            while head := self.read(9):
                payload = self.read(int.from_bytes(head[:3], "big"))
                if int.from_bytes(head[5:], "big") == stream and head[3] == 1:
                    return payload
                if int.from_bytes(head[5:], "big") == stream and head[3] == 3:
                    break
        return b""

    def read(self, size: int) -> bytes:
        """Return so many bytes, or what came before the end."""
        data = b""
        while len(data) < size and (more := self.connection.recv(size - len(data))):
            data += more
        return data


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def context() -> ssl.SSLContext:
    """Return a client that takes any certificate."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def give(path: Path) -> None:
    """Make a path, be it a link, somebody's who is not root; where the tests run without root it is."""
    if os.geteuid() == 0:
        os.lchown(path, 65534, 65534)


def link_of_the_account(path: Path, target: str) -> None:
    """Have an account make a link."""
    path.symlink_to(target)
    give(path)


CHECK = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """Run nginx and the apps behind it."""
    for folder in short_folder():
        os.chmod(folder, 0o755)
        apps = [completed(root=str(folder / row["name"]), home=str(folder / row["name"]), **row) for row in ROWS]
        for app in apps:
            for made in ("run", "slots", "one/static/.git"):
                (folder / app["name"] / made).mkdir(parents=True)
            static = folder / app["name"] / "one/static"
            for name, text in {"a.css": "a" * 5000, "later.html": "later " * 500, **HIDDEN}.items():
                (static / name).write_text(text)
            (static.parent / "wsgi.py").write_text("SECRET")
            link_of_the_account(static / "link", "/etc/passwd")
            (folder / app["name"] / "slots/current").symlink_to("../one")
            (folder / app["name"] / f"run/check-{app['name']}-{CHECK}").touch()
        # A home that root put elsewhere; all in it is the account's.
        (folder / "linked").rename(folder / "elsewhere")
        (folder / "linked").symlink_to("elsewhere")
        for path in [folder / "elsewhere", *(folder / "elsewhere").rglob("*")]:
            give(path)
        for name in TLS:
            made = folder / "tls" / name
            made.mkdir(parents=True)
            command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name}"
            words = [*command.split(), "-keyout", "privkey.pem", "-out", "fullchain.pem"]
            subprocess.run(words, cwd=made, check=True, capture_output=True)
        (folder / "acme/.well-known/acme-challenge").mkdir(parents=True)
        (folder / "acme/.well-known/acme-challenge/token").write_text("proof")
        (folder / "pending").mkdir()
        port, tls_port = free_port(), free_port()
        conf = nginx_files(
            folder,
            apps,
            nginx_http_port=port,
            nginx_https_port=tls_port,
            nginx_tls=TLS,
            nginx_worker_connections=2048,
            nginx_address_connections=320,
            __nginx_account_connections=360,
            __nginx_certificates=str(folder / "tls"),
            __nginx_pending=str(folder / "pending"),
            __nginx_acme=str(folder / "acme"),
        )
        text = conf.read_text().replace("client_header_timeout 10s", "client_header_timeout 2s")
        text = text.replace("client_body_timeout 30s", "client_body_timeout 8s")
        # The tests may be whoever they want to: all addresses that a machine has of its own are one.
        anybody = "set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address;"
        conf.write_text(text.replace("http {", f"http {{ {anybody}"))
        command, log = [tool("nginx"), "-c", str(conf), "-g", "daemon off;"], folder / "log"
        with contextlib.ExitStack() as stack:
            for app in apps:
                if app["name"] == "gone":
                    continue
                server = Apps(str(folder / app["name"] / "run/current.sock"), App)
                os.chmod(folder / app["name"] / "run/current.sock", 0o666)
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
                stack.callback(server.shutdown)
            stack.enter_context(process(command, log))

            try:
                until("nginx listens", lambda port=port: listens(port))
            except AssertionError as error:
                raise AssertionError(log.read_text()) from error
            yield Front(folder, port, tls_port)


STRANGER = "198.51.100.1"

# --- attacks


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_gets_through(name: str, front: Front) -> None:
    status, received = send(("127.0.0.1", front.port), ATTACKS[name])
    judge(name, status, received, "127.0.0.1")
    assert front.get("/")[0] == 200, "others are served"


@pytest.mark.parametrize("name", OVER_TLS)
def test_nothing_gets_through_over_tls(name: str, front: Front) -> None:
    raw = ATTACKS[name].raw.replace(b"good.example", b"own.example")
    attack = type(ATTACKS[name])(raw, ATTACKS[name].statuses)
    status, received = send(("127.0.0.1", front.tls_port), attack, "own.example")
    judge(name, status, received.replace(b"own.example", b"good.example"), "127.0.0.1")


def test_a_link_is_the_apps_own_business(front: Front) -> None:
    assert json.loads(front.get("/static/link")[2])["PATH_INFO"] == "/static/link"


OPEN = [
    "app.js.gz", "app.css.br", "app.js.map", "data.json", "site.webmanifest", "files.zip", "files.tar.gz", "robots.txt",
    "jquery-3.7.1.min.js", "song.1", "photo.old.jpg", "python", "mypy.html", "openapi.yaml", "swagger.yml.gz",
    "key.html", "db-wal.txt", "table.csv.gz", ".well-known/security.txt", "report.7z", "feed.xml.bz2", "notes.log.html",
]  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_ordinary_files_are_given_out(name: str, front: Front) -> None:
    file = front.folder / "good/one/static" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("open")
    assert (front.get(f"/static/{name}")[0], front.get(f"/static/{name}")[2]) == (200, b"open")


def test_what_is_hidden_on_hosts_is_what_is_hidden_here() -> None:
    play = yaml.safe_load((ROOT / "molecule/front/prepare.yml").read_text())[0]
    assert play["vars"]["test_hidden"] == list(HIDDEN)


@pytest.mark.parametrize("part", ["slots/current", "one", "one/etc", "slots"])
def test_no_part_of_the_way_leads_to_what_is_not_the_accounts(part: str, front: Front) -> None:
    """The account may replace each of them; of a page for maintenance too."""
    root, target = front.folder / "linked", {"one/etc": "/etc", "slots": "elsewhere"}.get(part, "/")
    if part == "slots":  # Its own link is followed, what it leads to is looked at as well.
        (root / "elsewhere").mkdir()
        give(root / "elsewhere")
        link_of_the_account(root / "elsewhere/current", "/")
    kept = root / "kept"
    if (root / part).is_symlink() or (root / part).exists():
        (root / part).rename(kept)
    link_of_the_account(root / part, target)
    try:

        def own() -> bool:
            answers = [front.get("/etc/passwd", "linked.example") for _ in range(10)]
            assert b"root:" not in b"".join(body for _, _, body in answers)
            return all(json.loads(body)["PATH_INFO"] == "/etc/passwd" for _, _, body in answers)

        until("the app is asked", own)
        with front.maintenance("linked"):
            status, _, body = front.get("/", "linked.example", source=STRANGER)
            assert (status, b"root:" in body) == (503, False)
    finally:
        (root / part).unlink()
        if kept.is_symlink() or kept.exists():
            kept.rename(root / part)
        shutil.rmtree(root / "elsewhere", ignore_errors=True)


def test_links_of_root_above_a_home_and_of_the_account_in_it_are_followed(front: Front) -> None:
    """The home is one, and the current release is one."""
    link_of_the_account(front.folder / "linked/one/static/own.css", "a.css")
    for name in ("a.css", "own.css"):
        assert front.get(f"/static/{name}", "linked.example")[2] == b"a" * 5000


@pytest.mark.parametrize("part", ["headers", "body"])
def test_who_is_slow_is_let_go_and_holds_nobody_up(part: str, front: Front) -> None:
    """Hundreds of them; the app sees none."""
    raw = b"GET /?slow HTTP/1.1\r\nHost: good.example\r\nX-A: "
    if part == "body":
        raw = b"POST /?slow HTTP/1.1\r\nHost: good.example\r\nContent-Length: 100\r\n\r\nx"
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(300):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", front.port), 10)))
            slow[-1].sendall(raw)
        assert front.get("/")[0] == 200
        for connection in slow:
            connection.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                received = connection.recv(1000)
                assert received == b"" or b" 408 " in received.split(b"\r\n")[0]
        assert front.get("/")[0] == 200


def test_attacks_leave_logs_that_can_be_read(front: Front) -> None:
    begin = b"HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n"
    for raw in (
        b"GET /\xc0\xae " + begin,
        b"GET /agent " + begin + b"User-Agent: \xff\r\n",
        b"GET /no-agent " + begin,
    ):
        with socket.create_connection(("127.0.0.1", front.port), 10) as client:
            client.sendall(raw + b"\r\n")
            assert b" 200 " in client.recv(1000)
    paths = {"(not ASCII)", "/agent", "/no-agent"}
    until("all are there", lambda: paths <= {line["path"] for line in front.log("good")})
    agents = {line["path"]: line["agent"] for line in front.log("good")}
    assert (agents["/agent"], agents["/no-agent"]) == ("(not ASCII)", "")


def test_a_request_that_breaks_off_leaves_a_line_that_can_be_read(front: Front) -> None:
    """nginx's status of one that never was whole is 000, which is no number of JSON."""
    client = Http2(front.tls_port, "own.example")
    with contextlib.closing(client.connection):
        # The last byte is the number of a header that the table does not have.
        block = client.block(method="GET", scheme="https", path="/broken") + b"\xfe"
        assert client.ask(1, block) == b""
    log = front.folder / "logs/access.log"
    until("it is in the log", lambda: b'"path":"/broken"' in log.read_bytes())
    [line] = [json.loads(line) for line in log.read_bytes().splitlines() if b"/broken" in line]
    assert line["status"] == 0


def test_a_switch_is_seen_by_static_files_too(front: Front) -> None:
    """A file of the old release, that the front holds open, is not given out for long."""
    root, url = front.folder / "good", ("/static/b.css", "good.example")
    (root / "one/static/b.css").write_text("a" * 5000)
    assert front.get(*url)[2] == b"a" * 5000
    (root / "two/static").mkdir(parents=True)
    (root / "two/static/b.css").write_text("new")
    (root / "slots/next").symlink_to("../two")
    (root / "slots/next").rename(root / "slots/current")
    # Each worker process knows files of its own, for a second: no other test asks for this one.
    until("the new file is served", lambda: {front.get(*url)[2] for _ in range(30)} == {b"new"})
    assert json.loads(front.get("/static/later.html")[2])["PATH_INFO"] == "/static/later.html"
    (root / "slots/next").symlink_to("../one")
    (root / "slots/next").rename(root / "slots/current")
    until("the old file is back", lambda: {front.get(*url)[2] for _ in range(30)} == {b"a" * 5000})


# --- what the front adds


def test_headers_are_added_where_the_app_has_none(front: Front) -> None:
    added = {"x-content-type-options": "nosniff", "referrer-policy": "strict-origin-when-cross-origin"}
    for path in ("/", "/static/a.css", "/?status=500+Oh", "/limited/"):
        headers = front.get(path)[1]
        assert {key: headers[key] for key in added} == added
        assert "strict-transport-security" not in headers
        assert headers["server"] == "nginx"
    own = "/?X-Content-Type-Options=own&Referrer-Policy=no-referrer"
    assert front.get(own)[1]["x-content-type-options"] == "own"
    assert front.get(own)[1]["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_text_is_compressed_and_nothing_else(coding: str, front: Front) -> None:
    for path in ("/static/a.css", "/limited/?size=5000", "/limited/?size=5000&Content-Type=text/html"):
        plain, packed = front.get(path), front.get(path, Accept_Encoding=coding)
        assert packed[1]["content-encoding"] == coding
        assert "accept-encoding" in packed[1]["vary"].lower()
        assert len(packed[2]) < len(plain[2]) / 2
        assert "content-encoding" not in plain[1]
    assert gzip.decompress(front.get("/static/a.css", Accept_Encoding="gzip")[2]) == b"a" * 5000
    for path in ("/limited/?size=5000&Content-Type=image/png", "/?size=5000"):
        assert "content-encoding" not in front.get(path, Accept_Encoding=coding)[1]
    own = front.get("/limited/?size=5000&Content-Encoding=own", Accept_Encoding=coding)
    assert own[1]["content-encoding"] == "own"


def test_a_compressed_file_is_not_sent_again(front: Front) -> None:
    etag = front.get("/static/a.css", Accept_Encoding="gzip")[1]["etag"]
    assert front.get("/static/a.css", Accept_Encoding="gzip", If_None_Match=etag)[0] == 304


def test_each_request_is_a_line_of_json_without_its_query(front: Front) -> None:
    front.get('/where/"quoted"%20?token=SECRET', User_Agent='a "b" \\ c')
    lines = until("the log is written", lambda: [line for line in front.log("good") if "where" in line["path"]])
    line = lines[-1]
    assert line["path"] == '/where/"quoted"%20'
    assert (line["method"], line["status"], line["host"], line["address"]) == ("GET", 200, "good.example", "127.0.0.1")
    assert line["agent"] == 'a "b" \\ c'
    assert re.fullmatch("[0-9a-f]{32}", line["id"])
    # Each is rounded for itself.
    assert line["seconds"] >= 0
    assert float(line["app_seconds"]) >= 0
    assert b"SECRET" not in (front.folder / "logs/good.access.log").read_bytes()


@pytest.mark.parametrize("part", ["path", "marks", "host", "agent", "method", "all"])
def test_a_line_of_the_log_has_a_bound(part: str, front: Front) -> None:
    """Whoever fills the disk by requests has to make very many."""
    size, wide = 500 if part == "all" else 0, {part: 7500}
    path, host, agent = (wide.get(kind, size * 4) for kind in ("path", "host", "agent"))
    text = '"' * 7500 if part == "marks" else "p" * path
    lines = [
        f"{'M' * wide.get('method', 3)} /{part}{text}?{'q' * 100} HTTP/1.1",
        f"Host: {'h' * host or 'good.example'}",
        f"User-Agent: agent{'a' * agent}",
    ]
    log = front.folder / "logs/access.log", front.folder / "logs/good.access.log"
    before = [file.stat().st_size for file in log]
    with socket.create_connection(("127.0.0.1", front.port), 10) as client, contextlib.suppress(ConnectionError):
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        while client.recv(1000):
            pass

    def new() -> bytes:
        return b"".join(file.read_bytes()[size:] for file, size in zip(log, before, strict=True))

    until("it is in the log", lambda: b"\n" in new())
    for line in new().splitlines():
        seen = json.loads(line)
        assert len(line) < 2500
        for key, most in {"path": 503, "agent": 303, "host": 255, "method": 20}.items():
            assert len(seen[key]) <= most
        assert "q" not in seen["path"]


def test_no_log_has_a_query_or_a_referer(front: Front) -> None:
    """Whatever goes wrong with a request: the app, the account's links, the client, nginx's own limits."""
    secret, name, run = {"Referer": "https://x.example/?t=SECRET"}, "linked.example", front.folder / "linked/run"
    link_of_the_account(front.folder / "linked/one/static/out?SECRET", "/etc/passwd")
    link_of_the_account(front.folder / "linked/one/static/round", "round")
    for path in ("round", "link", "gone", "x" * 300, "later.html/x"):
        front.get(f"/static/{path}?t=SECRET", name, **secret)
    link_of_the_account(run / "maintenance", "/etc/passwd")
    front.get("/?t=SECRET", name, X_Hosted_Check=f"linked-{'1' * 32}", source=STRANGER, **secret)
    (run / "maintenance").unlink()
    for host in ("gone.example", "good.example", "evil.example"):
        with contextlib.suppress(http.client.HTTPException, OSError):
            front.get("/?t=SECRET", host, **secret)
    # An app whose socket nobody listens on, is no socket, is not the front's to connect to, and answers nonsense.
    gone = front.folder / "gone/run/current.sock"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(gone))
        front.get("/?t=SECRET", "gone.example", **secret)
    gone.unlink()
    gone.mkdir()
    front.get("/?t=SECRET", "gone.example", **secret)
    gone.rmdir()
    for answer in ("status=nonsense", f"X-Long={'x' * 70000}"[:8000], "Content-Length=5&size=100", "X-A=a%00b"):
        with contextlib.suppress(http.client.HTTPException, OSError):
            front.get(f"/?t=SECRET&{answer}", **secret)
    App.go_on.clear()
    front.get("/limited/?wait=1&t=SECRET", **secret)
    App.go_on.set()
    for _ in range(12):
        front.get("/limited/?t=SECRET", source="198.51.100.99", **secret)
        front.get("/login?t=SECRET", source="198.51.100.99", method="POST", body=b"x", **secret)
    front.get("/limited/?t=SECRET", method="POST", body=b"x" * 20000, **secret)
    line, end = b"GET /?t=SECRET HTTP/1.1\r\nHost: good.example\r\nReferer: http://x/?t=SECRET\r\n", b"\r\n\r\n"
    for raw in (
        line,  # Never whole.
        line + b"Content-Length: 10" + end + b"x",
        line + b"Transfer-Encoding: chunked" + end + b"zz\r\n",
        line + b"X-A: " + b"a" * 9000 + end,
        line + b"X-A: a\0b" + end,
        line.replace(b"?t", b"%00?t") + end,
        line.replace(b"/?t", b"/../../?t") + end,
        line.replace(b"1.1", b"9.9") + end,
        line.replace(b"?t=", b"?t=" + b"a" * 9000) + end,
        line.replace(b"GET", b"g\0t") + end,
    ):
        for port in (front.port, front.tls_port):
            with socket.create_connection(("127.0.0.1", port), 10) as client, contextlib.suppress(OSError):
                client.sendall(raw)
                client.settimeout(5)
                while client.recv(1000):
                    pass
    front.get("/after")
    until("all is in the log", lambda: [line for line in front.log("good") if line["path"] == "/after"])
    logs = [front.folder / "log", *(front.folder / "logs").iterdir()]
    assert front.folder / "logs/error.log" in logs
    assert {log.name: line for log in logs for line in log.read_text().splitlines() if "SECRET" in line} == {}


# --- limits


def test_the_body_of_an_app_has_its_own_limit(front: Front) -> None:
    assert front.get("/", method="POST", body=b"x" * 20000)[0] == 200
    assert front.get("/limited/", method="POST", body=b"x" * 9000)[0] == 200
    status, headers, body = front.get("/limited/", method="POST", body=b"x" * 20000)
    assert (status, headers["content-type"]) == (413, "text/html")
    assert b"<h1>Too large</h1>" in body


def test_requests_of_one_address_are_limited_and_those_of_others_and_files_are_not(front: Front) -> None:
    seen = [front.get("/limited/", source="198.51.102.1")[0] for _ in range(20)]
    assert seen[:5] == [200] * 5
    assert 429 in seen
    status, headers, body = front.get("/limited/", source="198.51.102.1", Accept="application/json")
    if status == 429:
        assert (headers["content-type"], headers["retry-after"]) == ("application/json", "10")
        assert json.loads(body)["status"] == 429
    assert front.get("/limited/", source="198.51.102.2")[0] == 200
    assert {front.get("/limited/")[0] for _ in range(20)} == {200}, "who deploys it is not limited"
    assert {front.get("/limited/static/a.css", source="198.51.102.1")[0] for _ in range(20)} == {200}


ELSEWHERE = (
    "/limited/x",
    "/limited/static/a.css",
    "@hosted_flask_limited",
    "@hosted_flask_limited_json",
    "/limited/hosted_flask_limited_maintenance",
    "/.well-known/acme-challenge/token",
    "/static/a.css",
    "/nowhere",
)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_no_app_says_where_a_request_goes_on(target: str, front: Front) -> None:
    """Which would be past the limits of another app, and in its log."""
    for name, method in itertools.product(("X-Accel-Redirect", "X-accel-redirect"), ("GET", "POST")):
        path = f"/went-on?{urllib.parse.urlencode({name: target})}"
        status, headers, body = front.get(path, method=method)
        seen = json.loads(body)
        assert (status, seen["HTTP_X_HOSTED_APP"], seen["PATH_INFO"]) == (200, "good", "/went-on")
        assert headers["content-type"] == "application/json"
    until("it is written", lambda: [line for line in front.log("good") if line["path"] == "/went-on"])
    time.sleep(1.2)  # Logs are flushed each second.
    assert not [line for line in front.log("limited") if line["path"] == "/went-on"]


def test_an_app_says_how_its_own_answer_is_sent(front: Front) -> None:
    """In pieces as they come, in a charset, slowly: that is for nginx alone, and concerns nobody else."""
    said = {"X-Accel-Buffering": "no", "X-Accel-Charset": "koi8-r", "X-Accel-Limit-Rate": "1000000"}
    status, headers, body = front.get(f"/?{urllib.parse.urlencode(said)}")
    assert (status, json.loads(body)["HTTP_X_HOSTED_APP"]) == (200, "good")
    assert not [name for name in headers if name.startswith("x-accel")]


@pytest.mark.parametrize("path", ["/login", "/login/", "//%6cogin", "/limited/login"])
def test_logins_are_tried_a_few_times(path: str, front: Front) -> None:
    """Whatever the path is written like; looking at the form is no try."""
    number, shown, tried = len(path), [], []
    for _ in range(10):
        shown.append(front.get(path, source=f"198.51.104.{number}")[0])
        tried.append(front.get(path, source=f"198.51.105.{number}", method="POST", body=b"x")[0])
    if path != "/limited/login":  # It has a limit of all requests besides.
        assert shown == [200] * 10
        assert tried[:6] == [200] * 6
    assert tried[-1] == 429
    assert front.get(path, source=f"198.51.106.{number}", method="POST", body=b"x")[0] == 200, "another address"


@pytest.mark.parametrize("path", ["/login", "/limited/"])
def test_the_hosts_own_addresses_are_one(path: str, front: Front) -> None:
    """An account's programs have the choice of all of them."""
    own = ["127.0.0.1", "::1", "::ffff:127.0.0.9", *(f"127.{n}.3.{255 - n}" for n in range(20))]
    statuses = [front.get(path, source=address, method="POST", body=b"x")[0] for address in own]
    assert statuses[:4] == [200] * 4
    assert 429 in statuses
    assert front.get("/")[0] == 200


NEWLINES = "a0a:a0a:a0a:a0a"


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ([f"2001:db8:0:1::{n:x}" for n in range(20)], "2001:db8:0:2::1"),
        ([f"2001:db8:0:3:{n:x}::" for n in range(20)], "2001:db8:0:4::"),
        ([f"{NEWLINES}:{n:x}:a0a:a0a:a0a" for n in range(20)], f"{NEWLINES[:-1]}b::"),
        (["::ffff:192.0.2.1"] * 20, "::ffff:192.0.2.2"),
        (["192.0.2.3"] * 20, "192.0.2.4"),
    ],
    ids=["first_network", "second_network", "newlines", "ipv4_in_ipv6", "ipv4"],
)
def test_a_network_of_ipv6_is_limited_as_one_address(one: list[str], another: str, front: Front) -> None:
    def tried(address: str, path: str = "/login") -> int:
        return front.get(path, method="POST", body=b"x", source=address)[0]

    statuses = [tried(address) for address in one]
    assert statuses[:6] == [200] * 6
    assert 429 in statuses
    assert tried(another) == 200
    requests = [tried(address, "/limited/") for address in one]
    assert 429 in requests
    assert tried(another, "/limited/") == 200


def test_connections_of_one_address_are_limited(front: Front) -> None:
    App.go_on.clear()
    threads = []
    statuses: list[int] = []
    together = threading.Barrier(6)

    def ask() -> None:
        together.wait(60)
        statuses.append(front.get("/limited/?wait=1", source="198.51.100.7")[0])

    for _ in range(6):
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    until("some are refused", lambda: statuses.count(429) >= 2)
    App.go_on.set()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 429, 504}


@pytest.mark.parametrize(
    ("count", "addresses", "length", "refused", "same"),
    [
        (330, 1, 100, 10, 200),  # Of 320 of an address, here.
        (370, 300, 100, 10, 429),  # Of 360 of an account, here.
        (70, 1, 50_000, 6, 200),  # Of 64 bodies of an address that are on the disk.
        (260, 200, 50_000, 4, 429),  # Of 256 of an account.
    ],
    ids=["address", "account", "bodies_of_an_address", "bodies_of_an_account"],
)
def test_what_is_under_way_has_a_bound(
    count: int, addresses: int, length: int, refused: int, same: int, front: Front
) -> None:
    """For one address, and for the apps of one account, whose visitors leave the rest to others."""
    asked: dict[str, Any] = {"source": STRANGER, "method": "POST", "body": b"x" * length}
    until("those before have ended", lambda: front.get("/", **asked)[0] == 200)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", front.port), 10)) for _ in range(count)]
        for number, client in enumerate(clients):
            address = f"203.0.{number % addresses // 200 + 1}.{number % addresses % 200 + 1}"
            head = f"POST / HTTP/1.1\r\nHost: good.example\r\nX-Test-Address: {address}\r\nContent-Length: {length}"
            client.sendall(f"{head}\r\n\r\nx".encode())
            client.setblocking(False)
        told: list[bytes] = []

        def refusals() -> bool:
            for client in clients:
                with contextlib.suppress(BlockingIOError):
                    told.append(client.recv(1000)[9:12])
            return len([status for status in told if status]) >= refused

        until("some are refused", refusals, 7)
        assert front.get("/", **asked)[0] == same
        assert front.get("/", "sister.example", **asked)[0] == same
        assert front.get("/", "linked.example", **asked)[0] == 200
        time.sleep(0.2)
        refusals()
        assert [status for status in told if status] == [b"429"] * refused


def test_answers_for_slow_visitors_take_little_of_the_disk(front: Front) -> None:
    """Each some MB, of however much the app would say."""

    def kept() -> list[int]:
        sizes = []
        for path in [path for pid in workers for path in Path(f"/proc/{pid}/fd").iterdir()]:
            with contextlib.suppress(FileNotFoundError):
                if f"{front.folder}/t-uwsgi" in os.readlink(path):
                    sizes.append(path.stat().st_blocks * 512)
        return sizes

    master = (front.folder / "nginx.pid").read_text().strip()
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", front.port), 10))
            client.sendall(b"GET /?size=30000000 HTTP/1.1\r\nHost: good.example\r\n\r\n")
        until("all wait for their visitors", lambda: sum(size > 3 << 20 for size in kept()) == 20)
        time.sleep(1)
        assert max(kept()) <= 5 << 20
        assert front.get("/")[0] == 200


def test_an_upload_is_seen_as_it_comes_where_asked_for(front: Front) -> None:
    for path, streamed in (("/limited/", True), ("/", False)):
        App.first_bytes.clear()
        with socket.create_connection(("127.0.0.1", front.port), 10) as client:
            head = f"Host: good.example\r\nX-Hosted-Check: limited-{CHECK}\r\nContent-Length: 6"
            client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n\r\nabc".encode())
            if streamed:
                until("the app has the first bytes", lambda: App.first_bytes == [b"abc"])
            client.sendall(b"def")
            assert b" 200 " in client.recv(1000)
        assert b"".join(App.first_bytes) == b"abcdef"
        assert (App.first_bytes == [b"abcdef"]) == (not streamed)


# --- when an app does not answer


def test_an_app_that_is_away_has_a_page(front: Front) -> None:
    status, headers, body = front.get("/some.css", "gone.example", method="POST", body=b"x")
    assert (status, headers["content-type"], headers["retry-after"]) == (502, "text/html", "10")
    assert headers["cache-control"] == "no-store"
    assert b'<html lang="en">' in body
    assert b"<h1>Away for a moment</h1>" in body
    status, headers, body = front.get("/", "gone.example", Accept="application/problem+json")
    assert (status, headers["content-type"], headers["retry-after"]) == (502, "application/json", "10")
    assert json.loads(body)["status"] == 502
    assert front.get("/", "gone.example", Accept="text/html,application/json")[1]["content-type"] == "text/html"
    until("it is in the app's log", lambda: [line for line in front.log("gone") if line["status"] == 502])


def test_an_app_that_takes_too_long_has_a_page(front: Front) -> None:
    App.go_on.clear()
    status, headers, body = front.get("/limited/?wait=1")
    App.go_on.set()
    assert (status, headers["retry-after"]) == (504, "10")
    assert b"<h1>No answer in time</h1>" in body


@pytest.mark.parametrize("status", [404, 413, 429, 500, 502, 503, 504])
def test_an_apps_own_answer_stays_its_own(status: int, front: Front) -> None:
    answer = front.get(f"/?status={status}+Own")
    assert answer[0] == status
    assert "retry-after" not in answer[1]
    assert json.loads(answer[2])["QUERY_STRING"] == f"status={status}+Own"


# --- maintenance


def test_an_app_in_maintenance_says_so_to_strangers(front: Front) -> None:
    with front.maintenance("good"):
        for path, method in (("/", "GET"), ("/deep/er.css", "POST"), ("/static/missing.css", "GET")):
            status, headers, body = front.get(path, source=STRANGER, method=method)
            assert (status, headers["content-type"], headers["retry-after"]) == (503, "text/html", "120")
            assert b"<h1>Closed for maintenance</h1>" in body
        assert json.loads(front.get("/", source=STRANGER, Accept="application/json")[2])["status"] == 503
        assert front.get("/")[0] == 200, "who deploys it passes"
        assert front.get("/static/a.css", source=STRANGER)[0] == 200, "the page's own files"
        assert front.get("/limited/", source=STRANGER)[0] == 200, "another app"
    assert front.get("/", source=STRANGER)[0] == 200


def test_maintenance_has_the_apps_own_page_and_guests(front: Front) -> None:
    page = front.folder / "limited/one/static/later.html"
    with front.maintenance("limited"):
        for path, method in (("/limited/", "GET"), ("/limited/x.css", "POST"), ("/limited/login", "POST")):
            status, headers, body = front.get(path, source=STRANGER, method=method)
            assert (status, headers["content-type"], headers["retry-after"]) == (503, "text/html", "120")
            assert body == page.read_bytes()
            status, headers, body = front.get(path, source=STRANGER, method=method, Accept="application/json")
            assert (status, headers["content-type"], headers["retry-after"]) == (503, "application/json", "120")
            assert json.loads(body)["error"] == "Closed for maintenance"
        for accept in ("*/*", "text/html,application/json;q=0.9"):
            assert front.get("/limited/", source=STRANGER, Accept=accept)[2] == page.read_bytes()
        assert front.get("/limited/", source="192.0.2.2")[0] == 200
        assert front.get("/limited/", source="203.0.113.77")[0] == 200
        page.rename(page.with_name("elsewhere"))
        try:

            def plain() -> bool:
                answers = [front.get("/limited/", source=STRANGER) for _ in range(10)]
                assert {(status, b"root:" in body) for status, _, body in answers} == {(503, False)}
                return all(b"<h1>Closed for maintenance</h1>" in body for _, _, body in answers)

            until("files are asked for anew", plain)
            link_of_the_account(page, "/etc/passwd")
            until("a link is none", plain)
        finally:
            page.unlink(missing_ok=True)
            page.with_name("elsewhere").rename(page)
    assert front.get("/limited/hosted_flask_limited_maintenance")[0] == 404


WRONG = [
    None, "", "-", CHECK, f"-{CHECK}", f"good-{'0' * 32}", f"good-{CHECK.upper()}", f"good-{CHECK}0", f"GOOD-{CHECK}",
    f"goo-{CHECK}", f"limited-{CHECK}", f"secure-{CHECK}", f"none-{CHECK}",
    f"good-../../../limited/run/check-limited-{CHECK}",
]  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.9.9.9", STRANGER])
def test_who_cannot_make_a_file_for_the_app_does_not_pass(name: str | None, address: str, front: Front) -> None:
    """Programs of other accounts come from the host itself."""
    with front.maintenance("good"):
        asked = {} if name is None else {"X_Hosted_Check": name}
        assert front.get("/", source=address, **asked)[0] == 503
        assert front.get("/")[0] == 200


def test_a_check_of_ours_passes_and_nothing_of_it_stays(front: Front) -> None:
    root = front.folder / "good"
    app = completed("good", str(root), domains=["good.example"], health={"path": "/own", "timeout": 9})
    home = Home(app | {"supervisor_socket": "", "front": f"http://127.0.0.1:{front.port}"})
    before = sorted(os.listdir(root / "run"))
    for name, age in (("left", LEFT + 60), ("new", 0)):
        (root / f"run/check-{name}").touch()
        os.utime(root / f"run/check-{name}", (0, time.time() - age))
    (root / f"run/check-good-{CHECK}").touch()
    with front.maintenance("good"):
        assert home.front()[0] == "200"
    assert sorted(os.listdir(root / "run")) == sorted([*before, "check-new"])
    (root / "run/check-new").unlink()
    # What lets it in is not the app's business.
    assert "HTTP_X_HOSTED_CHECK" not in json.loads(front.get("/")[2])


LINKS = ["run/maintenance", f"run/check-linked-{'1' * 32}", "one/etc/file", "one/etc/passwd"]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("there", ["file", "folder", "below_a_folder"])
def test_no_link_of_an_account_tells_what_others_have(link: str, there: str, front: Front) -> None:
    """What visitors get is the same whether what it leads to is there or not."""
    foreign = front.folder / f"foreign-{there}"
    foreign.mkdir(exist_ok=True)
    (foreign / "file").write_text("SECRET")
    (foreign / "file").chmod(0o644)
    target = {"file": foreign / "file", "folder": foreign, "below_a_folder": foreign}[there]
    path = front.folder / "linked" / link
    path.parent.mkdir(exist_ok=True)
    give(path.parent)
    end = "/file" if there == "below_a_folder" else ""

    def seen(leads_to: Path) -> list[Any]:
        link_of_the_account(path, str(leads_to))
        try:
            if link.startswith("one"):
                time.sleep(1.2)  # Of static files, what was looked up is known for a second.
            answers = [front.get("/", "linked.example", source="192.0.2.9", X_Hosted_Check=f"linked-{'1' * 32}")]
            answers += [front.get(f"/etc/{name}{end}", "linked.example") for name in ("file", "passwd")]
            if link.endswith("passwd"):  # The page for maintenance.
                with front.maintenance("linked"):
                    answers.append(front.get("/", "linked.example", source="192.0.2.9"))
        finally:
            path.unlink()
        varies = re.compile(rb'"(REMOTE_PORT|HTTP_X_REQUEST_ID)": "[^"]*"')
        return [(status, sorted(headers), varies.sub(b"", body)) for status, headers, body in answers]

    assert seen(target) == seen(target.with_name("nothing"))


# --- TLS


@pytest.mark.parametrize("name", TLS)
def test_plain_http_leads_to_https(name: str, front: Front) -> None:
    for method in ("GET", "POST"):
        status, headers, _ = front.get("/a/b?c=d%20e", name, method=method)
        assert (status, headers["location"]) == (308, f"https://{name}:{front.tls_port}/a/b?c=d%20e")
    status, _, body = front.get("/.well-known/acme-challenge/token", name)
    assert (status, body) == (200, b"proof")
    assert front.get("/.well-known/acme-challenge/other", name)[0] == 404
    assert json.loads(front.get_tls("/x", name)[2])["HTTP_X_FORWARDED_PROTO"] == "https"


def test_browsers_are_told_to_stay_where_they_can(front: Front) -> None:
    for name, wanted in {"acme.example": True, "own.example": True, "self.example": False}.items():
        for path in ("/", "/static/a.css", "/static/.env", "/?status=404+No"):
            headers = front.get_tls(path, name)[1]
            assert headers.get("strict-transport-security") == ("max-age=63072000" if wanted else None)
    own = front.get_tls("/?Strict-Transport-Security=max-age=0", "own.example")[1]
    assert own["strict-transport-security"] == "max-age=0"


def test_a_placeholder_is_not_insisted_on(front: Front) -> None:
    pending = front.folder / "pending/acme.example"
    pending.touch()
    try:
        until("plain HTTP is served", lambda: {front.get("/", "acme.example")[0] for _ in range(30)} == {200})
        assert front.get("/.well-known/acme-challenge/token", "acme.example")[2] == b"proof"
        assert "strict-transport-security" not in front.get_tls("/", "acme.example")[1]
        assert front.get("/", "own.example")[0] == 308
    finally:
        pending.unlink()
    until("it is insisted on", lambda: {front.get("/", "acme.example")[0] for _ in range(30)} == {308})


@pytest.mark.parametrize("name", ["good.example", "evil.example", None])
def test_a_name_without_a_certificate_gets_none(name: str | None, front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.tls_port), 10) as raw:
        with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            context().wrap_socket(raw, server_hostname=name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_is_offered(version: ssl.TLSVersion, front: Front) -> None:
    client = context()
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", front.tls_port), 10) as raw:
        with client.wrap_socket(raw, server_hostname="own.example") as secured:
            assert secured.selected_alpn_protocol() == "h2"


def test_over_http2_a_name_without_a_certificate_has_no_answer_and_others_on_the_connection_have(front: Front) -> None:
    client = Http2(front.tls_port, "own.example")
    with contextlib.closing(client.connection):
        for stream, name in ((1, "evil.example"), (3, "good.example")):
            assert client.ask(stream, client.block(method="GET", scheme="https", path="/", authority=name)) == b""
        answer = client.ask(5, client.block(method="GET", scheme="https", path="/", authority="own.example"))
        assert b"\x88" in answer[:2], "the status 200 has this number"


def test_nothing_older_than_tls_1_2_is_spoken(front: Front) -> None:
    client = context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", front.tls_port), 10) as raw:
        with pytest.raises(ssl.SSLError):
            client.wrap_socket(raw, server_hostname="own.example")


# --- logs that grow


def test_a_large_log_begins_anew_within_a_day(short: Path) -> None:
    """And a small one once a day, as the package has it."""
    logs, state = short / "logs", short / "state"
    logs.mkdir(mode=0o755)
    for name, size in {"large": 51 << 20, "small": 1000}.items():
        with open(logs / f"{name}.access.log", "wb") as file:
            file.truncate(size)
    text = render("nginx", "logrotate.j2").replace("/var/log/nginx/", f"{logs}/")
    called = short / "called"
    text = text.replace("invoke-rc.d nginx rotate >/dev/null 2>&1", f"touch {called}")
    if os.geteuid():
        text = text.replace("create 0640 www-data adm", "create 0640")
    (short / "rules").write_text(text)
    (short / "rules").chmod(0o644)
    command = [tool("logrotate"), "--state", str(state), str(short / "rules")]
    today = time.strftime("%Y-%-m-%-d-%H:0:0")
    state.write_text("logrotate state -- version 2\n" + "".join(f'"{log}" {today}\n' for log in logs.iterdir()))
    for names in (["large.access.log", "large.access.log.1", "small.access.log"],) * 2:
        subprocess.run(command, check=True, capture_output=True)
        assert sorted(os.listdir(logs)) == names
    assert called.exists()
    assert (logs / "large.access.log").stat().st_size == 0
    state.write_text(f'logrotate state -- version 2\n"{logs}/small.access.log" 2026-1-1-0:0:0\n')
    subprocess.run(command, check=True, capture_output=True)
    assert "small.access.log.1" in os.listdir(logs)


# --- many apps


def test_nginx_takes_many_apps_without_a_word(short: Path) -> None:
    """Of the longest names, each with all that an app may have."""
    name = f"{'n000':a<31}"
    row = {**LIMITED, "static": {"/static": "static", "/app": "front/dist"}}
    app = completed(name, root=str(short / name), **row) | {"never_changing": {"/app": "-"}}
    conf, site = nginx_files(short, [app], nginx_http_port=free_port()), short / "sites/_.site.conf"
    own, server = site.read_text().split("\nserver {")
    owns = [own.replace("n000", f"n{number:03}") for number in range(300)]
    site.write_text("\nserver {".join(["\n".join(owns), server]))
    asked = subprocess.run([tool("nginx"), "-t", "-q", "-c", str(conf)], capture_output=True, text=True)
    assert (asked.returncode, asked.stderr) == (0, "")
