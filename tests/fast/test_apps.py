"""What a row of ``flask_apps`` may say: every bad one is refused with words that help, every good one passes."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.hosted.flask.plugins.plugin_utils import apps, frontends
from support import ROOT

WHERE = "inventory/group_vars/all/apps.yml"
MESSAGE = re.compile(
    r"(?P<key>\S.*?): (?P<value>.+?) is refused\. Allowed: (?P<allowed>.+)\. Fix it in (?P<file>.+)\.", re.S
)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _read_once() -> Iterator[None]:
    """Read the role's YAML once for all rows: half a second less for each hundred of them."""
    defaults = apps.builtin_defaults()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apps, "spec", functools.cache(apps.spec))
        patch.setattr(apps, "builtin_defaults", lambda: copy.deepcopy(defaults))
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of sources: a whole app, a package, and folders that lack something."""
    folder = tmp_path_factory.mktemp("project")
    files = {
        "app/wsgi.py": "import os\nfrom x import y as imported\napp = 1\nif app:\n    late = 2\n\n"
        "def create_app(): pass\n",
        "app/requirements.txt": "flask\n",
        "app/other/lock.txt": "flask\n",
        "dots/wsgi.py": "app = 1\n",
        "dots/other/lock..txt": "flask\n",
        "app/static/a.css": "",
        "app/pack/__init__.py": "class Site: pass\n",
        "app/pack/deep/mod.py": "a: int = 1\n(b, c) = 1, 2\n",
        "app/star.py": "from x import *\n",
        "app/broken.py": "def (:\n",
        "app/front/package.json": "{}",
        "app/front/package-lock.json": "{}",
        "app/unlocked/package.json": "{}",
        "no_module/requirements.txt": "flask\n",
        "no_requirements/wsgi.py": "app = 1\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def complete(
    rows: Any, project: Path, platform: str = "server", sources: bool = True, **defaults: Any
) -> tuple[Rows, list[str]]:
    """Check rows as the preflight action does, with the project's whole app as the source."""
    defaults = {"source": "app", **defaults}
    return apps.complete(rows, platform=platform, defaults=defaults, project=project, where=WHERE, sources=sources)


def parts(message: str) -> dict[str, str]:
    """Split a message into its four parts; one that lacks a part fails the test."""
    found = MESSAGE.fullmatch(message)
    assert found, f"key, value, what is allowed or the file is missing: {message}"
    return found.groupdict()


# --- refused


def one(**row: Any) -> Rows:
    """Return the rows of a single app."""
    return [{"name": "shop", **row}]


