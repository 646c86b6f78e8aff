"""Secrets taken out of what is shown, also where a text holds them quoted, encoded or wrapped.

A text is not searched for all ways to write a secret, which nobody can list: its escapes are decoded, once and again,
and the secret is looked for in what comes out. Only base64 and hex are looked for as they are. All of it takes time
that grows with the text alone, whoever wrote it.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

MASKED = "********"
SHORTEST = 4  # characters of a secret that is taken out of what is shown; less would take words apart
ENCODED = 8  # characters of one that is also looked for where it is encoded
SENTENCE = 16  # characters of a line with blanks that is hidden without the other lines of its secret
WRITTEN = 32  # characters that one of a secret takes at the most where it is encoded, more than once as well
PASSES = 4  # so often is a text decoded: JSON in JSON in an URL in a repr

ESCAPE = re.compile(
    r"""
    %[0-9A-Fa-f]{2} | %%                                                        # URLs, files of supervisord and systemd
    | '(?:"'"|\\')'                                                             # a quote inside of a shell's quotes
    | \\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}                # JSON beyond U+FFFF
    | \\(?:u[0-9A-Fa-f]{4} | U00(?:0[0-9A-Fa-f]|10)[0-9A-Fa-f]{4} | x[0-9A-Fa-f]{2} | [0-7]{1,3} | \r?\n | .)
    | &(?:\#[0-9]{1,7} | \#[xX][0-9A-Fa-f]{1,6} | [A-Za-z]{2,8});
    | \r?\n\s*                                                                  # a wrapped line
    """,
    re.VERBOSE,
)
LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b", "E": "\x1b"}
FOLDED = {upper: upper + 32 for upper in range(ord("A"), ord("F") + 1)}
# What begins an escape at the end of a secret, which the text behind it goes on with.
BEGUN = re.compile(r"(?:\\(?:[uUx][0-9A-Fa-f]{0,7}|[0-7]{0,2})|%[0-9A-Fa-f]?|&\#?\w{0,8}|')\Z")
HEX = re.compile(r"[0-9A-Fa-f]{16,}")
ARMOUR = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")
NAMED = r"[\w.-]{0,40}(?:token|secret|passw|pwd|key|sig|auth|credential)[\w.-]{0,40}"
PARAMETER = re.compile(rf"([?&;#]{NAMED}=)([^&;#\s\"'<>]+)", re.IGNORECASE)
URL = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)")
# What stands before a URL's host; a password may have a slash that nobody quoted, a port may not.
USER = re.compile(
    r"""
    (?<=://)(?!git@|\*+@)
    (?: [^\s/?\#"'<>@:]{0,200} : (?![0-9]*(?:[/?\#\s"'<>]|$)) [^\s"'<>]{0,200} | [^\s/?\#"'<>]{0,200} ) @
    """,
    re.VERBOSE,
)


class Mask:
    """Takes secrets out of texts, and of all texts in a value."""

    def __init__(self, secrets: Iterable[Any]) -> None:
        """Prepare to find these secrets; one of less than ``SHORTEST`` characters is left."""
        known = {str(secret) for secret in secrets}
        known |= {text.strip() for text in known}
        known |= {part for text in known for part in credentials_of(text)}
        self.known = {text for text in known if len(text) >= SHORTEST}
        long = [text for text in self.known if len(text) >= ENCODED]
        self._short = Forms(text for text in self.known if len(text) < ENCODED)
        self._forms = Forms(form for text in long for form in (*forms(text), *in_base64(text)))
        self._hex = Forms(form for text in long for form in in_hex(text))
        # Characters before the end of a text that a secret in it may begin before.
        self.margin = WRITTEN * max(map(len, self.known), default=0) + 256

    def text(self, text: str, begin: int = 0) -> str:
        """Return a text without the secrets.

        :param begin: what stands before is left out, and of a secret that begins there also the rest.
        """
        parts, end = [], begin
        for start, stop in sorted(self._spans(text)):
            if stop <= begin:
                continue
            start = max(start, begin)
            if start >= end:
                if start > end or not parts:
                    parts += [text[end:start], MASKED]
            end = max(end, stop)
        return "".join(parts) + text[end:]

    def end(self, text: str, size: int) -> str:
        """Return the last ``size`` characters of a text without the secrets, also where one begins before them.

        What is cut first and looked at afterwards would show the rest of a secret.
        """
        text = text[-(size + self.margin) :]
        return self.text(text, max(0, len(text) - size))

    def value(self, value: Any) -> Any:
        """Return a value of dicts, lists and texts without the secrets; keys and numbers may be ones too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            found: dict[Any, Any] = {}
            for key, item in value.items():
                name = self.value(key)
                while name != key and name in found:
                    name += "*"
                found[name] = self.value(item)
            return found
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in self.known:
            return MASKED
        return value

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield from where to where a text holds secrets, in no order."""
        yield from self._short.find(text)
        views: list[View] = []
        seen = text
        while True:
            for forms, view in ((self._forms, seen), (self._hex, seen.translate(FOLDED) if self._forms else "")):
                for span in forms.find(view):
                    for earlier in reversed(views):
                        span = earlier.origin(*span)
                    yield span
            if len(views) == PASSES or not self._forms:
                return
            views.append(View(seen))
            if views[-1].text == seen:
                return
            seen = views[-1].text


class Forms:
    """Texts of at least ``SHORTEST`` characters that are looked for all at once."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Index them by how they start, the longest first."""
        starts: dict[str, list[str]] = {}
        for text in sorted(set(texts), key=lambda text: (-len(text), text)):
            starts.setdefault(text[:SHORTEST], []).append(text)
        self._by_start = {start: tuple(found) for start, found in starts.items()}
        self._starts = re.compile(one_of(list(starts)), re.DOTALL)

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._by_start)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield from where to where one stands in a text."""
        at = 0
        while self._by_start and (found := self._starts.search(text, at)):
            at = found.start()
            candidates = self._by_start[found[0]]
            if text.startswith(candidates, at):
                length = len(next(form for form in candidates if text.startswith(form, at)))
                yield at, at + length
                at += max(0, length - 256)  # Another one may start before this one ends.
            at += 1


class View:
    """A text with its escapes decoded, once, and where each character of it comes from."""

    def __init__(self, text: str) -> None:
        """Decode it."""
        parts: list[str] = []
        # Of each escape: where it stands here, and up to where here, and from where to where in the original.
        self._at, self._escapes = [0], [(0, 0, 0)]
        length = end = 0
        for escape in ESCAPE.finditer(text):
            start, stop = escape.span()
            if start > end:
                parts.append(text[end:start])
                length += start - end
            self._at.append(length)
            if char := unescaped(escape[0]):
                parts.append(char)
                length += len(char)
            self._escapes.append((length, start, stop))
            end = stop
        self.text = "".join((*parts, text[end:]))

    def origin(self, start: int, stop: int) -> tuple[int, int]:
        """Return from where to where the original has what is here from ``start`` to ``stop``."""
        return self._of(start)[0], self._of(stop - 1)[1]

    def _of(self, at: int) -> tuple[int, int]:
        """Return from where to where the original has one character."""
        end, start, stop = self._escapes[bisect_right(self._at, at) - 1]
        return (start, stop) if at < end else (stop + at - end, stop + at - end + 1)


@functools.lru_cache(4096)
def unescaped(escape: str) -> str:
    """Return what an escape stands for; of bytes beyond ASCII the one that Latin-1 has there."""
    kind, rest = escape[0], escape[1:]
    if kind == "%":
        return "%" if rest == "%" else chr(int(rest, 16))
    if kind == "'":
        return "'"
    if kind == "&":
        return html.unescape(escape)
    if kind != "\\" or rest[-1] == "\n":
        return ""
    if rest[0] in "uUx" and len(rest) > 1:
        if len(rest) == 11:
            return chr(0x10000 + (int(rest[1:5], 16) - 0xD800) * 0x400 + int(rest[7:], 16) - 0xDC00)
        code = int(rest[1:], 16)
        return chr(code) if code <= 0x10FFFF else escape
    return chr(int(rest, 8)) if rest[0] in "01234567" else LETTERS.get(rest, rest)


def forms(secret: str) -> set[str]:
    """Return what a decoded text may hold where it held a secret: the secret, its lines, and these decoded as well."""
    found: set[str] = set()
    for text in (secret, as_bytes(secret).decode("latin-1")):
        for _ in range(PASSES + 1):
            found |= {text, text.replace(" ", "+"), re.sub(r"\r?\n\s*", "", text), BEGUN.sub("", text)}
            lines = [line.strip() for line in text.splitlines()]
            found |= {line for line in lines if len(line) >= SENTENCE or not re.search(r"\s", line)}
            text = View(text).text
    return {text for text in found if len(text) >= ENCODED and not ARMOUR.fullmatch(text)}


def in_base64(secret: str) -> set[str]:
    """Return a secret in base64: alone, and as a part of a longer text, which it may start in at three places."""
    found = set()
    for text in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quoted(secret)}:
        data = as_bytes(text)
        whole = base64.b64encode(data).decode().rstrip("=")
        inner = [
            base64.b64encode(bytes(before) + data).decode()[lost : (before + len(data)) * 8 // 6]
            for before, lost in ((0, 0), (1, 2), (2, 3))
        ]
        found |= {whole, *inner}
    return found | {text.replace("+", "-").replace("/", "_") for text in found}


def in_hex(secret: str) -> set[str]:
    """Return a secret in lower hex; one that is hex itself may be shown in the other case."""
    data = as_bytes(secret)
    return {data.hex(), data.hex(":"), data.hex(" "), *([secret.lower()] if HEX.fullmatch(secret) else [])}


def quoted(text: str) -> str:
    """Return a text as a part of a URL."""
    return quote(as_bytes(text), safe="")


def as_bytes(text: str) -> bytes:
    """Return a text in UTF-8; what Python made of bytes that are none comes back as it was."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def credentials_of(text: str) -> set[str]:
    """Return the secrets of a text that is a URL: its password, or its user where that is all, and its tokens."""
    found = URL.fullmatch(text)
    if not found:
        return set()
    scheme, authority, rest = found.groups()
    users = {authority.rpartition("@")[0]}
    if "@" not in authority and "@" in rest and ":" in authority:
        users.add(text.partition("://")[2].rpartition("@")[0])  # A password with a slash that nobody quoted.
    secrets, harmless = {value for _, value in PARAMETER.findall(rest)}, {scheme, "git"}
    harmless |= {*re.split(r"[/?#]", rest), *re.split(r"[@:,]", authority.rpartition("@")[2])}
    for user in users:
        name, _, password = user.partition(":")
        secrets.add(password or name)
        harmless |= {name} if password else set()
    secrets |= {unquote(secret) for secret in secrets}
    return {*secrets, *map(quoted, secrets)} - harmless


def without_credentials(text: str) -> str:
    """Return a text in which no URL names a user or a password, and no query has a token."""
    return PARAMETER.sub(rf"\1{MASKED}", USER.sub(f"{MASKED}@", text))


def one_of(words: list[str]) -> str:
    """Return an expression for one of some words of one length, which branches at each letter."""
    if not words or not words[0]:
        return ""
    rest: dict[str, list[str]] = {}
    for word in words:
        rest.setdefault(word[0], []).append(word[1:])
    return "(?:" + "|".join(re.escape(letter) + one_of(more) for letter, more in sorted(rest.items())) + ")"
