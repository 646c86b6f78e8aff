"""Control node part of ``hosted.flask.preflight``; its manual is in ``plugins/modules/preflight.py``."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.hosted.flask.plugins.module_utils.answers import Untrue, line
from ansible_collections.hosted.flask.plugins.plugin_utils import accounts, certificates, frontends
from ansible_collections.hosted.flask.plugins.plugin_utils import apps as rows
from ansible_collections.hosted.flask.plugins.plugin_utils.bounds import Refused, distrust
from ansible_collections.hosted.flask.plugins.plugin_utils.remote import NoAnswer, look
from ansible_collections.hosted.flask.plugins.plugin_utils.requirements import Requirements, addressed, packages
from ansible_collections.hosted.flask.plugins.plugin_utils.running import TooMuch, run

try:  # Where a variable was written, known to ansible-core itself since 2.19.
    from ansible._internal._datatag._tags import Origin
except ImportError:
    Origin = None

RELEASES = {"12", "13"}
NOBODY = 65534  # the number of Debian's account of that name, and of what has no owner in a namespace
STAMPS = {"server": "/var/lib/hosted.flask"}
# Variables of these roles shape the host layer, so a change of one provisions the host again; that of a role of the
# front the front alone.
SYSTEM_ROLES, FRONT_ROLES = ("server", "supervisord"), ("tls", "nginx")
# Plugins that do these roles' work.
SYSTEM_PLUGINS = ("modules/host_facts.py", "modules/host_files.py", "modules/packages.py", "modules/account_homes.py",
                  "modules/firewall.py", "module_utils/files.py", "module_utils/processes.py")  # fmt: skip
FRONT_PLUGINS = ("modules/nginx_sites.py", "modules/certificates.py", "modules/host_files.py", "modules/packages.py",
                 "module_utils/certificates.py", "module_utils/files.py")  # fmt: skip
# What the firewall lets in.
PORTS = ("nginx_http_port", "nginx_https_port")
# Variables of theirs that are for one run, and those whose keys must not be guessed from the stamp.
NOT_STAMPED = ("tls_renew", "tls_certificates", "tls_acme_eab")
# What these roles know of an app.
KNOWN_KEYS = ("name", "account", "mount", "domains", "tls", "static", "never_changing", "limits", "logins",
              "stream_uploads", "nginx_extra", "maintenance")  # fmt: skip

# Bytes of a socket's name: sun_path in unix(7), less the closing NUL.
SOCKET = 107
# uWSGI connects to the first 102 bytes of a name (connect_to_unix in its core/socket.c): from 103 on its HTTP router
# starts, and ends every request without an answer.
UWSGI_CONNECTS = 102
# supervisord binds NAME.PID before it renames it (http.py), and the kernel's largest process id is 4194304.
SUPERVISOR_SOCKET = SOCKET - len(".4194304")


RESOLVING = 60.0  # seconds for uv to find packages that fit together, for all apps of a host
UV_NEEDS = re.compile(
    r"PATH|HOME|LANG|LC_ALL|TMPDIR|NETRC|XDG_(CACHE|CONFIG|DATA)_HOME|(UV|PIP)_\w+|SSL_CERT_(FILE|DIR)"
    r"|(?i:(https?|all|no)_proxy)"
)
# What uv says where this machine cannot tell: no index answers, or a package has to be built, which the host does.
UNTOLD = ("network", "failed to fetch", "no usable wheels", "building from source is disabled", "failed to build",
          "download and build", "building source distributions")  # fmt: skip


class ActionModule(ActionBase):
    """Checks every app and looks at the host before anything is changed."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the completed apps and what the host needs, or fail with every finding at once."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "apps": {"type": "raw", "required": True},
                "platform": {"type": "str", "default": ""},
                "defaults": {"type": "dict", "default": {}},
                "project": {"type": "str", "default": ""},
                "only": {"type": "str", "default": ""},
                "remove": {"type": "bool", "default": False},
                "purge": {"type": "bool", "default": False},
                "sources": {"type": "bool", "default": True},
                "root": {"type": "bool", "default": False},
                "refuse": {"type": "bool", "default": True},
            }
        )
        platform = arguments["platform"]
        project = Path(arguments["project"] or self._project(task_vars))
        where = origin(arguments["apps"])
        wanted = arguments["apps"]
        if arguments["remove"] and isinstance(wanted, list):
            wanted = [self._removed(row, arguments) for row in wanted]
        apps, problems = rows.complete(
            wanted,
            platform=platform,
            defaults=arguments["defaults"],
            project=project,
            where=where,
            sources=arguments["sources"],
        )
        if platform == "server" and not problems:
            problems = self._check_accounts(apps, task_vars)
        if problems:
            raise AnsibleActionFail("\n".join(problems))
        base = project / ".hosted"
        stamps = STAMPS.get(platform, str(base))
        front = {
            scheme: int(self._templar.template(task_vars.get(f"nginx_{scheme}_port", port)))
            for scheme, port in (("http", 80), ("https", 443))
        }
        apps, host, domains, pairs, alone = self._reach(apps, arguments, stamps, front, project, where, task_vars)
        problems = self._check_host(apps, platform, host, base, where, alone)
        problems += check_requirements(apps, project, host, where) if arguments["sources"] else []
        if problems and arguments["refuse"]:
            raise AnsibleActionFail("\n".join(problems))
        chosen = [app for app in apps if arguments["only"] in ("", app["name"])]
        warnings = build_frontends(chosen, project, bool(self._task.check_mode)) if arguments["sources"] else []
        for app in apps:
            place(app, platform, host, base, front, domains)
        stamp = self._stamp(apps, task_vars, [domains, pairs])
        before = host.get("stamp", "")
        if platform == "local":
            whole = host["supervisord"]
        else:
            whole = all(app["account"] in host["accounts"] for app in apps if app["state"] == "present")
            whole = whole and not host["ended"]
        known = known_of(apps, domains) if platform == "server" else {}
        left = {name: words for name, words in host["known"].items() if name in known}
        result.update(
            changed=False,
            platform=platform,
            apps=chosen,
            all_apps=apps,
            base=str(base),
            project=str(project),
            tls=domains,
            tls_groups=certificates.groups(apps, domains),
            warnings=warnings,
            urls=[url(app, platform, task_vars, front, domains) for app in apps if app["state"] == "present"],
            become=platform == "server" and not alone,
            stamp=stamp_text(stamp, known),
            stamp_spoilt=stamp_text("some apps were removed", left),
            stamp_file=f"{stamps}/stamp",
            stamped="stamp" in host,
            problems=problems,
            # What a folder holds shapes the front: without all of them there is nothing to compare with the stamp.
            comparable=all("folder" in app or app["state"] == "absent" for app in apps),
            provisioned=alone or (before == stamp and whole),
            system_provisioned=alone or (before.partition("-")[0] == stamp.partition("-")[0] and whole),
            # Ansible would look for it in a round trip of its own.
            ansible_facts={"discovered_interpreter_python": host["python"]},
        )
        return result

    def _reach(
        self,
        apps: list[dict[str, Any]],
        arguments: dict[str, Any],
        stamps: str,
        front: dict[str, int],
        project: Path,
        where: str,
        task_vars: dict[str, Any],
    ) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, str], dict[str, str], bool]:
        """Look at the host, as root or, where it is provisioned, as the account that logs in.

        :return: the apps that this login may work on, the host, its domains with TLS, what stands for the keys that are
            given, and whether the account works alone.
        """
        platform, sources = arguments["platform"], arguments["sources"]
        own, host, why = [], {}, ""
        # What works on what is there already needs none; an account whose interpreter hangs delays nobody then.
        pythons = sources or not arguments["refuse"]
        if platform == "server" and not arguments["root"]:
            own, host, why = self._look_alone(apps, stamps, sources, pythons, task_vars)
        alone = bool(own) and not why
        if alone:
            apps = own
        names = [app["name"] for app in apps]
        if arguments["only"] not in ("", *names):
            allowed = ", ".join(names) + (f", the apps of account {apps[0]['account']}" if alone else "")
            raise AnsibleActionFail(
                f"app: {arguments['only']!r} is refused. Allowed: one of {allowed}. Fix it in -e app=..."
            )
        if alone:
            return apps, host, secure_domains(apps, host), {}, True
        domains, pairs = {}, {}
        if platform == "server":
            given = self._templar.template(task_vars.get("tls_certificates", {})) or {}
            domains, pairs, problems = self._certificates(apps, given, project, sources, where)
            if "acme" in domains.values():
                kid, wrong = self._account(task_vars)
                pairs, problems = pairs | kid, problems + wrong
            if problems:
                raise AnsibleActionFail("\n".join(problems))
        ports = [front["http"], *([front["https"]] if domains else [])]
        return apps, self._look(apps, platform, stamps, ports, pythons, task_vars, why), domains, pairs, False

    @staticmethod
    def _removed(row: Any, arguments: dict[str, Any]) -> Any:
        """Return the row of an app that is to go, any other row as it is."""
        if not isinstance(row, dict) or arguments["only"] not in ("", row.get("name")):
            return row
        return {**row, "state": "absent", "purge": arguments["purge"] or row.get("purge", False)}

    def _project(self, task_vars: dict[str, Any]) -> str:
        """The checkout that this collection is, or, installed elsewhere, the playbook's own folder."""
        if (rows.ROOT / ".collections").is_dir():
            return str(rows.ROOT)
        return task_vars["playbook_dir"].removesuffix("/playbooks")

    def _certificates(
        self, apps: list[dict[str, Any]], given: Any, project: Path, sources: bool, where: str
    ) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Return where each domain's certificate comes from, those that are given, and what is wrong with them."""
        problems = rows.Problems(where)
        own = rows.Problems(origin(given, "tls_certificates, in inventory/group_vars"))
        if not isinstance(given, dict):
            own.add("tls_certificates", given, "a dict {DOMAIN: {certificate: FILE, key: FILE}}")
            return {}, {}, own.found
        domains = certificates.modes(apps, given, problems)
        pairs = {}
        for domain in [name for name, mode in domains.items() if mode == "own" and name in given and sources]:
            at = f"tls_certificates.{domain}"
            try:
                pair = certificates.texts(given[domain], project, self._loader)
            except ValueError as error:
                part, allowed = error.args
                own.add(f"{at}.{part}".rstrip("."), "what it is" if part else "this entry", allowed)
                continue
            certificates.check(domain, pair, at, own)
            pairs[domain] = pair["certificate"]  # It stands for the key too, which fits no other.
        return domains, pairs, problems.found + own.found

    def _account(self, task_vars: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
        """Return the id of the account's key at the issuer of ACME, if it has one, and what is wrong with them.

        The id stands for the key, which is given with it: one that was mistyped fails, and without a certificate the
        next deploy looks after the host again.
        """
        given = task_vars.get("tls_acme_eab")
        problems = rows.Problems(origin(given, "tls_acme_eab, in inventory/group_vars"))
        found = certificates.account(self._templar.template(given), problems)
        return {"tls_acme_eab": found["kid"]} if found else {}, problems.found

    def _check_accounts(self, apps: list[dict[str, Any]], task_vars: dict[str, Any]) -> list[str]:
        """Return what is wrong with the variables about accounts."""
        names = ("server_ssh_keys", "server_accounts", *(f"server_account_{key}" for key in accounts.LIMITS))
        where = origin(task_vars.get("server_accounts"), "server_... in inventory/group_vars/servers.yml")
        problems = rows.Problems(where)
        accounts.check(
            {name: self._templar.template(task_vars[name]) for name in names if name in task_vars}, apps, problems
        )
        return problems.found

    def _look_alone(
        self, apps: list[dict[str, Any]], stamps: str, sources: bool, pythons: bool, task_vars: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
        """Look with the rights of the account that logs in, where it is one of the apps' accounts.

        :returns: the apps of that account, the host's lines, and why root's rights are needed all the same, or ``""``.
        """
        own = [app for app in apps if app["account"] == self._get_remote_user()]
        if not own:
            return [], {}, ""
        host = self._look(own, "server", stamps, [], pythons, task_vars, sudoable=False)
        # Without the sources not all is known of an app, and what is done then leaves the host layer as it is.
        wanted, told = known_of(own, {}), host["known"]
        differs = [
            app["name"] for app in own if sources and wanted.get(app["name"], [])[:1] != told.get(app["name"], [])[:1]
        ]
        why = (
            f"{', '.join(differs)}: what the host layer has to know of it (domains, mount, static files and the like)"
            f" is new, and account {own[0]['account']} may not write that"
        )
        return own, host, why if differs else ""

    def _look(
        self,
        apps: list[dict[str, Any]],
        platform: str,
        stamps: str,
        fronts: list[int],
        pythons: bool,
        task_vars: dict[str, Any],
        why: str = "",
        sudoable: bool = True,
    ) -> dict[str, Any]:
        """Return what ``module_utils/look.py`` sees of the host.

        :param fronts: the ports that the host's front is to listen on.
        :param pythons: whether the apps' interpreters are asked for their versions.
        :param why: what root's rights are needed for, for the message when they are not to be had.
        :param sudoable: False takes the rights of the user who logs in.
        """
        server = platform == "server"
        present = [app for app in apps if app["state"] == "present"]
        call = {
            "state": stamps,
            "base": "" if server else stamps,
            "accounts": sorted({app["account"] for app in apps}) if server else [],
            "pythons": sorted({(app["account"] if server else "", app["python"]) for app in present if pythons}),
            "ports": fronts if server else sorted({app["port"] for app in present}),
        }
        try:
            found = look(self, call, task_vars, sudoable)
            if others := sorted(found["ports"].keys() - {str(port) for port in call["ports"]}):
                raise Untrue(f"it is about port {others[0][:80]!r}, which nobody asked for")
            return found if pythons else {**found, "pythons": {app["python"]: "" for app in present}}
        except Refused:
            raise
        except AnsibleConnectionFailure as error:
            context = self._play_context
            target = f"{context.remote_user or 'the default user'}@{context.remote_addr}:{context.port or 22}"
            raise AnsibleConnectionFailure(
                f"host: {target} cannot be reached. Allowed: an address, port, user and key that ssh can use"
                f" ({str(error).strip()}). Fix it in inventory/hosts.yml."
            ) from None  # Ansible would repeat the cause behind it.
        except Untrue as error:
            raise AnsibleActionFail(distrust(error)) from None
        except NoAnswer as error:
            if error.code == 127 and not str(error):
                raise AnsibleActionFail(
                    "host: it has no python3. Allowed: a host with one. Fix it in inventory/hosts.yml, or install it on"
                    " the host (apt-get install python3)."
                ) from None
            words = str(error)
        except AnsibleError as error:  # sudo wants a password that nobody gave, and the like.
            words = str(error)
        raise AnsibleActionFail(
            f"host: {why or 'looking at it failed'} ({words.strip()})."
            " Allowed: a user that is root or may use sudo. Fix it in inventory/hosts.yml."
        )

    def _check_host(
        self, apps: list[dict[str, Any]], platform: str, host: dict[str, Any], base: Path, where: str, alone: bool
    ) -> list[str]:
        """Return what stands in the way on the host; ``alone`` where root's rights are not needed."""
        problems = rows.Problems("inventory/hosts.yml")
        if platform == "server":
            name, _, release = host["os"].partition(" ")
            if name != "debian" or release not in RELEASES:
                problems.add("distribution", f"{name} {release}", "Debian 12 or 13")
            elif not host["systemd"]:
                problems.add("init", "not systemd", "a host that systemd has booted")
            if host["uid"] != 0 and not alone:
                problems.add("ansible_user", f"uid {host['uid']}", "root, or a user with sudo and become")
        for app in apps:
            if app["state"] == "present" and app["python"] not in host["pythons"]:
                if why := host["owned"].get(app["python"]):
                    unfit(app, f"it asks for {app['python']}, which is no interpreter: {why}")
                    continue
                problems.where = f"{where}, or install it on the host (apt-get install python3)"
                problems.add(f"flask_apps ({app['name']}).python", app["python"], "an interpreter on the host's PATH")
        for app in apps:
            found = host["accounts"].get(app["account"])
            if not found:
                continue
            problems.where = where
            at = f"flask_apps ({app['name']}).account"
            if found["uid"] < 1000 or found["uid"] == NOBODY:
                problems.add(at, app["account"], "a name that is not one of the system's own accounts")
            elif not found["ours"] and not app["account_named"]:
                problems.add(at, app["account"], "a name that nobody on the host has, or this one said by account:")
        for port, listeners in host["ports"].items():
            if foreign := next((one for one in listeners if not one["ours"]), None):
                problems.where = f"{where}, or stop that process"
                key = f"port {port} of the host" if platform == "server" else "port"
                who = f"process {foreign['pid'] or '?'} ({foreign['program']})"
                problems.add(key, int(port), f"a free port; {who} listens on this one")
        for app in apps:
            local, found = platform == "local", host["accounts"].get(app["account"])
            home = str(base) if local else found["home"] if found else f"/home/{app['account']}"
            for path, limit in sockets(app, home, local).items() if app["state"] == "present" else ():
                size = len(os.fsencode(path))
                if size > limit:
                    problems.where = "the place of the checkout" if local else f"the home of account {app['account']}"
                    allowed = f"at most {limit} bytes for a socket's name, and these are {size}"
                    problems.add(f"flask_apps ({app['name']}): path", path, allowed)
                    break
        return problems.found

    def _stamp(self, apps: list[dict[str, Any]], task_vars: dict[str, Any], tls: list[dict[str, str]]) -> str:
        """Hash all that shapes the host layer: the roles, their variables, what they know of the apps and domains.

        :returns: a hash of the system and one of the front, joined by ``-``.
        """
        rest = ("root", "state", "purge")
        system = [{key: app[key] for key in ("name", "account", *rest)} for app in apps]
        known = [{key: app[key] for key in (*KNOWN_KEYS, *rest)} for app in apps]
        parts = (
            (SYSTEM_ROLES, SYSTEM_PLUGINS, PORTS, system),
            (FRONT_ROLES, FRONT_PLUGINS, (), [known, tls]),
        )
        return "-".join(self._hash(*part, task_vars) for part in parts)

    def _hash(
        self,
        roles: tuple[str, ...],
        plugins: tuple[str, ...],
        more: tuple[str, ...],
        facts: Any,
        task_vars: dict[str, Any],
    ) -> str:
        """Return a hash of roles, their plugins, their variables and ``more``, and of what else they know."""
        digest = hashlib.sha256()
        for role in roles:
            for file in sorted((rows.ROOT / "roles" / role).rglob("*")):
                if file.is_file():
                    digest.update(f"{file.relative_to(rows.ROOT)}\n".encode() + file.read_bytes())
        for name in plugins:
            digest.update((rows.ROOT / "plugins" / name).read_bytes())
        variables = {
            key: self._templar.template(value)
            for key, value in sorted(task_vars.items())
            if key.startswith((*(f"{role}_" for role in roles), *more)) and key not in NOT_STAMPED
        }
        digest.update(json.dumps([variables, facts], sort_keys=True, default=str).encode())
        return digest.hexdigest()[:16]


def unfit(app: dict[str, Any], why: str) -> None:
    """Let the deploy of one app fail and not that of the others: what is wrong is in its own account's hand."""
    app["unfit"] = (
        f"app {app['name']}: {line(why)}. Account {app['account']} can change that, and it alone is kept waiting:"
        " visitors get what they got before."
    )


def sockets(app: dict[str, Any], home: str, local: bool) -> dict[str, int]:
    """Return the names of all sockets of an app and its account, with how many bytes each may have."""
    run = f"{home}/apps/{app['name']}/run"
    if local:
        control, router = f"{home}/run/supervisor.sock", UWSGI_CONNECTS
    else:
        control, router = f"/run/supervisord/{app['account']}/supervisor.sock", SOCKET  # nginx takes them all.
    return {f"{run}/current.sock": router, control: SUPERVISOR_SOCKET,
            **{f"{run}/{name}.sock": SOCKET for name in ("live", "standby", "listen")}}  # fmt: skip


def known_of(apps: list[dict[str, Any]], domains: dict[str, str]) -> dict[str, list[str]]:
    """Return by the names of present apps what stands for all that the host layer knows of each, and its scheme."""
    found = {}
    for app in apps:
        if app["state"] == "present":
            known = [app[key] for key in KNOWN_KEYS if key != "never_changing"] + [rows.never_changing(app)]
            digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
            found[app["name"]] = [digest, "https" if tls_of(app, domains) else "http"]
    return found


def secure_domains(apps: list[dict[str, Any]], host: dict[str, Any]) -> dict[str, str]:
    """Return the domains of ``apps`` that the host layer has a certificate for, by what it says of each app."""
    secure = [app for app in apps if host["known"].get(app["name"], ["", ""])[1:] == ["https"]]
    return {domain: "own" for app in secure for domain in app["domains"] or ["_"]}


def stamp_text(first: str, known: dict[str, list[str]]) -> str:
    """Return the text of the stamp: what stands for the whole host layer, and a line for each app."""
    return "\n".join([first, *(" ".join([name, *words]) for name, words in sorted(known.items())), ""])


def origin(value: Any, unknown: str = "flask_apps, in inventory/group_vars/all/apps.yml") -> str:
    """Return the file that a variable was written in, relative to the working folder where it is below."""
    tag = Origin.get_tag(value) if Origin else None
    path = getattr(tag, "path", None)
    if not path:
        return unknown
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def tls_of(app: dict[str, Any], domains: dict[str, str]) -> str:
    """Return what the app's first name is served with, empty for plain HTTP."""
    return domains.get((app["domains"] or ["_"])[0], "")


def place(
    app: dict[str, Any],
    platform: str,
    host: dict[str, Any],
    base: Path,
    front: dict[str, int],
    domains: dict[str, str],
) -> None:
    """Add to a checked app where it lives on the host; take its secrets out, others have no use for them."""
    app.pop("secrets")
    if platform == "server":
        found = host["accounts"].get(app["account"])
        app["home"] = found["home"] if found else f"/home/{app['account']}"
        app["account_ours"] = not found or found["ours"]
        app["supervisor_socket"] = f"/run/supervisord/{app['account']}/supervisor.sock"
        app["proxy_hops"] = 1
        app["router"] = ""
        scheme = "https" if tls_of(app, domains) else "http"
        app["front"] = f"{scheme}://127.0.0.1:{front[scheme]}"
    else:
        app["home"] = str(base)
        app["supervisor_socket"] = f"{base}/run/supervisor.sock"
        app["proxy_hops"] = 0
        app["router"] = app["front"] = f"127.0.0.1:{app['port']}"
    app["root"] = f"{app['home']}/apps/{app['name']}"
    app["services"] = [{**service, "command": rows.becoming(service["command"])} for service in app["services"]]
    app["never_changing"] = rows.never_changing(app)


def url(
    app: dict[str, Any], platform: str, task_vars: dict[str, Any], front: dict[str, int], domains: dict[str, str]
) -> str:
    """Return where people find an app."""
    scheme = "http"
    if platform == "server":
        scheme += "s" if tls_of(app, domains) else ""
        address = (app["domains"] or [task_vars.get("ansible_host", task_vars["inventory_hostname"])])[0]
        address += f":{front[scheme]}" if front[scheme] != {"http": 80, "https": 443}[scheme] else ""
    else:
        address = app["router"]
    return f"{scheme}://{address}{app['mount'].rstrip('/')}/"


def build_frontends(apps: list[dict[str, Any]], project: Path, check: bool = False) -> list[str]:
    """Build the front ends of the apps that have one, where they are not built yet.

    :returns: a warning for each that cannot be built here.
    :raises AnsibleActionFail: one does not build.
    """
    warnings, problems = [], []
    for app in apps:
        if app["state"] == "absent" or not app["frontend"]:
            continue
        try:
            app["frontend_built"] = str(frontends.built(app, project, check))
        except frontends.BuildError as error:
            problems.append(str(error))
        except frontends.NotYet:
            app["frontend_built"] = ""
            warnings.append(
                f"app {app['name']}: its front end ({app['frontend']}) is not built yet, and a check builds none."
            )
        except frontends.Unsuited as why:
            app["frontend_built"] = ""
            warnings.append(
                f"app {app['name']} is deployed without its front end ({app['frontend']}): {why}."
                " Install Node.js with npm here (on Debian: apt-get install nodejs npm) and deploy again."
            )
    if problems:
        raise AnsibleActionFail("\n\n".join(problems))
    return warnings


def check_requirements(apps: list[dict[str, Any]], project: Path, host: dict[str, Any], where: str) -> list[str]:
    """Return a message for each app whose requirements no set of packages can meet.

    Asked once for each content and Python version; a good answer is remembered in ``.cache``. Where uv or the package
    index is missing on the control node, or slow, nothing is said: the venv's own build is the judge. So it is where a
    package has an address of its own, which nobody but the account is to follow.
    """
    end = time.monotonic() + RESOLVING
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    problems = rows.Problems(where)
    for app in apps:
        if app["state"] == "absent":
            continue
        at = f"flask_apps ({app['name']}).requirements"
        try:
            needs = Requirements.read(Path(app["folder"]), app["requirements"], app["server"])
        except ValueError as error:
            problems.add(at, app["requirements"], str(error))
            continue
        app["requirements_text"], app["server_requirements_text"] = needs.text, needs.server
        worker = str(app["server_options"].get("worker_class", "")) if app["server"] == "gunicorn" else ""
        if worker in ("gevent", "tornado") and worker not in packages(needs.text):
            problems.add(at, app["requirements"], f"a file that lists {worker}, which its worker_class needs")
        version = host["pythons"].get(app["python"], "")
        known = project / ".cache/resolved" / hashlib.sha256((needs.text + version).encode()).hexdigest()
        left = end - time.monotonic()
        if uv is None or not version or known.exists() or left <= 0 or addressed(needs.text):
            continue
        words = ["--quiet", "--no-annotate", "--no-header", "--no-build", "--python", sys.executable]
        words += ["--python-version", version, *user_settings()]
        with tempfile.TemporaryDirectory() as empty:
            try:
                done = run(
                    [uv, "pip", "compile", "-", *words], left, needs.text + needs.server,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True, cwd=empty, env=uv_environment(),
                )  # fmt: skip
            except (subprocess.TimeoutExpired, TooMuch):
                continue
        if done.returncode == 0:
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
        elif not any(words in done.stderr.lower() for words in UNTOLD):
            allowed = f"packages that exist and fit together. uv: {done.stderr.strip()}"
            if app["python"] in host["owned"]:
                unfit(app, f"{app['python']} says that it is Python {version}, for which it needs {allowed}")
            else:
                problems.add(at, app["requirements"], allowed)
    return problems.found


def user_settings() -> list[str]:
    """Return how uv is told the settings of its user, and of nobody else: it would look for more around its folder."""
    if "UV_CONFIG_FILE" in os.environ:
        return []
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "uv/uv.toml")
    return ["--config-file", str(own)] if own.is_file() else ["--no-config"]


def uv_environment() -> dict[str, str]:
    """Return what of the environment uv needs: where an index is and how to reach it.

    For a Python version that this machine lacks, uv would download a whole Python first.
    """
    found = {key: value for key, value in os.environ.items() if UV_NEEDS.fullmatch(key)}
    return {**found, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_SOURCES": "1"}