LONG = "n" * 32
# rows, the key's end, the value as shown, a part of what is allowed
BAD: dict[str, tuple[Any, str, str, str]] = {
    "no_rows": ([], "flask_apps", "not set", "a list with at least one app"),
    "rows_not_set": (None, "flask_apps", "not set", "a list with at least one app"),
    "rows_are_a_dict": ({"name": "shop"}, "flask_apps", "{'name': 'shop'}", "a list"),
    "rows_are_a_text": ("shop", "flask_apps", "'shop'", "a list"),
    "row_is_a_text": (["shop"], "flask_apps[0]", "'shop'", "a dict with a name"),
    "row_is_none": ([None], "flask_apps[0]", "not set", "a dict with a name"),
    "no_name": ([{}], "flask_apps[0].name", "not set", "Names the app's folders"),
    "unknown_key": (one(proceses=2), ".proceses", "2", "processes"),
    "unknown_key_of_health": (one(health={"pth": "/"}), ".health.pth", "'/'", "path, timeout"),
    "unknown_key_of_a_service": (
        one(services=[{"name": "a", "command": "b", "user": "c"}]),
        ".services[0].user",
        "'c'",
        "command, name",
    ),
    "service_without_a_command": (one(services=[{"name": "a"}]), ".services[0].command", "not set", "command line"),
    "service_is_a_text": (one(services=["celery"]), ".services[0]", "'celery'", "type dict"),
    "domain_is_a_number": (one(domains=[5]), ".domains[0]", "5", "type str"),
    "name_is_a_number": ([{"name": 5}], "flask_apps[0].name", "5", "type str"),
    "port_is_a_text": (one(port="1024"), ".port", "'1024'", "type int"),
    "port_is_a_boolean": (one(port=True), ".port", "True", "type int"),
    "processes_is_a_float": (one(processes=1.5), ".processes", "1.5", "type int"),
    "domains_is_a_text": (one(domains="x.org"), ".domains", "'x.org'", "type list"),
    "environment_is_a_list": (one(environment=["A=b"]), ".environment", "['A=b']", "type dict"),
    "purge_is_a_text": (one(purge="yes"), ".purge", "'yes'", "type bool"),
    "static_is_a_list": (one(static=["static"]), ".static", "['static']", "type dict"),
    "health_is_a_text": (one(health="/status"), ".health", "'/status'", "type dict"),
    "module_is_null": (one(module=None), ".module", "not set", "type str"),
    "state_unknown": (one(state="gone"), ".state", "'gone'", "present, absent"),
    "server_unknown": (one(server="apache"), ".server", "'apache'", "uwsgi"),
    "name_upper_case": ([{"name": "Shop"}], ".name", "'Shop'", "^[a-z][a-z0-9_]{0,30}$"),
    "name_with_a_dash": ([{"name": "my-shop"}], ".name", "'my-shop'", "^[a-z]"),
    "name_starts_with_a_digit": ([{"name": "1shop"}], ".name", "'1shop'", "^[a-z]"),
    "name_empty": ([{"name": ""}], ".name", "''", "^[a-z]"),
    "name_too_long": ([{"name": LONG}], ".name", repr(LONG), "{0,30}"),
    "name_with_a_newline": ([{"name": "shop\n"}], ".name", "'shop\\n'", "^[a-z]"),
    "name_is_a_path": ([{"name": "../shop"}], ".name", "'../shop'", "^[a-z]"),
    "account_bad": (one(account="Root!"), ".account", "'Root!'", "^[a-z]"),
    "mount_without_slash": (one(mount="shop"), ".mount", "'shop'", "/your/path"),
    "mount_with_dots": (one(mount="/a/../b"), ".mount", "'/a/../b'", "no '..'"),
    "mount_with_one_dot": (one(mount="/a/./b"), ".mount", "'/a/./b'", "/your/path"),
    "mount_trailing_slash": (one(mount="/shop/"), ".mount", "'/shop/'", "no slash at its end"),
    "mount_double_slash": (one(mount="//shop"), ".mount", "'//shop'", "/your/path"),
    "mount_empty": (one(mount=""), ".mount", "''", "/your/path"),
    "mount_with_a_space": (one(mount="/my shop"), ".mount", "'/my shop'", "letters, digits"),
    "mount_that_breaks_nginx": (one(mount="/a;b"), ".mount", "'/a;b'", "letters, digits"),
    "mount_with_a_newline": (one(mount="/a\n"), ".mount", "'/a\\n'", "letters, digits"),
    "domain_with_scheme": (one(domains=["https://x.org"]), "domains[0]", "'https://x.org'", "without scheme"),
    "domain_with_port": (one(domains=["x.org:80"]), "domains[0]", "'x.org:80'", "without scheme, port"),
    "domain_with_path": (one(domains=["ok.org", "x.org/a"]), "domains[1]", "'x.org/a'", "host name"),
    "domain_upper_case": (one(domains=["X.org"]), "domains[0]", "'X.org'", "lower case"),
    "domain_empty": (one(domains=[""]), "domains[0]", "''", "host name"),
    "domain_that_breaks_nginx": (one(domains=["x.org;"]), "domains[0]", "'x.org;'", "host name"),
    "domain_wildcard": (one(domains=["*.x.org"]), "domains[0]", "'*.x.org'", "host name"),
    "domain_too_long": (one(domains=["a." * 127 + "b"]), "domains[0]", repr("a." * 127 + "b"), "host name"),
    "module_without_colon": (one(module="wsgi"), ".module", "'wsgi'", "wsgi:app"),
    "module_is_a_file": (one(module="wsgi.py:app()x"), ".module", "'wsgi.py:app()x'", "wsgi:app"),
    "module_is_a_command": (one(module="wsgi:app\nsocket=x"), ".module", "'wsgi:app\\nsocket=x'", "wsgi:app"),
    "module_file_missing": (one(module="main:app"), ".module", "'main:app'", "main.py is missing"),
    "module_of_another_source": (one(source="no_module"), ".module", "'wsgi:app'", "no_module/wsgi.py is missing"),
    "module_name_missing": (
        one(module="wsgi:application"),
        ".module",
        "'wsgi:application'",
        "wsgi.py defines (app, create_app",
    ),
    "package_name_missing": (one(module="pack:app"), ".module", "'pack:app'", "Site"),
    "submodule_missing": (one(module="pack.deep.gone:a"), ".module", "'pack.deep.gone:a'", "gone.py is missing"),
    "port_of_root": (one(port=80), ".port", "80", "from 1024 to 65535"),
    "port_too_high": (one(port=65536), ".port", "65536", "from 1024 to 65535"),
    "port_negative": (one(port=-1), ".port", "-1", "from 1024 to 65535"),
    "no_processes": (one(processes=0), ".processes", "0", "from 1 to 256"),
    "too_many_threads": (one(threads=257), ".threads", "257", "from 1 to 256"),
    "keep_one": (one(keep_releases=1), ".keep_releases", "1", "from 2 to 100"),
    "health_without_slash": (one(health={"path": "status"}), ".health.path", "'status'", "leading slash"),
    "body_with_a_word": (one(limits={"body": "1 MB"}), ".limits.body", "'1 MB'", "100m"),
    "body_that_breaks_nginx": (one(limits={"body": "1m; root /"}), ".limits.body", "'1m; root /'", "100m"),
    "body_is_a_number": (one(limits={"body": 5}), ".limits.body", "5", "type str"),
    "limit_below_zero": (one(limits={"timeout": -1}), ".limits.timeout", "-1", "from 0 to 86400"),
    "too_many_requests": (one(limits={"requests": 100_001}), ".limits.requests", "100001", "from 0 to 100000"),
    "connections_is_a_text": (one(limits={"connections": "9"}), ".limits.connections", "'9'", "type int"),
    "unknown_limit": (one(limits={"size": "1m"}), ".limits.size", "'1m'", "body, connections, requests, timeout"),
    "login_without_slash": (one(logins=["login"]), ".logins[0]", "'login'", "/login"),
    "login_everywhere": (one(logins=["/login", "/"]), ".logins[1]", "'/'", "/login"),
    "login_with_a_slash_at_its_end": (one(logins=["/a/"]), ".logins[0]", "'/a/'", "no slash at its end"),
    "login_that_breaks_nginx": (one(logins=["/a{b"]), ".logins[0]", "'/a{b'", "/login"),
    "extra_without_an_end": (one(nginx_extra="gzip off"), ".nginx_extra", "'gzip off'", "ends with ';'"),
    "extra_leaves_its_location": (one(nginx_extra="} server {"), ".nginx_extra", "'} server {'", "its '}'"),
    "extra_block_left_open": (one(nginx_extra="if ($a) {"), ".nginx_extra", "'if ($a) {'", "its '}'"),
    "extra_quote_left_open": (one(nginx_extra="a 'b;"), ".nginx_extra", '"a \'b;"', "ends with ';'"),
    "extra_closes_in_a_line_after_a_comment": (
        one(nginx_extra="a b; # {\n}"),
        ".nginx_extra",
        r"'a b; # {\n}'",
        "its '}'",
    ),
    "page_outside": (one(maintenance={"page": "../a.html"}), ".maintenance.page", "'../a.html'", "inside the source"),
    "page_missing": (one(maintenance={"page": "gone.html"}), ".maintenance.page", "'gone.html'", "app/gone.html is"),
    "network_with_bits_below": (
        one(maintenance={"allow": ["192.0.2.1/24"]}),
        ".maintenance.allow[0]",
        "'192.0.2.1/24'",
        "has host bits set",
    ),
    "network_with_a_mask": (
        one(maintenance={"allow": ["192.0.2.0/255.255.255.0"]}),
        ".maintenance.allow[0]",
        "'192.0.2.0/255.255.255.0'",
        "how many bits",
    ),
    "network_with_a_mask_of_the_rest": (
        one(maintenance={"allow": ["::1", "192.0.2.0/0.0.0.255"]}),
        ".maintenance.allow[1]",
        "'192.0.2.0/0.0.0.255'",
        "how many bits",
    ),
    "network_of_an_interface": (
        one(maintenance={"allow": ["fe80::1%eth0"]}),
        ".maintenance.allow[0]",
        "'fe80::1%eth0'",
        "no interface",
    ),
    "network_is_a_name": (one(maintenance={"allow": ["desk.org"]}), ".maintenance.allow[0]", "'desk.org'", "192.0.2.0"),
    "two_apps_on_one_login": (
        [{"name": "a", "logins": ["/b"]}, {"name": "b", "mount": "/b"}],
        "flask_apps (b).mount",
        "'every name /b'",
        "app a has this one",
    ),
    **{
        f"{key}_of_a_domain_on_a_{other}_of_every_name": (
            [{"name": "a", "mount": "/x/y"} | there, {"name": "b", "domains": ["b.org"]} | here],
            f"flask_apps (b).{key}",
            f"'b.org {url}'",
            "app a, which is on every name, has this one",
        )
        for key, other, here, there, url in (
            ("logins", "mount", {"logins": ["/x/y"]}, {}, "/x/y"),
            ("static", "mount", {"static": {"/y": "static"}, "mount": "/x"}, {}, "/x/y"),
            ("mount", "static", {"mount": "/x/y/z"}, {"static": {"/z": "static"}}, "/x/y/z"),
            ("mount", "login", {"mount": "/x/y/z"}, {"logins": ["/z"]}, "/x/y/z"),
            ("static", "static", {"static": {"/x/y/z": "static"}}, {"static": {"/z": "static"}}, "/x/y/z"),
            ("logins", "login", {"logins": ["/x/y/z"]}, {"logins": ["/z"]}, "/x/y/z"),
        )
    },
    "health_no_time": (one(health={"timeout": 0}), ".health.timeout", "0", "from 1 to 600"),
    "health_too_long": (one(health={"timeout": 601}), ".health.timeout", "601", "from 1 to 600"),
    "health_time_is_a_text": (one(health={"timeout": "30s"}), ".health.timeout", "'30s'", "type int"),
    "variable_with_a_dash": (one(environment={"MY-NAME": 1}), ".environment.MY-NAME", "1", "a variable name"),
    "variable_with_a_space": (one(environment={"A B": 1}), ".environment.A B", "1", "a variable name"),
    "variable_with_a_command": (one(environment={"A;id": 1}), ".environment.A;id", "1", "a variable name"),
    "variable_is_a_number": (one(environment={1: "x"}), ".environment.1", "'x'", "a variable name"),
    "variable_path": (one(environment={"PATH": "/x"}), ".environment.PATH", "'/x'", "not PATH"),
    "variable_of_ours": (one(environment={"HOSTED_ROOT": "/x"}), ".environment.HOSTED_ROOT", "'/x'", "HOSTED_..."),
    "variable_virtual_env": (one(environment={"VIRTUAL_ENV": "/x"}), ".environment.VIRTUAL_ENV", "'/x'", "VIRTUAL_ENV"),
    "setting_is_a_list": (one(environment={"A": ["b"]}), ".environment.A", "['b']", "a text, a number or a boolean"),
    "setting_is_null": (one(environment={"A": None}), ".environment.A", "not set", "a text, a number"),
    "setting_with_a_zero_byte": (one(environment={"A": "b\0"}), ".environment.A", "'b\\x00'", "a text"),
    "static_without_slash": (one(static={"static": "static"}), ".static", "'static'", "/static"),
    "static_is_everything": (one(static={"/": "static"}), ".static", "'/'", "/static"),
    "static_with_dots": (one(static={"/a/../b": "static"}), ".static", "'/a/../b'", "/static"),
    "static_outside": (one(static={"/s": "../static"}), ".static./s", "'../static'", "inside the source"),
    "static_absolute": (one(static={"/s": "/etc"}), ".static./s", "'/etc'", "inside the source"),
    "static_folder_empty": (one(static={"/s": ""}), ".static./s", "''", "inside the source"),
    "static_folder_is_a_number": (one(static={"/s": 5}), ".static./s", "5", "inside the source"),
    "service_name_upper_case": (
        one(services=[{"name": "Mail", "command": "x"}]),
        "services[0].name",
        "'Mail'",
        "^[a-z]",
    ),
    "service_name_twice": (one(services=[{"name": "a", "command": "x"}] * 2), "services[1].name", "'a'", "not taken"),
    "service_name_standby": (
        one(services=[{"name": "standby", "command": "x"}]),
        "services[0].name",
        "'standby'",
        "not taken",
    ),
    "service_name_http": (one(services=[{"name": "http", "command": "x"}]), "services[0].name", "'http'", "not taken"),
    "source_missing": (one(source="gone"), ".source", "'gone'", "a folder (looked for"),
    "source_is_a_file": (one(source="app/wsgi.py"), ".source", "'app/wsgi.py'", "a folder"),
    "source_empty": (one(source=""), ".source", "''", "a folder or {git: URL, version: REF}"),
    "source_is_a_number": (one(source=5), ".source", "5", "a folder or {git"),
    "source_without_version": (one(source={"git": "x"}), ".source", "{'git': 'x'}", "{git: URL, version: REF}"),
    "source_with_more": (
        one(source={"git": "x", "version": "y", "path": "z"}),
        ".source",
        "{'git': 'x', 'version': 'y', 'path': 'z'}",
        "{git",
    ),
    "requirements_missing": (
        one(source="no_requirements"),
        ".requirements",
        "'requirements.txt'",
        "lists at least flask",
    ),
    "requirements_other_missing": (one(requirements="lock.txt"), ".requirements", "'lock.txt'", "lock.txt is missing"),
    "requirements_outside": (one(requirements="../x.txt"), ".requirements", "'../x.txt'", "inside the source"),
    "requirements_absolute": (one(requirements="/x.txt"), ".requirements", "'/x.txt'", "inside the source"),
    "requirements_is_a_folder": (one(requirements="static"), ".requirements", "'static'", "a file of the source"),
    "frontend_missing": (one(frontend="frontend"), ".frontend", "'frontend'", "frontend/package.json is missing"),
    "frontend_without_package": (one(frontend="static"), ".frontend", "'static'", "static/package.json is missing"),
    "frontend_without_lock": (one(frontend="unlocked"), ".frontend", "'unlocked'", "package-lock.json is missing"),
    "frontend_outside": (one(frontend="../app/front"), ".frontend", "'../app/front'", "inside the source"),
    "frontend_absolute": (one(frontend="/front"), ".frontend", "'/front'", "inside the source"),
    "frontend_is_everything": (one(frontend="."), ".frontend", "'.'", "inside the source"),
    "frontend_is_a_list": (one(frontend=["front"]), ".frontend", "['front']", "type str"),
    "static_is_anothers_mount": (
        one(static={"/docs": "static"}) + [{"name": "b", "mount": "/docs"}],
        "(b).mount",
        "'every name /docs'",
        "app shop has this one",
    ),
    "service_command_of_two_lines": (
        one(services=[{"name": "a", "command": "x\ny"}]),
        "services[0].command",
        "'x\\ny'",
        "on one line",
    ),
    "migrate_of_two_lines": (one(migrate="x\n"), ".migrate", "'x\\n'", "on one line"),
    "static_folder_with_a_quote": (one(static={"/s": 'a"b'}), ".static./s", "'a\"b'", "inside the source"),
    "same_name": (one(mount="/a") + one(mount="/b"), "(shop).name", "'shop'", "a name of its own, app shop"),
    "same_path_everywhere": (one() + [{"name": "b"}], "(b).mount", "'every name /'", "app shop has this one"),
    "same_domain_and_path": (
        one(domains=["a.org", "b.org"], mount="/x") + [{"name": "b", "domains": ["b.org"], "mount": "/x"}],
        "(b).mount",
        "'b.org /x'",
        "app shop has this one",
    ),
}


