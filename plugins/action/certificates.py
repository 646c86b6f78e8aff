"""Control node part of ``hosted.flask.certificates``; its manual is in ``plugins/modules/certificates.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems
from ansible_collections.hosted.flask.plugins.plugin_utils.certificates import account, texts


class ActionModule(ActionBase):
    """Reads the certificates and keys that lie on the control node, and lets the host work."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the pairs of the domains that have one of their own, and no others; refuse an account that is none."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        domains, given = arguments.get("domains", {}), arguments.get("certificates", {})
        project = Path(arguments.get("project", "."))
        arguments["certificates"] = {
            name: texts(given[name], project, self._loader)
            for name, mode in domains.items()
            if mode == "own" and name in given
        }
        problems = Problems("inventory/group_vars")
        arguments["eab"] = account(arguments.get("eab"), problems)
        if problems.found:
            raise AnsibleActionFail("\n".join(problems.found))
        return self._execute_module("hosted.flask.certificates", arguments, task_vars=task_vars)
