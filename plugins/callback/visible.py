"""Ansible's own output, in which what hosts say only shows, and bounds for what they say."""

from __future__ import annotations

DOCUMENTATION = r"""
name: visible
type: stdout
short_description: Ansible's own output, in which nothing that a host says commands a terminal
description:
  - Prints what P(ansible.builtin.default#callback) prints. Control characters, marks of direction and broken characters
    in it become visible (C(\x1b)), and of a very long message the middle is left out.
  - Bounds what is taken from hosts at all. A command on a host that is reached by ssh may say 16 MiB; a module's
    answer may be 4 MiB, and must be what Ansible expects of any module. A host that says anything else counts as
    unreachable, and its answer is not used.
extends_documentation_fragment: [default_callback, result_format_callback]
requirements: ["C(stdout_callback = hosted.flask.visible) in C(ansible.cfg)"]
"""

import re
from functools import wraps
from typing import Any

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils import color
from ansible.utils.display import Display
from ansible_collections.hosted.flask.plugins.module_utils.answers import visible
from ansible_collections.hosted.flask.plugins.plugin_utils import bounds

# Characters of one message that are printed.
LONGEST = 1 << 17
# The sequences by which Ansible itself colours a part of a message.
COLOURS = re.compile("(" + "|".join(re.escape(f"\x1b[{code}m") for code in {"0", *C.COLOR_CODES.values()}) + ")")


class CallbackModule(Default):
    """Prints as Ansible does, and has the bounds put in before the first worker is forked."""

    CALLBACK_NAME = "hosted.flask.visible"

    def __init__(self) -> None:
        """Take over what is printed."""
        super().__init__()
        bounds.install()
        take_over(self._display)

    def _get_diff(self, difflist: Any) -> str:
        """Return a diff in colours, of which none is the host's."""
        return super()._get_diff(shown(difflist))


def take_over(display: Display) -> None:
    """Make visible all that is printed, also what is not a task's result: warnings, errors, what -v tells."""
    if hasattr(display.display, "visible"):
        return
    original = display.display

    @wraps(original)
    def printed(msg: str, color: str | None = None, *args: Any, **options: Any) -> None:
        original(text(msg, coloured=color is None), color, *args, **options)

    printed.visible = True  # type: ignore[attr-defined]
    display.display = printed


def text(message: str, coloured: bool) -> str:
    """Return a message as it is printed.

    :param coloured: Ansible may have coloured parts of it.
    """
    if len(message) > LONGEST:
        half = LONGEST // 2
        left = len(message) - 2 * half
        message = f"{message[:half]}\n... {left} characters are left out ...\n{message[-half:]}"
    message = message.replace("\r\n", "\n")
    if not (coloured and color.ANSIBLE_COLOR):
        return visible(message)
    return "".join(part if place % 2 else visible(part) for place, part in enumerate(COLOURS.split(message)))


def shown(value: Any) -> Any:
    """Return a value with all text in it visible."""
    if isinstance(value, str):
        return visible(value.replace("\r\n", "\n"))
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, (list, tuple)) else value