@pytest.mark.parametrize(("rows", "key", "value", "allowed"), BAD.values(), ids=BAD)
def test_refused(rows: Any, key: str, value: str, allowed: str, project: Path) -> None:
    """One message, which names the key, its value, what is allowed and the file to edit."""
    _, messages = complete(rows, project)
    assert len(messages) == 1, messages
    said = parts(messages[0])
    assert said["key"].endswith(key)
    assert said["value"] == value
    assert allowed in said["allowed"]
    assert said["file"] == WHERE


@pytest.mark.parametrize("platform", ["", "solaris", "Local", None])
def test_an_unknown_platform_is_refused(platform: Any, project: Path) -> None:
    [message] = complete(one(), project, platform)[1]
    said = parts(message)
    assert said["key"] == "hosting_platform"
    assert said["value"] == (repr(platform) if platform else "not set")
    assert "local, server" in said["allowed"]
    assert said["file"] == "inventory/group_vars"


def test_two_apps_on_one_port_are_refused_where_there_are_ports(project: Path) -> None:
    rows = [*one(port=2000), {"name": "b", "port": 2000, "mount": "/b"}]
    [message] = complete(rows, project, "local")[1]
    said = parts(message)
    assert (said["key"], said["value"]) == ("flask_apps (b).port", "2000")
    assert "app shop has this one" in said["allowed"]
    assert complete(rows, project, "server")[1] == []


