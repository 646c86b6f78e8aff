"""Helpers of the fast tests: Ansible's own templating, real servers that end with the test, deadlines."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.hosted.flask.plugins.module_utils.sockets import supervisor
from ansible_collections.hosted.flask.plugins.plugin_utils import apps

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
BIN = Path(sys.executable).parent
# An nginx that needs no root and writes into one folder; a test goes on with what it includes, and closes the block.
NGINX = """\
pid {0}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
    uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
"""


def tool(name: str) -> str:
    """Return the path of a program that must be there: a test that needs it is never skipped."""
    found = shutil.which(name, path=f"{BIN}:{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, f"{name} is missing, bin/test installs it"
    return found


@functools.cache
def role_variables(role: str) -> dict[str, Any]:
    """Return a role's defaults and vars, with their templates."""
    found: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        file = ROOT / "roles" / role / kind / "main.yml"
        if file.exists():
            found |= DataLoader().load_from_file(str(file), trusted_as_template=True) or {}
    return found


def render(role: str, template: str, **variables: Any) -> str:
    """Render a role's template as the role does; what is undefined is an error."""
    path = str(ROOT / "roles" / role / "templates" / template)
    templar = Templar(loader=DataLoader(), variables={**role_variables(role), **variables, "__path": path})
    return templar.template(trust_as_template("{{ lookup('ansible.builtin.template', __path) }}"))


def completed(name: str = "shop", root: str | None = None, home: str = "/home/shop", **row: Any) -> dict[str, Any]:
    """Return an app as the preflight action hands it to the roles, without its checks."""
    defaults = apps.builtin_defaults()
    app = {**defaults, "name": name, "account": name, "home": home, "proxy_hops": 1, "router": "", **row}
    return app | {"root": root or f"{app['home']}/apps/{name}", "never_changing": apps.never_changing(app)}


def nginx_version() -> str:
    """Return what this machine's nginx says of itself, as role nginx hears it."""
    return subprocess.run([tool("nginx"), "-v"], capture_output=True, text=True).stderr


def nginx_files(folder: Path, apps: list[dict[str, Any]], **given: Any) -> Path:
    """Write all that role nginx writes for these apps, for an nginx that needs no root and has one folder.

    :returns: the path of its nginx.conf.
    """
    sites, logs = folder / "sites", folder / "logs"
    for made in (sites, logs):
        made.mkdir(parents=True, exist_ok=True)
    given = {"__nginx_asked": {"stderr": nginx_version()}, "__nginx_folder": str(sites), "nginx_apps": apps, **given}
    present = [app for app in apps if app["state"] != "absent"]
    texts = {sites / name: render("nginx", f"{name}.j2", **given) for name in ("uwsgi.conf", "headers.conf")}
    for app in present:
        for kind in ("app", "extra"):
            texts[sites / f"{app['name']}.{kind}.conf"] = render("nginx", f"{kind}.conf.j2", __nginx_app=app, **given)
    for domain in {"_"}.union(*(app["domains"] for app in present)):
        texts[sites / f"{domain}.site.conf"] = render("nginx", "site.conf.j2", __nginx_site=domain, **given)
    conf = folder / "nginx.conf"
    texts[conf] = render("nginx", "nginx.conf.j2", **given)
    temporary = [
        f"{kind}_temp_path {folder}/t-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    for here, there in {
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "error_log /var/log/nginx/error.log;": "error_log stderr;",
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "http {": f"http {{ {' '.join(temporary)}",
        "/etc/nginx/conf.d/*.conf": f"{sites}/*.site.conf",
        "include /etc/nginx/sites-enabled/*;": "",
    }.items():
        assert texts[conf].count(here) == 1, here
        texts[conf] = texts[conf].replace(here, there)
    for path, text in texts.items():
        path.write_text(text.replace("/var/log/nginx/", f"{logs}/"))
    return conf


def until(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true answer of ``check``; without one before the deadline the test fails."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return answer


def short_folder() -> Iterator[Path]:
    """Yield a folder whose name is short enough for sockets, and take it away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    try:
        yield folder
    finally:
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o700)
        shutil.rmtree(folder)


@contextlib.contextmanager
def process(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the background and end it, and wait for its end, when the block ends."""
    with open(log, "ab") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def answers(path: Path) -> bool:
    """Whether somebody accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextlib.contextmanager
def supervisord(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real supervisord in ``home`` with the configuration that role supervisord writes."""
    for folder in ("etc/services.d", "logs", "run"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    conf = home / "supervisord.conf"
    conf.write_text(
        render("supervisord", "supervisord.conf.j2", supervisord_platform="local", supervisord_home=str(home))
    )
    log = home / "supervisord.out"
    with process([tool("supervisord"), "--nodaemon", "-c", str(conf)], log, cwd=home) as child:
        path = str(home / "run/supervisor.sock")
        until(f"supervisord listens, see {log}", lambda: answers(Path(path)))
        try:
            yield child
        finally:  # What a failed test left; supervisord itself would end one program after the other.
            for info in supervisor(path).supervisor.getAllProcessInfo() if child.poll() is None else ():
                if info["pid"]:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(info["pid"], signal.SIGKILL)


def program_states(home: Path) -> dict[str, str]:
    """Return the state of each program that the supervisord of ``home`` knows."""
    api = supervisor(str(home / "run/supervisor.sock")).supervisor
    return {info["name"]: info["statename"] for info in api.getAllProcessInfo()}


_given: list[Any] = []


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no test is given besides while this process lives."""
    folder = Path(tempfile.gettempdir()) / f"hosted-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        # Below those that outgoing connections get.
        port = random.randrange(10000, 32000)
        taken = open(folder / str(port), "w")
        try:
            fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            taken.close()
            continue
        _given.append(taken)
        return port


def tree(folder: Path) -> dict[str, Any]:
    """Return all below a folder by its path: targets of links, mode, time and content (of large files the size)."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        if path.is_symlink():
            content: Any = os.readlink(path)
        else:
            content = None if not path.is_file() else info.st_size if info.st_size > 1 << 16 else path.read_bytes()
        found[str(path.relative_to(folder))] = (info.st_mode, info.st_mtime_ns if path.is_file() else 0, content)
    return found
