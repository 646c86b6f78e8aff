"""Every parser of text that others wrote, with what must hold of it for any text: made up by hypothesis.

``PARSERS`` has a test by the name of each. tests/fast/test_parsers.py runs each for a moment, tests/fuzz at length.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import random
import re
import shlex
import string
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

from ansible_collections.hosted.flask.plugins.callback import visible as callback
from ansible_collections.hosted.flask.plugins.module_utils import (
    answers,
    certificates,
    doctor,
    doctor_app,
    files,
    listen,
    processes,
    programs,
    sockets,
    venvs,
    work,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask, without_credentials
from ansible_collections.hosted.flask.plugins.modules import host_facts, nginx_sites
from ansible_collections.hosted.flask.plugins.plugin_utils import (
    apps,
    bounds,
    credentials,
    frontends,
    git,
    remote,
    requirements,
    source,
)
from ansible_collections.hosted.flask.plugins.plugin_utils import certificates as given
from hypothesis import strategies as st

SECONDS = 2.0  # for one text of some KiB, on a busy machine
# What hypothesis would seldom come to by itself.
ODD = [
    "\x1b[2J", "\x1b]0;x\x07", "\u202e", "\u2066", "\u2028", "\x00", "\r", "\x9b", "\ud800", "\ufeff", "\u00b2",
    "\u0661", "{{ lookup('pipe', 'x') }}", "../", "\n", "\t", "'", '"', "\\", "%", "%00", "&#x1b;", "=", ":", "@", "://",
    "[", "{", "}", "-r ", "\\\n", "=" * 40, "*" * 9, "a" * 300, "9" * 30, "-1", "1e999", "NaN", "null", "\x85",
    " (", ") ",
]  # fmt: skip
RANGES = [(32, 126), (32, 126), (0, 255), (0, 0xFFFF), (0, 0x10FFFF)]
SHAPES = {name: getattr(answers, name) for name in ("APP", "WORK", "DOCTOR", "LOOK", "ENTRY", "STATUS", "EXAMINED")}
INTERNAL = ["add_host", "ansible_facts", "_ansible_no_log", "invocation", "exception", "results", "__ansible_type"]
NUMBERS = [0, -1, 1 << 31, 1 << 63, 1 << 64, 10**400, 0.5, -1e308, math.inf, math.nan]


def drawn(make: Callable[[random.Random], Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for what is made of a number by chance: a tenth of the time of drawing each character."""
    return st.integers(0, (1 << 64) - 1).map(lambda number: make(random.Random(number)))


def text(chance: random.Random) -> str:
    """Return any text, often with what is odd."""
    parts = []
    for _ in range(chance.randrange(8)):
        low, high = chance.choice(RANGES)
        some = "".join(chr(chance.randint(low, high)) for _ in range(chance.randrange(9)))
        parts.append(chance.choice(ODD) if chance.random() < 0.4 else some)
    return "".join(parts)


def whatever(chance: random.Random, levels: int = 3) -> Any:
    """Return any value that JSON has."""
    kind = chance.randrange(8 if levels else 5)
    if kind < 2:
        return text(chance)
    if kind < 5:
        return chance.choice([None, True, False, chance.randint(-100, 100), *NUMBERS])
    inner = [whatever(chance, levels - 1) for _ in range(chance.randrange(4))]
    return inner if kind == 5 else {chance.choice(INTERNAL + [text(chance)] * 6): item for item in inner}


TEXT = drawn(text)
LINE = TEXT.map(lambda said: " ".join(said.splitlines()))
BYTES = st.one_of(st.binary(max_size=200), TEXT.map(lambda said: said.encode(errors="surrogatepass")))
NUMBER = st.one_of(st.integers(), st.floats(), st.sampled_from(NUMBERS))
ANY = drawn(whatever)


