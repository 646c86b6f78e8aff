"""What one side takes from another that it does not believe: known keys, known types, and text that only shows.

Root on a host takes so what a process with an account's rights answers, and the control node what a host answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# Bytes of one answer about one app, as it comes and as it is handed on; a process that says more is ended.
LIMIT = 4 << 20
# What a host says besides of each: its message once more, and of itself.
BESIDES = 1 << 20
# Characters of one app's message, and of all that a host's message has; the callback prints 1 << 17.
MESSAGE, MESSAGES = 1 << 16, 120_000
# What a terminal takes for a command, and what shows text in another order than it is: controls but newline and tab,
# marks of direction, separators of lines, halves of characters, tags, and what has no width (but joiners, which words
# are written with).
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
LARGEST = 1 << 63
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")  # of an app, an account, a service
RELEASE = re.compile(r"[0-9A-Za-z._-]{1,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")
PATH = re.compile(r"/[^\x00-\x1f\x7f]{0,4000}")


class Line(str):
    """Shape of a text that stands in a row, or in a message of one line: whatever it says, it makes no line."""


# Shapes: a type, or Line; a pattern for a whole text; [shape] for a list; {name: shape} for a dict with these keys,
# those that end with ? may be missing; {str: shape} or {Line: shape} for one with any keys; a tuple for one of several,
# None among them.

DIFF = [{"before_header": str, "after_header": str, "before": str, "after": str}]
# A line of history.jsonl.
ENTRY = {
    "time": Line, "who": Line, "action": Line, "release": Line, "commit": Line, "seconds": float, "result": Line,
    "shown?": float, "left?": Line,
}  # fmt: skip
STATUS = {
    "app": Line,
    "release": (None, RELEASE),
    "health": Line,
    "front?": Line,
    "maintenance?": bool,
    "since?": (None, Line),
    "by?": (None, Line),
    "commit?": Line,
    "programs?": {Line: Line},
    "processes?": int,
    "memory?": int,
    "history?": [ENTRY],
}
FINDING = {"level": re.compile("error|warning"), "check": Line, "what": Line, "do": Line}
EXAMINED = {"findings": [FINDING], "checked": [Line], "skipped": {Line: Line}}
# What became of one app.
APP = {
    "changed": bool,
    "failed?": bool,
    "msg?": str,
    "actions?": [Line],
    "diff?": DIFF,
    "warnings?": [str],
    "missing?": [DIGEST],
    "release?": (None, RELEASE),
    "kept?": PATH,
    "status?": STATUS,
    "examined?": EXAMINED,
}
# What a host says of all of them.
WORK = {
    "apps": {Line: {key: shape for key, shape in APP.items() if key not in ("diff?", "warnings?")}},
    "changed": bool,
    "warnings": [str],
    "diff": DIFF,
    "failed?": bool,
    "msg?": str,
}
DOCTOR = {
    "host": EXAMINED,
    "apps": {Line: EXAMINED},
    "time": float,
    "addresses": [re.compile(r"[0-9A-Fa-f:.]{2,45}(%\w{1,16})?")],
}
# What is seen of a host before anything is done there.
LISTENER = {"pid": int, "uid": int, "program": Line, "ours": bool}
LOOK = {
    "python": PATH,
    "uid": int,
    "os": Line,
    "systemd": bool,
    "stamp?": re.compile("[ -~]{1,200}"),
    "known": {str: [re.compile("[ -~]{1,100}")]},
    "ended": bool,
    "supervisord": bool,
    "accounts": {str: {"uid": int, "home": PATH, "ours": bool}},
    "pythons": {str: re.compile(r"\d{1,3}\.\d{1,3}")},
    "owned": {str: Line},
    "ports": {str: [LISTENER]},
}


class Untrue(ValueError):
    """An answer is not what was asked for; the text says where and how."""


def visible(text: str) -> str:
    r"""Return a text in which what would command a terminal is seen instead, as ``\x1b``."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """Return a visible text as one line, with one space where there was white space."""
    return " ".join(visible(text).split())


def parsed(data: bytes | str, shape: Any, show: Callable[[str], str] = visible) -> Any:
    """Return what a text in JSON holds, if it has a shape; see :func:`taken`.

    :raises Untrue: it has not, or is no JSON.
    """
    try:
        value = json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Untrue(f"it is no JSON ({type(error).__name__}: {visible(str(error))[:200]})") from None
    return taken(value, shape, show)


def contents_of(app: dict[str, Any]) -> set[str]:
    """Return the sha256 of each file that a release of an app has."""
    return {digest for _, _, digest in app.get("manifest", ())}


def see(result: dict[str, Any], app: dict[str, Any], needed: str = "") -> None:
    """See that the result of an app, whose keys and types are right, says what there is to say.

    :param needed: the key that it has, unless the app failed.
    :raises Untrue: it does not.
    """
    key = "msg" if result.get("failed") else needed
    if key and key not in result:
        raise Untrue(f"the whole lacks {key!r}")
    if unknown := set(result.get("missing", ())) - contents_of(app):
        raise Untrue(f"missing has {min(unknown)[:12]}..., which no file of the app is")


def summed(apps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the results of apps come to: ``changed``, and with one that failed ``failed`` and ``msg``."""
    failed = {name: result["msg"] for name, result in apps.items() if result.get("failed")}
    found: dict[str, Any] = {"changed": any(result["changed"] for result in apps.values())}
    if failed:
        # A long one leaves room for the others.
        size = MESSAGES // len(failed)
        found |= {"failed": True, "msg": "\n\n".join(cut(name, said, size) for name, said in failed.items())}
    return found


