"""Every template, with plain and with extreme values, given to the program that reads it in production."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.hosted.flask.plugins.module_utils import listen
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import complete
from supervisor.options import ServerOptions, UnhosedConfigParser
from support import ROOT, completed, nginx_files, process, render, tool

LONG = ".".join(["d" * 63, "e" * 63, "f" * 63, "example", "org"])  # A file that is named by it exists as well.
COMMANDS = [
    "celery -A wsgi.celery worker",
    "echo \"double\" 'single' 100% %(host_node_name)s %%",
    'printf \'%s\\n\' "a\\"b" \\$HOME',
    "date; sleep 1 ; echo done # comment",
    "cat <<'' && echo `id` $(id) ${HOME}",
    'python -c "import this"  |  grep "ünïcode"',
    "'",
]
EXTREME: dict[str, Any] = {
    "module": "package.sub.module:create_app()",
    "mount": "/your/path/deeper",
    "domains": [f"www{number}.example.org" for number in range(20)] + [LONG],
    "static": {"/static": "static", "/a/b.c~d": "deep/er/folder", "/files": "two words"},
    "port": 65535,
    "processes": 256,
    "threads": 256,
    "keep_releases": 100,
    "services": [{"name": f"service_{n}", "command": command} for n, command in enumerate(COMMANDS)],
}
LIMITED: dict[str, Any] = {
    "limits": {"body": "100m", "timeout": 5, "requests": 10, "connections": 3},
    "logins": ["/login", "/api/tokens.v2"],
    "stream_uploads": True,
    "nginx_extra": "gzip off;\nbrotli off;",
    "maintenance": {"page": "static/sorry, later.html", "allow": ["192.0.2.0/24", "2001:db8::/32", "127.0.0.1", "::1"]},
}
# What role server finds on a host.
SSH = {"ssh_ports": [22, 2022], "login": "key", "passwords_off": False, "keys_files": [".ssh/authorized_keys"]}
# Read by others of their folder, made of them, and shown to people: none is a file on a host.
PARTS = {"program.j2", "files.json.j2", "accounts.json.j2", "units.json.j2", "status.txt.j2"}
TEMPLATES = sorted(path for path in ROOT.glob("roles/*/templates/*") if path.name not in PARTS)


KNOWN = {"getent_passwd": {"shop": ["x", "1000", "1000", "", "/srv/50%/shop", "/bin/bash"]}}


def variables(role: str, **row: Any) -> dict[str, Any]:
    """Return what a role's tasks give its templates for one app."""
    app = completed(**row)
    return {
        "uwsgi": {"__uwsgi_app": app},
        "gunicorn": {"__gunicorn_app": app},
        "supervisord": {
            "__supervisord_app": app,
            "supervisord_home": app["home"],
            "__supervisord_account": "shop",
            "ansible_facts": KNOWN,
        },
        "server": {
            "server_apps": [{**app, "account_ours": True}],
            "__server_account": "shop",
            "__server_kind": "Service",
            "__server_facts": SSH,
            "ansible_facts": KNOWN,
        },
        "nginx": {
            "nginx_apps": [app],
            "nginx_tls": {domain: "acme" for domain in app["domains"]},
            "__nginx_app": app,
            "__nginx_site": (app["domains"] or ["_"])[0],
        },
    }.get(role, {})


# --- all of them


@pytest.mark.parametrize("row", [{}, EXTREME], ids=["defaults", "extreme"])
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_starts_with_the_managed_header_and_names_its_source(template: Path, row: dict[str, Any]) -> None:
    """After the line that names an interpreter or begins a comment, where there is one."""
    role = template.parents[1].name
    lines = render(role, template.name, **variables(role, **row)).splitlines()
    if lines[0].startswith(("#!", "<!--")):
        del lines[0]
    assert lines[:3] == ["#", "# Ansible managed", "#"]
    assert re.match(rf"[#;] Role {role}, template {re.escape(template.stem)}", lines[3])


def test_every_template_is_tried_here() -> None:
    """A new template needs a reader below."""
    assert [path.name for path in TEMPLATES] == [
        "start.j2",
        "gunicorn.conf.py.j2",
        "serve.j2",
        "app.conf.j2",
        "extra.conf.j2",
        "headers.conf.j2",
        "hosted-flask-logs.service.j2",
        "hosted-flask-logs.timer.j2",
        "logrotate.j2",
        "nginx.conf.j2",
        "site.conf.j2",
        "uwsgi.conf.j2",
        "accounts.j2",
        "authorized_keys.j2",
        "dbus.conf.j2",
        "firewall.nft.j2",
        "hide-processes.service.j2",
        "hosted-firewall.service.j2",
        "journald.conf.j2",
        "limits.conf.j2",
        "namespace.conf.j2",
        "pam-config.j2",
        "sshd.conf.j2",
        "sshd_keys.conf.j2",
        "sysctl.conf.j2",
        "tmpfiles.conf.j2",
        "upgraded.conf.j2",
        "upgrades.conf.j2",
        "home.conf.j2",
        "programs.ini.j2",
        "standby.ini.j2",
        "supervisord.conf.j2",
        "supervisord@.service.j2",
        "hosted-flask-tls.service.j2",
        "hosted-flask-tls.timer.j2",
        "mime.types.j2",
        "serve.j2",
        "uwsgi.ini.j2",
    ]


# --- nginx


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout privkey.pem"
    subprocess.run([*command.split(), "-out", "fullchain.pem"], cwd=folder, check=True, capture_output=True)
    return folder


def nginx_test(folder: Path, apps: list[dict[str, Any]], **more: Any) -> subprocess.CompletedProcess[str]:
    """Render all that role nginx writes and ask the real nginx about it."""
    given = {"nginx_http_port": 8080, "nginx_https_port": 8443, "__nginx_certificates": str(folder / "tls"), **more}
    conf = nginx_files(folder, apps, **given)
    return subprocess.run([tool("nginx"), "-t", "-q", "-c", str(conf)], capture_output=True, text=True)


