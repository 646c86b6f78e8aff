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
import subprocess
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.masking import (
    ENCODED,
    MASKED,
    SHORTEST,
    Mask,
    without_credentials,
)
from support import tool

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


def more_quoted(text: str) -> str:
    """Quote also each second letter, and in lower case."""
    return "".join(
        char if char.isascii() and char.isalnum() and at % 2 else "".join(f"%{byte:02x}" for byte in char.encode())
        for at, char in enumerate(text)
    )


def bash(text: str) -> str:
    """Return what bash makes of a text for itself."""
    return subprocess.run([tool("bash"), "-c", 'printf %q "$1"', "-", text], capture_output=True, text=True).stdout


def inside(before: str) -> Callable[[str], str]:
    """Return base64 of a text that a secret is only a part of."""
    return lambda text: base64.b64encode(f"{before}{text}\0after".encode()).decode()


def wrapped(text: str, width: int = 40, start: str = "") -> str:
    """Break a text into lines, inside of words."""
    return re.sub(rf"(\S{{3}}.{{{width}}}\S)(?=\S)", rf"\1\n{start}", text)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "quote lower": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "quote plus": quote_plus,
    "quote Latin-1": lambda text: quote(text.encode("latin-1", "ignore") if text.isascii() else text.encode()),
    "more quoted": more_quoted,
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
    "bash": bash,
    "shell's '\\''": lambda text: "'" + text.replace("'", "'\\''") + "'",
    "shell's $''": lambda text: "$'" + repr(text)[1:-1].replace("'", "\\'") + "'",
    "supervisord": lambda text: text.replace("%", "%%"),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(
        char if char.isascii() and char.isalnum() else f"&#{ord(char)};" for char in text
    ),
    "HTML in hex": lambda text: "".join(
        char if char.isascii() and char.isalnum() else f"&#x{ord(char):x};" for char in text
    ),
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
AROUND = r"-----BEGIN PRIVATE KEY-----END PRIVATE KEY-----\n" + r"\n-----END PRIVATE KEY"


def core(secret: str, encode: Callable[[str], str]) -> str:
    """Return what of an encoded secret is not around every other one, and in base64 shares no letter with it."""
    whole, other = encode(secret), encode("~" * len(secret.encode()))
    before = len(os.path.commonprefix([whole, other]))
    after = len(os.path.commonprefix([whole[::-1], other[::-1]]))
    return whole[before + 2 : len(whole) - after - 2]


def left(text: str, core: str, size: int = ENCODED) -> str:
    """Return the first piece of ``size`` characters that a text still has, but for what PEM writes around each key."""
    for piece in (core[at : at + size] for at in range(len(core) - size + 1)):
        if piece in text and "".join(piece.split()) not in "".join(AROUND.split()):
            return piece
    return ""


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


def test_the_sweep_is_a_sweep() -> None:
    assert len(ENCODINGS) >= 40
    for secret in SECRETS.values():
        assert len({encode(secret) for encode in ENCODINGS.values()}) >= 20


def test_each_line_of_a_secret_is_hidden() -> None:
    lines = PEM.splitlines()
    shown = Mask([PEM]).value({"stdout_lines": lines, "log": [f"2026-01-01 {line}" for line in lines]})
    assert shown["stdout_lines"] == [lines[0], *[MASKED] * (len(lines) - 2), lines[-1]]
    assert not left(str(shown), "".join(lines[1:-1]))
    mask = Mask(["user: me\nlogin: it's a long passphrase, this\n"])
    assert mask.text(repr(["login: it's a long passphrase, this"])) == f'["{MASKED}"]'
    assert mask.text("user: me") == "user: me", "what everybody writes is left"


@pytest.mark.parametrize(
    ("url", "parts"),
    {
        f"postgres://app:{quote(PASSWORD, '')}@db.example.org/x": [PASSWORD, quote(PASSWORD, ""), json.dumps(PASSWORD)],
        "redis://:only+pass%2Fword@10.0.0.1:6379/0": ["only+pass/word", "only+pass%2Fword", "only%2Bpass%2Fword"],
        "postgres://app:not/quoted@db/x": ["not/quoted", "not%2Fquoted"],
        "https://ghp_0123456789@git.example.org/x.git": [
            "ghp_0123456789",
            "Basic " + base64.b64encode(b"ghp_0123456789:").decode(),
        ],
        "https://me:ghp_0123456789@git.example.org/x.git": [base64.b64encode(b"me:ghp_0123456789").decode()],
        "https://hooks.example.org/a?x=1&access_token=to%2Bken-12": ["to+ken-12", "to%2Bken-12"],
    }.items(),
)  # fmt: skip
def test_the_secret_parts_of_a_url_are_secrets_of_their_own(url: str, parts: list[str]) -> None:
    for part in parts:
        assert MASKED in Mask([url]).text(f"error: '{part}' is refused")
        assert not left(Mask([url]).text(f"error: '{part}' is refused"), part.removeprefix("Basic "))


def test_what_else_is_in_a_url_is_shown() -> None:
    mask = Mask(["postgres://postgres:postgres@localhost/shop", "amqp://guest:dear-dear@queue.example.org/postgres"])
    said = "postgres on localhost and queue.example.org refuses guest of shop"
    assert mask.text(said) == said


