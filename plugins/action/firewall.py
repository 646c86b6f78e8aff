"""Control node part of ``hosted.flask.firewall``; its manual is in ``plugins/modules/firewall.py``."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

# More than the module's way back takes, and a connection that waits for it.
DEADLINE = 90


class ActionModule(ActionBase):
    """Makes the connection that proves new rules."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Load the rules, come in anew, and keep them."""
        super().run(tmp, task_vars)
        state = self._task.args.get("state", "present")
        result = self._module("tried" if state == "present" else state, task_vars)
        if not result.get("armed"):
            return result
        try:
            # What is open already would not be asked by the firewall.
            self._connection.reset()
            kept = self._module("kept", task_vars)
        except AnsibleConnectionFailure as error:
            self._wait()
            kept = {"failed": True, "msg": f"a new connection did not come through ({str(error).strip()})."}
        if kept.get("failed"):
            raise AnsibleActionFail(
                f"server_firewall_rules: refused, the rules before are back: {kept.get('msg')} Allowed: rules that let"
                f" this connection in. Fix it in the inventory."
            )
        return result

    def _module(self, state: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Run the module for one half."""
        arguments = {**self._task.args, "state": state}
        return self._execute_module("hosted.flask.firewall", module_args=arguments, task_vars=task_vars)

    def _wait(self) -> None:
        """Return when the host can be reached again, which the next task relies on."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                self._connection.reset()
                self._low_level_execute_command("true")
            except AnsibleConnectionFailure:
                time.sleep(1)
            else:
                return
