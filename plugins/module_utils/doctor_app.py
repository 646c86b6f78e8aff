"""What is wrong with one app on its host, seen with the rights of its account; nothing is changed."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import socket
import stat
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

from ansible_collections.hosted.flask.plugins.module_utils.files import contents, last
from ansible_collections.hosted.flask.plugins.module_utils.findings import (
    Finding,
    Skipped,
    command,
    disk,
    error,
    examine,
    plain,
    warning,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import Home
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.module_utils.sockets import ask

FRONT = "www-data"  # who connects to the apps on own servers
# An end that nobody asked for, in supervisord's log; the time is the host's own.
ENDED = re.compile(r"([-\d]{10} [:\d]{8}),\d+ WARN exited: (\S+) \((.*?)(?:; not expected)?\)")
OFTEN, RECENT = 3, 3600  # so many ends within so many seconds
# What an app connects to, by the scheme of a setting that is a URL, and where that listens unless the URL says so.
PORTS = {
    "amqp": 5672, "amqps": 5671, "mariadb": 3306, "memcached": 11211, "mongodb": 27017, "mssql": 1433, "mysql": 3306,
    "postgres": 5432, "postgresql": 5432, "redis": 6379, "rediss": 6379, "valkey": 6379,
}  # fmt: skip
SOCKETS = {"postgres": "/var/run/postgresql/.s.PGSQL.5432", "postgresql": "/var/run/postgresql/.s.PGSQL.5432"}
URL = re.compile(r"(unix|[a-z]+)(\+\w+)?:(?=//)")
PATIENCE = 3.0  # seconds for a connection


def look(home: Home) -> dict[str, Any]:
    """Examine an app.

    :returns: see :func:`findings.examine`.
    """
    live = home.live()
    if live is None:
        finding = error("release", "it was never deployed here", f"Deploy it: bin/deploy -e app={home.name}")
        return {"findings": [finding], "checked": ["release"], "skipped": {}}
    description = home.read(live)
    here = home.as_released(live) if description else home
    return examine(
        {
            "programs": lambda: programs(here),
            "release": lambda: release(here, live),
            "left-overs": lambda: left_overs(here),
            "venv": lambda: venv(here),
            "permissions": lambda: permissions(here),
            "connections": lambda: connections(here),
            "disk": lambda: data_disk(here),
        }
    )


def data_disk(home: Home) -> list[Finding]:
    """See that there is room for data where that is on another disk than the home, which the host's own check sees."""
    data = home.root / "data"
    return disk([data], owner(home)) if data.stat().st_dev != home.home.stat().st_dev else []


def owner(home: Home) -> str:
    """Return the account whose rights a command on the app's files is to have, empty where that is who types it."""
    return "" if home.app["router"] else home.app["account"]


def supervisorctl(home: Home, *words: str) -> str:
    """Return the command line that a person types."""
    if home.app["router"]:
        return command(f"{home.home}/bin/supervisorctl", *words)
    return command("sudo", "-iu", home.app["account"], "supervisorctl", *words)


def rights(home: Home, mode: str, path: Path) -> str:
    """Return the command line that gives a file of the app other rights."""
    return command("chmod", mode, "--", path, account=owner(home))


# --- programs


def programs(home: Home) -> list[Finding]:
    """Compare what runs with what should, and with what the account's files say."""
    account, path = home.app["account"], home.programs.socket
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
    except OSError as why:
        start = "Deploy again, which starts it." if home.app["router"] else (
            f"journalctl -u supervisord@{account}, then systemctl restart supervisord@{account}"
        )  # fmt: skip
        return [error("programs", f"supervisord does not answer at {path} ({why.strerror})", start)]
    found = []
    try:
        # As `supervisorctl reread` does: nothing is started or stopped by it.
        for names, what in zip(
            home.programs.reload(),
            ("is in services.d, but not added", "runs with other settings than in services.d", "runs without a file"),
            strict=True,
        ):
            update = f"{supervisorctl(home, 'update')}, which restarts what differs"
            found += [
                error("programs", f"program {name} {what}", update) for name in sorted(names - {home.programs.standby})
            ]
    except Refused as refused:
        found.append(
            error("programs", str(refused), f"Correct the file, or deploy again: bin/deploy -e app={home.name}")
        )
    for name in known(home):
        info = home.programs.info(name)
        if info is None:
            what = f"program {name} is not there"
            found.append(error("programs", what, f"Deploy again: bin/deploy -e app={home.name}"))
        elif info["statename"] != "RUNNING":
            what = f"program {name} is {info['statename']}" + (f": {info['spawnerr']}" if info["spawnerr"] else "")
            do = supervisorctl(home, "tail", name)
            if info["statename"] == "STOPPED":
                do = f"Somebody stopped it: {supervisorctl(home, 'start', name)}"
            found.append((warning if info["statename"] == "STARTING" else error)("programs", what, do))
    with contextlib.suppress(FileNotFoundError):
        found += ends(home, last(home.log("supervisord"), 1 << 18).decode(errors="replace"), time.time())
    return found


