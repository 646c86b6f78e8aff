"""After all apps were removed with their data."""

import pytest
from asking import ask, pids, playbook, recap


@pytest.mark.parametrize("account", ["stays", "goes", "second", "never"])
def test_nothing_of_an_account(host, account):
    assert not host.user(account).exists
    assert pids(host, f"^{account} ") == []
    assert not host.file(f"/home/{account}").exists
    assert host.run(f"systemctl list-units --all --plain --no-legend supervisord@{account}.service").stdout == ""
    assert not host.file(f"/etc/systemd/system/multi-user.target.wants/supervisord@{account}.service").exists
    assert not host.file(f"/etc/systemd/system/supervisord@{account}.service.d").exists


def test_account_with_data_of_an_app_that_nobody_named_stays_closed(host, log_in):
    assert host.file("/home/leaves/apps/forgotten/data").is_directory
    assert log_in("leaves").returncode == 255
    assert pids(host, "^leaves ") == []


def test_no_limits_of_accounts(host):
    """A number is used again: the next account with it must not get the limits of this one."""
    assert host.run("ls -d /etc/systemd/system/user-[0-9]*.slice.d").stdout == ""


def test_no_process_of_ours(host):
    assert pids(host, "uwsgi|supervisord") == []


def test_no_file_without_an_owner(host):
    assert host.check_output("find / -xdev -nouser -not -path '/proc/*' 2>/dev/null; :") == ""


def test_front_answers_404(host):
    for path in ("/", "/stays/", "/goes/", "/second/", "/leaves/"):
        assert ask(host, path).status == 404
    assert "uwsgi_pass" not in host.check_output("nginx -T 2>/dev/null")


def test_second_time_has_nothing_to_do(host):
    run = playbook("playbooks/remove.yml", "-e", "purge=true")
    assert run.returncode == 0, run.stdout
    assert recap(run)["hosted-test-removal"]["changed"] == 0, run.stdout


def test_deploy_after_it_serves(host):
    run = playbook("deploy.yml")
    assert run.returncode == 0, run.stdout
    assert ask(host, "/stays/").release


def test_account_whose_app_came_back_is_open_again(log_in):
    """By that deploy."""
    run = log_in("leaves")
    assert run.stdout == "leaves\n", run.stderr
