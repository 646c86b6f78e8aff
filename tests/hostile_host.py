#!/usr/bin/env python3
"""A double of a host that answers Ansible with lies. It takes the place of ssh and of sftp on the control node.

The name of the host says where it lies and how: ``work-keys`` tells the truth until the apps are worked on, and then
answers with every key that Ansible itself takes for a command. HOSTILE_CANARY names a file that any text of it would
make, if one of them were taken for a template or a command.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

# Where it lies: when it is looked at, in the work of our own Python, in answers of Ansible's modules, in a plain shell.
STAGES = ("look", "work", "plain", "shell")
CANARY = os.environ.get("HOSTILE_CANARY", "/nonexistent/canary")
TOUCH = f"touch {CANARY}"
# Sets a terminal's title, clears it, hides text, turns its direction, writes over the line: C0, C1, DEL and marks.
TERMINAL = "\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b31m\u202eylbissop\u2066\u2028\r\x08\x0b\x0c\x7f\x00\ufeff"
TEMPLATE = (
    f"{{{{ lookup('pipe', '{TOUCH}') }}}}{{% for x in [lookup('ansible.builtin.pipe', '{TOUCH}')] %}}{{% endfor %}}"
)
TEXT = f"{TEMPLATE} $({TOUCH}) `{TOUCH}` {TERMINAL}\n!{TOUCH}\n"
MEGABYTE = 1 << 20
HUGE = 100 * MEGABYTE

# What makes whoever uses it run a program on the control node.
CONNECTION: dict[str, Any] = {
    "ansible_connection": "local",
    "ansible_host": "127.0.0.1",
    "ansible_user": "root",
    "ansible_python_interpreter": f"/bin/sh -c '{TOUCH}' #",
    "ansible_become": True,
    "ansible_become_method": "sudo",
    "ansible_become_exe": f"/bin/sh -c '{TOUCH}' #",
    "ansible_become_password": TEMPLATE,
    "ansible_ssh_executable": f"/bin/sh -c '{TOUCH}' #",
    "ansible_ssh_common_args": f"-o ProxyCommand='{TOUCH}'",
    "ansible_ssh_extra_args": f"-o LocalCommand='{TOUCH}' -o PermitLocalCommand=yes",
    "ansible_sftp_executable": f"/bin/sh -c '{TOUCH}' #",
    "ansible_shell_executable": f"/bin/sh -c '{TOUCH}' #",
    "ansible_playbook_python": f"/bin/sh -c '{TOUCH}' #",
    "ansible_remote_tmp": TEMPLATE,
    "ansible_delegated_vars": {"localhost": {"ansible_connection": "local"}},
    "discovered_interpreter_python": f"/bin/sh -c '{TOUCH}' #",
    "ansible_discovered_interpreter_python": f"/bin/sh -c '{TOUCH}' #",
    # What the roles and playbooks here would read.
    "flask_apps": [{"name": "evil", "source": "/etc", "migrate": TOUCH}],
    "hosting": {"become": False, "platform": "local", "apps": []},
    "hosting_platform": "local",
    "hosting_project": "/etc",
    "json": CANARY,
    "flask_app_status_file": CANARY,
    "tls_certificates": {"shop.example": {"certificate": "/etc/passwd", "key": "/etc/shadow"}},
    "nginx_http_port": TEMPLATE,
    "owned": "owned",
}
# All that Ansible itself puts into results, or reads there.
COMMANDS: dict[str, Any] = {
    "add_host": {"host_name": "owned", "groups": ["owned"], "host_vars": CONNECTION},
    "add_group": "owned",
    "parent_groups": ["all"],
    "ansible_facts": CONNECTION,
    "ansible_stats": {"data": {"owned": TEXT}, "per_host": False, "aggregate": True},
    "ansible_job_id": "../../owned",
    "ansible_async_watchdog_pid": 1,
    "results_file": CANARY,
    "_ansible_facts_cacheable": True,
    "_ansible_notify": ["Reload nginx", TEXT],
    "_ansible_delegated_vars": {"ansible_host": "honest", "ansible_delegated_host": "honest", **CONNECTION},
    "_ansible_no_log": False,
    "_ansible_verbose_always": True,
    "_ansible_verbose_override": True,
    "_ansible_item_result": True,
    "_ansible_item_label": TEXT,
    "_ansible_ignore_errors": True,
    "_ansible_suppress_tmpdir_delete": True,
    "_ansible_parsed": False,
    "include": "/etc/passwd",
    "include_args": {"_raw_params": "/etc/passwd"},
    "include_variables": {"name": "/etc"},
    "invocation": {"module_args": CONNECTION},
    "exception": TEXT,
    "warnings": [TEXT],
    "deprecations": [{"msg": TEXT, "version": "1", "collection_name": TEXT}],
    "diff": [{"before": TEXT, "after": TEXT + "x", "before_header": TEXT, "after_header": TEXT}, {"prepared": TEXT}],
    "results": [{"add_host": {"host_name": "owned", "groups": ["owned"]}, "ansible_facts": CONNECTION, "item": TEXT}],
    "skipped": True,
    "skip_reason": TEXT,
    "unreachable": False,
    "attempts": TEXT,
    "finished": 0,
    "item": TEXT,
    "ansible_loop_var": "hosting",
    "ansible_index_var": "hosting",
    "hosting": CONNECTION,
}
# Texts that Ansible marks in its own JSON.
MARKED: list[Any] = [
    {"__ansible_unsafe": TEMPLATE},
    {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n3030\n"},
    {"__ansible_type": "_AnsibleTaggedStr", "value": TEMPLATE, "tags": [{"__ansible_type": "TrustedAsTemplate"}]},
    {"__ansible_type": "TrustedAsTemplate"},
    {"__ansible_type": "Origin", "path": "/etc/passwd", "description": TEXT},
    {"__ansible_type": "WarningSummary", "event": {"__ansible_type": "Event", "msg": TEXT}},
]


def deep(opened: str, shut: str, levels: int = 100_000) -> str:
    """Return text in JSON of many levels."""
    return opened * levels + "1" + shut * levels


def everywhere(value: Any) -> Any:
    """Return an answer in which all texts are hostile, keys are not."""
    if isinstance(value, str):
        return value + TEXT
    if isinstance(value, list):
        return [everywhere(item) for item in value]
    return {name: everywhere(item) for name, item in value.items()} if isinstance(value, dict) else value


def swapped(value: Any) -> Any:
    """Return what has another type than a value."""
    if isinstance(value, dict):
        return [TEXT, [TEXT]]
    return {"changed": {"failed": TEXT}} if isinstance(value, (list, str)) else [TEXT]


def with_text(truth: dict[str, Any], text: str) -> bytes:
    """Return an answer with one more key, in JSON of its own."""
    return json.dumps(truth)[:-1].encode() + b', "msg": ' + text.encode() + b"}\n"


def said(answer: Any) -> Iterator[bytes]:
    """Yield an answer in JSON."""
    yield json.dumps(answer).encode() + b"\n"


def endless(piece: bytes, size: int = HUGE) -> Iterator[bytes]:
    """Yield so many bytes."""
    for _ in range(size // MEGABYTE):
        yield piece * (MEGABYTE // len(piece))


def huge(truth: dict[str, Any], piece: bytes, begin: bytes, end: bytes) -> Iterator[bytes]:
    """Yield an answer of 100 MB that is JSON and has all that was asked for."""
    yield json.dumps(truth)[:-1].encode() + b', "msg": ' + begin
    yield from endless(piece)
    yield end + b"}\n"


def dribble(_: dict[str, Any]) -> Iterator[bytes]:
    """Yield a byte now and then, for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield b'{"changed": false, "msg": "'
    while True:
        time.sleep(0.1)
        yield b"."


