#!/usr/bin/python
"""Load the rules of our nftables table, and take them back unless a new connection comes through."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Load the rules of our nftables table, and take them back unless a new connection comes through
description:
  - Owns the table C(inet hosted_flask); those of others are neither read nor changed.
  - New rules are checked, loaded at once, and undone by a timer of systemd. Then a second connection is made, which
    only works if the rules let it in; over it the timer is stopped and the rules are written for the next boot.
  - A host that may not load rules, such as a container without C(NET_ADMIN), is skipped with a warning.
options:
  state:
    description: C(tried) and C(kept) are the two halves of C(present).
    type: str
    choices: [present, tried, kept, absent]
    default: present
  rules:
    description: A whole file for C(nft -f), which replaces our table and nothing else.
    type: str
    default: ""
  unit:
    description: The systemd unit that loads the rules at boot.
    type: str
    default: ""
attributes:
  check_mode: {support: full, description: Asks nft about the rules and loads nothing.}
  diff_mode: {support: full, description: Shows the rules.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Load the rules
  hosted.flask.firewall:
    rules: "{{ lookup('ansible.builtin.template', 'firewall.nft.j2') }}"
    unit: "{{ lookup('ansible.builtin.template', 'hosted-firewall.service.j2') }}"
"""
RETURN = r"""
armed:
  description: Whether the rules are loaded and will be undone unless they are kept.
  type: bool
  returned: for state tried
"""

import os
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

TABLE = "inet hosted_flask"
RULES = Path("/etc/hosted.flask/firewall.nft")
UNIT = Path("/etc/systemd/system/hosted-firewall.service")
RUN = Path("/run/hosted.flask")
# Gone once the rules were undone.
NEW = RUN / "firewall.new"
BACK = RUN / "firewall.back"
TIMER = "hosted-firewall-back"
SECONDS = 30
# An add before the delete: it must not fail where there is no table.
EMPTY = f"table {TABLE}\ndelete table {TABLE}\n"


class Firewall:
    """Our table on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read what is on the disk."""
        self.module = module
        self.rules, self.unit = module.params["rules"], module.params["unit"]
        self.before = RULES.read_text() if RULES.exists() else ""
        self.same_unit = UNIT.exists() and UNIT.read_text() == self.unit
        self.diff = {"before_header": str(RULES), "after_header": str(RULES), "before": self.before}

    def run(self, *command: str, data: str | None = None) -> tuple[int, str, str]:
        """Run a command; return its code and what it said."""
        path = {"PATH": f"{os.defpath}:/usr/sbin:/sbin"}
        return self.module.run_command(list(command), data=data, environ_update=path)

    def must(self, *command: str) -> str:
        """Run a command that has to succeed."""
        code, out, err = self.run(*command)
        if code:
            self.module.fail_json(msg=f"firewall: {' '.join(command)} failed: {err or out}")
        return out

    def tried(self) -> None:
        """Check the rules, load them and arm the way back."""
        self.diff["after"] = self.rules
        if self.module.check_mode and not shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"):
            self.module.exit_json(changed=True, armed=False, diff=self.diff)
        code, _, words = self.run("nft", "list", "tables")
        if code:
            why = f"firewall: nothing is loaded, this host may not have one ({words.strip()})"
            self.module.warn(f"{why}. Set server_firewall: false.")
            self.module.exit_json(skipped=True, armed=False, msg=why)
        # Without what the sets have counted.
        code, loaded, _ = self.run("nft", "--stateless", "--terse", "list", "table", *TABLE.split())
        if code == 0 and self.before == self.rules and self.same_unit:
            self.module.exit_json(changed=False, armed=False)
        code, _, words = self.run("nft", "--check", "--file", "-", data=self.rules)
        if code:
            self.module.fail_json(
                msg="server_open_ports or server_firewall_rules: nft refuses what they make, nothing was changed."
                ' Allowed: ports such as "25" and "8000-8010", rules such as "udp dport 51820 accept".'
                f" Fix it in the inventory.\n{words}"
            )
        if self.module.check_mode:
            self.module.exit_json(changed=True, armed=False, diff=self.diff)
        RUN.mkdir(mode=0o755, exist_ok=True)
        NEW.write_text(self.rules)
        BACK.write_text(EMPTY + loaded)
        self.run("systemctl", "stop", f"{TIMER}.timer")
        back = f"nft -f {BACK}; rm -f {NEW}"
        timer = ("--collect", "--quiet", f"--unit={TIMER}", f"--on-active={SECONDS}", "--timer-property=AccuracySec=1s")
        self.must("systemd-run", *timer, "/bin/sh", "-c", back)
        code, _, words = self.run("nft", "--file", str(NEW))
        if code:
            self.run("systemctl", "stop", f"{TIMER}.timer")
            self.module.fail_json(msg=f"firewall: the rules could not be loaded, the earlier ones stay: {words}")
        self.module.exit_json(changed=True, armed=True, diff=self.diff)

    def kept(self) -> None:
        """Keep what was loaded, now and at the next boot."""
        self.must("systemctl", "stop", f"{TIMER}.timer")
        if not NEW.exists():
            self.module.fail_json(msg=f"the new rules were undone, for nobody came through within {SECONDS} s.")
        RULES.parent.mkdir(mode=0o755, exist_ok=True)
        UNIT.write_text(self.unit)
        NEW.chmod(0o644)
        shutil.copy(NEW, RULES.with_suffix(".partial"))
        RULES.with_suffix(".partial").rename(RULES)
        self.must("systemctl", "daemon-reload")
        self.must("systemctl", "enable", "--now", "--quiet", UNIT.name)
        NEW.unlink()
        BACK.unlink()
        self.module.exit_json(changed=True)

    def absent(self) -> None:
        """Take our table away."""
        changed = RULES.exists() or UNIT.exists()
        if changed and not self.module.check_mode:
            self.run("systemctl", "disable", "--now", "--quiet", UNIT.name)
            self.run("nft", "delete", "table", *TABLE.split())
            UNIT.unlink(missing_ok=True)
            RULES.unlink(missing_ok=True)
            self.must("systemctl", "daemon-reload")
        self.module.exit_json(changed=changed, diff={**self.diff, "after": ""})


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "tried", "kept", "absent"], "default": "present"},
            "rules": {"type": "str", "default": ""},
            "unit": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    firewall = Firewall(module)
    {"tried": firewall.tried, "kept": firewall.kept, "absent": firewall.absent}[module.params["state"]]()


if __name__ == "__main__":
    main()
