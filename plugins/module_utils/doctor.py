"""What is wrong with a host and with its apps; nothing is changed.

What ``hosted.flask.doctor`` runs on a host; its manual is in ``plugins/modules/doctor.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils import doctor_app, work
from ansible_collections.hosted.flask.plugins.module_utils.findings import (
    Failed,
    Finding,
    Skipped,
    command,
    disk,
    error,
    examine,
    output,
    room,
    warning,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.processes import listeners
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused

MIB, DAY = 1 << 20, 86400
MEMINFO = Path("/proc/meminfo")
FIREWALL = Path("/etc/hosted.flask/firewall.nft")  # It is there where the host has our firewall.
TLS = Path("/etc/hosted.flask/tls")
PENDING = Path("/var/lib/hosted.flask/tls/pending")
# A line of quota(1): where it holds, and of blocks of 1 KiB and then of files what is used, the soft limit and the hard
# one; with a star what is used up. What is left of a grace time comes last.
QUOTA = re.compile(r"\s*(\S.*?)" + 2 * r"\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+\d+")
LISTS_AGE = 7  # days after which the lists of packages say little
PROVISION = "playbooks/provision.yml"


def main(call: dict[str, Any], contents: bytes) -> dict[str, Any]:
    """Examine the host and the apps of ``call``.

    :param call: ``platform``, ``apps``, ``ports`` (those of the front), ``tls`` (mode by domain), ``folders`` (what
        lies on disks that must have room).
    :param contents: nothing.
    :returns: ``host`` and ``apps`` by name, each as :func:`findings.examine` returns it, ``time`` of the host's clock
        and its ``addresses``.
    """
    now = time.time()
    root, server = os.geteuid() == 0, call["platform"] == "server"
    others = [app for app in call["apps"] if server and not root and not is_me(app["account"])]
    mine = [app for app in call["apps"] if app not in others]
    told = work.main({**call, "apps": mine, "verb": "examine", "check": True, "secrets": {}}, b"", look)["apps"]
    apps = {
        name: failed(answer["msg"]) if answer.get("failed") else answer["examined"] for name, answer in told.items()
    }
    for app in others:
        why = f"it needs root or account {app['account']}"
        apps[app["name"]] = {"findings": [], "checked": [], "skipped": {"the app": why}}
    checks = {"disk": lambda: disk(call["folders"]), "memory": memory}
    if server:
        checks |= {
            "killed": lambda: killed(root),
            "units": lambda: units(output("systemctl", "list-units", "--failed", "--plain", "--no-legend")),
            "nginx": lambda: nginx(root),
            "ports": lambda: ports(call["ports"], "nginx", root),
            "clock": clock,
            "updates": updates,
        }
        if os.path.exists(FIREWALL):
            checks["firewall"] = lambda: firewall(root)
        homes = {app["account"]: app["home"] for app in mine if is_there(app["account"])}
        if homes and shutil.which("quota"):
            checks["quota"] = lambda: quotas(homes)
    if call["tls"]:
        checks["certificates"] = lambda: certificates(call["tls"], call["ports"][-1], now)
    return {"host": examine(checks), "apps": apps, "time": now, "addresses": addresses()}


def look(app: dict[str, Any], blobs: dict[str, bytes], call: dict[str, Any]) -> dict[str, Any]:
    """Examine one app, in a process that has the rights of its account."""
    try:
        return {"changed": False, "examined": doctor_app.look(Home(app))}
    except Refused as why:
        return work.failure(str(why))
    except OSError as why:
        return work.failure(work.in_the_way(app, why))


def inside(call: dict[str, Any], contents: bytes) -> dict[str, Any]:
    """Examine the one app of ``call``, in a process that has its account's rights."""
    return work.inside(call, contents, look)


def failed(text: str) -> dict[str, Any]:
    """Return what is told of an app that could not be examined."""
    finding = error("app", text, f"Run {PROVISION}, and deploy the app.")
    return {"findings": [finding], "checked": [], "skipped": {}}


def is_me(account: str) -> bool:
    """Whether this process has the rights of an account."""
    return os.path.expanduser(f"~{account}") == os.path.expanduser("~")