SITES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "defaults": [{}],
    "extreme": [EXTREME],
    "absent": [{"state": "absent"}],
    "two_mounts": [{"name": "a", "mount": "/a"}, {"name": "b", "mount": "/b/c"}],
    "mount_below_a_mount": [{"name": "a", "mount": "/a"}, {"name": "b", "mount": "/a/b"}, {"name": "c"}],
    "everywhere_and_one_domain": [{"name": "a"}, {"name": "b", "domains": ["x.org"]}],
    "one_mount_everywhere_and_on_one_domain": [
        {"name": "a", "mount": "/x", "logins": ["/y"]},
        {"name": "b", "mount": "/x", "logins": ["/y"], "domains": ["x.org"]},
    ],
    "built": [
        {"frontend": "f", "static": {"/a": "static", "/b": "f/dist/assets", "/c": "f/dist"}, "mount": "/x"},
        {"name": "second", "frontend": "g", "static": {"/b": "g/dist/assets"}, "domains": ["x.org", "y.org"]},
    ],
    "no_static": [{"static": {}, "mount": "/x"}],
    "limited": [
        {**LIMITED, "mount": mount, "name": name, "domains": domains}
        for mount, name, domains in (("/", "a", []), ("/b/c", "b", []), ("/", "c", ["x.org", "y.org"]))
    ],
}


