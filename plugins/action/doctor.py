"""Control node part of ``hosted.flask.doctor``; its manual is in ``plugins/modules/doctor.py``."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.hosted.flask.plugins.action.release import PLACE_KEYS
from ansible_collections.hosted.flask.plugins.module_utils.answers import DOCTOR
from ansible_collections.hosted.flask.plugins.module_utils.findings import ERROR, WARNING, Finding, error, warning
from ansible_collections.hosted.flask.plugins.plugin_utils.remote import run

PROVISION = "playbooks/provision.yml"
# Seconds that the clocks may differ by, over what the way there and back explains.
SKEW = 2.0
TOO_MUCH = 60.0
# What the disks of a server hold, besides the accounts' homes.
FOLDERS = ["/", "/boot", "/tmp", "/var", "/var/log", "/var/lib"]


class ActionModule(ActionBase):
    """Examines the host in one round trip, adds what only the control node sees, and writes it up."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the host's findings and a text for people."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "hosting": {"type": "dict", "required": True},
                "rows": {"type": "list", "elements": "dict", "default": []},
            }
        )
        hosting, host = arguments["hosting"], task_vars["inventory_hostname"]
        apps = [app for app in hosting["apps"] if app["state"] == "present"]
        tls = {name: mode for name, mode in hosting.get("tls", {}).items() if mode != "none"}
        ports = [int(self._templar.template(task_vars.get("nginx_http_port", 80)))]
        ports += [int(self._templar.template(task_vars.get("nginx_https_port", 443)))] if tls else []
        homes = sorted({app["home"] for app in apps})
        call = {
            "platform": hosting["platform"],
            "apps": [{key: app[key] for key in PLACE_KEYS} for app in apps],
            "ports": ports,
            "tls": tls,
            "folders": [*(FOLDERS if hosting["platform"] == "server" else []), *homes],
            "who": "doctor",
            "wait": 0,
            "deadline": 0,
        }
        secrets = [str(value) for row in arguments["rows"] for value in (row.get("secrets") or {}).values()]
        before = time.time()
        told = run(self, "doctor", call, b"", task_vars, secrets, DOCTOR)
        after = time.time()
        if told.get("failed"):
            return {**result, **told}
        findings = [{"host": host, "app": "", **found} for found in self._host(hosting)]
        findings += [{"host": host, "app": "", **found} for found in told["host"]["findings"]]
        findings += [{"host": host, "app": "", **found} for found in skew(before, told["time"], after)]
        for app in apps:
            if "unfit" in app:
                found = error("description", app["unfit"], "See to it as the account, then deploy the app.")
                findings.append({"host": host, "app": app["name"], **found})
        checked = ["description", *told["host"]["checked"], "skew"]
        skipped = dict(told["host"]["skipped"])
        if not hosting["comparable"]:
            skipped["provisioning"] = "not all sources of the apps are here"
        if hosting["platform"] == "server":
            checked.append("dns")
            address = str(task_vars.get("ansible_host", host))
            known = {*told["addresses"], *look_up(address)}
            domains = [(app["name"], domain) for app in apps for domain in app["domains"]]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(look_up, [domain for _, domain in domains]))
            for (name, domain), answer in zip(domains, answers, strict=True):
                findings += [{"host": host, "app": name, **found} for found in points(domain, answer, known)]
        for name, examined in sorted(told["apps"].items()):
            findings += [{"host": host, "app": name, **found} for found in examined["findings"]]
            checked += examined["checked"]
            skipped |= {f"{what} of {name}": why for what, why in examined["skipped"].items()}
        findings.sort(key=lambda found: (found["level"] != ERROR, found["app"]))
        errors = [found for found in findings if found["level"] == ERROR]
        report = text(host, findings, sorted(set(checked)), skipped, sorted(told["apps"]))
        return {**result, "changed": False, "findings": findings, "errors": len(errors), "report": report}

    @staticmethod
    def _host(hosting: dict[str, Any]) -> list[Finding]:
        """Return what preflight saw of the host."""
        # Who else listens on the front's port the host tells itself, of all its ports.
        found = [
            error("description", problem, "Nothing can be deployed before that.")
            for problem in hosting["problems"]
            if not (hosting["platform"] == "server" and problem.startswith("port "))
        ]
        if hosting["platform"] != "server":
            return found
        if not hosting["stamped"]:
            found.append(error("provisioning", "this host was never provisioned", f"Run {PROVISION}, or deploy."))
        elif hosting["comparable"] and not hosting["provisioned"]:
            what = "the host layer is not what the inventory and this version of hosted.flask ask for"
            found.append(warning("provisioning", what, f"Run {PROVISION}; the next deploy does so too."))
        return found


def look_up(name: str) -> set[str]:
    """Return the addresses of a name, as this machine sees them; none where it has none."""
    try:
        return {str(item[4][0]) for item in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return set()


def points(domain: str, answer: set[str], known: set[str]) -> list[Finding]:
    """Judge where a domain points.

    :param answer: its addresses.
    :param known: those of the host.
    """
    mine = ", ".join(sorted(address for address in known if not address.startswith(("127.", "::1", "fe80"))))
    if not answer:
        return [error("dns", f"{domain} has no address", f"Add an A or AAAA record for it: {mine}")]
    if others := sorted(answer - known):
        what = f"{domain} points to {', '.join(others)}, which is not this host ({mine})"
        return [warning("dns", what, "Correct its A and AAAA records, unless another front or a NAT is there.")]
    return []


def skew(before: float, host: float, after: float) -> list[Finding]:
    """Judge the host's clock by this machine's, ``before`` and ``after`` it was read."""
    off = host - after if host > after else min(host - before, 0)
    if abs(off) < SKEW:
        return []
    what = f"its clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} this machine's"
    do = "timedatectl on both says which is wrong; certificates, logins and logs depend on it"
    return [(error if abs(off) > TOO_MUCH else warning)("skew", what, do)]


def text(
    host: str, findings: list[dict[str, str]], checked: list[str], skipped: dict[str, str], apps: list[str]
) -> str:
    """Return what people read of one host."""
    counts = [(level, sum(found["level"] == level for found in findings)) for level in (ERROR, WARNING)]
    said = " and ".join(f"{count} {level}{'s' * (count > 1)}" for level, count in counts if count)
    lines = [
        f"{host}: {said or 'nothing is wrong'}. Checked, with {', '.join(apps) or 'no app'}: {', '.join(checked)}."
    ]
    for found in findings:
        lines.append(f"  {found['level']:8}{found['app'] or '-':17}{found['check']}: {found['what']}")
        lines.append(f"  {'':25}-> {found['do']}")
    lines += [f"  not checked: {what}, {why}" for what, why in skipped.items()]
    return "\n".join(lines)
