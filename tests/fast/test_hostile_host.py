"""Ansible itself runs this project's own playbooks against hosts that lie; a double takes the place of ssh.

Each run has an honest host beside the liars. No text of a host is a template or a command here, no host and no variable
comes of it, nothing of it commands the terminal, memory and time are bounded, and the honest host is served as ever.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.connection import ssh
from ansible.utils import color
from ansible_collections.hosted.flask.plugins.callback import visible
from ansible_collections.hosted.flask.plugins.module_utils import answers
from ansible_collections.hosted.flask.plugins.plugin_utils import bounds
from hostile_host import COMMANDS, LIES
from support import BIN, ROOT

DOUBLE = ROOT / "tests/hostile_host.py"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MEMORY = 250 << 10  # KiB, of any process of a run; an honest one takes 60 MB
# In a process of its own: the kernel counts as a child's what its parent had when it was started.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code)
"""
DEADLINE = 400  # seconds, of a run on a machine with much else to do
TIMEOUT = 45  # seconds, for a task that does not know better
ENDLESS = "dribble"
QUICK = [lie for lie in LIES if lie != ENDLESS]
# What an honest host may say as well: these are no lies where plain modules of Ansible read them.
TAKEN = {"plain-text", "plain-inner", "plain-warned", "plain-bytes"}
# All kinds of actions that the roles use on hosts, with loops, files and what is asked before files are sent.
PLAIN = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.getent: {database: passwd}
    - ansible.builtin.command: {argv: [nginx, -v]}
      loop: [1, 2]
      register: asked
    - ansible.builtin.copy: {content: "{{ asked }} {{ ansible_facts }}", dest: /etc/x, mode: "0644"}
    - hosted.flask.host_files: {files: []}
    - hosted.flask.packages: {names: [nginx-light]}
"""
TIMES = ("before", "after")
# What is known of the hosts, and of an honest one, written where nothing of a host is asked.
KNOWN = """
- hosts: honest
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ {{'hosts': groups.all, 'groups': groups | list, 'variables': hostvars['honest']}} | to_json }}}}"
        dest: {}
        mode: "0600"
      delegate_to: localhost
      vars: {{ansible_connection: local, ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
"""


@dataclass
class Run:
    """How one run of ansible-playbook went."""

    code: int
    output: str
    memory: int
    seconds: float
    recap: dict[str, dict[str, int]]
    before: dict[str, Any]
    after: dict[str, Any]
    canary: bool


@dataclass
class Attack:
    """A playbook, and the hosts that lie to it."""

    playbook: str
    liars: list[str]
    options: tuple[str, ...] = ()


ATTACKS = {
    "plain": Attack(PLAIN, [f"plain-{lie}" for lie in LIES]),
    "look": Attack("status.yml", [f"look-{lie}" for lie in QUICK]),
    "status": Attack("status.yml", [f"work-{lie}" for lie in QUICK]),
    "shell": Attack(PLAIN, [f"shell-{lie}" for lie in ("keys", "text", "lines", "silence", "bytes", "gone")]),
    "doctor": Attack("doctor.yml", ["work-text", "work-keys", "work-many", "work-deep"]),
    "deploy": Attack("deploy.yml", ["plain-text", "work-text"], ("--diff",)),
    "remove": Attack("remove.yml", ["work-text"], ("-vvv",)),
    "rollback": Attack("rollback.yml", ["work-text"]),
    "restart": Attack("restart.yml", ["work-text"]),
    "maintenance": Attack("maintenance.yml", ["work-text"], ("-e", "state=on")),
}


def attack(folder: Path, attack: Attack) -> Run:
    """Run a playbook against liars and an honest host."""
    (folder / "app").mkdir(parents=True)
    (folder / "app/wsgi.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    (folder / "app/requirements.txt").write_text("flask\n")
    programs = {f"ansible_{name}_executable": str(DOUBLE) for name in ("ssh", "sftp", "scp")}
    variables = {"hosting_platform": "server", "hosting_project": str(folder), "ansible_user": "root", **programs}
    variables["flask_apps"] = [{"name": "shop", "source": "app"}]
    hosts = dict.fromkeys(["honest", *attack.liars], {})
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": variables, "hosts": hosts}}))
    tested = attack.playbook
    if tested.endswith(".yml"):
        tested = f"- ansible.builtin.import_playbook: {ROOT}/playbooks/{tested}\n"
    before, after = (KNOWN.format(folder / f"{at}.json") for at in TIMES)
    (folder / "play.yml").write_text("\n".join([before, tested, after]))
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_TASK_TIMEOUT": str(TIMEOUT), "HOSTILE_CANARY": str(folder / "canary"), "PYTHONHASHSEED": "0",
    }  # fmt: skip
    command = [str(BIN / "ansible-playbook"), "-i", "hosts.json", "play.yml", *attack.options]
    start = time.monotonic()
    with open(folder / "output", "wb") as output:
        code = subprocess.call(
            [sys.executable, "-ISc", MEASURE, "memory", "timeout", str(DEADLINE), *command], cwd=folder,
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    said = (folder / "output").read_bytes().decode(errors="surrogateescape")
    recap = {
        line.split()[0]: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}
        for line in said.rpartition("PLAY RECAP")[2].splitlines()
        if " ok=" in line
    }
    known = [
        json.loads(path.read_text()) if path.exists() else {}
        for path in (folder / "before.json", folder / "after.json")
    ]
    seconds = time.monotonic() - start
    memory = int((folder / "memory").read_text())
    return Run(code, said, memory, seconds, recap, *known, (folder / "canary").exists())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """Return all runs, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(attack, tmp_path_factory.mktemp(name), one) for name, one in ATTACKS.items()}


@pytest.fixture(params=ATTACKS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of an attack."""
    return request.param


def test_nothing_of_it_takes_effect_here(name: str, runs: dict[str, Future[Run]]) -> None:
    run = runs[name].result()
    assert not run.canary
    assert run.before, run.output
    assert run.recap.keys() <= {"honest", *ATTACKS[name].liars}
    assert run.after["hosts"] == run.before["hosts"]
    assert run.after["groups"] == run.before["groups"]
    # What is registered or found out about a host is its own: of the others nothing changed.
    changed = {key for key, value in run.after["variables"].items() if run.before["variables"].get(key) != value}
    roles = ("flask_app_", "nginx_", "tls_", "server_", "supervisord_", "uwsgi_", "gunicorn_", "__")
    assert {key for key in changed if not key.startswith(roles)} <= {"hosting", "asked", "examined", "ansible_facts"}
    assert "owned" not in json.dumps(run.after["variables"])


def test_nothing_of_it_commands_the_terminal(name: str, runs: dict[str, Future[Run]]) -> None:
    output = runs[name].result().output
    assert not UNSEEN.findall(output), [output[found.start() - 80 :][:160] for found in UNSEEN.finditer(output)][:3]


def test_memory_and_time_are_bounded(name: str, runs: dict[str, Future[Run]]) -> None:
    run = runs[name].result()
    assert run.memory < MEMORY
    assert run.seconds < DEADLINE


def test_the_honest_host_is_served_and_the_liar_is_named(name: str, runs: dict[str, Future[Run]]) -> None:
    run = runs[name].result()
    assert (run.recap["honest"]["failed"], run.recap["honest"]["unreachable"]) == (0, 0), run.output
    assert run.after, run.output  # It came to the last play.
    for liar in ATTACKS[name].liars:
        given_up = run.recap[liar]["failed"] + run.recap[liar]["unreachable"]
        # What a shell says is a path, and any text is one; in the end there is nothing there or an answer all the same.
        if name != "shell":
            assert given_up == (liar not in TAKEN), f"{liar}: {run.recap[liar]}\n{run.output}"
        assert len(re.findall(rf"^fatal: \[{liar}\]: ", run.output, re.MULTILINE)) == given_up


def test_every_task_that_waits_for_our_own_work_gives_up() -> None:
    """Users' own configuration may have no ``task_timeout``."""
    ours = {f"hosted.flask.{name}" for name in ("preflight", "doctor", "release")}
    seen = set()
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]:
        for entry in yaml.safe_load(path.read_text()):
            for task in [entry, *entry.get("tasks", [])]:
                if names := ours & task.keys():
                    seen |= names
                    assert task.get("timeout"), f"{path}: {task['name']}"
    assert seen == ours


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in bounds.OURS or name.startswith("_ansible_")])
def test_a_module_says_nothing_that_is_ansibles_own(name: str) -> None:
    if name not in bounds.PLAIN:
        with pytest.raises(answers.Untrue, match="nobody asked"):
            bounds.check({"changed": False, name: COMMANDS[name]})