@pytest.mark.parametrize("rows", SITES.values(), ids=SITES)
def test_nginx_accepts_the_sites(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Not even a warning, such as one of two sites that claim the same name."""
    run = nginx_test(tmp_path, [completed(**row) for row in rows])
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({}, {"static": {"/x": "static"}}),
        ({"static": {"/y": "static"}}, {"mount": "/x/y"}),
        ({"static": {"/y": "static"}}, {"static": {"/x/y": "static"}}),
    ],
    ids=["mount_static", "static_mount", "static_static"],
)
def test_nginx_takes_no_url_twice_which_is_why_the_rows_are_refused(
    there: dict[str, Any], here: dict[str, Any], tmp_path: Path
) -> None:
    """The site of a domain has apps on every name too."""
    rows = [{"name": "a", "mount": "/x", **there}, {"name": "b", "domains": ["b.org"], **here}]
    run = nginx_test(tmp_path, [completed(**row) for row in rows])
    assert "duplicate location" in run.stderr
    _, messages = complete(rows, platform="server", defaults={}, project=tmp_path, where="here", sources=False)
    assert ["app a, which is on every name" in message for message in messages] == [True]


@pytest.mark.parametrize("network", ["192.0.2.0/255.255.255.0", "fe80::1%eth0"])
def test_nginx_takes_no_such_network_which_is_why_it_is_refused(network: str, tmp_path: Path) -> None:
    run = nginx_test(tmp_path, [completed(maintenance={"page": "", "allow": [network]})])
    assert run.returncode
    assert network in run.stderr


@pytest.mark.parametrize(
    "more",
    [
        {"nginx_client_max_body_size": "0", "nginx_read_timeout": 1},
        {"nginx_client_max_body_size": "999g", "nginx_read_timeout": 86400},
    ],
    ids=["low", "high"],
)
def test_nginx_accepts_the_limits_of_its_numbers(more: dict[str, Any], tmp_path: Path) -> None:
    run = nginx_test(tmp_path, [completed()], **more)
    assert (run.returncode, run.stderr) == (0, "")


TLS: dict[str, dict[str, str]] = {
    "each": {"a.org": "acme", "b.org": "own", "c.org": "self_signed"},
    "every_name": {"_": "self_signed"},
    "some": {"b.org": "acme", "c.org": "none"},
}


@pytest.mark.parametrize("port", [443, 8443])
@pytest.mark.parametrize("tls", TLS.values(), ids=TLS)
def test_nginx_accepts_the_sites_over_tls(tls: dict[str, str], port: int, certificate: Path, tmp_path: Path) -> None:
    """On each server of a name without a certificate of its own, none of another name is shown."""
    for name in tls:
        (tmp_path / "tls" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tls" / name).symlink_to(certificate)
    apps = [completed(name, domains=[f"{name}.org"]) for name in "abc"]
    run = nginx_test(tmp_path, apps, nginx_tls=tls, nginx_https_port=port)
    assert (run.returncode, run.stderr) == (0, "")
    sites = {path.name: path.read_text() for path in (tmp_path / "sites").glob("*.site.conf")}
    served = {name: f"listen {port} ssl" in text for name, text in sites.items()}
    with_tls = {f"{name}.site.conf" for name, mode in tls.items() if mode != "none"}
    assert served == {name: name in with_tls or name == "_.site.conf" for name in sites}
    assert ("ssl_reject_handshake on;" in sites["_.site.conf"]) == ("_" not in tls)
    suffix = "" if port == 443 else ":8443"
    for name, mode in tls.items():
        text = sites[f"{name}.site.conf"]
        assert (f"https://$host{suffix}$request_uri;" in text) == (mode != "none")
        assert ('hsts "max-age=63072000";' in text) == (mode in ("acme", "own"))


@pytest.mark.parametrize(("version", "words"), [("1.22.1", " ssl http2"), ("1.26.3", " ssl"), ("", " ssl http2")])
def test_http2_is_asked_for_as_the_version_wants_it(version: str, words: str) -> None:
    """Either way is an error or a warning to the other; who has no nginx yet gets what the older one takes."""
    given = {"nginx_tls": {"_": "own"}, "__nginx_asked": {"stderr": version and f"nginx version: nginx/{version}\n"}}
    text = render("nginx", "site.conf.j2", __nginx_site="_", **given)
    assert f"listen 443{words} default_server backlog=4096;" in text
    assert f"listen [::]:443{words} default_server backlog=4096;" in text
    assert ("http2 on;" in text) == (version == "1.26.3")


def test_a_place_on_the_preload_list_is_asked_for_only_when_said() -> None:
    text = render("nginx", "site.conf.j2", __nginx_site="_", nginx_tls={"_": "own"}, nginx_hsts_preload=True)
    assert '"max-age=63072000; includeSubDomains; preload"' in text


def holes(conf: Path) -> dict[str, str]:
    """Return what gixy finds in a configuration and in all that it includes: plugins and their reasons."""
    command = [tool("gixy"), "--format=json", str(conf)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stderr == ""
    return {found["plugin"]: found["reason"] or found["summary"] for found in json.loads(run.stdout)}


@pytest.mark.parametrize(
    ("rows", "tls"),
    [(rows, tls) for rows in SITES.values() for tls in ("none", "acme")] + [([{}], "own"), ([{}], "self_signed")],
    ids=[f"{name}_{tls}" for name in SITES for tls in ("none", "acme")] + ["own", "self_signed"],
)
def test_gixy_finds_no_hole(rows: list[dict[str, Any]], tls: str, tmp_path: Path) -> None:
    apps = [completed(**row) for row in rows]
    names = {"_"}.union(*(app["domains"] for app in apps))
    assert holes(nginx_files(tmp_path, apps, nginx_tls=dict.fromkeys(names, tls))) == {}


@pytest.mark.parametrize(
    ("here", "there", "plugin"),
    [
        ("location ^~ /static/ {", "location ^~ /static {", "alias_traversal"),
        ("server_tokens off;", "", "version_disclosure"),
        ("https://$host$request_uri", "https://$host$uri", "http_splitting"),
        ("TLSv1.2 TLSv1.3", "TLSv1 TLSv1.3", "weak_ssl_tls"),
    ],
)
def test_gixy_would_find_a_hole(here: str, there: str, plugin: str, tmp_path: Path) -> None:
    apps = [completed(nginx_extra="gzip off;")]
    conf = nginx_files(tmp_path, apps, nginx_tls={"_": "own"})
    texts = {path: path.read_text() for path in tmp_path.rglob("*.conf")}
    assert any(here in text for text in texts.values())
    for path, text in texts.items():
        path.write_text(text.replace(here, there))
    assert plugin in holes(conf)


def test_nginx_would_refuse_what_is_wrong(tmp_path: Path) -> None:
    run = nginx_test(tmp_path, [completed()], nginx_client_max_body_size="16 elephants")
    assert run.returncode
    assert "client_max_body_size" in run.stderr


def test_plain_http_is_on_port_80_unless_said_otherwise() -> None:
    text = render("nginx", "site.conf.j2", nginx_apps=[completed()], __nginx_site="_")
    assert "listen 80 default_server backlog=4096;" in text
    assert "listen [::]:80 default_server backlog=4096;" in text


@pytest.mark.parametrize("connections", [64, 100_000])
def test_each_connection_of_nginx_has_two_descriptors_and_each_open_file_has_one(connections: int) -> None:
    text = render("nginx", "nginx.conf.j2", nginx_worker_connections=connections)
    assert f"worker_connections {connections};" in text
    assert f"worker_rlimit_nofile {connections * 2 + 2000};" in text
    assert "open_file_cache max=2000 " in text


# --- the host; molecule/hardened has the rest, on a host


def nft(text: str) -> subprocess.CompletedProcess[str]:
    """Ask the real nft about rules, in a network namespace that ends with it."""
    command = ["unshare", "--user", "--map-root-user", "--net", tool("nft"), "--check", "--file", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"server_http_ports": [8080, 443], "server_open_ports": [25, "8000-8010", 443]},
        {"server_firewall_rules": ["ip saddr 192.0.2.0/24 udp dport 51820 accept", "tcp dport 25 drop"]},
        {"server_address_rate": 0, "server_address_connections": 0, "server_account_connections": 0},
        {"server_address_rate": 1, "server_address_connections": 1, "server_account_connections": 1},
        {"server_account_metadata": True},
        {"server_apps": []},
    ],
    ids=["defaults", "ports", "rules", "no_limits", "small_limits", "metadata", "no_accounts"],
)
def test_nft_accepts_the_rules(more: dict[str, Any]) -> None:
    text = render("server", "firewall.nft.j2", **{**variables("server"), **more})
    run = nft(text)
    assert (run.returncode, run.stderr) == (0, "")
    assert "tcp dport { 22, 2022 } accept" in text
    assert nft(text.replace("accept", "acept")).returncode != 0


@pytest.mark.parametrize("rules", ["tcp dport 22 drop", "drop"])
def test_own_rules_come_before_what_is_let_in(rules: str) -> None:
    lines = render("server", "firewall.nft.j2", **variables("server"), server_firewall_rules=[rules]).splitlines()
    assert lines.index(f"        {rules}") < lines.index("        tcp dport { 22, 2022 } accept")


@pytest.mark.parametrize(
    ("found", "password", "off"),
    [
        ({}, {}, True),
        ({"login": "password"}, {}, False),
        ({"login": "none"}, {}, False),
        ({"login": "unknown"}, {}, False),
        ({"login": "none", "passwords_off": True}, {}, True),
        ({}, {"ansible_password": "x"}, False),
        ({}, {"ansible_ssh_pass": "x"}, False),
        ({"passwords_off": True}, {"ansible_password": "x"}, True),
    ],
)
def test_passwords_go_only_where_a_key_was_seen(found: dict[str, Any], password: dict[str, str], off: bool) -> None:
    text = render("server", "sshd.conf.j2", __server_facts=SSH | found, **password)
    assert ("\nPasswordAuthentication no\n" in text) is off
    assert ("\nPermitRootLogin prohibit-password\n" in text) is off
    assert "LoginGraceTime" in text


@pytest.mark.parametrize(("time", "reboots"), [("", "false"), ("04:30", "true")])
def test_apt_reads_the_settings_of_upgrades(time: str, reboots: str, tmp_path: Path) -> None:
    package = 'Unattended-Upgrade::Origins-Pattern { "origin=Debian,label=Debian"; };\n'
    conf = tmp_path / "apt.conf"
    conf.write_text(package + render("server", "upgrades.conf.j2", server_reboot_at=time))
    run = subprocess.run(
        [tool("apt-config"), "dump", "Unattended-Upgrade"],
        capture_output=True, text=True, env={**os.environ, "APT_CONFIG": str(conf)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert f'Unattended-Upgrade::Automatic-Reboot "{reboots}";' in run.stdout
    assert ('Automatic-Reboot-Time "04:30"' in run.stdout) is bool(time)
    origins = re.findall(r"Origins-Pattern:: \"(.*)\";", run.stdout)
    assert origins == ["origin=Debian,codename=${distro_codename}-security,label=Debian-Security"]


@pytest.mark.parametrize(
    ("template", "section"),
    [("journald.conf.j2", "Journal"), ("upgraded.conf.j2", "Service"), ("hosted-firewall.service.j2", "Service")],
)
def test_files_of_systemd_have_their_section(template: str, section: str) -> None:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(render("server", template))
    assert section in parser


# What not every kernel has.
LACKING = ("kernel.yama.ptrace_scope", "net.core.bpf_jit_harden", "kernel.unprivileged_userns_clone")


def test_kernel_settings_are_known_and_forgiving() -> None:
    """Each begins with the sign that lets systemd go on where a kernel lacks it."""
    lines = [line for line in render("server", "sysctl.conf.j2").splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        name, equals, value = line.removeprefix("-").split()
        assert (line[0], equals, value.isdigit()) == ("-", "=", True)
        path = Path("/proc/sys") / name.replace(".", "/")
        assert path.exists() or name in LACKING, name


# --- uWSGI


def uwsgi(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Let the real uWSGI read an ini and load the app it names, without serving it."""
    for module in ("wsgi.py", "package/sub/module.py"):
        (folder / module).parent.mkdir(parents=True, exist_ok=True)
        app = "def app(environ, respond):\n    respond('200 OK', [])\n    return []\n\n\n"
        (folder / module).write_text(app + "def create_app():\n    return app\n")
    (folder / "run").mkdir()
    (folder / ".hosted").mkdir()
    (folder / ".hosted/mime.types").write_text(render("uwsgi", "mime.types.j2"))
    (folder / "uwsgi.ini").write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "VIRTUAL_ENV": str(Path(tool("uwsgi")).parents[1]),
        "HOSTED_ROOT": str(folder),
        "HOSTED_SLOT": "live",
        "HOSTED_SOCKET": str(folder / "run/live.sock"),
        "HOSTED_RELEASE": "0123456789ab",
        "HOSTED_START": "true",
    }
    command = [tool("uwsgi"), "--ini", "uwsgi.ini", "--no-server"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20)


