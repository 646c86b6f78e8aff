"""What a deploy shows of files."""

import base64
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.files import once, tail
from ansible_collections.hosted.flask.plugins.module_utils.masking import MASKED, Mask


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain\n", "plain"),
        ('{"message": "short"}\n', '{"message": "short"}'),
        ("{not json}\n", "{not json}"),
        ('{"a": 1, "exc_info": "Traceback:\\n  File\\nZeroDivisionError: \\u00fc"}\nnext\n',
         '{"a": 1}\nTraceback:\n  File\nZeroDivisionError: ü\nnext'),
    ],
)  # fmt: skip
def test_the_end_of_a_log_is_for_people(written: str, shown: str, tmp_path: Path) -> None:
    """An app that logs JSON shows its traceback as one that does not."""
    (tmp_path / "log").write_text("earlier\n" + written)
    assert tail(tmp_path / "log", len("earlier\n"), Mask([])) == shown


@pytest.mark.parametrize("before", [17_000, 18_000, 19_000, 19_900])
def test_a_secret_is_hidden_that_the_shown_end_of_a_log_begins_in(before: int, tmp_path: Path) -> None:
    """Of one in many lines as well, whose first lines are not shown."""
    secret = "".join(f"{number:04}" for number in range(501))
    written = base64.encodebytes(secret.encode()).decode()
    (tmp_path / "log").write_text(written + " " * before)
    assert tail(tmp_path / "log", 0, Mask([secret])).strip() == MASKED
    lines = "".join(f"{number}\n" for number in range(30))
    (tmp_path / "log").write_text(written + lines)
    shown = tail(tmp_path / "log", 0, Mask([secret]), 35)
    assert shown == "\n".join([MASKED, *lines.split()])


TRACE = """\
[2026-11-29 03:0{0}:11] ERROR in app: Exception on /status [GET]
Traceback (most recent call last):
  File "wsgi.py", line 12, in status
    connect()
OSError: nobody at port 5432
[pid: 12{0}|app: 0|req: {0}/{0}] 127.0.0.1 () GET /status => generated 265 bytes (HTTP/1.1 500)
"""
OTHER = """\
Traceback (most recent call last):
  File "wsgi.py", line 3, in <module>
ImportError: another
"""


def test_what_an_app_says_again_and_again_is_shown_once() -> None:
    lines = ("starting\n" + TRACE.format(1) + OTHER + TRACE.format(2) + "0\n1\n" + TRACE.format(3)).splitlines()
    shown = once(lines)
    assert [line for line in shown if line.startswith(("OSError", "ImportError"))] == [
        "ImportError: another",
        "OSError: nobody at port 5432",
    ]
    assert shown[:1] == ["starting"]
    assert [line for line in shown if line in ("0", "1")] == ["0", "1"]
    assert [line for line in shown if "03:0" in line] == [
        "[2026-11-29 03:03:11] ERROR in app: Exception on /status [GET]"
    ]
    assert shown[-1] == "(12 lines that say the same are left out)"
    assert once(lines[:7]) == lines[:7]
