"""An app that tells what it sees of a request, and does as the query says."""

import json
import time
from pathlib import Path
from urllib.parse import parse_qsl

FIRST = Path(__file__).parent / "instance/first"


def app(environ, respond):
    """Answer with the environment, ``wait`` seconds later, with ``size`` more bytes, having read 3 ``first``."""
    asked = dict(parse_qsl(environ["QUERY_STRING"]))
    if "first" in asked:
        FIRST.write_bytes(environ["wsgi.input"].read(3))
    environ["wsgi.input"].read()
    time.sleep(float(asked.get("wait", 0)))
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    respond(asked.get("status", "200 OK"), [("Content-Type", asked.get("type", "application/json"))])
    return [json.dumps(seen).encode() + b" " * int(asked.get("size", 0))]
