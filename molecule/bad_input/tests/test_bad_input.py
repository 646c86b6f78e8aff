"""What a host cannot do is told in one message, before anything is changed on it."""

import json
import os
import re
import socket
import sys
from contextlib import contextmanager

import pytest
import yaml
from asking import CHECKOUT, playbook, recap

CONNECTION = yaml.safe_load((CHECKOUT / "molecule/resources/vars/connection.yml").read_text())
BARE = {**CONNECTION, "ansible_port": 2217}
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "hosting_platform": "local"}
APPS = "inventory/group_vars/all/apps.yml"


@pytest.fixture
def deploy(tmp_path):
    """Return a function that deploys one app to one host, from a folder with nothing else in it."""

    def run(host, requirements="flask", **row):
        app = tmp_path / "app"
        app.mkdir()
        (app / "wsgi.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
        (app / "requirements.txt").write_text(requirements + "\n")
        variables = {"hosting_platform": "server", "hosting_project": str(tmp_path), **host}
        (tmp_path / APPS).parent.mkdir(parents=True)
        (tmp_path / "inventory/hosts.yml").write_text(json.dumps({"all": {"hosts": {"target": variables}}}))
        (tmp_path / APPS).write_text(yaml.safe_dump({"flask_apps": [{"name": "site", "source": "app", **row}]}))
        return playbook("deploy.yml", "-i", "inventory", folder=tmp_path)

    return run


@contextmanager
def untouched(host):
    """Demand that nothing on the host's disk changes, but what any login writes."""
    host.check_output("touch /var/tmp/before && sleep 0.1")
    yield
    paths = ("/run", "/tmp", "/var/log", "/var/lib/logrotate", "/root/.ansible")
    but = " ".join(f"-path {path} -prune -o" for path in paths)
    assert host.check_output(f"find / -xdev {but} -newer /var/tmp/before -print") == ""


def refused(run, *sentences):
    """Demand exactly these findings, in one message, and no other noise."""
    words = " ".join(run.stdout.split()).replace("''", "'")
    assert run.returncode, run.stdout
    assert run.stdout.count("fatal: ") == 1, run.stdout
    message = words.partition("fatal: ")[2]
    for sentence in sentences:
        assert re.search(sentence, message), message
    assert message.count("Fix it in") == len(sentences), message
    assert "Traceback" not in run.stdout + run.stderr
    assert recap(run)["target"]["changed"] == 0


def test_unknown_distribution(host, deploy):
    # A link to the package's file, which stays as it is.
    host.check_output("rm /etc/os-release && printf 'ID=ubuntu\\nVERSION_ID=24.04\\n' > /etc/os-release")
    try:
        with untouched(host):
            run = deploy(BARE)
    finally:
        host.check_output("ln -sfn ../usr/lib/os-release /etc/os-release")
    refused(
        run, r"distribution: 'ubuntu 24\.04' is refused\. Allowed: Debian 12 or 13\. Fix it in inventory/hosts\.yml"
    )


def test_no_python_on_the_host(host, deploy):
    bare = host.get_host("ansible://hosted-test-bad-input-nopython", ansible_inventory=inventory())
    assert bare.run("command -v python3").rc
    with untouched(bare):
        run = deploy({**BARE, "ansible_port": 2218})
    refused(
        run,
        r"host: it has no python3\. Allowed: a host with one\. Fix it in inventory/hosts\.yml, or install it"
        r" on the host \(apt-get install python3\)",
    )


def inventory():
    """Return the scenario's own."""
    return os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"


def test_port_80_belongs_to_somebody_else(host, deploy):
    host.check_output("systemd-run --quiet --unit=foreign python3 -m http.server 80")
    host.check_output("timeout 60 sh -c 'until ss -ltn | grep -q :80; do sleep 0.1; done'")
    try:
        with untouched(host):
            run = deploy(BARE)
        assert host.service("foreign").is_running
    finally:
        host.check_output("systemctl stop foreign")
    refused(
        run,
        r"port 80 of the host: 80 is refused\. Allowed: a free port; process \d+ \(python3[.\d]*\) listens on"
        rf" this one\. Fix it in {APPS}, or stop that process",
    )


@pytest.mark.parametrize("account", ["root", "daemon", "mail"])
def test_account_of_the_system(host, deploy, account):
    with untouched(host):
        run = deploy(BARE, account=account)
    refused(run, rf"account: '{account}' is refused\. Allowed: [^.]+\. Fix it in {APPS}")


@pytest.mark.parametrize(
    ("requirements", "said"),
    [("flask==99.0", "flask==99.0"), ("flask==3.0.0\nwerkzeug==1.0.1", "werkzeug")],
    ids=["does-not-exist", "contradict"],
)
def test_requirements_that_no_packages_meet(host, deploy, requirements, said):
    with untouched(host):
        run = deploy(BARE, requirements)
    refused(run, r"flask_apps \(site\)\.requirements: 'requirements\.txt' is refused\. Allowed: packages that exist and"
                 rf" fit together\. uv: .*{said}.* Fix it in {APPS}")  # fmt: skip


def test_all_findings_come_at_once(host, deploy):
    with untouched(host):
        run = deploy(BARE, account="mail", python="python2.7")
    refused(run, "account: 'mail'", r"python: 'python2\.7'")


def test_host_that_nobody_reaches(deploy):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        # Bound, so that nobody else takes it, and not listening.
        run = deploy({**BARE, "ansible_port": (port := free.getsockname()[1])})
    words = " ".join(run.stdout.split())
    assert run.returncode
    assert words.count("UNREACHABLE!") == 1
    assert f"host: root@127.0.0.1:{port} cannot be reached. Allowed: an address, port, user and key" in words
    assert "Fix it in inventory/hosts.yml." in words
    assert "Traceback" not in run.stdout + run.stderr


def test_user_that_the_host_does_not_know(host, deploy):
    with untouched(host):
        run = deploy({**BARE, "ansible_user": "stranger"})
    words = " ".join(run.stdout.split())
    assert run.returncode
    assert "host: stranger@127.0.0.1:2217 cannot be reached." in words
    assert "Fix it in inventory/hosts.yml." in words


def test_user_without_sudo(host, deploy):
    host.check_output("useradd --create-home plain && cp -r /root/.ssh ~plain && chown -R plain: ~plain/.ssh")
    try:
        with untouched(host):
            run = deploy({**BARE, "ansible_user": "plain"})
    finally:
        # His session's processes take a moment to end, and until then userdel refuses.
        host.check_output("timeout 30 sh -c 'until userdel --remove plain; do pkill -KILL -u plain; sleep .1; done'")
    words = " ".join(run.stdout.split()).replace("''", "'")
    assert run.returncode
    assert "Allowed: a user that is root or may use sudo. Fix it in inventory/hosts.yml." in words, words
    assert recap(run)["target"]["changed"] == 0


# --- this machine


def test_local_port_belongs_to_somebody_else(deploy, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = deploy(LOCAL, port=port)
    refused(run, rf"port: {port} is refused\. Allowed: a free port; process {os.getpid()} \(\S+\) listens on this one\."
                 rf" Fix it in {APPS}, or stop that process")  # fmt: skip
    assert not (tmp_path / ".hosted").exists()


def test_local_interpreter_that_is_not_there(deploy, tmp_path):
    run = deploy(LOCAL, python="python9.9", port=18131)
    refused(run, rf"flask_apps \(site\)\.python: 'python9\.9' is refused\. .* Fix it in {APPS}")
    assert not (tmp_path / ".hosted").exists()


def test_local_requirements_that_no_packages_meet(deploy, tmp_path):
    run = deploy(LOCAL, "flask==99.0", port=18132)
    refused(run, r"flask_apps \(site\)\.requirements: 'requirements\.txt' is refused")
    assert not (tmp_path / ".hosted").exists()


def test_host_is_still_bare(host):
    """After all of the above the host is as bare as it was."""
    assert host.run("ls /opt /home").stdout.split() == ["/home:", "/opt:"]
    assert not host.package("nginx-light").is_installed
