"""README.md, followed to the letter: each of its commands where the reader would type it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from asking import ask

CHECKOUT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
README = (CHECKOUT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- (run|file): (\S+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(README)]
SERVER = next(text for kind, name, _, text in BLOCKS if (kind, name) == ("file", "inventory/hosts.yml"))
COMMANDS = [
    (name, line.removeprefix("$ ")) for kind, name, _, text in BLOCKS if kind == "run" for line in text.splitlines()
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory):
    """Return a copy of what git would bring, without anything that was made in the checkout since."""
    folder = tmp_path_factory.mktemp("clone") / "hosted.flask"
    listed = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_symlink() or (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name, follow_symlinks=False)
    yield folder
    if (folder / ".hosted").exists():
        (folder / "inventory/hosts.yml").write_text((CHECKOUT / "inventory/hosts.yml").read_text())
        run(folder, ".venv/bin/ansible-playbook playbooks/remove.yml -i inventory -e purge=true")


def run(folder: Path, command: str) -> str:
    """Run a command line in ``folder`` as a reader's shell would, and return what it printed."""
    ours = ("MOLECULE", "ANSIBLE", "VIRTUAL_ENV")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    env["PATH"] = ":".join(part for part in env["PATH"].split(":") if ".venv" not in part)
    # The account's key and options for ssh are the reader's own business: here they come with the inventory.
    env["MOLECULE_PROJECT_DIRECTORY"] = str(CHECKOUT)
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def server(host) -> str:
    """Return README's inventory with the test host's address in place of the reader's."""
    variables = host.ansible.get_variables()
    connection = "".join(
        f"          {key}: {variables[key]!r}\n" for key in ("ansible_host", "ansible_port", "ansible_ssh_common_args")
    )
    name = re.search(r"^ +(\S+\.example\.org):\n", SERVER, re.MULTILINE)
    assert name, "README's inventory names no host"
    return SERVER.replace(name[0], name[0] + connection)


def test_commands_are_marked() -> None:
    """No command hides from this test: a block of a console says where it is run, but for the tests' own."""
    unmarked = [text for kind, _, language, text in BLOCKS if language == "console" and kind is None]
    own = ["$ bin/test fast", "$ bin/test changed", "$ bin/test", "$ bin/test molecule hostile", "$ tests/fuzz",
           "$ tests/powercut", "$ tests/limits"]  # fmt: skip
    assert [line.split("#")[0].strip() for line in "".join(unmarked).splitlines()] == own
    assert {name for name, _ in COMMANDS} == {"here", "server", "account"}


def test_every_command(host, clone: Path) -> None:
    """Each command does what the text around it says, in the order of the page."""
    hosts = clone / "inventory/hosts.yml"
    shipped = hosts.read_text()
    served = []
    for where, command in COMMANDS:
        if where == "account":
            printed = host.run("su - basic_flask -c %s", command)
            assert printed.rc in (0, 3), printed  # supervisorctl says 3 where one of the programs is stopped.
            assert "ERROR" not in printed.stdout
            continue
        hosts.write_text(server(host) if where == "server" else shipped)
        printed = run(clone, command)
        if command.startswith("curl"):
            assert json.loads(printed) | {"release": ""} == {
                "status": "ok", "database": "ok", "broker": "off", "release": "",
            }  # fmt: skip
        if where == "here" and command == "bin/deploy":
            assert "http://127.0.0.1:1024/" in printed
            assert "changed=0" in run(clone, command)
        if where == "here" and "remove.yml" in command:
            kept = [path for path in (clone / ".hosted").rglob("*") if path.is_file()]
            assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in kept} == {"app.sqlite", "env"}
        if "rollback.yml" in command:
            assert f"basic_flask: release {ask(host).release}" in printed
        if "status.yml" in command:
            assert ask(host).release in printed
        if where == "server" and command == "bin/deploy":
            served.append(ask(host).status)
        if where == "server" and "remove.yml" in command:
            served.append(ask(host).status)
            assert not host.user("basic_flask").exists
    assert served == [200, 404]


def test_the_skeletons_own_commands(clone: Path) -> None:
    """A developer who follows app_skeleton/README.md has an app that is tested and runs, and locks that fit."""
    folder = clone / "app_skeleton"
    develop, broker, lock = re.findall(r"```console\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    commands = re.sub(r"^\$ ", "", develop, flags=re.MULTILINE).splitlines()
    assert commands[-1] == "flask run --debug"
    port = 18141  # No visitor's end of a connection takes it meanwhile.
    # What comes last runs until it is stopped: it is asked meanwhile.
    run(folder, "\n".join([
        *commands[:-1],
        f"{commands[-1]} --no-reload --port {port} >flask.log 2>&1 & app=$!",
        f"for _ in $(seq 600); do ! curl -sf -o status http://127.0.0.1:{port}/status || break; sleep 0.1; done",
        "kill $app",
    ]))  # fmt: skip
    assert json.loads((folder / "status").read_text())["database"] == "ok"
    if shutil.which("redis-server"):
        *made, served = re.sub(r"^\$ ", "", broker, flags=re.MULTILINE).splitlines()
        wait = 'for _ in $(seq 100); do [ ! -S "$folder/redis.sock" ] || break; sleep 0.1; done'
        there = 'test -S "$folder/redis.sock"; there=$?; kill $server; exit $there'
        run(folder, "\n".join([*made, f"{served} >/dev/null & server=$!", wait, there]))
    before = {name: (folder / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")}
    uv = CHECKOUT / ".venv-test/bin"
    run(folder, f"PATH={uv}:$PATH\n" + re.sub(r"^\$ ", "", lock, flags=re.MULTILINE))
    for name, text in before.items():
        pins = re.compile("^[a-z].*==.*$", re.MULTILINE)
        assert pins.findall((folder / name).read_text()) == pins.findall(text)
