"""After the removal."""

import pytest
from asking import PROJECT, pids, playbook, recap


def test_no_process(host):
    assert pids(host, rf"{PROJECT}/.hosted/") == []


@pytest.mark.parametrize("port", [18101, 18102])
def test_no_port(host, port):
    assert not host.socket(f"tcp://127.0.0.1:{port}").is_listening


def test_no_file(host):
    assert not (PROJECT / ".hosted").exists()


def test_second_removal_has_nothing_to_do(host):
    run = playbook("playbooks/remove.yml")
    assert (run.returncode, recap(run)["localhost"]["changed"]) == (0, 0), run.stdout