def lines(*known: str) -> st.SearchStrategy[str]:
    """Return a strategy for text in whose lines these beginnings and formats come up, with anything in their gaps."""

    def line(chance: random.Random) -> str:
        return " ".join(text(chance).splitlines())

    def word(chance: random.Random) -> str:
        return chance.choice([line(chance), str(chance.randint(-10, 10**12)), "yes", "no", "kB", "0", "shop"])

    def make(chance: random.Random) -> str:
        rows = []
        for _ in range(chance.randrange(9)):
            filled = re.sub("~", lambda _: word(chance), chance.choice(known))
            rows.append(filled if chance.random() < 0.7 else line(chance))
        return "\n".join(rows)

    return drawn(make)


# What fits each pattern of a shape.
FITTING: dict[re.Pattern[str], list[str]] = {
    answers.RELEASE: ["0123456789ab", "v1.0_x-y"],
    answers.DIGEST: ["0" * 64, "f" * 64],
    answers.PATH: ["/", "/home/shop", "/home/with blank/ü", "/" + "a" * 4000],
    answers.FINDING["level"]: ["error", "warning"],
    answers.DOCTOR["addresses"][0]: ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"],
    answers.LOOK["stamp?"]: ["0" * 16, "not all of it is in place"],
    answers.LOOK["known"][str][0]: ["0" * 16, "https"],
    answers.LOOK["pythons"][str]: ["3.11", "3.999"],
}


def fitting(chance: random.Random, shape: Any) -> Any:
    """Return a value that has a shape."""
    if isinstance(shape, tuple):
        return fitting(chance, chance.choice(shape))
    if isinstance(shape, re.Pattern):
        return chance.choice(FITTING[shape])
    if isinstance(shape, list):
        return [fitting(chance, shape[0]) for _ in range(chance.randrange(3))]
    if isinstance(shape, dict) and {str, answers.Line} & shape.keys():
        [inner] = shape.values()
        return {text(chance): fitting(chance, inner) for _ in range(chance.randrange(3))}
    if isinstance(shape, dict):
        names = [name for name in shape if not name.endswith("?") or chance.random() < 0.5]
        return {name.rstrip("?"): fitting(chance, shape[name]) for name in names}
    large = answers.LARGEST - 1
    number = chance.choice([0, 1, -1, large, -large, chance.randint(-large, large)])
    words = text(chance)
    return {None: None, str: words, answers.Line: words, bool: chance.random() < 0.5, int: number, float: number / 2}[
        shape
    ]


def almost(chance: random.Random, shape: Any) -> Any:
    """Return a value that has a shape but for one place, which may be any."""
    value = fitting(chance, shape)
    at: Any = None
    inner = value
    while isinstance(inner, (dict, list)) and inner and (at is None or chance.random() < 0.6):
        at, place = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        inner = inner[place]
    if at is None:
        return whatever(chance)
    if isinstance(at, dict) and chance.random() < 0.4:
        at[chance.choice([*INTERNAL, text(chance)])] = whatever(chance)
    else:
        at[place] = whatever(chance)
    return value