def known(home: Home) -> list[str]:
    """Return the names of the programs that the app has, whatever else its account has added."""
    return [*filter(None, [home.programs.holder, home.programs.app, home.programs.router]), *home.programs.services]


def ends(home: Home, log: str, now: float) -> list[Finding]:
    """Return a finding for each program that ended by itself again and again.

    :param log: the end of supervisord's log.
    :param now: seconds since 1970.
    """
    times: dict[str, list[str]] = {name: [] for name in known(home)}
    for when, name, how in ENDED.findall(log):
        with contextlib.suppress(ValueError, OverflowError):  # The account may write there too, and no time.
            begin = time.mktime(time.strptime(when, "%Y-%m-%d %H:%M:%S"))
            if name in times and now - begin < RECENT:
                times[name].append(how)
    return [
        warning(
            "programs",
            f"program {name} ended {len(how)} times within the last hour, the last time with {how[-1]}",
            supervisorctl(home, "tail", "-20000", name),
        )
        for name, how in times.items()
        if len(how) >= OFTEN
    ]


# --- release


def release(home: Home, live: str) -> list[Finding]:
    """Compare the release that the slot names with the one that answers, itself and through the front."""
    again = f"bin/deploy -e app={home.name}"
    if not home.sealed(live):
        return [error("release", f"slots/live names release {live}, which is not whole", f"Deploy again: {again}")]
    host, path = home.url()
    try:
        status, headers, _ = ask(str(home.run / "live.sock"), path, host, 5)
    except OSError as why:
        status, headers, said = 0, {}, f"gives no answer ({why})"
    else:
        said = f"answers {status}"
    if not 200 <= status < 300:
        return [error("release", f"{path} {said} instead of 2xx", supervisorctl(home, "tail", home.name))]
    served = headers.get("x-release")
    if served != live:
        what = f"slots/live names release {live}, but its program serves {served or 'none'}"
        return [error("release", what, supervisorctl(home, "restart", home.name))]
    answer, served = home.front()
    if served != live:
        what = f"the front at {home.app['front']} answers {answer}, release {served or 'none'} instead of {live}"
        log = home.log(f"{home.name}-http") if home.app["router"] else f"/var/log/nginx/{home.name}.access.log"
        return [error("release", what, f"Read {log}; playbooks/provision.yml sets the front up anew.")]
    if (home.run / "maintenance").exists():
        do = f"playbooks/maintenance.yml -e app={home.name} -e state=off"
        return [warning("release", "it is in maintenance: visitors get a 503", do)]
    return []


# --- what an interrupted deploy left


def busy(home: Home) -> bool:
    """Whether somebody works on the app: its lock is held. It is not taken to find out, a deploy may want it."""
    with contextlib.suppress(OSError):
        file = os.stat(home.root / ".lock")
        where = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        return any(where in line.split() for line in Path("/proc/locks").read_text().splitlines())
    return False


def left_overs(home: Home) -> list[Finding]:
    """Find what a deploy that was killed left behind."""
    if busy(home):
        raise Skipped("a deploy is under way")
    do = f"Deploy again, it finishes or clears this away: bin/deploy -e app={home.name}"
    found = []
    if home.standby_ini.exists():
        found.append(warning("left-overs", "a deploy was interrupted: the standby is still there", do))
    current = home.run / "current.sock"
    at = os.readlink(current) if current.is_symlink() else None
    if at != "live.sock":
        what = f"visitors get {at} instead of live.sock" if at else "run/current.sock, which the front asks, is missing"
        found.append((warning if at == "standby.sock" else error)("left-overs", what, do))
    partial = [item.name for item in home.releases.glob("*.partial")]
    # The router's is a link to one of them.
    partial += [f"venvs/{item.name}" for item in (home.root / "venvs").glob("*")
                if not item.is_symlink() and not (item / ".complete").exists()]  # fmt: skip
    if partial:
        found.append(warning("left-overs", f"half made: {', '.join(sorted(partial))}", do))
    return found