def test_what_is_no_secret_stays() -> None:
    texts = [
        "",
        "plain",
        "50% off\\n\\u0041 &amp; more\n  lines\\",
        "a" * 100,
        "=" * 100,
        "0" * 100,
        "-----BEGIN PRIVATE KEY-----",
    ]
    mask = Mask([*SECRETS.values(), "a1" * 20, "-" * 30, "=" * 40])
    for text in texts:
        assert mask.text(text) in (text, *([MASKED] if set(text) == {"="} else [])), text
    assert Mask([]).value({"a": [1, None, True, "x"]}) == {"a": [1, None, True, "x"]}


def test_short_secrets_are_hidden_as_they_are_alone() -> None:
    """The shortest would take words apart, and in base64 a short one is in too many texts."""
    mask = Mask(["abc", "dear", "1234", "p@ss\\n"])
    assert mask.text("abc dear 1234 p@ss\\n") == f"abc {MASKED} {MASKED} {MASKED}"
    for other in (quote("p@ss\\n"), base64.b64encode(b"dear").decode(), b"1234".hex()):
        assert mask.text(other) == other
    assert len("abc") < SHORTEST <= len("dear") < ENCODED


def test_secrets_inside_of_each_other_and_over_each_other_leave_no_rest() -> None:
    mask = Mask(["dear", "dearest-one", "one-and-more", "est-one-an"])
    assert mask.text("x dearest-one-and-more y") == f"x {MASKED} y"
    assert mask.text("dearest") == f"{MASKED}est"


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_text_is_cut_after_its_secrets_are_found(name: str) -> None:
    """Wherever it is cut: what is left of a secret is one."""
    for kind in ("quotes", "PEM", "unicode"):
        mask, whole = Mask([SECRETS[kind]]), ENCODINGS[name](SECRETS[kind])
        for size in {len(whole) // 2, len(whole) * 2 // 3, len(whole) - 1}:
            shown = mask.end("before " * 10_000 + whole + ", after", size + len(", after"))
            assert MASKED in shown
            assert shown.endswith(", after")
            assert "before" not in shown
            assert not left(shown, core(SECRETS[kind], ENCODINGS[name]))
        assert mask.end(f"{whole}, after", len("after")) == "after"
        assert mask.end("all of it", 100) == "all of it"


def test_keys_numbers_and_all_in_lists_are_texts_too() -> None:
    mask = Mask(["first-secret", "other-secret", 12345678, True])
    value = {"first-secret": 1, "other-secret": [{"a": ("x first-secret", 12345678, 5)}], "b": True, "c": None}
    assert mask.value(value) == {MASKED: 1, f"{MASKED}*": [{"a": [f"x {MASKED}", MASKED, 5]}], "b": True, "c": None}


def test_what_python_cannot_encode_is_a_secret_too() -> None:
    for secret in ("caf\udce9-surrogate", "\ud83d-lone-surrogate-\ude00"):
        assert Mask([secret]).text(f"x {secret} y") == f"x {MASKED} y"


HOSTILE = {
    "words": "some words of a log 0123 and more\n",
    "escapes": '\\n\\"%41x &amp;',
    "backslashes": "\\",
    "percents": "%25",
    "blanks": " ",
    "newlines": "\n ",
    "quotes": "'\"'\"",
    "urls": "://a:b",
    "parameters": "?key",
    "starts": "postgres://",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_text_and_not_faster(name: str) -> None:
    """Of 200 secrets in a text of a megabyte, whoever wrote it: well under a second on a free machine."""
    mask = Mask([f"postgres://u:{RANDOM.randbytes(24).hex()}@db/{number}" for number in range(200)])

    def seconds(size: int) -> float:
        text = (HOSTILE[name] * size)[:size]
        before = time.process_time()
        mask.text(text)
        without_credentials(text)
        return time.process_time() - before

    assert seconds(1 << 19) < 8 * seconds(1 << 17) + 2


@pytest.mark.parametrize("secret", ["a" * 5000, "ab1" * 2000, "-" * 300])
def test_a_secret_that_repeats_itself_takes_no_longer(secret: str) -> None:
    before = time.process_time()
    shown = Mask([secret]).text(secret * (1 + (1 << 20) // len(secret)))
    assert time.process_time() - before < 20
    assert secret not in shown


# --- what URLs of anybody say


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "fatal: 'https://me:dear@host/x.git/' is not there": f"fatal: 'https://{MASKED}@host/x.git/' is not there",
        "https://dear@host/x https://u:dear@h": f"https://{MASKED}@host/x https://{MASKED}@h",
        "postgresql+psycopg://u:de/ar@host:5432/x": f"postgresql+psycopg://{MASKED}@host:5432/x",
        "redis://:dear@[::1]:6379/0": f"redis://{MASKED}@[::1]:6379/0",
        "https://u:d@ear@host/": f"https://{MASKED}@host/",
        "GET /a?b=1&access_token=dear&c=2 HTTP": f"GET /a?b=1&access_token={MASKED}&c=2 HTTP",
        "https://h/?X-Amz-Signature=dear#x": f"https://h/?X-Amz-Signature={MASKED}#x",
        "https://h/cb#id_token=dear": f"https://h/cb#id_token={MASKED}",
        "/a?password=dear": f"/a?password={MASKED}",
    }.items(),
)
def test_users_and_tokens_are_taken_out_of_urls(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8443/x@y?a=b",
        "git+https://host/x.git@v1",
        "ssh://git@host/x.git",
        "git@host:x.git",
        "mail me@example.org?",
        "http://[::1]:80/a?page=2&sort=name",
        "http://host:80 and me@example.org",
    ],
)
def test_other_urls_stay(text: str) -> None:
    assert without_credentials(text) == text