def of(shape: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values that have a shape."""
    return drawn(lambda chance: fitting(chance, shape))


def nearly(shape: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values that have a shape but for one place."""
    return drawn(lambda chance: almost(chance, shape))


def texts(value: Any) -> list[str]:
    """Return all texts in a value, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, (list, tuple, set)) else []


def only_shows(value: Any) -> None:
    """Demand that no text in a value commands a terminal."""
    for text in texts(value):
        assert not answers.UNSEEN.search(text), repr(text)


def findings(found: Any) -> None:
    """Demand findings of the doctor that the control node takes."""
    taken = answers.taken(found, [answers.FINDING])
    assert len(taken) == len(found)
    only_shows(taken)


class Folder:
    """A folder for one case, with one file in it."""

    def __init__(self, name: str, data: bytes | str) -> None:
        """Write the file."""
        self.made = tempfile.TemporaryDirectory()
        self.path = Path(self.made.name)
        self.file = self.path / name
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(data if isinstance(data, bytes) else data.encode(errors="surrogatepass"))

    def __enter__(self) -> Folder:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self.made.cleanup()


def home(folder: Path) -> Home:
    """Return an app in a folder."""
    row = {"name": "shop", "home": str(folder), "root": str(folder), "supervisor_socket": "/nowhere", "router": ""}
    return Home({**row, "services": [], "secrets": {}, "account": "shop", "front": "x", "domains": [], "mount": "/"})


PARSERS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {}


def parser(strategy: st.SearchStrategy[Any]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Put a test into ``PARSERS`` that gets what ``strategy`` makes, and has a deadline."""

    def put(test: Callable[[Any], None]) -> Callable[[Any], None]:
        def timed(value: Any) -> None:
            start = time.perf_counter()
            test(value)
            assert time.perf_counter() - start < SECONDS

        PARSERS[test.__name__] = (strategy, timed)
        return test

    return put


# --- answers: what an account says to root, and a host to the control node


@parser(st.sampled_from(sorted(SHAPES)).flatmap(lambda name: st.tuples(st.just(name), nearly(SHAPES[name]) | ANY)))
def answer(case: tuple[str, Any]) -> None:
    name, value = case
    with suppress(answers.Untrue):
        taken = answers.parsed(json.dumps(value), SHAPES[name])
        only_shows(taken)
        assert answers.taken(taken, SHAPES[name]) == taken
        assert not set(INTERNAL) & set(taken)


@parser(st.sampled_from(sorted(SHAPES)).flatmap(lambda name: st.tuples(st.just(name), of(SHAPES[name]))))
def honest_answer(case: tuple[str, Any]) -> None:
    name, value = case
    data = json.dumps(value)
    taken, told = texts(answers.parsed(data, SHAPES[name])), texts(json.loads(data))
    # Two keys may be one when they are visible.
    assert len(taken) <= len(told)
    if len(taken) == len(told):
        for one, sent in zip(taken, told, strict=True):
            assert one in (answers.visible(sent), answers.line(sent))


@parser(BYTES | TEXT)
def broken_answer(data: bytes | str) -> None:
    for shape in SHAPES.values():
        with suppress(answers.Untrue):
            answers.parsed(data, shape)


@parser(TEXT)
def visible(text: str) -> None:
    shown = answers.visible(text)
    only_shows(shown)
    assert answers.visible(shown) == shown
    assert len(shown) <= 10 * len(text)
    assert shown.count("\n") == text.count("\n")
    if not answers.UNSEEN.search(text):
        assert shown == text


@parser(st.tuples(BYTES | nearly(answers.APP).map(lambda value: json.dumps(value).encode()), st.booleans()))
def work_of_an_account(case: tuple[bytes, bool]) -> None:
    said, status = case
    result = work.taken({"name": "shop", "account": "shop", "secrets": {}}, said, "status" if status else "deploy")
    assert answers.taken(result, answers.APP) == result


@parser(TEXT | nearly(answers.LOOK).map(json.dumps))
def word_of_a_host(said: str) -> None:
    def execute(*_: object, **__: object) -> dict[str, Any]:
        return {"stdout": said, "stderr": said, "rc": 1}

    action = SimpleNamespace(_low_level_execute_command=execute)
    try:
        taken = remote.ask(action, "x", "answers", {}, b"", answers.LOOK, answers.visible)
    except (answers.Untrue, remote.NoAnswer) as error:
        taken = str(error)
        long = len(taken)
    else:
        long = 0
    only_shows(taken)
    assert long < 100_000


@parser(st.dictionaries(st.sampled_from([*bounds.TYPES, *bounds.OURS, "msg"]) | TEXT, ANY, max_size=5))
def answer_of_a_module(data: dict[str, Any]) -> None:
    try:
        bounds.check(data)
    except answers.Untrue as error:
        only_shows(str(error))
    else:
        assert not set(bounds.OURS) & data.keys()
        assert isinstance(data.get("ansible_facts", {}), dict)
        assert all(isinstance(text, str) for text in data.get("warnings") or [])


@parser(st.tuples(TEXT, st.booleans()))
def printed(case: tuple[str, bool]) -> None:
    only_shows(callback.text(*case))
    only_shows(callback.shown([{"before": case[0]}]))


# --- files of an account


@parser(st.lists(BYTES | nearly(answers.ENTRY).map(lambda value: json.dumps(value).encode()), max_size=5))
def history(rows: list[bytes]) -> None:
    with Folder("history.jsonl", b"\n".join(rows)) as folder:
        app = home(folder.path)
        found = app.history()
        assert answers.taken(found, [answers.ENTRY]) == found
        only_shows(found)
        assert app.good() == []


@parser(BYTES | ANY.map(lambda value: json.dumps(value).encode()) | st.fixed_dictionaries({"secrets": ANY}).map(
    lambda value: json.dumps(value).encode()))  # fmt: skip
def description(data: bytes) -> None:
    with Folder("releases/x/release.json", data) as folder:
        (folder.path / "releases/x/.hosted").mkdir()
        (folder.path / "releases/x/.hosted/env").write_bytes(data)
        app = home(folder.path)
        assert isinstance(app.read("x"), dict)
        assert all(isinstance(secret, str) and secret for secret in app.secrets())


@parser(BYTES | lines("SECRET_KEY=~", "export SECRET_KEY=~", "DATABASE_URL=~", "#~").map(
    lambda text: text.encode(errors="surrogatepass")))  # fmt: skip
def settings(data: bytes) -> None:
    with Folder("env", data) as folder:
        app = home(folder.path)
        assert isinstance(app.key(), str)
        found = doctor_app.settings(app.env())
        assert all(isinstance(text, str) for pair in found.items() for text in pair)
        app.keep_key()
        assert app.key()


SCHEMES = st.sampled_from(["postgresql", "redis", "mysql+pymysql", "unix", "amqp", "db+mysql", "x"])


@parser(TEXT | st.tuples(SCHEMES, TEXT).map("://".join))
def address_in_a_setting(value: str) -> None:
    with suppress(ValueError):
        found = doctor_app.addresses(value)
        assert all(isinstance(place, str) for place in found)


@parser(st.lists(BYTES | ANY.map(lambda value: json.dumps(value).encode()), max_size=5))
def log(rows: list[bytes]) -> None:
    with Folder("log", b"\n".join(rows)) as folder:
        shown = files.tail(folder.file, 0, Mask([]), 5)
        assert shown.count("\n") < 5
        assert len(shown) <= 7 * 20000
        assert len(files.last(folder.file, 10)) <= 10
        assert isinstance(files.text_of(folder.file), str)


@parser(lines("2026-11-28 12:00:00,123 WARN exited: shop (~)", "2026-11-28 12:00:00,1 WARN exited: ~ (exit 1; ~)",
              "9999-99-99 99:99:99,1 WARN exited: shop (x)", "0000000000 00000000,1 WARN exited: x (x)"))  # fmt: skip
def log_of_supervisord(text: str) -> None:
    with Folder("x", b"") as folder, suppress(ValueError, OverflowError):
        findings(doctor_app.ends(home(folder.path), text, time.time()))


@parser(BYTES | st.lists(st.tuples(LINE, LINE, LINE).map(",".join), max_size=5).map(
    lambda rows: "\n".join(rows).encode(errors="surrogatepass")))  # fmt: skip
def record_of_a_package(data: bytes) -> None:
    with Folder("lib/python3/site-packages/a-1.dist-info/RECORD", data) as folder:
        assert venvs.damaged(folder.path) in (True, False)
        assert venvs.installed(folder.path) == ["a==1"]


# --- sockets of an account


@parser(BYTES | st.tuples(st.sampled_from(["HTTP/1.1 ", "HTTP/1.1 200", ""]), TEXT).map(
    lambda parts: "".join(parts).encode(errors="surrogatepass")) | st.binary().map(b"HTTP/1.1 ".__add__))  # fmt: skip
def answer_of_an_app(data: bytes) -> None:
    with suppress(OSError):
        status, headers, body = sockets.answered(data)
        assert 100 <= status <= 999
        assert all(isinstance(text, str) for pair in headers.items() for text in pair)
        assert len(body) <= len(data)


TAGS = ["array", "data", "value", "struct", "member", "name", "int", "i8", "string", "boolean", "double", "nil",
        "fault", "params", "param", "methodResponse", "dateTime.iso8601", "base64", "bigdecimal", "ex:nil"]  # fmt: skip
XML = st.recursive(
    TEXT.map(html.escape) | st.sampled_from(["1", "x", "9" * 5000, "20260101T00:00:00"]),
    lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=3)).map(
        lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
    ),
    max_leaves=8,
)
CALLS = st.tuples(st.lists(ANY, min_size=1, max_size=1)).map(lambda args: args[0])


