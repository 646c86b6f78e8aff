"""What one side takes from another that it does not believe."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import answers
from ansible_collections.hosted.flask.plugins.module_utils.answers import Untrue, parsed, taken, visible

SHAPE = {
    "name": str,
    "live": bool,
    "count": int,
    "seconds?": float,
    "release?": (None, re.compile("[0-9a-f]+")),
    "lines?": [str],
    "by_name?": {str: {"x": int}},
}
GOOD = {"name": "a", "live": True, "count": 3}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"seconds": 1},
        {"seconds": 1.5},
        {"release": None},
        {"release": "0af"},
        {"lines": ["a", "b"]},
        {"by_name": {"whatever": {"x": 1}}},
    ],
    ids=json.dumps,
)
def test_what_was_asked_for_is_taken(more: dict[str, Any]) -> None:
    assert parsed(json.dumps({**GOOD, **more}), SHAPE) == {**GOOD, **more}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"add_host": {"host_name": "x"}}, "the whole has 'add_host', which nobody asked for"),
        ({"_ansible_parsed": True}, "'_ansible_parsed', which nobody asked for"),
        ({"ansible_facts": {}}, "'ansible_facts', which nobody asked for"),
        ({"name": 7}, "name is 7, and no text"),
        ({"name": None}, "name is None, and no text"),
        ({"live": 1}, "live is 1, and no boolean"),
        ({"live": "yes"}, "live is 'yes', and no boolean"),
        ({"count": True}, "count is True, and no whole number"),
        ({"count": 1.5}, "count is 1.5, and no whole number"),
        ({"count": 1 << 70}, "and no whole number"),
        ({"count": []}, "count is a list, and no whole number"),
        ({"seconds": "1"}, "seconds is '1', and no number"),
        ({"release": "../x"}, "release is '../x', and no text like [0-9a-f]+"),
        ({"lines": {"0": "a"}}, "lines is a dict, and no list"),
        ({"lines": ["a", ["b"]]}, "lines[1] is a list, and no text"),
        ({"by_name": {"a": {"x": 1, "y": 2}}}, "by_name.a has 'y', which nobody asked for"),
        ({"by_name": {"a": {}}}, "by_name.a lacks 'x'"),
        ({"\x1b[2J": 1}, r"the whole has '\\x1b[2J'"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_anything_else_is_not(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Untrue) as refused:
        parsed(json.dumps({**GOOD, **changed}), SHAPE)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nothing",
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"name": "a", "live": true, "count": NaN}',
        '{"name": "a", "live": true, "count": -Infinity}',
        '{"name": "a", "live": true, "count": ' + "9" * 5000 + "}",
        b'{"name": "\xff\xfe", "live": true, "count": 1}',
    ],
    ids=lambda text: str(text[:20]),
)
def test_what_is_no_json_of_ours_is_refused_with_a_short_word(text: str | bytes) -> None:
    with pytest.raises(Untrue) as refused:
        parsed(text, SHAPE)
    assert len(str(refused.value)) < 400


COMMANDS = {
    "clear": "\x1b[2J",
    "title": "\x1b]0;x\x07",
    "clipboard": "\x1b]52;c;aGk=\x07",
    "c1": "\x9b2J",
    "back": "a\x08b",
    "return": "root: ok\rfake",
    "nul": "\0",
    "bidi": "\u202etxt.exe",
    "isolate": "\u2066x\u2069",
    "mark": "\u200f",
    "line": "a\u2028b",
    "half": "\ud800",
    "tag": "\U000e0041",
    "delete": "\x7f",
}


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_what_commands_a_terminal_is_seen_instead(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert "\\" in shown
    assert visible(shown) == shown
    assert taken({"a": [text]}, {"a": [str]}) == {"a": [shown]}
    assert taken({text: 1}, {str: int}) == {shown: 1}


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "Grüße, 日本語 👩‍👩‍👧", "a\\x1bb", ""])
def test_all_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_no_shape_has_a_key_that_ansible_takes_for_a_command() -> None:
    """Whatever a host says: what the strategy and the executor look for in a result is in no answer."""
    from ansible import constants

    forbidden = {*constants.INTERNAL_RESULT_KEYS, "ansible_facts", "invocation", "results", "unreachable", "exception"}

    def keys(shape: Any) -> set[str]:
        if isinstance(shape, dict):
            own = {name.rstrip("?") for name in shape if isinstance(name, str)}
            return own.union(*map(keys, shape.values()))
        return set().union(*map(keys, shape)) if isinstance(shape, (list, tuple)) else set()

    for shape in (answers.WORK, answers.DOCTOR, answers.LOOK, answers.APP):
        found = keys(shape)
        assert found
        assert not found & forbidden
        assert not [name for name in found if name.startswith(("_ansible", "__ansible"))]