def test_everything_that_is_wrong_is_told_at_once(project: Path) -> None:
    rows = [{"name": "Shop", "port": 1}, {"name": "b", "nope": 1, "mount": 5}, {"name": "c", "mount": "x"}]
    messages = complete(rows, project)[1]
    keys = [parts(message)["key"] for message in messages]
    assert [key.partition(".")[2] for key in keys] == ["name", "port", "nope", "mount", "mount"]
    assert [key.partition(" ")[0] for key in keys] == ["flask_apps[0]"] * 2 + ["flask_apps[1]"] * 2 + ["flask_apps[2]"]


@pytest.mark.parametrize(
    ("defaults", "key"), [({"nope": 1}, "flask_app_defaults.nope"), ({"port": "x"}, "flask_app_defaults.port")]
)
def test_defaults_of_the_user_are_checked_too(defaults: dict[str, Any], key: str, project: Path) -> None:
    messages = complete(one(port=2000), project, **defaults)[1]
    assert key in [parts(message)["key"] for message in messages]


def test_a_bad_value_in_the_defaults_is_refused_for_the_app_that_has_it(project: Path) -> None:
    messages = complete([*one(), {"name": "b", "mount": "/b"}], project, mount="nope")[1]
    assert [parts(message)["key"] for message in messages] == ["flask_apps[0] (shop).mount"]