UWSGI: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "defaults": ({}, {}, "WSGI app 0 (mountpoint='') ready"),
    "extreme": (EXTREME, {}, "WSGI app 0 (mountpoint='/your/path/deeper') ready"),
    "local": ({"router": "127.0.0.1:1"}, {}, "^/static/"),
    "local_extreme": ({**EXTREME, "router": "127.0.0.1:1", "frontend": "deep/er"}, {}, "^/a/b\\.c\\~d/"),
    "low": ({"processes": 1, "threads": 1}, {"uwsgi_buffer_size": 1024, "uwsgi_harakiri": 1}, "for 1 cores"),
    "high": (
        {"processes": 256, "threads": 256},
        {"uwsgi_buffer_size": 65535, "uwsgi_harakiri": 86400},
        "for 65536 cores",
    ),
    "options": (
        {},
        {"uwsgi_options": {"max-requests": 5000, "single-interpreter": "true", "procname": "a b"}},
        "ready",
    ),
}


@pytest.mark.parametrize(("row", "more", "said"), UWSGI.values(), ids=UWSGI)
def test_uwsgi_reads_its_ini(row: dict[str, Any], more: dict[str, Any], said: str, short: Path) -> None:
    run = uwsgi(short, render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed(**row), **more))
    assert run.returncode == 0, run.stderr
    assert said in run.stderr


def test_uwsgi_reads_its_ini_below_a_folder_with_spaces_and_percent(short: Path) -> None:
    folder = short / "50% of it"
    folder.mkdir()
    run = uwsgi(folder, render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed()))
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("option", ["buffer-size", "no-orphans", "hook-accepting1-once", "add-header"])
def test_uwsgi_refuses_a_misspelt_option(option: str, short: Path) -> None:
    text = render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed())
    assert text.count(f"\n{option} = ") == 1
    run = uwsgi(short, text.replace(f"\n{option} = ", f"\n{option}x = "))
    assert run.returncode
    assert f"unknown config directive: {option}x" in run.stderr


@pytest.mark.parametrize("streamed", [True, False])
def test_a_body_is_taken_whole_unless_uploads_are_streamed(streamed: bool) -> None:
    ini = render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed(stream_uploads=streamed))
    conf = render(
        "gunicorn", "gunicorn.conf.py.j2", __gunicorn_app=completed(server="gunicorn", stream_uploads=streamed)
    )
    assert ("\npost-buffering = " in ini, "\nWHOLE = True\n" in conf) == (not streamed, not streamed)