def is_there(account: str) -> bool:
    """Whether the host has an account."""
    try:
        return bool(pwd.getpwnam(account))
    except KeyError:
        return False


def addresses() -> list[str]:
    """Return the addresses that the host's interfaces have."""
    # That domains point elsewhere is a warning then; of all else there is something to tell.
    links = []
    with contextlib.suppress(Failed):
        links = json.loads(output("ip", "-json", "address") or "[]")
    return [item["local"] for link in links for item in link.get("addr_info", []) if "local" in item]


# --- room


def quotas(homes: dict[str, str]) -> list[Finding]:
    """See that accounts, given with their homes, have room in their quotas; an account may ask for its own."""
    words = ["--user", "--local-only", "--no-wrap", "--raw-grace", "--show-mntpoint", "--hide-device"]
    # With 1 it also says that one is used up, or that there are none.
    return limited(output("quota", *words, *sorted(homes), no=1), homes)


def limited(said: str, homes: dict[str, str]) -> list[Finding]:
    """Judge what quota(1) says of accounts."""
    found, account = [], ""
    for line in said.splitlines():
        if head := re.match(r"Disk quotas for user (\S+) ", line):
            account = head[1]
        elif row := QUOTA.fullmatch(line):
            used, soft, hard, files, soft_files, hard_files = map(int, row.groups()[1:])
            # What is over the soft one is refused when its time of grace is over.
            size, names = (min(filter(None, limits), default=0) for limits in ((soft, hard), (soft_files, hard_files)))
            free, free_names = max(size - used, 0), max(names - files, 0)
            found += room(homes[account], size << 10, free << 10, names, free_names, account, quota=row[1])
    return found


def memory() -> list[Finding]:
    """See that programs can still get memory."""
    return available(MEMINFO.read_text())


def available(meminfo: str) -> list[Finding]:
    """Judge what /proc/meminfo says."""
    size = {line.split(":")[0]: int(line.split()[1]) << 10 for line in meminfo.splitlines() if line.endswith("kB")}
    total, free = size["MemTotal"], size["MemAvailable"]
    do = "playbooks/status.yml shows what each app takes; fewer processes, or a larger host"
    what = f"{free // MIB} of {total // MIB} MiB of memory are available"
    if free < total * 0.04:
        return [error("memory", what, do)]
    return [warning("memory", what, do)] if free < total * 0.1 else []


def killed(root: bool) -> list[Finding]:
    """Tell which programs the kernel ended within the last day because memory ran out."""
    if not root:
        raise Skipped("needs root")
    # Not by its --grep: that ends with 1 where there is none, as where it cannot look.
    return victims(output("journalctl", "--dmesg", "--quiet", "--output=cat", "--since=-1d"))


def victims(log: str) -> list[Finding]:
    """Judge the kernel's lines about it."""
    names = re.findall(r"Killed process \d+ \(([^)]*)\)", log)
    if not names:
        return []
    what = f"memory ran out within the last day, and the kernel ended {', '.join(sorted(set(names)))}"
    do = "journalctl --dmesg --grep 'Killed process'; fewer processes, a higher limit of the account, or a larger host"
    return [error("killed", f"{what} ({len(names)} times)" if names[1:] else what, do)]


# --- systemd


def units(listed: str) -> list[Finding]:
    """Return a finding for each unit that has failed, of what systemctl lists."""
    names = [line.split()[0] for line in listed.splitlines() if line.strip()]
    found = []
    for name in names:
        says, again = command("journalctl", "-u", name, "-n", "50"), command("systemctl", "restart", "--", name)
        found.append(error("units", f"unit {name} has failed", f"{says} says why; {again} when it is mended"))
    return found


def clock() -> list[Finding]:
    """See that the host's clock is kept right."""
    if output("systemd-detect-virt", "--container", no=1).strip() not in ("", "none"):
        raise Skipped("a container has the clock of its machine")
    return kept(output("timedatectl", "show"))


