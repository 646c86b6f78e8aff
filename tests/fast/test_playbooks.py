"""What a playbook goes on with when a part of it fails: the real one, with roles that only say that they ran."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import BIN, ROOT

ROLES = {
    "flask_app": ["main"], "gunicorn": ["main"], "nginx": ["main"], "supervisord": ["absent", "programs"],
    "server": ["absent", "closed"], "tls": ["issue", "main"], "uwsgi": ["main"],
}  # fmt: skip
HOSTING = {
    "platform": "server", "become": True, "stamped": True, "base": "", "project": "", "stamp_spoilt": "", "tls": {},
    "tls_groups": {}, "urls": ["https://shop.example"],
}  # fmt: skip
APPS = [
    {"name": "bob", "account": "bob", "state": "absent", "server": "uwsgi", "purge": False},
    {"name": "mallory", "account": "mallory", "state": "present", "server": "uwsgi", "purge": False},
]


def play(folder: Path, playbook: str, fails: str, **released: Any) -> list[str]:
    """Run a playbook in which the task of one role fails; return what ran of the roles, and what was said at the end.

    :param released: what the role that releases the apps registered.
    """
    hosting = {**HOSTING, "stamp_file": str(folder / "stamp"), "apps": APPS, "all_apps": APPS}
    roles = folder / "collections/ansible_collections/hosted/flask/roles"
    for role, entries in ROLES.items():
        (roles / role / "tasks").mkdir(parents=True)
        for entry in entries:
            name = f"{role}/{entry}"
            tasks = [{"ansible.builtin.debug": {"msg": f"ran {name}"}}]
            if role == "flask_app":
                tasks.append({"ansible.builtin.set_fact": {"flask_app_released": released}})
            tasks += [{"ansible.builtin.fail": {"msg": f"failed {name}"}}] if name == fails else []
            (roles / role / "tasks" / f"{entry}.yml").write_text(yaml.safe_dump(tasks))
    (roles.parent / "galaxy.yml").write_text("namespace: hosted\nname: flask\nversion: 1.0.0\n")
    (folder / "playbooks").mkdir()
    # Root's part runs here as whoever runs the tests.
    text = (ROOT / "playbooks" / playbook).read_text()
    (folder / "playbooks" / playbook).write_text(text.replace('become: "{{ hosting.become }}"', "become: false"))
    (folder / "ansible.cfg").touch()
    look = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.set_fact": {"hosting": hosting}}]}]
    for name in ("look.yml", "provision.yml"):
        (folder / "playbooks" / name).write_text(yaml.safe_dump(look))
    variables: dict[str, Any] = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables |= {"nginx_failures": ["the host layer is wrong"]}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"web1": variables}}}))
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"), "ANSIBLE_NOCOLOR": "1",
    }  # fmt: skip
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", "hosts.json", f"playbooks/{playbook}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    print(done.stdout + done.stderr)
    assert done.returncode == 2
    return re.findall(r"ran [\w/]+|failed \w+/\w+|the host layer is wrong", done.stdout + done.stderr)


@pytest.fixture(params=["deploy.yml", "remove.yml"])
def playbook(request: pytest.FixtureRequest) -> str:
    """Return the name of a playbook that removes."""
    return request.param


def test_accounts_are_closed_before_the_apps_and_removed_whatever_became_of_them(playbook: str, tmp_path: Path) -> None:
    said = play(tmp_path, playbook, "flask_app/main", apps={"bob": {}, "mallory": {"failed": True}})
    assert said.index("ran server/closed") < said.index("ran flask_app/main") < said.index("failed flask_app/main")
    assert said.index("failed flask_app/main") < said.index("ran server/absent") < said.index("the host layer is wrong")


def test_what_the_host_layer_lacks_is_told_though_an_account_stays(playbook: str, tmp_path: Path) -> None:
    said = play(tmp_path, playbook, "server/absent", apps={"bob": {}, "mallory": {}})
    assert said.index("failed server/absent") < said.index("the host layer is wrong")


def test_a_host_that_told_nothing_of_its_apps_is_left_as_it_is(playbook: str, tmp_path: Path) -> None:
    said = play(tmp_path, playbook, "flask_app/main", failed=True)
    assert "ran server/closed" in said
    assert "ran server/absent" not in said
    assert "the host layer is wrong" in said
