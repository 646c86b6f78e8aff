"""An ACME directory whose every order is one too many, as Let's Encrypt says it: pebble has no limits."""

import base64
import itertools
import json
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = "https://acme.test:14001"
AGAIN = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + 7200))
LIMITED = {
    "type": "urn:ietf:params:acme:error:rateLimited",
    "detail": f"too many certificates (5) already issued for this exact set of identifiers, retry after {AGAIN}",
    "status": 429,
}
numbers = itertools.count()


class Handler(BaseHTTPRequestHandler):
    """RFC 8555 as far as the first order."""

    def answer(self, status, body=None, kind="application/json", **headers):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Replay-Nonce", base64.b64encode(b"nonce%07d" % next(numbers)).decode())
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self):
        self.answer(200)

    def do_GET(self):
        paths = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order", "revokeCert": "r", "keyChange": "k"}
        self.answer(200, {name: f"{HERE}/{path}" for name, path in paths.items()})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/account":
            self.answer(201, {"status": "valid"}, Location=f"{HERE}/account/1")
        else:
            print("asked for an order", flush=True)
            self.answer(429, LIMITED, "application/problem+json")


server = ThreadingHTTPServer(("", 14001), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/pebble/ca.pem", "/etc/pebble/ca.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