def cut(name: str, text: str, size: int) -> str:
    """Return a message that is about an app: of one that is longer than ``size`` only its end."""
    return text if len(text) <= size else f"app {name}: ... {text[-size:]}"


def refuse_constant(name: str) -> None:
    """Refuse what Python takes for a number and JSON does not have."""
    raise ValueError(f"{name} is no number")


def taken(value: Any, shape: Any, show: Callable[[str], str] = visible, at: str = "") -> Any:
    """Return a value that has a shape, all text in it visible.

    :param show: makes text visible.
    :param at: where in the answer it is, for the message.
    :raises Untrue: it has another.
    """
    if isinstance(shape, tuple):
        for one in shape:
            if (one is None and value is None) or (one is not None and fits(value, one)):
                return None if one is None else taken(value, one, show, at)
    elif isinstance(shape, re.Pattern):
        # No pattern lists all that a terminal takes for a command.
        if isinstance(value, str) and shape.fullmatch(value) and not UNSEEN.search(value):
            return value
    elif isinstance(shape, list):
        if isinstance(value, list):
            return [taken(item, shape[0], show, f"{at}[{place}]") for place, item in enumerate(value)]
    elif isinstance(shape, dict):
        if isinstance(value, dict):
            return taken_dict(value, shape, show, at)
    elif fits(value, shape):
        return show(value) if shape is str else line(show(value)) if shape is Line else value
    raise Untrue(f"{at or 'the whole'} is {described(value)}, and no {named(shape)}")


def taken_dict(value: dict[Any, Any], shape: dict[Any, Any], show: Callable[[str], str], at: str) -> dict[str, Any]:
    """Return a dict that has a shape; see :func:`taken`."""
    if len(shape) == 1 and (key := next(iter(shape))) in (str, Line):
        names = {name: line(name) if key is Line else visible(name) for name in value}
        return {
            names[name]: taken(item, shape[key], show, f"{at}.{names[name][:80]}".lstrip("."))
            for name, item in value.items()
        }
    known = {name.rstrip("?"): one for name, one in shape.items()}
    if unknown := sorted(value.keys() - known.keys()):
        raise Untrue(f"{at or 'the whole'} has {visible(unknown[0])[:80]!r}, which nobody asked for")
    if missing := sorted(name for name in shape if not name.endswith("?") and name not in value):
        raise Untrue(f"{at or 'the whole'} lacks {missing[0]!r}")
    return {name: taken(item, known[name], show, f"{at}.{name}".lstrip(".")) for name, item in value.items()}


def fits(value: Any, shape: Any) -> bool:
    """Whether a value is of a shape's own type; what is in it is not looked at."""
    if isinstance(shape, re.Pattern):
        return isinstance(value, str)
    if isinstance(shape, (list, dict)):
        return isinstance(value, type(shape))
    if shape is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST < value < LARGEST
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and -LARGEST < value < LARGEST
    return isinstance(value, str if shape is Line else shape)


def described(value: Any) -> str:
    """Return a few words on a value, none of them its own but of a short text or number."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        try:
            return visible(repr(value[:80] if isinstance(value, str) else value)[:80])
        except ValueError:  # A number of too many digits for Python itself.
            return "a very large number"
    return f"a {type(value).__name__}"


def named(shape: Any) -> str:
    """Return what a shape is called."""
    if isinstance(shape, tuple):
        return " or ".join("null" if one is None else named(one) for one in shape)
    if isinstance(shape, re.Pattern):
        return f"text like {shape.pattern}"
    if isinstance(shape, (list, dict)):
        return type(shape).__name__
    return {str: "text", Line: "text", bool: "boolean", int: "whole number", float: "number"}[shape]