def marshalled(values: list[Any]) -> str:
    """Return values as XML-RPC has them, where it can."""
    try:
        return xmlrpc.client.dumps(tuple(values), methodresponse=True, allow_none=True)
    except (OverflowError, TypeError, AttributeError):
        return "<x/>"


@parser(BYTES | XML.map(lambda text: f"<methodResponse>{text}</methodResponse>".encode(errors="surrogatepass"))
        | XML.map(lambda text: f"<methodResponse><params><param>{text}</param></params></methodResponse>".encode(
            errors="surrogatepass"))
        | CALLS.map(marshalled).map(lambda text: text.encode(errors="surrogatepass")))  # fmt: skip
def answer_of_supervisord(data: bytes) -> None:
    with suppress(OSError, xmlrpc.client.Fault):
        sockets.UnixTransport("/nowhere").parse_response(io.BytesIO(data))


@parser(ANY | st.fixed_dictionaries({key: TEXT if kind is str else NUMBER for key, kind in programs.INFO.items()}))
def program_of_supervisord(value: Any) -> None:
    app = {"name": "shop", "account": "shop", "router": "", "services": [], "supervisor_socket": "/"}
    asked = programs.Programs(app)
    asked.api = SimpleNamespace(getProcessInfo=lambda _: value, getAllProcessInfo=lambda: value,
                                reloadConfig=lambda: value)  # fmt: skip
    info = asked.info("shop")
    assert info is None or info.keys() >= programs.INFO.keys()
    assert isinstance(asked.all(), list)
    assert isinstance(asked.ended("shop"), bool)
    with suppress(programs.Refused):
        assert all(isinstance(names, set) for names in asked.reload())