def kept(said: str) -> list[Finding]:
    """Judge what ``timedatectl show`` says."""
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if found.get("NTPSynchronized", "yes") == "yes":
        return []
    what = "the clock is not synchronised" + (", nothing looks after it" if found.get("NTP") == "no" else " yet")
    return [warning("clock", what, "timedatectl set-ntp true (apt-get install systemd-timesyncd)")]


# --- the front


def nginx(root: bool) -> list[Finding]:
    """See that nginx accepts the files that it would start with."""
    if not root:
        raise Skipped("needs root")
    run = subprocess.run(["nginx", "-t", "-q"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if not run.returncode:
        return []
    said = [line for line in run.stderr.splitlines() if "[emerg]" in line] or run.stderr.splitlines()
    do = f"It goes on with what it has and would not start again: correct the file that it names, or run {PROVISION}"
    return [error("nginx", f"nginx refuses its configuration: {said[0] if said else '?'}", do)]


def ports(wanted: list[int], program: str, root: bool) -> list[Finding]:
    """See that ``program``, run by root, listens on its ports."""
    found, there = [], listeners(wanted)
    for port in wanted:
        if port not in there:
            do = f"systemctl status {program}, then systemctl start {program}"
            found.append(error("ports", f"nobody listens on port {port}", do))
            continue
        for pid, uid, path in there[port]:
            # Without root only one's own processes can be seen. From root somebody hides.
            if (pid or root) and not (pid and Path(path).name == program and uid in (0, front())):
                who = f"process {pid} ({path}, uid {uid})" if pid else f"a process that cannot be seen, of uid {uid},"
                what = f"{who} listens on port {port} instead of {program}"
                found.append(error("ports", what, f"Stop it for good, then systemctl restart {program}"))
    return found


def front() -> int:
    """Return the number of the account that nginx works as, -1 where there is none."""
    try:
        return pwd.getpwnam("www-data").pw_uid
    except KeyError:
        return -1


def firewall(root: bool) -> list[Finding]:
    """See that our rules are loaded; nobody notices where they are not, all that listens can be reached then."""
    if not root:
        raise Skipped("needs root")
    if "table inet hosted_flask" in output("nft", "list", "tables").splitlines():
        return []
    do = f"Run {PROVISION}, which loads them; nft flush ruleset takes them away, systemctl reload nftables does not"
    return [error("firewall", f"the firewall is off: the rules of {FIREWALL} are not loaded", do)]


# --- certificates


def certificates(modes: dict[str, str], port: int, now: float) -> list[Finding]:
    """See that the front shows each domain's certificate, and that it is valid for a while."""
    found = []
    for domain, mode in sorted(modes.items()):
        renew = {
            "acme": f"Run {PROVISION}, which asks for it again; systemctl list-timers shows who should have",
            "own": f"Put the new one where the inventory names it, and run {PROVISION}",
        }.get(mode, f"Run {PROVISION}, which makes a new one")
        try:
            shown = served(domain, port)
        except OSError as why:
            what = f"{domain}: no certificate is shown on port {port} ({why.strerror or why})"
            found.append(error("certificates", what, f"nginx -t; systemctl status nginx; {PROVISION}"))
            continue
        if mode == "acme" and (PENDING / domain).exists():
            found.append(error("certificates", f"{domain}: it was never issued, visitors get a placeholder", renew))
            continue
        if written(domain) not in ("", shown):
            what = f"{domain}: the front shows another certificate than {TLS / domain}/fullchain.pem"
            found.append(error("certificates", what, "nginx -t && systemctl reload nginx"))
        found += valid(domain, mode, shown, now, renew)
    return found


def written(domain: str) -> str:
    """Return the certificate that the front is to show, in PEM; nothing where there is none to read."""
    with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        return first((TLS / domain / "fullchain.pem").read_text())
    return ""


def first(text: str) -> str:
    """Return the first certificate in a text, as PEM is written here; nothing where there is none."""
    found = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(found[0])) if found else ""


def served(domain: str, port: int) -> str:
    """Return the certificate that the front shows who asks for a domain, in PEM; ``_`` is any name.

    :raises OSError: nobody listens there, or who does shows none.
    """
    socket.create_connection(("127.0.0.1", port), 5).close()
    # Where nginx does not run, anybody may listen: nobody's rights are enough to shake hands with him.
    name = ["-noservername"] if domain == "_" else ["-servername", domain]
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *name]
    try:
        run = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, encoding="ascii", errors="replace",
            **nobody(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OSError("no handshake within 10 s") from None
    if shown := first(run.stdout):
        return shown
    raise OSError(f"no TLS: {' '.join(run.stderr.split())[-200:] or 'no word'}")


def valid(domain: str, mode: str, certificate: str, now: float, renew: str) -> list[Finding]:
    """Judge a certificate, in PEM, by its names and its days.

    :param renew: what to do for a new one.
    """
    words = ["-noout", "-startdate", "-enddate", *(["-checkhost", domain] if domain != "_" else [])]
    # Whoever listens there made it: it is read with nobody's rights.
    run = subprocess.run(
        ["openssl", "x509", *words], input=certificate, capture_output=True, text=True, timeout=20, **nobody()
    )
    dates = dict(line.split("=", 1) for line in run.stdout.splitlines() if line.startswith("not"))
    begin, end = (ssl.cert_time_to_seconds(dates[key]) for key in ("notBefore", "notAfter"))
    found = []
    if "does NOT match" in run.stdout:
        found.append(error("certificates", f"{domain}: the certificate is not for this name", renew))
    days, life = (end - now) / DAY, (end - begin) / DAY
    if now < begin:
        found.append(error("certificates", f"{domain}: the certificate is not valid yet; is the clock right?", renew))
    elif days < 0:
        found.append(error("certificates", f"{domain}: the certificate expired {-days:.0f} days ago", renew))
    elif days < min(life / 10, 7):
        found.append(error("certificates", f"{domain}: the certificate expires in {days:.0f} days", renew))
    # One that renews itself does so when a third of its life is left.
    elif days < (life / 5 if mode == "acme" else min(life / 5, 30)):
        found.append(warning("certificates", f"{domain}: the certificate expires in {days:.0f} days", renew))
    return found


def nobody() -> dict[str, Any]:
    """Return what makes a command run without root's rights."""
    return {} if os.geteuid() else {"user": "nobody", "group": "nogroup", "extra_groups": []}


# --- updates


def updates() -> list[Finding]:
    """Tell of security updates that wait, by the lists of packages as they are: nothing is fetched."""
    words = ["-o", "Debug::NoLocking=1", "--simulate", "--with-new-pkgs", "upgrade"]
    found, waiting = [], []
    try:
        waiting = security(output("apt-get", *words, **nobody()))  # Who may not write its caches.
    except Failed as why:
        # With one package that lacks another it plans nothing at all, and whoever upgrades each day neither.
        do = "apt-get check says what is wrong, apt-get --fix-broken install mends what a package lacks"
        found.append(warning("updates", f"no update can be installed: {why}", do))
    if waiting:
        names = ", ".join(waiting[:8]) + (f" and {len(waiting) - 8} more" if waiting[8:] else "")
        found.append(warning("updates", f"security updates wait: {names}", "apt-get update && apt-get upgrade"))
    lists = [Path("/var/lib/apt/lists"), Path("/var/lib/apt/lists/partial")]
    lists += Path("/var/lib/apt/periodic").glob("update*-stamp")
    age = (time.time() - max((item.stat().st_mtime for item in lists if item.exists()), default=0)) / DAY
    if age > LISTS_AGE:
        what = f"the lists of packages are {age:.0f} days old: nobody looks for security updates"
        found.append(warning("updates", what, "apt-get update; systemctl list-timers apt-daily.timer"))
    if Path("/run/reboot-required").exists():
        found.append(
            warning("updates", "an update waits for a reboot", "systemctl reboot; the apps come up by themselves")
        )
    return found


def security(said: str) -> list[str]:
    """Return the packages with a security update, of what ``apt-get --simulate upgrade`` says."""
    lines = [line.split() for line in said.splitlines() if line.startswith("Inst ")]
    return sorted(words[1] for words in lines if any("Debian-Security:" in word for word in words))
