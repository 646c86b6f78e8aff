"""What an app description may say, and what follows from it. Runs on the control node only."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.hosted.flask.plugins.module_utils.answers import NAME
from ansible_collections.hosted.flask.plugins.module_utils.masking import without_credentials
from ansible_collections.hosted.flask.plugins.plugin_utils.credentials import TREES, close, environment_for, shown
from ansible_collections.hosted.flask.plugins.plugin_utils.frontends import HASHED, LOCKS, MADE
from ansible_collections.hosted.flask.plugins.plugin_utils.git import export, git, remove
from ansible_collections.hosted.flask.plugins.plugin_utils.running import run
from ansible_collections.hosted.flask.plugins.plugin_utils.source import content, is_file

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = ("local", "server")
MOUNT = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MODULE = re.compile(r"([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)(\(\))?")
PLAIN = re.compile(r"[^\x00-\x1f\x7f\"'$\\]+")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
# First words that are no program: the shell's own, of POSIX.
SHELL = set(
    "! . : [ { break case cd command continue eval exec exit export for getopts if read readonly return set shift test"
    " times trap ulimit umask unset until wait while".split()
)
SIZE = re.compile(r"(\d{1,12}[kKmMgG]?)?")
# The words of nginx's configuration.
NGINX_WORD = re.compile(
    r"""
    "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'   # a text
    | \#[^\n]* | [{};]                       # a comment, or what ends a directive
    | (?:\\. | \$\{\w+\} | [^\s{};"'\\])(?:\\. | \$\{\w+\} | [^\s{};\\])*
    """,
    re.DOTALL | re.VERBOSE,
)
OPTION = re.compile(r"[a-z][a-z0-9_-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TYPES = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict, "raw": object}
# A value under such a key is not printed, also where the key itself is misspelt.
SECRET = re.compile(r"secret|passw|token|credential", re.IGNORECASE)
HIDDEN = "(not shown)"
# Set for the app by the toolkit; a row that sets them would break the release it belongs to.
RESERVED = re.compile(r"HOSTED_\w+|VIRTUAL_ENV|PATH")


class Problems:
    """Collects what is wrong with the rows, so that one message can name all of it."""

    def __init__(self, where: str) -> None:
        """Start with none; ``where`` is the file that a reader should edit."""
        self.found: list[str] = []
        self.where = where

    def add(self, key: str, value: Any, allowed: str) -> None:
        """Note that ``key`` has a ``value`` that is not ``allowed``."""
        said = "not set" if value is None else without_credentials(repr(printable(value)))
        if SECRET.search(key) and value is not None:
            said = HIDDEN
        self.found.append(f"{key}: {said} is refused. Allowed: {allowed}. Fix it in {self.where}.")


def printable(value: Any) -> Any:
    """Return a value without what stands in it under the key of a secret."""
    if isinstance(value, dict):
        return {key: HIDDEN if SECRET.search(str(key)) else printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def spec() -> dict[str, Any]:
    """Return the keys of an app row, as role flask_app's argument_specs describe them."""
    text = (ROOT / "roles/flask_app/meta/argument_specs.yml").read_text()
    return yaml.safe_load(text)["argument_specs"]["main"]["options"]["flask_apps"]["options"]


def builtin_defaults() -> dict[str, Any]:
    """Return the values of role flask_app's defaults for keys that a row leaves out."""
    text = (ROOT / "roles/flask_app/defaults/main.yml").read_text()
    return yaml.safe_load(text)["__flask_app_defaults"]


def check_types(row: dict[str, Any], options: dict[str, Any], at: str, problems: Problems) -> None:
    """Check a row's keys and types against argument_specs ``options``, into ``problems``."""
    for key, value in row.items():
        if key not in options:
            problems.add(f"{at}.{key}", value, "one of the keys " + ", ".join(sorted(options)))
            continue
        option = options[key]
        expected = TYPES[option["type"]]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is int):
            problems.add(f"{at}.{key}", value, f"a value of type {option['type']}")
        elif "choices" in option and value not in option["choices"]:
            problems.add(f"{at}.{key}", value, "one of " + ", ".join(option["choices"]))
        elif option["type"] == "dict" and "options" in option:
            check_types(value, option["options"], f"{at}.{key}", problems)
        elif option["type"] == "list":
            for number, item in enumerate(value):
                if not isinstance(item, TYPES[option["elements"]]):
                    problems.add(f"{at}.{key}[{number}]", item, f"a value of type {option['elements']}")
                elif "options" in option:
                    check_types(item, option["options"], f"{at}.{key}[{number}]", problems)
    for key, option in options.items():
        if option.get("required") and key not in row:
            problems.add(f"{at}.{key}", None, option["description"])


def check_values(app: dict[str, Any], at: str, problems: Problems) -> None:
    """Check the values of a completed row whose types are right, into ``problems``."""

    def match(key: str, value: str, pattern: re.Pattern[str], allowed: str) -> None:
        if not pattern.fullmatch(value):
            problems.add(f"{at}.{key}", value, allowed)

    names = "a name that matches ^[a-z][a-z0-9_]{0,30}$"
    match("name", app["name"], NAME, names)
    if app["account"] != app["name"]:
        match("account", app["account"], NAME, names)
    paths = "/ or a path like /your/path of letters, digits and . _ ~ -, no '..', no slash at its end"
    if not MOUNT.fullmatch(app["mount"]) or {".", ".."} & set(app["mount"].split("/")):
        problems.add(f"{at}.mount", app["mount"], paths)
    for number, domain in enumerate(app["domains"]):
        match(f"domains[{number}]", domain, DOMAIN, "a host name in lower case, without scheme, port or path")
    match("module", app["module"], MODULE, "module:name, like wsgi:app or package.module:create_app()")
    for key, low, high in (
        ("port", 1024, 65535),
        ("processes", 1, 256),
        ("threads", 1, 256),
        ("keep_releases", 2, 100),
    ):
        if not low <= app[key] <= high:
            problems.add(f"{at}.{key}", app[key], f"a whole number from {low} to {high}")
    if not app["health"]["path"].startswith("/"):
        problems.add(f"{at}.health.path", app["health"]["path"], "a URL path with a leading slash")
    if not 1 <= app["health"]["timeout"] <= 600:
        problems.add(f"{at}.health.timeout", app["health"]["timeout"], "seconds from 1 to 600")
    for group in ("environment", "secrets"):
        for key, value in app[group].items():
            if not isinstance(key, str) or not VARIABLE.fullmatch(key) or RESERVED.fullmatch(key):
                allowed = "a variable name like MESSAGE, not PATH, VIRTUAL_ENV or HOSTED_..."
                problems.add(f"{at}.{group}.{key}", value, allowed)
            elif not isinstance(value, (str, int, float, bool)) or "\0" in str(value):
                problems.add(f"{at}.{group}.{key}", value, "a text, a number or a boolean")
    for key, value in app["server_options"].items():
        if not isinstance(key, str) or not OPTION.fullmatch(key) or "\n" in str(value):
            problems.add(f"{at}.server_options.{key}", value, "an option of the server and its value on one line")
    for url, folder in app["static"].items():
        if not isinstance(url, str) or not MOUNT.fullmatch(url) or url == "/" or ".." in url.split("/"):
            problems.add(f"{at}.static", url, "a URL path like /static, below the mount")
        elif not inside(folder):
            problems.add(f"{at}.static.{url}", folder, "a folder inside the source")
    check_front(app, at, problems)
    app["frontend"] = app["frontend"].rstrip("/") or app["frontend"]
    if app["frontend"] and (not inside(app["frontend"]) or {"", "."} & set(app["frontend"].split("/"))):
        problems.add(f"{at}.frontend", app["frontend"], "a folder inside the source, or '' for none")
    if not inside(app["requirements"]):
        problems.add(f"{at}.requirements", app["requirements"], "a file inside the source")
    line = re.compile(r"[^\r\n\0]*\S[^\r\n\0]*")
    one_line = "a command on one line (in YAML: >- instead of >)"
    for key in ("migrate", "before_switch", "after_switch"):
        if app[key]:
            match(key, app[key], line, one_line)
    taken = {"http", "standby", "socket"}
    for number, service in enumerate(app["services"]):
        match(f"services[{number}].name", service["name"], NAME, names)
        match(f"services[{number}].command", service["command"], line, one_line)
        if service["name"] in taken:
            problems.add(f"{at}.services[{number}].name", service["name"], "a name that is not taken")
        taken.add(service["name"])


def check_front(app: dict[str, Any], at: str, problems: Problems) -> None:
    """Check what a row wants of the front of a server, into ``problems``."""
    limits = app["limits"]
    if not SIZE.fullmatch(limits["body"]):
        problems.add(f"{at}.limits.body", limits["body"], "a size like 100m, 0 for any, '' for the role's own")
    for key, high in (("timeout", 86400), ("requests", 100_000), ("connections", 100_000)):
        if not 0 <= limits[key] <= high:
            problems.add(f"{at}.limits.{key}", limits[key], f"a whole number from 0 to {high}, 0 for none of its own")
    for number, path in enumerate(app["logins"]):
        if not MOUNT.fullmatch(path) or path == "/" or {".", ".."} & set(path.split("/")):
            allowed = "a URL path like /login, below the mount, no slash at its end"
            problems.add(f"{at}.logins[{number}]", path, allowed)
    if not whole(app["nginx_extra"]):
        allowed = "whole lines of nginx configuration: each ends with ';', or with a '{' that has its '}'"
        problems.add(f"{at}.nginx_extra", app["nginx_extra"], allowed)
    page = app["maintenance"]["page"]
    if page and not inside(page):
        problems.add(f"{at}.maintenance.page", page, "a file inside the source, or '' for a plain page")
    for number, network in enumerate(app["maintenance"]["allow"]):
        try:
            ipaddress.ip_network(network)
            # Python takes these, nginx does not, and would serve no app's changes any more.
            if not re.fullmatch(r"[0-9a-fA-F:.]+(/[0-9]+)?", network):
                raise ValueError("no interface, and how many bits of it count instead of a mask")
        except ValueError as error:
            allowed = f"an address or a network like 192.0.2.0/24 ({error})"
            problems.add(f"{at}.maintenance.allow[{number}]", network, allowed)


def whole(text: str) -> bool:
    """Tell whether lines of nginx configuration end where they are: no block left open, none closed that is not theirs.

    What the directives mean only nginx can tell.
    """
    depth, last, end = 0, ";", 0
    for word in NGINX_WORD.finditer(text):
        if text[end : word.start()].strip():
            return False  # A quote that is not closed.
        end = word.end()
        if word[0].startswith("#"):
            continue
        depth += (word[0] == "{") - (word[0] == "}")
        if depth < 0 or (word[0] == "}" and last not in tuple(";{}")):
            return False
        last = word[0]
    return depth == 0 and last in tuple(";}") and not text[end:].strip() and "\0" not in text


def inside(path: Any) -> bool:
    """Tell whether ``path`` is a relative path that stays in its folder, in letters that no configuration quotes."""
    return (
        isinstance(path, str)
        and bool(PLAIN.fullmatch(path))
        and not path.startswith("/")
        and ".." not in path.split("/")
    )


def never_changing(app: dict[str, Any]) -> dict[str, str]:
    """Return, for URLs of ``static`` whose files Vite names by their contents, what such a path matches.

    Only what was built here: by its name alone a file of somebody else cannot be told from ``icon-DarkMode.svg``.
    """
    made = f"{app['frontend']}/{MADE}"
    found = {}
    for url, folder in app["static"].items():
        path = os.path.normpath(folder)
        if app["frontend"] and (path == made or path.startswith(f"{made}/")):
            # In dist itself lies also what the user named, and Vite only copied; what it names is in assets.
            found[url] = "/assets/.*" * (path == made) + HASHED
    return found


def becoming(command: str) -> str:
    """Return a service's command line with ``exec`` where the shell that reads it can become the command.

    Debian's shell starts it as a child otherwise, and the signal of a stop ends the shell alone: the service would live
    on. A line of several commands stays as it is; who writes one has to see to that.
    """
    try:
        tokens = shlex.shlex(command, posix=True, punctuation_chars=True)
        tokens.whitespace_split = True
        words = list(tokens)
    except ValueError:
        return command
    # Quotes are gone here: a quoted semicolon is taken for a real one, to be on the safe side.
    if any(set(word) <= set("();|&") for word in words) or not words or words[0] in SHELL:
        return command
    return f"exec env {command}" if ASSIGNMENT.match(words[0]) else f"exec {command}"


def check_source(app: dict[str, Any], at: str, problems: Problems) -> None:
    """Check a present app's folder: the source, its module and its requirements, into ``problems``."""
    source = Path(app["folder"])
    if not source.is_dir():
        allowed = f"a folder (looked for {source}) or {{git: URL, version: REF}}"
        problems.add(f"{at}.source", app["source"], allowed)
        return
    found = MODULE.fullmatch(app["module"])
    if found:
        stem = source.joinpath(found[1], *found[2].split(".")[1:])
        files = [stem.with_name(stem.name + ".py"), stem / "__init__.py"]
        file = next((item for item in files if is_file(source, item)), None)
        if file is None:
            allowed = f"a module of the source ({files[0]} is missing)"
            problems.add(f"{at}.module", app["module"], allowed)
        elif found[3] not in (names := set(top_level_names(source, file))) and "*" not in names:
            allowed = f"a name that {file} defines" + (f" ({', '.join(sorted(names))})" if names else "")
            problems.add(f"{at}.module", app["module"], allowed)
    if not is_file(source, app["requirements"]):
        allowed = f"a file of the source that lists at least flask ({source / app['requirements']} is missing)"
        problems.add(f"{at}.requirements", app["requirements"], allowed)
    page = app["maintenance"]["page"]
    if page and not is_file(source, page):
        allowed = f"a file of the source, or '' for a plain page ({source / page} is missing)"
        problems.add(f"{at}.maintenance.page", page, allowed)
    if app["frontend"]:
        front = source / app["frontend"]
        missing = [] if is_file(source, front / "package.json") else [front / "package.json"]
        missing += [] if any(is_file(source, front / lock) for lock in LOCKS) else [front / LOCKS[0]]
        if missing:
            allowed = "a folder of the source that holds package.json and the lock of npm, or '' for none"
            problems.add(f"{at}.frontend", app["frontend"], f"{allowed} ({missing[0]} is missing)")


def locate(source: str | dict[str, str], project: Path) -> tuple[str, str]:
    """Return the folder that holds a source, and the git commit it is from (empty where there is none).

    A git source is exported once per commit below ``project/.cache/sources``.

    :raises ValueError: git cannot fetch it; the message says what is allowed instead.
    """

    if isinstance(source, str):
        return str(project / source), ""
    url, version = str(source["git"]), str(source["version"])
    bare, env = environment_for(url)
    if bare.startswith("-") or "::" in bare.partition("/")[0] or version.startswith("-"):
        raise ValueError("a repository and a version that git can fetch (it starts like an option or names a program)")
    sources = project / ".cache/sources"
    close(sources)
    clone = sources / hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        if not clone.is_dir():
            partial = clone.with_name(f"{clone.name}.{os.getpid()}")
            remove(partial)
            git("clone", "--quiet", "--bare", "--template=", "--", bare, str(partial), folder=None, env=env)
            try:
                partial.rename(clone)
            except OSError:  # Another host's fork of the same run was faster.
                remove(partial)
        git("fetch", "--quiet", "--tags", "--force", "--end-of-options", bare, "+refs/heads/*:refs/heads/*",
            folder=clone, env=env)  # fmt: skip
        commit = git("rev-parse", "--verify", "--end-of-options", version + "^{commit}", folder=clone).decode().strip()
        tree = clone / TREES / commit
        if not tree.is_dir():
            partial = tree.with_name(f"{commit}.{os.getpid()}")
            remove(partial)
            partial.mkdir(parents=True)
            try:
                export(clone, commit, partial)
                partial.rename(tree)
            except OSError:  # Another host's fork of the same run was faster.
                remove(partial)
            except ValueError:
                remove(partial)
                raise
    except ValueError as error:
        raise ValueError(without_credentials(str(error))) from None
    return str(tree), commit


PARSED = 1 << 20  # bytes of a module that is parsed
NAMES = """
import ast, json, resource, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
warnings.simplefilter("ignore")
found = []
for node in ast.walk(ast.parse(sys.stdin.buffer.read())):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        found.append(node.name)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        found.append(node.id)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        found += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
print(json.dumps(found))
"""


def top_level_names(top: Path, file: Path) -> list[str]:
    """Return the names that a Python file of a source binds at its top level; ``*`` for what cannot be told.

    Code that nests deeply ends the process that parses it, without a word: it is another one, with limits.
    """
    try:
        text = content(top, file, PARSED)
        command = [sys.executable, "-I", "-S", "-c", NAMES]
        done = run(command, 20, text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/")
        return json.loads(done.stdout) if done.returncode == 0 else ["*"]
    except (ValueError, OSError, subprocess.TimeoutExpired, RecursionError):
        return ["*"]  # The release itself will say it better: with its own traceback.


def complete(
    rows: Any,
    *,
    platform: str,
    defaults: dict[str, Any],
    project: Path,
    where: str,
    sources: bool = True,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Check and complete the rows of ``flask_apps`` for one host.

    :param rows: the value of ``flask_apps``.
    :param platform: one of ``PLATFORMS``.
    :param defaults: the user's ``flask_app_defaults``.
    :param project: the folder that a relative ``source`` starts from.
    :param where: the file that messages send the reader to.
    :param sources: look at the apps' sources too; a rollback must not fail because one is not there.
    :returns: the completed rows, and a message for each thing that is wrong.
    """
    problems = Problems(where)
    options, builtin = spec(), builtin_defaults()
    if platform not in PLATFORMS:
        problems.where = "inventory/group_vars"
        problems.add("hosting_platform", platform or None, "one of " + ", ".join(PLATFORMS))
        return [], problems.found
    if not isinstance(rows, list) or not rows:
        problems.add("flask_apps", rows or None, "a list with at least one app, each a dict with a name")
        return [], problems.found
    check_types({"name": "x", **defaults}, options, "flask_app_defaults", problems)
    apps = []
    for number, row in enumerate(rows):
        at = f"flask_apps[{number}]"
        if not isinstance(row, dict):
            problems.add(at, row, "a dict with a name")
            continue
        if isinstance(row.get("name"), str):
            at += f" ({row['name']})"
        before = len(problems.found)
        check_types(row, options, at, problems)
        if len(problems.found) > before:
            continue
        app = {**builtin, **defaults, **row}
        for key in ("health", "limits", "maintenance"):
            app[key] = {**builtin[key], **app[key]}
        app["account_named"] = "account" in app
        app.setdefault("account", app["name"])
        check_values(app, at, problems)
        if not isinstance(app["source"], (str, dict)) or not app["source"]:
            problems.add(f"{at}.source", shown(app["source"]), "a folder or {git: URL, version: REF}")
        elif isinstance(app["source"], dict) and set(app["source"]) != {"git", "version"}:
            problems.add(f"{at}.source", shown(app["source"]), "{git: URL, version: REF}")
        elif app["state"] == "present" and len(problems.found) == before:
            if sources:
                try:
                    app["folder"], app["commit"] = locate(app["source"], project)
                except ValueError as error:
                    problems.add(f"{at}.source", shown(app["source"]), str(error))
                    continue
                check_source(app, at, problems)
            elif isinstance(app["source"], str) and (project / app["source"]).is_dir():
                app["folder"] = str(project / app["source"])  # What lies in it shapes the front.
            app["static"] = {url: os.path.normpath(path) for url, path in app["static"].items()}
            if "static" not in row and "static" not in defaults and "folder" in app:
                app["static"] = {u: f for u, f in app["static"].items() if (Path(app["folder"]) / f).is_dir()}
        app["source"] = shown(app["source"])  # Fetched it is, and who gets the app shows it.
        apps.append(app)
    check_together(apps, platform, problems)
    return apps, problems.found


def check_together(apps: list[dict[str, Any]], platform: str, problems: Problems) -> None:
    """Check what no row can tell alone: names, ports and URLs that two apps claim, into ``problems``."""
    claims: dict[tuple[str, Any], str] = {}

    def claim(key: str, value: Any, app: str, kind: str) -> bool:
        other = claims.get((kind, value))
        claims[kind, value] = f"app {app}"
        if other:
            problems.add(f"flask_apps ({app}).{key}", value, f"a {kind} of its own, {other} has this one")
        return not other

    for app in apps:
        claim("name", app["name"], app["name"], "name")
        if app["state"] == "absent":
            continue
        if platform != "server":
            claim("port", app["port"], app["name"], "port")
            continue
        for domain in app["domains"] or ["every name"]:
            for key, url in urls(app):
                if not claim(key, f"{domain} {url}", app["name"], "domain and path") and key == "mount":
                    break
    if platform == "server":
        check_everywhere([app for app in apps if app["state"] != "absent"], problems)


def check_everywhere(apps: list[dict[str, Any]], problems: Problems) -> None:
    """Check the URLs of apps with domains against those of apps on every name, into ``problems``.

    The site of a domain has these too, but those whose mount an app of the domain has: nginx takes no URL twice.
    """
    for domain in sorted({domain for app in apps for domain in app["domains"]}):
        own = [app for app in apps if domain in app["domains"]]
        taken = {app["mount"] for app in own}
        claims = {
            url: other["name"]
            for other in apps
            if not other["domains"] and other["mount"] not in taken
            for _, url in urls(other)
        }
        for app in own:
            for key, url in urls(app):
                if url in claims:
                    allowed = f"a domain and path of its own, app {claims[url]}, which is on every name, has this one"
                    problems.add(f"flask_apps ({app['name']}).{key}", f"{domain} {url}", allowed)


def urls(app: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the paths that an app has locations of their own for in the front, each with its key."""
    yield "mount", app["mount"]
    for key in ("static", "logins"):
        for url in sorted({*app[key]} - {"/"}):
            yield key, f"{app['mount'].rstrip('/')}{url}"