@parser(BYTES | st.binary().map(lambda data: listen.ACCEPT + data))
def request_at_a_closed_slot(data: bytes) -> None:
    said = listen.answer(data)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert len(said) < 10_000


@parser(st.binary(max_size=300))
def word_of_the_kernel(data: bytes) -> None:
    assert sum(map(len, sockets.attributes(data).values())) <= len(data)


# --- /proc, and what programs of the host say


@parser(st.tuples(st.binary(max_size=16), st.integers(0, 1 << 22)))
def name_of_a_process(case: tuple[bytes, int]) -> None:
    name, pid = case
    assert processes.parent(b"7 (%s) S %d 7 7 0 -1" % (name, pid)) == pid


@parser(st.tuples(st.binary(max_size=16).filter(lambda name: b"\n" not in name), st.integers(0, 1 << 31)))
def name_in_a_status(case: tuple[bytes, int]) -> None:
    name, uid = case
    with Folder("7/status", b"Name:\t%s\nUmask:\t0022\nPPid:\t1\nUid:\t%d\t0\t0\t0\n" % (name, uid)) as folder:
        assert host_facts.status("7", folder.path) == ("1", [uid, 0, 0])


SAID: dict[str, tuple[Callable[[str], Any], st.SearchStrategy[str]]] = {
    "quota": (lambda said: doctor.limited(said, {"shop": "/home/shop"}),
              lines("Disk quotas for user shop (uid ~): ", "  /home  ~  ~  ~  0  ~  ~  ~  0", "/  1*  2 3 0 1 2 3 0")),
    "meminfo": (doctor.available, lines("MemTotal: ~ kB", "MemAvailable: ~ kB", "~: 1 kB")),
    "kernel": (doctor.victims, lines("Killed process 1 (~) total", "Out of memory: Killed process ~ (~)")),
    "units": (doctor.units, lines("~.service loaded failed failed ~")),
    "timedatectl": (doctor.kept, lines("NTP=~", "NTPSynchronized=~", "NTPSynchronized=no")),
}  # fmt: skip