# --- secrets

HIDDEN = "s3cr3t-v4lue"
SECRETS: dict[str, dict[str, Any]] = {
    "bad_name": {"secrets": {"BAD-NAME": HIDDEN}},
    "reserved_name": {"secrets": {"PATH": HIDDEN}},
    "list": {"secrets": {"KEY": [HIDDEN]}},
    "dict": {"secrets": {"KEY": {"a": HIDDEN}}},
    "zero_byte": {"secrets": {"KEY": f"{HIDDEN}\0"}},
    "all_in_one_text": {"secrets": f"KEY={HIDDEN}"},
    "all_in_a_list": {"secrets": [f"KEY={HIDDEN}"]},
    "misspelt_key": {"secret": {"KEY": HIDDEN}},
}


@pytest.mark.parametrize("row", SECRETS.values(), ids=SECRETS)
def test_secrets_are_never_shown(row: dict[str, Any], project: Path) -> None:
    """Refused with the key, and without the value."""
    [message] = complete(one(**row), project)[1]
    assert HIDDEN not in message
    assert "secret" in parts(message)["key"]


def test_secrets_are_not_shown_by_what_else_is_wrong(project: Path) -> None:
    messages = complete(one(secrets={"KEY": HIDDEN}, mount="x", nope=1, port="y"), project)[1]
    assert messages
    assert HIDDEN not in "".join(messages)


