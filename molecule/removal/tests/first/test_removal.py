"""Before anything is removed."""

import pytest
from asking import ask, playbook, recap


@pytest.mark.parametrize(("app", "name"), [("stays", ""), ("goes", "goes.example"), ("second", "")])
def test_apps_serve(host, app, name):
    assert ask(host, f"/{app}/", name=name).release


def test_app_that_was_absent_from_the_start_left_nothing(host):
    assert ask(host, "/never/").status == 404
    assert not host.user("never").exists
    assert not host.file("/home/never").exists


def test_unknown_app_is_not_removed(host):
    """A misspelt name is told, with those that there are."""
    run = playbook("playbooks/remove.yml", "-e", "app=stayz")
    assert run.returncode
    assert "'stayz'" in run.stdout + run.stderr
    assert recap(run)["hosted-test-removal"]["changed"] == 0