@parser(st.sampled_from(sorted(SAID)).flatmap(lambda name: st.tuples(st.just(name), SAID[name][1])))
def word_of_a_program(case: tuple[str, str]) -> None:
    name, said = case
    with suppress(ValueError, LookupError):  # The doctor says then that it cannot look.
        findings(SAID[name][0](said))


@parser(lines("Inst ~ [1] (2 Debian-Security:12/stable ~)", "Inst libc6 (~ Debian-Security:~)", "Conf ~"))
def word_of_apt(said: str) -> None:
    with suppress(LookupError):
        assert all(isinstance(name, str) for name in doctor.security(said))


@parser(lines("port ~", "listenaddress ~:~", "authorizedkeysfile ~", "Listen=~ (Stream)", "ActiveState=active"))
def word_of_sshd(said: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(port, int) for port in host_facts.ports(said, said, set(), None))
    assert all(isinstance(file, str) for file in host_facts.keys_files(said))


@parser(lines("2026/11/28 12:00:00 [emerg] 1#1: ~ in /etc/nginx/~:1", "~ [warn] ~"))
def word_of_nginx(said: str) -> None:
    assert len(nginx_sites.meaning(said)) <= len(said)


@parser(st.tuples(lines("urn:ietf:params:acme:error:~ :: ~", "An unexpected error occurred: ~ shop.example",
                        "retry after 2026-11-28 12:00:00 UTC ~", "retry after 9999-99-99T99:99:99 ~"),
                  st.just(["shop.example", "a.b"])))  # fmt: skip
def word_of_acme(case: tuple[str, list[str]]) -> None:
    found = certificates.reason(*case)
    assert found.keys() <= {"", *case[1]}
    with suppress(ValueError):
        moment = certificates.moment(case[0])
        assert moment is None or math.isfinite(moment)


# --- sources, on the control node


@parser(lines("-r ~", "-r requirements.txt", "--requirement=../~", "flask==~", "-e ~", "~ @ file:///~", "--hash=~ \\",
              "${~}", "--index-url ~", "-c\\", "#~"))  # fmt: skip
def requirements_of_a_source(text: str) -> None:
    with Folder("requirements.txt", text) as folder, suppress(ValueError):
        found = requirements.Requirements.read(folder.path, "requirements.txt", "gunicorn")
        assert len(found.text) <= len(text) + 1
        assert not re.search(r"(?im)^\s*(-e|-r|-c)\b|file:", found.text)
        assert all(re.fullmatch(r"[a-z0-9._-]+", name) for name in requirements.packages(found.text))


@parser(lines("*~", "!~", "~/", "/~/**", "[~", "\\~", "#~", "**/~", "*.*.~"))
def ignore_file(text: str) -> None:
    with Folder(".gitignore", text) as folder, suppress(ValueError):
        (folder.path / ("a" * 200)).touch()
        assert set(source.collect(folder.path, left=[])) <= {".gitignore", "a" * 200}


@parser(
    st.tuples(BYTES | lines("ref: refs/heads/~", "ref: ~", "a" * 40), BYTES | lines("~ refs/heads/x", "b" * 40 + " ~"))
)
def repository_of_a_source(case: tuple[Any, Any]) -> None:
    with Folder(".git/HEAD", case[0]) as folder, Folder("x", case[1]) as packed:
        (folder.path / ".git/packed-refs").write_bytes(packed.file.read_bytes())
        assert re.fullmatch("([0-9a-f]{40}([0-9a-f]{24})?)?", git.head_of(folder.path))


@parser(BYTES | ANY.map(lambda value: json.dumps(value).encode()))
def package_of_a_front_end(data: bytes) -> None:
    with Folder("package.json", data) as folder:
        frontends.name_of(folder.file)