# --- accepted


GOOD: dict[str, Rows] = {
    "name_alone": one(),
    "shortest_and_longest_name": [{"name": "a", "mount": "/a"}, {"name": "a" + "_9" * 15, "mount": "/b"}],
    "mounts": [
        {"name": f"a{n}", "mount": m} for n, m in enumerate(["/", "/a", "/your/path/deeper", "/~x/a.b/c-d_e", "/..."])
    ],
    "one_path_on_two_domains": [{"name": "a", "domains": ["a.org"]}, {"name": "b", "domains": ["b.org"]}],
    "one_domain_and_everywhere": [{"name": "a", "domains": ["a.org"]}, {"name": "b"}],
    "one_mount_on_a_domain_and_everywhere": [
        {"name": "a", "domains": ["a.org"], "mount": "/x", "logins": ["/y"]},
        {"name": "b", "mount": "/x", "logins": ["/y"]},
    ],
    "domains": one(domains=["localhost", "a-b.example.org", "xn--mnchen-3ya.de", "1.2.3.4"]),
    "modules": [
        {"name": f"a{n}", "mount": f"/{n}", "module": m}
        for n, m in enumerate(
            [
                "wsgi:app",
                "wsgi:create_app()",
                "wsgi:late",
                "wsgi:imported",
                "pack:Site",
                "pack.deep.mod:a",
                "pack.deep.mod:c",
            ]
        )
    ],
    "what_cannot_be_told_is_left_to_the_release": [
        {"name": "a", "module": "star:app"},
        {"name": "b", "mount": "/b", "module": "broken:app"},
    ],
    "front": one(
        limits={"body": "1G", "timeout": 86400, "requests": 100_000, "connections": 1},
        logins=["/login", "/a/b.c~d"],
        nginx_extra="gzip off;\nif ($arg_a = '}') { return 403; } # a }\nset $b \"{;\";\nset $c ${b}x;\n",
        maintenance={"page": "static/a.css", "allow": ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "::/0"]},
    ),
    "front_off": one(limits={"body": "0"}, logins=[], nginx_extra=" \n# only this", maintenance={}),
    "limits_low": one(port=1024, processes=1, threads=1, keep_releases=2, health={"path": "/", "timeout": 1}),
    "limits_high": one(
        port=65535, processes=256, threads=256, keep_releases=100, health={"path": "/a?b", "timeout": 600}
    ),
    "frontends": [{"name": f"a{n}", "mount": f"/{n}", "frontend": f} for n, f in enumerate(["", "front", "front/"])],
    "settings": one(environment={"A": "x", "b_2": 1, "_C": 1.5, "D": True, "E": "", "F": "$x\n'\"", "PATHS": "/x"}),
    "secrets": one(secrets={"A": "x", "B": 1}),
    "services": one(services=[{"name": "mail", "command": "celery"}, {"name": "beat", "command": "celery beat"}]),
    "static": one(static={"/static": "static", "/a/b": "deep/er"}),
    "other_requirements": one(requirements="other/lock.txt"),
    "shared_account": [{"name": "a", "account": "team"}, {"name": "b", "account": "team", "mount": "/b"}],
    "absent_needs_no_source": one(state="absent", source="gone"),
    "absent_gives_its_path_away": [*one(state="absent"), {"name": "b"}],
    "dots_in_a_file_name": one(requirements="other/lock..txt", source="dots"),
}