# --- Python


def venv(home: Home) -> list[Finding]:
    """See that the venv of the live release has its interpreter, of the version that it was built with."""
    do = f"Deploy again, which builds the venv anew: bin/deploy -e app={home.name}"
    holder = home.root / "python"
    if not holder.exists():
        what = (
            f"{holder}, which is to run {home.programs.holder}, has lost its interpreter; the app would not start again"
        )
        return [error("venv", what, do)]
    path = Path(os.path.realpath(home.slots / "live/.hosted/venv"))
    python = path / "bin/python"
    if not python.exists():
        gone = os.readlink(python) if python.is_symlink() else python
        what = f"venv {path.name} has lost its interpreter {gone}; the app would not start again"
        return [error("venv", what, do)]
    lines = dict(line.split("=", 1) for line in contents(path / "pyvenv.cfg").decode().splitlines() if "=" in line)
    settings = {key.strip(): value.strip() for key, value in lines.items()}
    built = settings.get("version_info", settings.get("version", ""))
    now = subprocess.run(
        [str(python), "-Ic", "import sys; print('%d.%d' % sys.version_info[:2])"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    if now.returncode:
        what = f"the interpreter of venv {path.name} does not run: {now.stderr.strip()[-200:]}"
        return [error("venv", what, do)]
    if built.split(".")[:2] != now.stdout.strip().split("."):
        what = f"venv {path.name} was built with Python {built}, its interpreter is {now.stdout.strip()} now"
        return [error("venv", what, do)]
    return []


# --- permissions


def permissions(home: Home) -> list[Finding]:
    """See that the app's things are the account's own, that nobody else reads them, and that the front gets through.

    Each command is the account's own: it may have put a link there, or puts one there before the command is typed.
    """
    found = []
    settings = [home.root / "env", home.slots / "live/.hosted/env"]
    for path in settings:
        if mode(path) & 0o077:
            what = f"{path} is open to others ({mode(path):04o})"
            found.append(error("permissions", what, rights(home, "go=", path)))
    if home.app["router"]:
        return found
    private = {home.home: "o=", home.root: "o=", home.root / "data": "go=", home.run: "o="}
    for path, wanted in private.items():
        if mode(path) & (0o077 if wanted == "go=" else 0o007):
            what = f"{path} is open to other accounts ({mode(path):04o})"
            found.append(error("permissions", what, rights(home, wanted, path)))
    found += foreign(home, [*private, *settings, home.ini.parent, home.ini, home.home / "logs"])
    control = Path(home.programs.socket)
    if control.exists() and mode(control) & 0o077:
        what = f"{control} lets others command the account's programs ({mode(control):04o})"
        found.append(error("permissions", what, rights(home, "0600", control)))
    for name in ("live.sock", "standby.sock"):
        path = home.run / name
        if not path.exists():
            if name == "live.sock":
                do = supervisorctl(home, "restart", home.programs.holder, home.name)
                found.append(error("permissions", f"{path} is missing", do))
            continue
        if mode(path) & 0o007:
            found.append(error("permissions", f"{path} is open to every account", rights(home, "0660", path)))
        if stopped := unreachable(path, FRONT):
            what = f"the front ({FRONT}) cannot connect to {path}: {stopped} does not let it"
            do = rights(home, "0660" if stopped == path else "g+rwx", stopped)
            if stopped in (home.home, home.home / "apps"):
                do = "playbooks/provision.yml"
            elif not stopped.is_relative_to(home.home):
                do = f"Let every account pass through {stopped}"
            found.append(error("permissions", what, f"{do} (its group must be {FRONT})"))
    return found


def foreign(home: Home, own: list[Path]) -> list[Finding]:
    """Find what is not the account's own, of what must be and of what is in ``data``.

    :param own: what must be, and not lead anywhere else either. What a link in ``data`` leads to is the app's business.
    """
    me = pwd.getpwnam(home.app["account"]).pw_uid
    found = []
    with_data = [*own, *sorted((home.root / "data").glob("*"))]
    others = [path for path in with_data if os.path.lexists(path) and path.lstat().st_uid != me]
    if others:
        what = f"not the account's own: {', '.join(map(str, others[:5]))}" + (" and more" if others[5:] else "")
        do = "The account may replace what it may read by copies of its own"
        first = others[0]
        if first in (home.home, home.root.parent):
            do = "Run playbooks/provision.yml"
        elif plain(first):
            aside = f"{first}.foreign"
            copies = (["mv", "-T", "--", first, aside], ["cp", "-RPT", "--", aside, first], ["rm", "-rf", "--", aside])
            do += f", the first by: {' && '.join(command(*words, account=home.app['account']) for words in copies)}"
        found.append(error("permissions", what, do))
    for path in own:
        if path.exists() and path not in others and path.stat().st_uid != me:
            what = f"{path} leads to what is not the account's own"
            found.append(
                error("permissions", what, "Have the account put there what is its own, or take it away and deploy.")
            )
    return found


def mode(path: Path) -> int:
    """Return the rights of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def unreachable(path: Path, name: str) -> Path | None:
    """Return what keeps an account from connecting to a socket, None where nothing does."""
    account = pwd.getpwnam(name)
    groups = os.getgrouplist(name, account.pw_gid)
    for item in [*reversed(path.parents), path]:
        status = item.stat()
        shift = 6 if status.st_uid == account.pw_uid else 3 if status.st_gid in groups else 0
        wanted = 0o2 if item == path else 0o1  # unix(7): to connect is to write.
        if not status.st_mode >> shift & wanted:
            return item
    return None


# --- what the app connects to


def connections(home: Home) -> list[Finding]:
    """Connect to the databases and brokers that the app's settings name."""
    lines = [*home.env(), *contents(home.slots / "live/.hosted/env").decode(errors="replace").splitlines()]
    places: dict[str, list[str]] = {}
    found = []
    for key, value in settings(lines).items():
        try:
            for place in addresses(value):
                places.setdefault(place, []).append(key)
        except ValueError:
            found.append(warning("connections", f"{key} is no URL with a host and a port", "Correct it and deploy."))
    for place, keys in places.items():
        if why := refused(place):
            what = f"{place} ({', '.join(keys)}) cannot be reached: {why}"
            found.append(error("connections", what, "See that it runs and that the host may connect to it."))
    return found


def settings(lines: list[str]) -> dict[str, str]:
    """Return the variables that the lines of an environment file set."""
    found = {}
    for line in lines:
        key, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator:
            with contextlib.suppress(ValueError):  # A value of several lines.
                found[key] = "".join(shlex.split(value))
    return found


def addresses(value: str) -> list[str]:
    """Return where a setting makes the app connect to: ``host:port`` or a socket's path; nothing where it is no URL.

    What else the URL holds, a password above all, is in none of them.

    :raises ValueError: its host or port cannot be read.
    """
    value = value.removeprefix("db+").removeprefix("sqla+")  # Celery's
    scheme = URL.match(value)
    kind = scheme[1] if scheme else ""
    if kind not in PORTS and kind != "unix":
        return []
    url = urllib.parse.urlsplit(value)
    query = urllib.parse.parse_qs(url.query)
    if kind == "unix" or (scheme and scheme[2] == "+socket"):
        return [urllib.parse.unquote(url.path)]
    hosts = url.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    if "unix_socket" in query:
        return query["unix_socket"]
    if not hosts:
        return [SOCKETS[kind]] if kind in SOCKETS else [f"localhost:{PORTS[kind]}"]
    found = []
    for host in hosts.split(","):
        if (path := urllib.parse.unquote(host)).startswith("/"):
            found.append(f"{path}/.s.PGSQL.{query.get('port', ['5432'])[0]}" if kind in SOCKETS else path)
            continue
        place = urllib.parse.urlsplit(f"//{host}")
        name = place.hostname or "localhost"
        found.append(f"{f'[{name}]' if ':' in name else name}:{place.port or PORTS[kind]}")
    return found


def refused(place: str) -> str:
    """Return why nobody takes a connection there, nothing where somebody does."""
    try:
        if place.startswith("/"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(place)
        else:
            host, _, port = place.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as why:
        return why.strerror or str(why)
    return ""
