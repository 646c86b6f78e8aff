"""Every parser of text that others wrote, for a moment; tests/fuzz has the same properties at length."""

from __future__ import annotations

import html
import io
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import parsers
import pytest
from ansible_collections.hosted.flask.plugins.module_utils import answers, processes, programs, sockets, venvs
from ansible_collections.hosted.flask.plugins.module_utils.findings import examine
from ansible_collections.hosted.flask.plugins.module_utils.masking import Mask
from ansible_collections.hosted.flask.plugins.plugin_utils import frontends, requirements, source
from hypothesis import HealthCheck, Phase, given, settings
from parsers import PARSERS

# A process for each.
SLOW = {"code_of_a_source": 3}


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_is_written_is_taken_or_refused(name: str) -> None:
    strategy, check = PARSERS[name]
    quiet = settings(
        max_examples=SLOW.get(name, 40), deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    quiet(given(strategy)(check))()


# --- what was found so, each as a plain example


@pytest.mark.parametrize("status", ["²00", "9" * 5000, "20", "2000", "-20"])
def test_a_status_is_three_digits(status: str) -> None:
    with pytest.raises(OSError, match="without an answer"):
        sockets.answered(f"HTTP/1.1 {status} OK\r\n\r\n".encode("latin-1"))


@pytest.mark.parametrize("value", ["<bigdecimal>x</bigdecimal>", f"<int>{'9' * 5000}</int>", "<int>x</int>", "\x01"])
def test_a_supervisord_that_answers_nonsense_is_one_that_does_not_answer(value: str) -> None:
    answer = f"<methodResponse><params><param><value>{value}</value></param></params></methodResponse>".encode()
    with pytest.raises(OSError, match="cannot be read"):
        sockets.UnixTransport("/").parse_response(io.BytesIO(answer))


@pytest.mark.parametrize(
    "said", [b"nonsense\r\n\r\n", b"HTTP/1.0 500 Oh\r\n\r\n", b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 200]
)
def test_a_socket_that_is_no_supervisords_is_told_as_such(said: bytes, short: Path) -> None:
    path = str(short / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def serve() -> None:
            for _ in range(2):  # xmlrpc.client asks a second time where a connection ended early.
                client, _ = server.accept()
                with client:
                    while b"</methodCall>" not in client.recv(65536):
                        pass
                    client.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(OSError, match="cannot be read"):
            sockets.supervisor(path).supervisor.getAllProcessInfo()


@pytest.mark.parametrize("info", [None, 7, {}, [], {"name": "shop", "group": 7}, "text"])
def test_a_program_of_which_supervisord_says_something_else_is_none(info: Any) -> None:
    app = {"name": "shop", "account": "shop", "router": "", "services": [], "supervisor_socket": "/"}
    asked = programs.Programs(app)
    asked.api = SimpleNamespace(
        getProcessInfo=lambda _: info, getAllProcessInfo=lambda: [info], reloadConfig=lambda: info
    )
    assert asked.info("shop") is None
    assert asked.all() == []
    with pytest.raises(programs.Refused):
        asked.reload()
    with pytest.raises(programs.Refused, match="its answer is not supervisord's"):
        asked.remove_all()


def test_a_process_may_have_any_name() -> None:
    """A name that was no UTF-8 ended whoever looked for the children of another process."""
    code = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'\\xff) R 7'); print('named', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"named\n"
            assert processes.parents()[child.pid] == os.getpid()
        finally:
            child.kill()


@pytest.mark.parametrize("record", [b"a,b,\xff\n", b"a,sha,x\n", b"a\0b,sha,1\n", b'"a' + b"x" * 200_000 + b'",b,1\n'])
def test_a_package_whose_record_is_none_is_damaged(record: bytes, tmp_path: Path) -> None:
    file = tmp_path / "lib/python3/site-packages/a-1.dist-info/RECORD"
    file.parent.mkdir(parents=True)
    file.write_bytes(record)
    assert venvs.damaged(tmp_path)


@pytest.mark.parametrize("text", ['"text"', "[]", "7", "[" * 100_000, '{"name": "\xff'])
def test_a_package_json_that_is_none_has_no_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_bytes(text.encode("latin-1"))
    assert frontends.name_of(tmp_path / "package.json") is None


def test_files_that_include_one_another_again_and_again_are_too_many(tmp_path: Path) -> None:
    """Each includes the next one twice: twenty of them would be read a million times, and have no line of their own."""
    (tmp_path / "requirements.txt").write_text("-r 0.txt\n")
    for number in range(18):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n" * 2)
    (tmp_path / "18.txt").write_text("")
    with pytest.raises(ValueError, match="are included"):
        requirements.Requirements.read(tmp_path, "requirements.txt", "gunicorn")


@pytest.mark.parametrize("rule", ["*a*a*b", "x/*a*a*a*b/y", "**/a/**/b/**/c", "***"])
def test_a_rule_that_takes_long_to_match_is_refused(rule: str, tmp_path: Path) -> None:
    """Five stars took minutes for one file with a long name."""
    (tmp_path / ".gitignore").write_text(f"# {'*' * 20}\n*.py[cod]\n**/.*.sw?\n{rule}\n")
    with pytest.raises(ValueError, match="stars"):
        source.collect(tmp_path)


@pytest.mark.parametrize("rule", ["[z-a]x", "/", "a[[:nonesuch:]]"])
def test_a_rule_that_is_none_is_refused_or_matches_nothing(rule: str, tmp_path: Path) -> None:
    """One with a range from the last to the first letter ended with an error of Python's own."""
    (tmp_path / ".gitignore").write_text(rule + "\n")
    try:
        assert source.collect(tmp_path) == [".gitignore"]
    except ValueError as error:
        assert "that git takes" in str(error)  # noqa: PT017


def test_too_many_rules_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("x\n" * 2001)
    with pytest.raises(ValueError, match="2000 lines"):
        source.collect(tmp_path)


def test_a_path_that_commands_a_terminal_is_no_answer() -> None:
    for path in ("/home/\x9b31m", "/home/\u202eshop", "/home/\ud800"):
        with pytest.raises(answers.Untrue):
            answers.taken(path, answers.PATH)


def test_a_secret_beyond_the_first_planes_is_hidden_also_where_python_escapes_it() -> None:
    secret = "00000000000\U00100000"
    assert "U00100000" not in Mask([secret]).text(f"token {secret!r}")


@pytest.mark.parametrize("secret", ["!<D-[^=/55$*J(~F\\", "a<secret>of%4", "a<secret>of&lt", "a<secret>of\\u00"])
def test_a_secret_that_ends_as_an_escape_begins_is_hidden(secret: str) -> None:
    """The text behind it went on with the escape, and what was decoded was no secret any more."""
    for behind in (" x", "1", ";", '"'):
        assert secret not in Mask([secret]).text(f"{secret}{behind}")
        assert html.escape(secret) not in Mask([secret]).text(f"{html.escape(secret)}{behind}")


def test_secrets_that_are_no_list_are_none(tmp_path: Path) -> None:
    """A description that its account changed ended the work without a word on the app."""
    (tmp_path / "releases/x").mkdir(parents=True)
    (tmp_path / "releases/x/release.json").write_text('{"secrets": 7}')
    assert parsers.home(tmp_path).secrets() == set()


def test_a_check_of_the_doctor_that_ends_oddly_is_a_finding() -> None:
    def oddly() -> list[dict[str, str]]:
        raise OverflowError("mktime argument out of range")

    found = examine({"odd": oddly, "next": list})
    assert [finding["check"] for finding in found["findings"]] == ["odd"]
    assert found["checked"] == ["next"]
