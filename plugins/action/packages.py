"""Control node part of ``hosted.flask.packages``; its manual is in ``plugins/modules/packages.py``."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

# Of a day before apt's lists are too old, and of the host's own upgrade, which may be at it.
LISTS, LOCK = 86400, 300  # seconds


class ActionModule(ActionBase):
    """Asks dpkg, and apt only where something is missing."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what apt did, or that nothing was to be done."""
        super().run(tmp, task_vars)
        found = self._execute_module("hosted.flask.packages", module_args=self._task.args, task_vars=task_vars)
        if found.get("failed") or not found.get("missing"):
            return found
        arguments = {
            "name": self._task.args["names"],
            "install_recommends": False,
            "update_cache": True,
            "cache_valid_time": LISTS,
            "lock_timeout": LOCK,
        }
        return self._execute_module("ansible.builtin.apt", module_args=arguments, task_vars=task_vars)
