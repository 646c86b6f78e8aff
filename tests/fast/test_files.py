"""What a deploy shows of files."""

import base64
from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.files import tail
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