@pytest.mark.parametrize("rows", GOOD.values(), ids=GOOD)
def test_accepted(rows: Rows, project: Path) -> None:
    found, messages = complete(rows, project)
    assert messages == []
    assert [app["name"] for app in found] == [row["name"] for row in rows]
    for app, row in zip(found, rows, strict=True):
        assert app["account"] == row.get("account", row["name"])
        assert set(apps.builtin_defaults()) <= set(app)


def test_a_row_wins_over_the_users_defaults_and_these_over_the_roles(project: Path) -> None:
    [app], messages = complete(one(threads=7, health={"timeout": 9}), project, threads=5, processes=5)
    assert messages == []
    assert (app["threads"], app["processes"], app["port"]) == (7, 5, 1024)
    assert app["health"] == {"path": "/status", "timeout": 9}


def test_the_default_static_folder_is_dropped_where_there_is_none(project: Path, tmp_path: Path) -> None:
    assert complete(one(), project)[0][0]["static"] == {"/static": "static"}
    (tmp_path / "wsgi.py").write_text("app = 1\n")
    (tmp_path / "requirements.txt").write_text("flask\n")
    assert complete(one(source=str(tmp_path)), project)[0][0]["static"] == {}
    assert complete(one(source=str(tmp_path), static={"/s": "gone"}), project)[0][0]["static"] == {"/s": "gone"}


def test_the_front_is_described_the_same_without_a_look_at_the_sources(project: Path, tmp_path: Path) -> None:
    """What lies in them shapes it; where they are not here nothing is refused, and nothing can be known."""
    (tmp_path / "wsgi.py").write_text("app = 1\n")
    (tmp_path / "requirements.txt").write_text("flask\n")
    for row in one(), one(source=str(tmp_path)), one(static={"/s": "./static"}), one(state="absent"):
        [[seen], [unseen]] = (complete(row, project, sources=sources)[0] for sources in (True, False))
        assert {**seen, "commit": ""} == {**unseen, "commit": ""}
    for source in "gone", {"git": "/nowhere", "version": "main"}:
        [[app], problems] = complete(one(source=source), project, sources=False)
        assert (problems, "folder" in app) == ([], False)


def test_a_source_is_relative_to_the_project_or_absolute(project: Path) -> None:
    assert complete(one(), project)[0][0]["folder"] == str(project / "app")
    assert complete(one(source=str(project / "app")), Path("/nowhere"))[0][0]["folder"] == str(project / "app")


def test_rows_are_not_changed(project: Path) -> None:
    rows = one(health={"timeout": 5})
    complete(rows, project)
    assert rows == [{"name": "shop", "health": {"timeout": 5}}]


@pytest.mark.parametrize("platform", ["local", "server"])
def test_the_shipped_inventory_is_accepted(platform: str) -> None:
    rows = yaml.safe_load((ROOT / WHERE).read_text())["flask_apps"]
    found, messages = apps.complete(rows, platform=platform, defaults={}, project=ROOT, where=WHERE)
    assert messages == []
    assert found


# --- sources in git


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, as a committer of its own."""
    who = {f"GIT_{role}_{what}": "x@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | who).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with an app, tagged v1, and a later commit on branch main."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "requirements.txt").write_text("flask\n")
    (folder / "wsgi.py").write_text("app = 'v1'\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=one")
    git(folder, "tag", "v1")
    (folder / "wsgi.py").write_text("app = 'main'\n")
    git(folder, "commit", "--quiet", "--all", "--message=two")
    return folder


@pytest.mark.parametrize(("version", "says"), [("v1", "'v1'"), ("main", "'main'")])
def test_a_version_of_a_repository(version: str, says: str, repository: Path, tmp_path: Path) -> None:
    """Its files are exported, without its history; the commit goes into the app's own."""
    [app], messages = complete(one(source={"git": str(repository), "version": version}), tmp_path)
    assert messages == []
    assert app["commit"] == git(repository, "rev-parse", version)
    assert (Path(app["folder"]) / "wsgi.py").read_text() == f"app = {says}\n"
    assert not (Path(app["folder"]) / ".git").exists()


def test_a_commit_is_a_version_too_and_is_exported_once(repository: Path, tmp_path: Path) -> None:
    rows = one(source={"git": str(repository), "version": git(repository, "rev-parse", "v1")})
    first = complete(rows, tmp_path)[0][0]["folder"]
    inode = Path(first, "wsgi.py").stat().st_ino
    second = complete(rows, tmp_path)[0][0]["folder"]
    assert (second, Path(second, "wsgi.py").stat().st_ino) == (first, inode)