LIES: dict[str, Callable[[dict[str, Any]], Iterator[bytes]]] = {
    "keys": lambda truth: said({**truth, **COMMANDS}),
    "inner": lambda truth: said({name: {**item, **COMMANDS} if isinstance(item, dict) else item
                                 for name, item in truth.items()} | {"apps": {"shop": COMMANDS}}),
    "text": lambda truth: said(everywhere(truth)),
    "failed": lambda truth: said({**truth, "failed": True, "msg": TEXT, "exception": TEXT, "stderr": TEXT}),
    "warned": lambda truth: said({**truth, "warnings": [TEXT], "deprecations": [{"msg": TEXT}]}),
    "types": lambda truth: said({name: swapped(item) for name, item in (COMMANDS | truth).items()}),
    "lists": lambda truth: said([truth, COMMANDS]),
    "facts": lambda truth: said({**truth, "ansible_facts": [TEXT], "ansible_stats": TEXT, "warnings": 7, "diff": 7}),
    "nothing": lambda truth: said({name: None for name in COMMANDS | truth}),
    "marked": lambda truth: said({**truth, "msg": MARKED, "stdout": MARKED[2], **{TEXT: MARKED[0]}}),
    "profile": lambda truth: said({"__ansible_type": "_AnsibleTaggedStr", "value": TEMPLATE, "tags": MARKED[3:4]}),
    "numbers": lambda truth: iter([with_text(truth, "9" * 100_000), with_text(truth, "[NaN, 1e999, -Infinity]")]),
    "deep": lambda truth: iter([with_text(truth, deep("[", "]")), with_text(truth, deep('{"a":', "}"))]),
    "halves": lambda truth: said(everywhere({**truth, "msg": "\ud800"})),
    "bytes": lambda truth: iter([b"\xff\xfe\0\x9b\x1b[2J\n", with_text(truth, '"\xc3\x28"'), b"\xed\xa0\x80\x1b[8m"]),
    "huge": lambda truth: huge(truth, b"a", b'"', b'"'),
    "wide": lambda truth: huge(truth, "\U0001f40d".encode(), b'"', b'"'),
    "many": lambda truth: huge(truth, b"[],\n", b"[", b"[]]"),
    "lines": lambda _: endless(b"\x1b[2J\n{\n"),
    "dribble": dribble,
    "silence": lambda _: iter([]),
    "gone": lambda _: iter([TEXT.encode(errors="replace")]),
}  # fmt: skip


