"""What an account does over its own ssh key where there is no sudo: deploy, roll back, restart, look."""

import json

import pytest
from asking import playbook, recap
from changing import changed, said

pytestmark = pytest.mark.usefixtures("neighbour")
AS_SHOP = ("-e", "ansible_user=shop")


def test_there_is_no_way_to_root(host):
    assert host.run("test -e /usr/bin/sudo").rc != 0
    assert host.check_output("su - shop -c 'id -un; id -Gn'").split() == ["shop", "shop"]


def test_only_the_keys_of_the_inventory_log_in(host):
    keys = {name: host.file(f"/etc/ssh/authorized_keys.d/{name}") for name in ("shop", "blog")}
    assert [line.split()[0] for line in keys["shop"].content_string.splitlines() if line[0] != "#"] == ["ssh-ed25519"]
    assert [line for line in keys["blog"].content_string.splitlines() if line[0] != "#"] == []
    assert {(key.user, key.mode) for key in keys.values()} == {("root", 0o644)}
    refused = playbook("playbooks/status.yml", "-e", "ansible_user=blog", "-e", "app=blog")
    assert refused.returncode != 0
    assert "Permission denied" in said(refused)


def test_deploys_of_an_account_lose_no_request(shop):
    with shop.visited():
        first = shop.update()[1]
        second = shop.update("# more\n", environment={"COLOUR": "green"})[1]
    assert first != second
    assert changed(shop.play("deploy", environment={"COLOUR": "green"})) == 0
    assert changed(shop.play("deploy", "--check", environment={"COLOUR": "green"})) == 0


def test_all_apps_of_the_account_and_no_other(host, shop):
    run = playbook("deploy.yml", *AS_SHOP)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "/till" in said(run)
    assert ":80/ " not in said(run)
    rows = playbook("playbooks/status.yml", *AS_SHOP)
    assert rows.returncode == 0
    assert " till " in said(rows)
    assert " blog " not in said(rows)


def test_a_release_that_fails_is_refused_with_its_traceback(shop):
    before = shop.release()
    shop.edit("raise RuntimeError('not today')\n")
    run = shop.play("deploy")
    assert run.returncode != 0
    assert "RuntimeError: not today" in said(run)
    assert shop.release() == before


def test_rollback_and_restart(shop, tmp_path):
    first, second = shop.update()[1], shop.update("# more\n")[1]
    with shop.visited():
        assert changed(shop.play("rollback")) == 1
        assert shop.release() == first
        assert changed(shop.play("rollback", "-e", f"release={second}")) == 1
        assert changed(shop.play("restart")) == 1
    assert shop.release() == second
    assert shop.account("supervisorctl restart shop").splitlines() == ["shop: stopped", "shop: started"]
    assert shop.play("status", "-e", f"json={tmp_path}/status.json").returncode == 0
    [row] = json.loads((tmp_path / "status.json").read_text())
    assert (row["app"], row["release"]) == ("shop", second)


@pytest.mark.parametrize(
    "more", [{"domains": ["shop.example", "more.example"]}, {"mount": "/new"}, {"state": "absent"}]
)
def test_what_the_front_has_to_know_needs_root_and_is_refused_before_anything_changed(host, shop, more):
    before = host.check_output(f"ls -lR {shop.root}/slots {shop.root}/releases | cksum")
    run = shop.play("deploy", **more)
    assert run.returncode != 0
    assert "shop: what the host layer has to know of it" in said(run)
    assert "account shop may not write that" in said(run)
    assert "Allowed: a user that is root or may use sudo. Fix it in inventory/hosts.yml." in said(run)
    assert host.check_output(f"ls -lR {shop.root}/slots {shop.root}/releases | cksum") == before


@pytest.mark.parametrize("name", ["provision", "remove"])
def test_the_host_layer_is_out_of_reach(shop, name):
    run = shop.play(name)
    assert run.returncode != 0
    assert "Allowed: a user that is root or may use sudo" in said(run)
    assert all(counts["changed"] == 0 for counts in recap(run).values())


def test_the_app_of_another_is_refused_by_its_name(shop):
    run = playbook("deploy.yml", *AS_SHOP, "-e", "app=blog")
    assert run.returncode != 0
    assert "app: 'blog' is refused. Allowed: one of shop, till, the apps of account shop." in said(run)


def test_root_takes_over_and_the_account_goes_on(shop):
    """What root describes anew is the account's to deploy from then on."""
    more = {"domains": ["shop.example", "more.example"]}
    run = playbook("deploy.yml", *super(type(shop), shop).words(**more))
    assert run.returncode == 0, run.stdout + run.stderr
    shop.edit()
    assert changed(shop.play("deploy", **more)) == 1
    assert "shop: what the host layer" in said(shop.play("deploy"))
    assert playbook("deploy.yml", *super(type(shop), shop).words()).returncode == 0
    assert changed(shop.play("deploy")) == 0