@parser(TEXT | st.tuples(st.sampled_from(["https://", "http://u:p@", "https://~:~@host/"]), TEXT).map("".join))
def url_of_a_source(url: str) -> None:
    shown = credentials.shown(url)
    assert isinstance(shown, str)
    without_credentials(url)
    with suppress(ValueError):
        bare, env = credentials.environment_for(url)
        assert all(isinstance(text, str) for pair in env.items() for text in pair)
        if env:
            assert "@" not in bare.partition("://")[2].split("/")[0].split("?")[0].split("#")[0]


@parser(st.text("[]()+-*/%=,.:'\"\\ \nabx1", max_size=200) | TEXT)
def code_of_a_source(text: str) -> None:
    with Folder("wsgi.py", text) as folder:
        assert all(isinstance(name, str) for name in apps.top_level_names(folder.path, folder.file))


BEGIN, END = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"


@parser(st.tuples(TEXT | st.binary(max_size=200).map(lambda data: BEGIN + base64.b64encode(data).decode() + END), TEXT))
def certificate(case: tuple[str, str]) -> None:
    problems = apps.Problems("x")
    text = case[0].encode(errors="replace").decode()
    given.check("shop.example", {"certificate": text, "key": text}, "x", problems)
    assert problems.found


# --- secrets in what is shown


def encodings(secret: str) -> dict[str, str]:
    """Return a secret as it may stand in what is shown: name to text."""
    data = secret.encode()
    found = {
        "plain": secret,
        "URL": quote(secret, safe=""),
        "form": quote_plus(secret),
        "URL twice": quote(quote(secret, safe=""), safe=""),
        "JSON": json.dumps(secret)[1:-1],
        "JSON in UTF-8": json.dumps(secret, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(secret))[3:-3],
        "repr": repr(secret)[1:-1],
        "bytes": repr(data)[2:-1],
        "HTML": html.escape(secret),
        "shell": shlex.quote(secret),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
    }
    for before in range(3):
        for name, encode in (("base64", base64.b64encode), ("base64 of URLs", base64.urlsafe_b64encode)):
            whole = encode(b"x" * before + data).decode().rstrip("=")
            # What only the secret has a part in.
            found[f"{name} from {before}"] = whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
    return found


WORDS = string.ascii_letters + string.digits
SECRET = st.one_of(
    st.text(WORDS + string.punctuation, min_size=12, max_size=40),
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z", "Mn"]), min_size=12, max_size=30),
)  # fmt: skip


@parser(st.tuples(SECRET, st.text(WORDS + " =:,/\n", max_size=20), st.text(WORDS + " =:,/\n", max_size=20)))
def masked(case: tuple[str, str, str]) -> None:
    secret, before, after = case
    mask = Mask([secret])
    for name, encoded in encodings(secret).items():
        if len(encoded) >= 8:
            shown = mask.text(f"{before} {encoded} {after}")
            assert encoded not in shown, f"{name}: {encoded!r} in {shown!r}"
            if name == "plain" and secret not in before + after:
                assert mask.value({"a": [encoded]}) != {"a": [encoded]}


@parser(st.binary(min_size=150, max_size=300))
def masked_key(data: bytes) -> None:
    body = base64.encodebytes(data).decode().strip()
    key = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    mask = Mask([key])
    parts = [*body.splitlines()[:-1], json.dumps(key), repr(key), quote(key), "\n  ".join(body.splitlines())]
    for part in parts:
        shown = mask.text(f"a {part} b")
        assert not [line for line in body.splitlines()[:-1] if line in shown], part


@parser(st.tuples(st.lists(TEXT, max_size=3), TEXT | ANY.map(json.dumps)))
def masked_text(case: tuple[list[str], str]) -> None:
    secrets, text = case
    mask = Mask(secrets)
    shown = mask.text(text)
    assert len(shown) <= len(text) * 4 + 16
    for secret in secrets:
        if len(secret.strip()) >= 4 and "*" not in secret:
            assert secret not in shown


@parser(ANY)
def masked_value(value: Any) -> None:
    shown = Mask(["a-secret-of-mine"]).value(value)
    assert type(shown) in (type(value), list, str)