@pytest.mark.parametrize("name", bounds.TYPES)
@pytest.mark.parametrize("value", [7.5, "text", [[7]], {"a": 1}, True])
def test_a_module_answers_with_the_types_that_ansible_takes_for_granted(name: str, value: Any) -> None:
    kinds, items = bounds.TYPES[name], bounds.LISTED.get(name, object)
    if isinstance(value, kinds) and not (isinstance(value, list) and not isinstance(value[0], items)):
        bounds.check({"changed": False, name: value})
    else:
        with pytest.raises(answers.Untrue):
            bounds.check({"changed": False, name: value})


def test_an_answer_of_a_module_has_bounds() -> None:
    deep: Any = "x"
    for _ in range(bounds.LEVELS - 1):
        deep = [deep]
    bounds.check({"msg": deep, "lines": ["x"] * (bounds.ITEMS - 100)})
    for wrong in ({"msg": [[deep]]}, {"msg": [[]] * (bounds.ITEMS + 1)}, {"msg": {str(n): n for n in range(200_001)}}):
        with pytest.raises(answers.Untrue, match="more than"):
            bounds.check(wrong)


def test_what_short_programs_of_ssh_say_is_whole() -> None:
    """Ansible looks by ``communicate`` whether ssh can keep a connection open."""
    bounds.install()
    pipe = subprocess.PIPE
    child = ssh.subprocess.Popen(["sh", "-c", "echo out; echo err >&2"], stdin=pipe, stdout=pipe, stderr=pipe)
    assert isinstance(child, bounds.Bounded)
    assert child.communicate() == (b"out\n", b"err\n")


def test_colours_are_ansibles_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(color, "ANSIBLE_COLOR", True)
    mine = color.stringc("mine", "green")
    assert visible.text(f"{mine}\x1b[8mhidden\x1b[2J", coloured=True) == f"{mine}\\x1b[8mhidden\\x1b[2J"
    assert "\x1b" not in visible.text(mine, coloured=False)
    monkeypatch.setattr(color, "ANSIBLE_COLOR", False)
    assert "\x1b" not in visible.text(mine, coloured=True)


def test_a_very_long_message_is_cut_in_the_middle() -> None:
    said = visible.text("a" * 200_000 + "\r\nlast", coloured=False)
    assert said.endswith("\nlast")
    assert "are left out" in said
    assert len(said) < visible.LONGEST + 100
