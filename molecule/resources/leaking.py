"""Secrets of several shapes, and all ways to write them down: for the tests, and for an app that does it.

As a program it prints those of its environment and fails.
"""

import base64
import html
import json
import os
import random
import shlex
import string
import sys
from operator import eq
from urllib.parse import quote, quote_plus

NAMES = ("DATABASE_URL", "KEY", "SHORT", "ODD", "SECRET_KEY")
# What quoting is for; between them stand ten letters each.
SPECIAL = ["'", '"', "\\", "%", "&", "<", " ", "$", "\n", "é", "\u4e16", "\U0001f600", "/", "+", "@", ":", "`"]
BLOCK = 1 << 18  # characters that are looked at together


def made(seed: int) -> dict[str, str]:
    """Return secrets by their names; those of another seed differ in what is secret of them alone."""
    chance = random.Random(seed)

    def word(size: int) -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits, k=size))

    odd = "".join(f"{word(10)}{char}" for char in SPECIAL) + word(10)
    lines = base64.encodebytes(chance.randbytes(1200)).decode().replace("\n", "")
    key = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return {
        "DATABASE_URL": f"postgres://app:{quote(f'{word(10)}/é@{word(10)}', safe='')}@db.example.org:5432/app",
        "KEY": f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n",
        "SHORT": word(8),
        "ODD": odd,
    }


def encodings(text: str) -> dict[str, str]:
    """Return the ways to write a text."""
    data = text.encode()
    return {
        "plain": text,
        "URL": quote(text, safe=""),
        "form": quote_plus(text),
        "URL twice": quote(quote(text, safe=""), safe=""),
        "JSON": json.dumps(text),
        "JSON as it is": json.dumps({"a": text}, ensure_ascii=False),
        "JSON in JSON": json.dumps(json.dumps(text)),
        "repr": repr(text),
        "repr of bytes": repr(data),
        "base64": base64.b64encode(data).decode(),
        "base64 after 1": base64.b64encode(b"u" + data).decode(),
        "base64 after 2": base64.b64encode(b"u:" + data).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(data).decode(),
        "base64 for URLs after 1": base64.urlsafe_b64encode(b"u" + data).decode(),
        "base64 for URLs after 2": base64.urlsafe_b64encode(b"u:" + data).decode(),
        "base64 in lines": base64.encodebytes(data).decode(),
        "hex": data.hex(),
        "hex in capitals": data.hex().upper(),
        "HTML": html.escape(text),
        "shell": shlex.quote(text),
        "lines": "\n".join(f"line: {line}" for line in text.splitlines()),
    }


def pieces(secrets: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Return pieces of secrets, each in all its ways, and of which secret and way each is.

    :param others: of the same shapes; where these are alike, by what is written around a secret, it is none.
    """
    cut = {}
    for name, secret in secrets.items():
        for (way, text), other in zip(encodings(secret).items(), encodings(others[name]).values(), strict=True):
            size = 16 if way.startswith("hex") else 8
            for at in range(len(text) - size + 1):
                alike = sum(map(eq, text[at : at + size], other[at : at + size]))
                if size - alike >= 5:
                    cut.setdefault(text[at : at + size], f"{name} in {way}")
    return cut


def found(pieces: dict[str, str], text: str) -> dict[str, str]:
    """Return the pieces that stand in a text."""
    there = set()
    for begin in range(0, len(text), BLOCK):
        block = text[begin : begin + BLOCK + 16]
        for size in (8, 16):
            there |= pieces.keys() & {block[at : at + size] for at in range(len(block))}
    return {piece: pieces[piece] for piece in there}


def leak() -> str:
    """Print the secrets of the environment in all ways, and return that."""
    secrets = [os.environ[name] for name in NAMES]
    text = "\n".join(f"{way}: {written}" for secret in secrets for way, written in encodings(secret).items())
    print(text, file=sys.stderr, flush=True)
    # A line that is longer than what is shown of a log: where it is cut stands a secret.
    for secret in secrets:
        print(";".join(list(encodings(secret).values()) * 3).replace("\n", " "), file=sys.stderr, flush=True)
    print((base64.b64encode(os.environ["KEY"].encode()).decode() + ";") * 20, file=sys.stderr, flush=True)
    return text


if __name__ == "__main__":
    leak()
    sys.exit("it leaked and failed")