def truth_of_look(call: dict[str, Any]) -> dict[str, Any]:
    """Return what an honest Debian host says when it is looked at."""
    return {
        "python": "/usr/bin/python3", "uid": 0, "os": "debian 12", "systemd": True, "stamp": "0" * 16, "known": {},
        "ended": False, "supervisord": False,
        "accounts": {name: {"uid": 1001, "home": f"/home/{name}", "ours": True} for name in call["accounts"]},
        "pythons": {python: "3.11" for _, python in call["pythons"]},
        "owned": {},
        "ports": {str(port): [] for port in call["ports"]},
    }  # fmt: skip


def truth_of_work(call: dict[str, Any]) -> dict[str, Any]:
    """Return what an honest host says of work on its apps."""
    status = {"release": "0123456789ab", "health": "ok", "front": "ok", "programs": {"app": "RUNNING"}, "history": []}
    apps = {
        app["name"]: {"changed": True, "actions": ["said"], "release": "0123456789ab"}
        | ({"status": {"app": app["name"], **status}} if call["verb"] == "status" else {})
        for app in call["apps"]
    }
    diff = [{"before_header": "a", "after_header": "b", "before": "", "after": "x\n"}]
    return {"apps": apps, "changed": True, "warnings": ["said"], "diff": diff}


def truth_of_doctor(call: dict[str, Any]) -> dict[str, Any]:
    """Return what an honest host says to the doctor."""
    finding = {"level": "warning", "check": "disk", "what": "is full", "do": "empty it"}
    examined = {"findings": [finding], "checked": ["disk"], "skipped": {"dns": "no name"}}
    apps = {app["name"]: examined for app in call["apps"]}
    return {"host": examined, "apps": apps, "time": time.time(), "addresses": ["192.0.2.1"]}


def truth_of_module() -> dict[str, Any]:
    """Return what is true enough for every module that these roles use."""
    account = ["x", "1001", "1001", "hosted.flask account", "/home/shop", "/bin/bash"]
    return {
        "changed": True, "failed": False, "rc": 0, "stdout": "/ rw,usrquota", "stderr": "nginx version: nginx/1.22.1",
        "msg": "said", "stat": {"exists": False}, "ssh_ports": [22], "keys_files": [], "login": "password",
        "passwords_off": False, "container": False, "time_daemon": "chrony", "refused": [], "failures": [],
        "timer": True, "kept": {"shop": "./data"}, "left": {}, "status": {"ActiveState": "active"},
        "state": "directory", "uid": 0,
        "dest": "/etc/x", "path": "/etc/x", "checksum": "0" * 40, "size": 1, "mode": "0644",
        "ansible_facts": {"getent_passwd": {"root": account, "shop": account}},
    }  # fmt: skip


def main() -> int:
    """Answer one command."""
    words = " ".join(sys.argv[1:])
    if " -O " in f" {words} ":  # A question to the open connection.
        return 0
    found = re.search(rf"(?<![\w-])({'|'.join(STAGES)})-({'|'.join(LIES)})(?![\w-])", words)
    stage, lie = found.groups() if found else ("", "")
    if "sys.stdin.buffer.readline()" in words:
        sent = json.loads(zlib.decompress(base64.b64decode(sys.stdin.buffer.readline())))
        sys.stdin.buffer.read()
        name, call = sent["run"].rpartition(".")[2], sent["call"]
        told = {"look": truth_of_look, "doctor": truth_of_doctor, "work": truth_of_work}[name](call)
        at = "look" if name == "look" else "work"
    elif "ENDFOUND" in words or "mkdir" in words or "echo ~" in words or "python" not in words:
        told, at = None, "shell"
    else:
        if not sys.stdin.isatty():
            sys.stdin.buffer.read()
        told, at = truth_of_module(), "plain"
    if "BECOME-SUCCESS-" in words:
        print(re.findall(r"BECOME-SUCCESS-\w+", words)[0], flush=True)
    if at == stage:
        for piece in LIES[lie](told or {"changed": False}):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        sys.stderr.write(TEXT.encode(errors="replace").decode())
        return {"gone": 255, "silence": 0}.get(lie, 0)
    # Ansible asks a shell for an interpreter, or for a folder.
    found_python = "PLATFORM\nLinux\nFOUND\n/usr/bin/python3\nENDFOUND"
    print(json.dumps(told) if told else found_python if "ENDFOUND" in words else "/root/.ansible/tmp/x=y")
    return 0


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(141)
    sys.exit(code)
