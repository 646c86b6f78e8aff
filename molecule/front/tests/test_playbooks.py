"""What playbooks do to the front of a server; the Debian 12 one stands for both."""

import json
import os
from pathlib import Path

import yaml
from asking import ask, playbook, recap, until

testinfra_hosts = ["hosted-test-front"]
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])


def me(host) -> str:
    return host.ansible.get_variables()["inventory_hostname"]


def good(host, path="/", **more):
    return ask(host, path, name="good.example", **more)


# --- maintenance


def release(host) -> str:
    return host.check_output("readlink /home/limited/apps/limited/slots/live")


def described(tmp_path, **more: dict) -> str:
    """Return a file of variables in which these apps have these keys besides."""
    apps = yaml.safe_load((SCENARIO / "inventory/group_vars/all/apps.yml").read_text())["flask_apps"]
    file = tmp_path / "apps.json"
    file.write_text(json.dumps({"flask_apps": [app | more.get(app["name"], {}) for app in apps]}))
    return f"@{file}"


def maintain(host, state, *more):
    run = playbook("playbooks/maintenance.yml", "-l", me(host), "-e", "app=limited", "-e", f"state={state}", *more)
    return run, recap(run).get(me(host), {})


def test_maintenance_keeps_strangers_out_and_deploys_go_on(host, tmp_path):
    workers = host.check_output("pgrep -f 'nginx: worker'")
    assert maintain(host, "on", "--check")[1]["changed"] == 1
    until(lambda: good(host, "/limited/").status == 200)
    try:
        run, counts = maintain(host, "on")
        assert (run.returncode, counts["changed"]) == (0, 1), run.stdout
        answer = good(host, "/limited/")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "120")
        assert "The page of the app" in answer.text
        assert good(host).status == 200
        assert maintain(host, "on")[1]["changed"] == 0
        assert workers == host.check_output("pgrep -f 'nginx: worker'"), "nginx was not even reloaded"
        status = playbook("playbooks/status.yml", "-l", me(host), "-e", f"json={tmp_path}/status")
        assert "ok, in maintenance" in status.stdout
        rows = {row["app"]: row["maintenance"] for row in json.loads((tmp_path / "status").read_text())}
        assert rows == {"good": False, "limited": True}
        before = release(host)
        words = described(tmp_path, limited={"environment": {"NEW": "1"}})
        deployed = playbook("deploy.yml", "-l", me(host), "-e", "app=limited", "-e", words)
        assert deployed.returncode == 0, deployed.stdout
        assert release(host) != before
        assert good(host, "/limited/").status == 503
    finally:
        _, counts = maintain(host, "off")
    assert counts["changed"] == 1
    until(lambda: good(host, "/limited/").status == 200)


def test_an_unknown_state_is_refused(host):
    run, counts = maintain(host, "true")
    assert run.returncode
    assert counts["changed"] == 0
    assert "Allowed: on or off" in run.stdout


# --- what goes wrong


def test_bad_lines_of_one_app_take_nobody_down(host, tmp_path):
    """They are named, also where the other app's release is refused, and it has its lines."""
    refused = {"environment": {"NEW": "1"}, "before_switch": "echo Not today; false"}
    refused |= {"nginx_extra": "add_header X-New 1;"}
    words = described(tmp_path, limited={"nginx_extra": "no_such_directive;"}, good=refused)
    try:
        run = playbook("deploy.yml", "-l", me(host), "-e", words)
        assert "Not today" in run.stdout
        assert run.returncode
        assert "flask_apps (limited).nginx_extra is refused by nginx: the earlier lines stay" in run.stdout
        assert "no_such_directive" in run.stdout
        until(lambda: good(host).headers["X-New"] == "1")
        until(lambda: good(host, "/limited/").status == 200)
    finally:
        back = playbook("playbooks/provision.yml", "-l", me(host))
    assert back.returncode == 0, back.stdout
    until(lambda: good(host).headers["X-New"] is None)


def test_a_broken_file_of_others_is_named(host, tmp_path):
    host.check_output("echo nonsense > /etc/nginx/conf.d/by-hand.conf")
    try:
        words = described(tmp_path, good={"nginx_extra": "add_header X-New 1;"})
        run = playbook("playbooks/provision.yml", "-l", me(host), "-e", words)
        assert run.returncode
        assert "with and without our changes" in run.stdout
        assert "/etc/nginx/conf.d/by-hand.conf" in run.stdout
        assert good(host).status == 200
    finally:
        host.check_output("rm /etc/nginx/conf.d/by-hand.conf")


def test_check_mode_of_what_is_there_changes_nothing(host):
    run = playbook("playbooks/provision.yml", "-l", me(host), "--check", "--diff")
    assert (run.returncode, recap(run)[me(host)]["changed"]) == (0, 0), run.stdout
