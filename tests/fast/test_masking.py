"""Secrets in what is shown: each kind of secret, in each way that programs write it, at each place."""

from __future__ import annotations

import base64
import codecs
import html
import json
import os
import random
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.masking import (
    ENCODED,
    MASKED,
    Mask,
)

RANDOM = random.Random(12)


def key(size: int) -> str:
    """Return what a PEM file of a key of so many bytes looks like."""
    lines = base64.encodebytes(RANDOM.randbytes(size)).decode().replace("\n", "")
    wrapped = [lines[at : at + 64] for at in range(0, len(lines), 64)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *wrapped, "-----END PRIVATE KEY-----", ""])


PEM = key(1200)
PASSWORD = "p@ss/w:rd é%41&x=1"
SECRETS = {
    "word": "correct-horse-battery",
    "eight": "hunter22",
    "random": base64.b64encode(RANDOM.randbytes(48)).decode(),
    "url safe": base64.urlsafe_b64encode(RANDOM.randbytes(33)).decode(),
    "hex": RANDOM.randbytes(32).hex(),
    "quotes": """it's a "quoted" \\ 'thing' `$(x)`""",
    "escapes": r"50%25 off\n \x41 %41 &amp; \\ end",
    "braces": "{{ not }} <a href='/x?y=1&z=2'> a+b = c",
    "unicode": "pässwörd-\u4e16\u754c-\U0001f600-ÿ",
    "lines": "first line of it\n\tsecond 'line'\n\nthe third one\n",
    "PEM": PEM,
    "URL": f"postgres://app:{quote(PASSWORD, '')}@db.example.org:5432/app?sslmode=require",
    "JSON": json.dumps({"type": "service_account", "private_key": PEM}),
}


def some_quoted(text: str) -> str:
    """Quote each second character, in lower case, as nobody does."""
    return "".join(
        "".join(f"%{byte:02x}" for byte in char.encode()) if at % 2 or char in "%+" else char
        for at, char in enumerate(text)
    )


def inside(before: str) -> Callable[[str], str]:
    """Return base64 of a text that a secret is only a part of."""
    return lambda text: base64.b64encode(f"{before}{text}\0after".encode()).decode()


def wrapped(text: str, width: int = 40, start: str = "") -> str:
    """Break a text into lines."""
    return f"\n{start}".join(text[at : at + width] for at in range(0, len(text), width))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "quote lower": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "quote plus": quote_plus,
    "quote Latin-1": lambda text: quote(text.encode("latin-1", "ignore") if text.isascii() else text.encode()),
    "some quoted": some_quoted,
    "quote twice": lambda text: quote(quote(text, safe=""), safe=""),
    "query": lambda text: urlencode({"a": text, "b": "1"}),
    "JSON": json.dumps,
    "JSON as it is": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON of Go": lambda text: re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text)),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": [text]})),
    "JSON in a repr of a URL": lambda text: repr(quote(json.dumps(text))),
    "repr": repr,
    "repr of a list": lambda text: repr([text, "it's"]),
    "repr of bytes": lambda text: repr(text.encode()),
    "ascii": ascii,
    "unicode_escape": lambda text: codecs.encode(text, "unicode_escape").decode(),
    "octal": lambda text: "".join(
        chr(byte) if 32 < byte < 127 and byte != 92 else f"\\{byte:03o}" for byte in text.encode()
    ),
    "shell": shlex.quote,
    "shell in JSON": lambda text: json.dumps(shlex.quote(text)),
    "shell with backslashes": lambda text: re.sub(r"([^\w\n])", r"\\\1", text),
    "shell's '\\''": lambda text: "'" + text.replace("'", "'\\''") + "'",
    "shell's $''": lambda text: "$'" + repr(text)[1:-1].replace("'", "\\'") + "'",
    "supervisord": lambda text: text.replace("%", "%%"),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(char if char.isalnum() else f"&#{ord(char)};" for char in text),
    "HTML in hex": lambda text: "".join(char if char.isalnum() else f"&#x{ord(char):x};" for char in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 unpadded": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 of 1": inside("u"),
    "base64 of 2": inside("u:"),
    "base64 of 3": inside("me:"),
    "base64 of JSON": lambda text: base64.b64encode(json.dumps({"ab": text}).encode()).decode(),
    "base64 quoted": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 in a repr": lambda text: repr(base64.encodebytes(text.encode())),
    "hex": lambda text: text.encode().hex(),
    "hex upper": lambda text: text.encode().hex().upper(),
    "hex mixed": lambda text: "".join(map(str.upper, text.encode().hex()[::2])) and text.encode().hex().title(),
    "hex with colons": lambda text: text.encode().hex(":").upper(),
    "hex with blanks": lambda text: text.encode().hex(" "),
    "wrapped": wrapped,
    "wrapped and indented": lambda text: wrapped(text, 25, "    "),
    "UTF-8 taken for Latin-1": lambda text: text.encode().decode("latin-1"),
}
PLACES = ["{}", "a {} b", "GET /x?a={}&b=1 HTTP/1.1", "TOKEN='{}'\n", "before\n{}\nafter\n", "abc {}, {} xyz"]
AROUND = "-----BEGIN PRIVATE KEY-----END PRIVATE KEY----- " * 2


def core(secret: str, encode: Callable[[str], str]) -> str:
    """Return what of an encoded secret is not around every other one, and in base64 shares no letter with it."""
    whole, other = encode(secret), encode("~" * len(secret.encode()))
    before = len(os.path.commonprefix([whole, other]))
    after = len(os.path.commonprefix([whole[::-1], other[::-1]]))
    return whole[before + 2 : len(whole) - after - 2]


def left(text: str, core: str, size: int = ENCODED) -> str:
    """Return the first piece of ``size`` characters that a text still has, but for what PEM writes around each key."""
    pieces = (core[at : at + size] for at in range(len(core) - size + 1))
    return next((piece for piece in pieces if piece in text and piece not in AROUND), "")


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("kind", SECRETS)
def test_no_encoding_of_a_secret_is_left_anywhere(kind: str, name: str) -> None:
    secret, encode = SECRETS[kind], ENCODINGS[name]
    mask, hidden = Mask([secret, "another-one"]), core(secret, encode)
    for place in PLACES:
        shown = mask.text(place.replace("{}", encode(secret)))
        assert MASKED in shown
        assert not left(shown, hidden), shown
        for text in filter(None, place.split("{}")):
            assert text in shown, "what is around it is as it was"
