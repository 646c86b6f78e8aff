"""What a deploy shows of files."""

from pathlib import Path

import pytest
from ansible_collections.hosted.flask.plugins.module_utils.files import tail


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
    assert tail(tmp_path / "log", len("earlier\n")) == shown