def test_uwsgi_refuses_a_misspelt_option_of_the_user(short: Path) -> None:
    run = uwsgi(short, render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed(), uwsgi_options={"max-request": 1}))
    assert run.returncode
    assert "max-request" in run.stderr


def test_an_app_that_does_not_load_ends_uwsgi(short: Path) -> None:
    run = uwsgi(short, render("uwsgi", "uwsgi.ini.j2", __uwsgi_app=completed(module="missing:app")))
    assert run.returncode
    assert "missing" in run.stderr


# --- gunicorn


def gunicorn(folder: Path, text: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Let the real gunicorn read its configuration and load the app it names, without serving it."""
    for module in ("wsgi.py", "package/sub/module.py"):
        (folder / module).parent.mkdir(parents=True, exist_ok=True)
        (folder / module).write_text("def app(environ, respond):\n    pass\n\n\ndef create_app():\n    return app\n")
    (folder / "gunicorn.conf.py").write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOSTED_RELEASE": "0123456789ab", "HOSTED_START": "true", **more}
    command = [tool("gunicorn"), *(words or ("--check-config",))]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20)


GUNICORN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "defaults": ({}, {}, {"workers": "2", "threads": "2", "worker_class": "gthread", "timeout": "0"}),
    "extreme": (EXTREME, {}, {"workers": "256", "threads": "256"}),
    "low": ({"processes": 1, "threads": 1}, {"gunicorn_timeout": 1}, {"workers": "1", "timeout": "1"}),
    "options": (
        {"server_options": {"max_requests": 9, "proc_name": 'a "b"'}},
        {"gunicorn_options": {"max_requests": 5, "preload_app": True, "proc_name": "never"}},
        {"max_requests": "9", "preload_app": "True", "proc_name": 'a "b"'},
    ),
}


@pytest.mark.parametrize(("row", "more", "said"), GUNICORN.values(), ids=GUNICORN)
def test_gunicorn_reads_its_configuration(
    row: dict[str, Any], more: dict[str, Any], said: dict[str, str], tmp_path: Path
) -> None:
    """It speaks the uwsgi protocol, one request for each connection, and stops when supervisor says so."""
    text = render("gunicorn", "gunicorn.conf.py.j2", __gunicorn_app=completed(server="gunicorn", **row), **more)
    checked = gunicorn(tmp_path, text)
    assert checked.returncode == 0, checked.stderr
    run = gunicorn(tmp_path, text, "--print-config")
    assert run.returncode == 0, run.stderr
    seen = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in run.stdout.splitlines())}
    expected = {"protocol": "uwsgi", "keepalive": "0", "graceful_timeout": "60", **said}
    assert {name: seen.get(name) for name in expected} == expected


def test_an_app_that_does_not_load_ends_gunicorn(tmp_path: Path) -> None:
    app = completed(server="gunicorn", module="missing:app")
    run = gunicorn(tmp_path, render("gunicorn", "gunicorn.conf.py.j2", __gunicorn_app=app))
    assert run.returncode
    assert "missing" in run.stderr


# --- what people are shown


def test_status_is_a_line_for_each_app_and_its_history() -> None:
    entry = {"time": "2030-01-02T03:04:05Z", "who": "anna@desk", "commit": "c0ffee" * 6, "action": "rollback"}
    row = {
        "host": "web1",
        "app": "shop",
        "release": "0123456789ab",
        "since": "2030-01-02T03:04:05Z",
        "by": "anna@desk",
        "commit": "c0ffee" * 6,
        "programs": {"shop": "RUNNING", "shop-mail": "FATAL"},
        "processes": 4,
        "memory": 68_400_000,
        "health": "ok",
        "maintenance": True,
        "front": "502, release none",
        "history": [{**entry, "release": "0123456789ab", "result": "live", "seconds": 4.2}],
    }
    bare = {"host": "web2", "app": "blog", "release": None, "health": "not deployed"}
    lines = render("flask_app", "status.txt.j2", __flask_app_rows=[row, bare]).strip().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["host", "app"],
        ["web1", "shop"],
        ["shop-mail", "is"],
        ["0123456789ab", "2030-01-02T03:04:05Z"],
        ["web2", "blog"],
    ]
    assert lines[1].endswith(
        "anna@desk            c0ffeec0f     4   68 MB  ok, front: 502, release none, in maintenance"
    )
    assert lines[3].endswith("anna@desk            c0ffeec0f rollback live (4.2 s)")
    assert lines[4].split()[2:] == ["-", "-", "-", "-", "0", "0", "MB", "not", "deployed"]
    assert lines[0].index("health") == lines[1].index("ok, front") == lines[2].index("shop-mail")


# --- supervisor


def read_by_supervisor(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], set[str]]:
    """Let the real supervisord read a home's configuration.

    :returns: its programs by their names, and the keys in the files that it did not look at.
    """
    looked_at: set[tuple[str, str]] = set()
    parsers: dict[int, UnhosedConfigParser] = {}
    original = UnhosedConfigParser.saneget

    def saneget(self: UnhosedConfigParser, section: str, option: str, *rest: Any, **more: Any) -> Any:
        parsers[id(self)] = self
        looked_at.add((section, option))
        return original(self, section, option, *rest, **more)

    monkeypatch.setattr(UnhosedConfigParser, "saneget", saneget)
    options = ServerOptions()
    options.realize(["-c", str(home / "supervisord.conf"), "-n"])
    [parser] = parsers.values()
    present = {
        (section, key)
        for section in parser.sections()
        if section in ("supervisord", "unix_http_server") or section.startswith("program:")
        for key in parser.options(section)
    }
    programs = {config.name: config for group in options.process_group_configs for config in group.process_configs}
    return programs, {key for section, key in present - looked_at}


def lay_out(home: Path, app: dict[str, Any], **more: Any) -> None:
    """Write supervisord's configuration and an app's programs as the roles do on platform local."""
    for folder in ("etc/services.d", "logs", "run"):
        (home / folder).mkdir(parents=True)
    Path(app["root"]).mkdir(parents=True)
    given = {"supervisord_platform": "local", "supervisord_home": str(home), "__supervisord_app": app, **more}
    (home / "supervisord.conf").write_text(render("supervisord", "supervisord.conf.j2", **given))
    ini = home / f"etc/services.d/{app['name']}.ini"
    ini.write_text(render("supervisord", "programs.ini.j2", **given))
    ini.with_stem(f"{ini.stem}-standby").write_text(render("supervisord", "standby.ini.j2", **given))


PROGRAMS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "defaults": ("home", {}, {}),
    "extreme": ("home", EXTREME, {}),
    "percent_in_the_path": ("50%s", EXTREME, {}),
    "spaces_in_the_path": ("my home", EXTREME, {}),
    "low": (
        "home",
        {},
        {
            "supervisord_startsecs": 0,
            "supervisord_stopwaitsecs": 1,
            "supervisord_log_maxbytes": "1",
            "supervisord_log_backups": 0,
        },
    ),
    "high": (
        "home",
        {},
        {
            "supervisord_startsecs": 600,
            "supervisord_stopwaitsecs": 86400,
            "supervisord_log_maxbytes": "999GB",
            "supervisord_log_backups": 1000,
        },
    ),
}


@pytest.mark.parametrize(("name", "row", "more"), PROGRAMS.values(), ids=PROGRAMS)
def test_supervisor_reads_the_programs(
    name: str, row: dict[str, Any], more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key is one that supervisor knows, and each command arrives word by word as it was meant."""
    home = tmp_path / name
    app = completed(home=str(home), router="127.0.0.1:1024", **row)
    lay_out(home, app, **more)
    programs, unknown = read_by_supervisor(home, monkeypatch)
    assert unknown == set()
    start = f"{app['root']}/slots/live/.hosted/start"
    words = {program: split(config.command) for program, config in programs.items()}
    assert words.pop("shop") == [start]
    holder = [f"{app['root']}/python", "-IS", f"{app['root']}/listen.py", "hold", f"{app['root']}/run"]
    assert words.pop("shop-socket") == holder
    assert words.pop("shop-standby") == [f"{app['root']}/slots/standby/.hosted/start"]
    router = words.pop("shop-http")
    assert router[0] == f"{app['root']}/venvs/http/bin/uwsgi"
    assert router[router.index("--http-to") + 1] == f"{app['root']}/run/current.sock"
    services = {f"shop-{service['name']}": [start, "run", service["command"]] for service in app["services"]}
    assert words == services
    assert {config.directory for config in programs.values()} == {app["root"]}
    assert programs["shop"].stdout_logfile == f"{home}/logs/shop.log"
    assert programs["shop"].stopwaitsecs == more.get("supervisord_stopwaitsecs", 60)
    assert programs["shop"].killasgroup
    assert not programs["shop"].stopasgroup
    assert [programs[f"shop{part}"].autostart for part in ("", "-socket", "-standby")] == [True, True, False]


def split(command: str) -> list[str]:
    """Split a command line as supervisor's Subprocess does."""
    return shlex.split(command)


@pytest.mark.parametrize("key", ["stopwaitsecs", "killasgroup", "stdout_logfile_maxbytes", "redirect_stderr"])
def test_a_misspelt_key_of_a_program_is_seen(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervisor itself ignores it, so that the tests above have to see it."""
    lay_out(tmp_path, completed(home=str(tmp_path)))
    ini = tmp_path / "etc/services.d/shop.ini"
    assert f"\n{key} = " in ini.read_text()
    ini.write_text(ini.read_text().replace(f"\n{key} = ", f"\n{key}x = "))
    assert read_by_supervisor(tmp_path, monkeypatch)[1] == {f"{key}x"}


def test_supervisord_of_an_account_lives_in_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file serves all accounts of a server: what differs comes from the account's environment."""
    lay_out(tmp_path, completed(home=str(tmp_path)), supervisord_platform="server", supervisord_home="")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "shop")
    conf = (tmp_path / "supervisord.conf").read_text()
    (tmp_path / "supervisord.conf").write_text(conf.replace("/run/supervisord/", f"{tmp_path}/run/"))
    (tmp_path / "run/shop").mkdir()
    programs, unknown = read_by_supervisor(tmp_path, monkeypatch)
    assert unknown == set()
    assert set(programs) == {"shop", "shop-socket", "shop-standby"}


# --- systemd


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = render("supervisord", "supervisord@.service.j2", supervisord_stopwaitsecs=86400)
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(text)
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    # Lists, for systemd; of all others the last one would win.
    said = re.findall(r"^(\w+)=", text, re.MULTILINE)
    assert {key for key in said if said.count(key) > 1} == {"ExecStartPre", "TemporaryFileSystem"}
    assert int(parser["Service"]["TimeoutStopSec"]) > 86400
    assert parser["Service"]["User"] == "%i"
    assert parser["Install"]["WantedBy"] == "multi-user.target"
    analyze = Path("/usr/bin/systemd-analyze")
    if analyze.exists():
        (tmp_path / "supervisord@shop.service").write_text(text)
        run = subprocess.run(
            [analyze, "verify", "--man=no", str(tmp_path / "supervisord@shop.service")],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )
        lines = [line for line in run.stderr.splitlines() if "supervisord@" in line and "not executable" not in line]
        assert lines == []


def test_processes_of_units_are_for_root_and_group_adm_alone() -> None:
    """Whether dbus and systemd see it so is asked on hosts, in scenario isolation."""
    policies = ElementTree.fromstring(render("server", "dbus.conf.j2")).findall("policy")
    assert [policy.attrib for policy in policies] == [{"context": "default"}, {"user": "root"}, {"group": "adm"}]
    assert [{rule.tag for rule in policy} for policy in policies] == [{"deny"}, {"allow"}, {"allow"}]


def test_the_unit_sees_the_home_of_its_account() -> None:
    lines = render("supervisord", "home.conf.j2", **variables("supervisord")).splitlines()
    assert {'RequiresMountsFor="/srv/50%%/shop"', 'BindPaths="/srv/50%%/shop"'} <= set(lines)


@pytest.mark.parametrize(("role", "name"), [("tls", "hosted-flask-tls"), ("nginx", "hosted-flask-logs")])
def test_systemd_accepts_what_is_run_by_a_timer(role: str, name: str, tmp_path: Path) -> None:
    units = [f"{name}.{kind}" for kind in ("service", "timer")]
    for unit in units:
        (tmp_path / unit).write_text(render(role, f"{unit}.j2"))
    analyze = Path("/usr/bin/systemd-analyze")
    if analyze.exists():
        run = subprocess.run(
            [analyze, "verify", "--man=no", *(str(tmp_path / unit) for unit in units)],
            capture_output=True,
            text=True,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        )
        assert [line for line in run.stderr.splitlines() if name in line] == []


# --- the release's own scripts


NASTY = {
    "QUOTES": 'it\'s "quoted" `id`',
    "DOLLAR": "$HOME ${HOME} $(id) $$",
    "NEWLINES": "first\nsecond\n\nlast\n",
    "SPACES": "  two  words  ",
    "UNICODE": "naïve ☕ 日本",
    "BACKSLASH": "a\\b\\n\\",
    "EMPTY": "",
    "HASH": "# no comment; no end & | < > * ?",
    "PERCENT": "100% %s %%",
    "EXCLAMATION": "!!",
}


@pytest.fixture(params=["plain", "with space and 50% 'quote'"])
def release(request: pytest.FixtureRequest, short: Path) -> Path:
    """Return slot live of an app whose release was laid out as a deploy does it."""
    root = short / request.param / "apps/shop"
    folder = root / "releases/0123456789ab"
    (folder / ".hosted").mkdir(parents=True)
    for name in ("slots", "run", "venvs/v/bin"):
        (root / name).mkdir(parents=True)
    for slot in ("live", "standby"):
        (root / "slots" / slot).symlink_to("../releases/0123456789ab")
    (folder / ".hosted/venv").symlink_to("../../../venvs/v")
    (folder / ".hosted/env").write_text("".join(f"{key}={shlex.quote(value)}\n" for key, value in NASTY.items()))
    (root / "env").write_text("SECRET_KEY=from-the-account\nPERCENT=lower\n")
    (folder / ".hosted/start").write_text(render("flask_app", "start.j2"))
    (folder / ".hosted/start").chmod(0o500)
    (root / "listen.py").write_text(Path(listen.__file__).read_text())
    (root / "venvs/v/bin/python").symlink_to(sys.executable)
    return root / "slots/live"


def start(slot: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a slot's start script, as supervisord does: from elsewhere, with hardly any environment."""
    command = [str(slot / ".hosted/start"), *words]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=20)


def test_run_gives_a_command_the_venv_and_the_settings_as_they_are(release: Path) -> None:
    run = start(release, "run", "env -0")
    assert run.returncode == 0, run.stderr
    seen = dict(item.split("=", 1) for item in run.stdout.split("\0") if item)
    root = release.parents[1]
    assert {key: seen.get(key) for key in NASTY} == NASTY
    assert seen["SECRET_KEY"] == "from-the-account"
    assert seen["HOSTED_RELEASE"] == "0123456789ab"
    assert seen["HOSTED_SLOT"] == "live"
    assert seen["HOSTED_ROOT"] == str(root)
    assert seen["VIRTUAL_ENV"] == str(root / "venvs/v")
    assert seen["PATH"].split(":")[0] == str(root / "venvs/v/bin")
    assert seen["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize("command", COMMANDS[1:4], ids=["quotes", "backslashes", "list"])
def test_run_is_a_shell_command_line(command: str, release: Path) -> None:
    """The same that sh makes of it."""
    command = command.replace("sleep 1", ":").replace("date", "echo now").replace("$HOME", "HOME")
    plain = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    run = start(release, "run", command)
    assert (run.returncode, run.stdout) == (plain.returncode, plain.stdout)


def test_run_hands_the_result_on(release: Path) -> None:
    assert start(release, "run", "exit 7").returncode == 7


def test_commands_run_in_the_release_and_not_in_the_slot(release: Path) -> None:
    """A slot that changes later must not take a running program along."""
    assert start(release, "run", "pwd -L").stdout == f"{release.resolve()}\n"


def test_it_may_be_called_by_a_relative_path(release: Path) -> None:
    command = ["sh", f"{release.name}/.hosted/start", "run", "echo $HOSTED_START; pwd -L"]
    run = subprocess.run(command, cwd=release.parent, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        f"{release.parent.resolve()}/{release.name}/.hosted/start",
        str(release.resolve()),
    ]


SERVERS = {
    "uwsgi": ("uwsgi", ["--ini", "uwsgi.ini"], {"HOSTED_SOCKET": "fd://3"}),
    "gunicorn": ("gunicorn", [], {"LISTEN_FDS": "1"}),
}


@pytest.mark.parametrize(("program", "words", "told"), SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("slot", ["live", "standby"])
def test_without_a_word_it_becomes_the_server(
    program: str, words: list[str], told: dict[str, str], slot: str, release: Path, tmp_path: Path
) -> None:
    """In the same process, in the release, with the slot's socket as descriptor 3 and nothing else but 4."""
    root = release.parents[1]
    (release / ".hosted/serve").write_text(render(program, "serve.j2"))
    server = root / f"venvs/v/bin/{program}"
    look = "import os, socket, sys; s = socket.socket(fileno=3); names = sorted(map(int, os.listdir('/proc/self/fd')))"
    look += "; print([os.getpid(), sys.argv[1:], os.getcwd(), s.getsockname(), names, dict(os.environ)])"
    server.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISc "{look}" "$@"\n')
    server.chmod(0o700)
    holder = [sys.executable, "-IS", str(root / "listen.py"), "hold", str(root / "run")]
    command = [str(release.with_name(slot) / ".hosted/start")]
    with process(holder, tmp_path / "log"):
        child = subprocess.Popen(command, cwd="/", env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True)
        output, _ = child.communicate(timeout=20)
    pid, arguments, folder, socket, descriptors, environment = ast.literal_eval(output)
    assert pid == child.pid
    assert (arguments, folder, socket) == (words, str(release.resolve()), str(root / f"run/{slot}.sock"))
    assert descriptors[:5] == [0, 1, 2, 3, 4]
    assert len(descriptors) == 6, "one more is the folder that is looked at"
    assert {**environment, **told, "HOSTED_SLOT": slot} == environment
    if program == "gunicorn":
        assert environment["LISTEN_PID"] == str(pid)


TELL = """\
printf '%s|' "$PROMETHEUS_MULTIPROC_DIR" $(stat -c %a "$PROMETHEUS_MULTIPROC_DIR") $(ls -A "$PROMETHEUS_MULTIPROC_DIR")
touch "$PROMETHEUS_MULTIPROC_DIR/counter_$$.db" "$PROMETHEUS_MULTIPROC_DIR/gauge all_$$.db"
"""


def serve(slot: Path, tmp_path: Path, umask: int = 0o027, **environment: str) -> str:
    """Start a slot's server, which tells of the folder for its figures and leaves some there; return what it told."""
    root = slot.parents[1]
    (slot / ".hosted/serve").write_text(TELL)
    holder = [sys.executable, "-IS", str(root / "listen.py"), "hold", str(root / "run")]
    environment = {"PATH": os.environ["PATH"], **environment}
    with process(holder, tmp_path / "log"):
        command = [str(slot / ".hosted/start")]
        run = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, umask=umask, timeout=20)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.mark.parametrize("slot", ["live", "standby"])
def test_each_start_of_the_server_has_an_empty_folder_for_its_figures(slot: str, release: Path, tmp_path: Path) -> None:
    """One for each slot, for both may run at once, and for nobody else to read."""
    folder = release.parents[1] / f"run/{slot}.metrics"
    for _ in range(3):
        assert serve(release.with_name(slot), tmp_path) == f"{folder}|700|"
        assert len(list(folder.iterdir())) == 2
    assert [path.name for path in folder.parent.glob("*.metrics")] == [folder.name]


def test_figures_are_the_servers_alone(release: Path, tmp_path: Path) -> None:
    """Not what supervisord happened to be started with; what else runs in a release would change them."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "dear").touch()
    told = serve(release, tmp_path, PROMETHEUS_MULTIPROC_DIR=str(elsewhere))
    assert told.startswith(f"{release.parents[1]}/run/live.metrics|")
    run = start(release, "run", 'echo "<${PROMETHEUS_MULTIPROC_DIR-unset}>"', PROMETHEUS_MULTIPROC_DIR=str(elsewhere))
    assert run.stdout == "<unset>\n"
    assert [path.name for path in elsewhere.iterdir()] == ["dear"]


def test_a_folder_of_the_apps_own_choice_is_left_as_it_is(release: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(0o700)
    (own / "dear").touch()
    with open(release / ".hosted/env", "a") as settings:
        settings.write(f"PROMETHEUS_MULTIPROC_DIR={own}\n")
    assert serve(release, tmp_path) == f"{own}|700|dear|"
    assert not (release.parents[1] / "run/live.metrics").exists()


def test_claim_makes_live_the_address_of_the_front(release: Path) -> None:
    current = release.parents[1] / "run/current.sock"
    current.symlink_to("standby.sock")
    assert start(release, "claim").returncode == 0
    assert os.readlink(current) == "live.sock"
    assert os.listdir(current.parent) == ["current.sock"]


def test_claim_works_where_nobody_has_claimed_before(release: Path) -> None:
    assert start(release, "claim").returncode == 0
    assert os.readlink(release.parents[1] / "run/current.sock") == "live.sock"


def test_claim_of_the_standby_changes_nothing(release: Path) -> None:
    current = release.parents[1] / "run/current.sock"
    current.symlink_to("standby.sock")
    assert start(release.with_name("standby"), "claim").returncode == 0
    assert os.readlink(current) == "standby.sock"


def test_an_unknown_word_is_refused_with_the_usage(release: Path) -> None:
    run = start(release, "dance")
    assert run.returncode == 2
    assert "usage: start" in run.stderr


@pytest.mark.parametrize("missing", ["env", "slots/live/.hosted/env", "slots/live/.hosted/venv"])
def test_nothing_starts_without_its_settings_or_its_venv(missing: str, release: Path) -> None:
    (release.parents[1] / missing).unlink()
    assert start(release, "run", "echo started").stdout == ""


@pytest.mark.parametrize(
    ("role", "template"), [("flask_app", "start.j2"), ("uwsgi", "serve.j2"), ("gunicorn", "serve.j2")]
)
def test_scripts_are_posix_shell(role: str, template: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(render(role, template))
    run = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    script.write_text(script.read_text() + "\nif\n")
    assert subprocess.run(["sh", "-n", str(script)], capture_output=True).returncode != 0


def test_the_fixture_is_shaped_like_a_release(release: Path) -> None:
    """Guards the tests above: start is executable, and slots are links."""
    assert stat.S_IMODE((release / ".hosted/start").stat().st_mode) & 0o100
    assert release.is_symlink()
