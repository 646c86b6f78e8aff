"""Ten apps on one host, none of which gets what is another's."""

import pytest
from asking import ask, pids, playbook, recap
from places import PLACES, places


@pytest.mark.parametrize(("app", "domain", "path"), places())
def test_place_is_the_apps_own(host, app, domain, path):
    answer = ask(host, path, name=domain)
    assert (answer.status, answer.text) == (200, f"{app} at {path}")
    live = host.check_output(f"readlink /home/{PLACES[app][0]}/apps/{app}/slots/live").rpartition("/")[2]
    assert answer.release == live
    style = ask(host, f"{path}static/style.css", name=domain)
    assert (style.status, style.text, style.release) == (200, "body {}\n", None), "the front serves it"


def test_each_account_runs_its_own_apps_and_no_other(host):
    for account in {account for account, _ in PLACES.values()}:
        own = {app for app, (owner, _) in PLACES.items() if owner == account}
        status = host.run(f"su - {account} -c 'supervisorctl status'").stdout.splitlines()
        assert {line.split()[0] for line in status} == own | {f"{app}-socket" for app in own} | (
            {"goes-idle"} if "goes" in own else set()
        )
        assert all(line.split()[1] == "RUNNING" for line in status)
        assert len(pids(host, f"^{account} .*bin/supervisord ")) == 1


def test_check_mode_right_after_has_nothing_to_do(host):
    run = playbook("deploy.yml", "--check", "--diff", "--tags", "all,provision")
    assert run.returncode == 0, run.stdout + run.stderr
    assert recap(run)["hosted-test-ten-apps"]["changed"] == 0, run.stdout