def test_a_branch_is_followed_and_so_is_a_tag_that_moved(repository: Path, tmp_path: Path) -> None:
    def deployed(version: str) -> str:
        [app], messages = complete(one(source={"git": str(repository), "version": version}), tmp_path)
        assert messages == []
        return (Path(app["folder"]) / "wsgi.py").read_text()

    assert (deployed("main"), deployed("v1")) == ("app = 'main'\n", "app = 'v1'\n")
    (repository / "wsgi.py").write_text("app = 'later'\n")
    git(repository, "commit", "--quiet", "--all", "--message=three")
    git(repository, "tag", "--force", "v1")
    assert (deployed("main"), deployed("v1")) == ("app = 'later'\n",) * 2


@pytest.mark.parametrize("version", ["v2", "", "--help", "-x", "HEAD:wsgi.py"])
def test_a_version_that_is_not_there_is_refused(version: str, repository: Path, tmp_path: Path) -> None:
    [message] = complete(one(source={"git": str(repository), "version": version}), tmp_path)[1]
    said = parts(message)
    assert said["key"].endswith(".source")
    assert repr(version) in said["value"]
    assert "a version that git can fetch" in said["allowed"]


@pytest.mark.parametrize("url", ["gone", "--upload-pack=id", "ssh://"])
def test_a_repository_that_is_not_there_is_refused(url: str, tmp_path: Path) -> None:
    """And again at the next run: nothing half done is taken for a clone."""
    for _ in range(2):
        [message] = complete(one(source={"git": url, "version": "v1"}), tmp_path)[1]
        said = parts(message)
        assert said["key"].endswith(".source")
        assert repr(url) in said["value"]
        assert "a repository and a version that git can fetch" in said["allowed"]


def test_what_a_repository_lacks_is_named(repository: Path, tmp_path: Path) -> None:
    rows = one(source={"git": str(repository), "version": "v1"}, module="main:app")
    [message] = complete(rows, tmp_path)[1]
    assert "main.py is missing" in parts(message)["allowed"]


# --- names that change with the content

NEVER_CHANGING = {
    "not_built_here": ("", {"/static": "static", "/a": "frontend/dist/assets"}, {}),
    "elsewhere": ("frontend", {"/static": "static", "/a": "frontend/distant", "/b": "frontend"}, {}),
    "assets": ("frontend", {"/static": "static", "/a": "frontend/dist/assets"}, {"/a": ""}),
    "spelt_otherwise": ("a/b", {"/a": "./a/b/dist/assets/", "/b": "a//b/dist"}, {"/a": "", "/b": "/assets/.*"}),
    "all_of_it": ("frontend", {"/a": "frontend/dist"}, {"/a": "/assets/.*"}),
}


@pytest.mark.parametrize(("frontend", "static", "expected"), NEVER_CHANGING.values(), ids=NEVER_CHANGING)
def test_what_never_changes_was_built_here(frontend: str, static: dict[str, str], expected: dict[str, str]) -> None:
    found = apps.never_changing({"frontend": frontend, "static": static})
    assert found == {url: before + frontends.HASHED for url, before in expected.items()}


def test_of_a_thousand_hashes_hardly_one_is_taken_for_a_word() -> None:
    """As Vite makes them, eight characters of base64 for URLs; one too few would only be asked for more often."""
    hashes = [base64.urlsafe_b64encode(hashlib.sha256(bytes([n % 256, n // 256])).digest())[:8] for n in range(2000)]
    seen = [re.search(frontends.HASHED, f"assets/index-{name.decode()}.js") for name in hashes]
    assert seen.count(None) < 20


@pytest.mark.parametrize(
    ("command", "run"),
    [
        ("celery -A app worker", "exec celery -A app worker"),
        ("python -m mailer --to 'a b' >>mail.log", "exec python -m mailer --to 'a b' >>mail.log"),
        ("LEVEL=3 QUIET='a b' python -m mailer", "exec env LEVEL=3 QUIET='a b' python -m mailer"),
        *((same, same) for same in (
            "exec celery worker", "cd app && celery worker", "a; b", "a | b", "(a)", "while :; do sleep 1; done", "a &",
            "if true", "echo 'unclosed", ". ./run", "echo ';'",
        )),
    ],
)  # fmt: skip
def test_a_service_gets_the_signal_of_a_stop(command: str, run: str, tmp_path: Path) -> None:
    assert apps.becoming(command) == run


def test_the_shell_becomes_the_service() -> None:
    """Told by the shell itself, with arguments as its quotes and variables make them."""
    code = "import os, sys; print(os.getpid(), os.environ['A'], sys.argv[1:])"
    line = apps.becoming(f"A='x y' {sys.executable} -c \"{code}\" 'one two' $HOME*")
    shell = subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE, text=True, env={"HOME": "/none"})
    assert shell.communicate()[0] == f"{shell.pid} x y ['one two', '/none*']\n"
