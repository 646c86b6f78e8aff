"""A disk that is full: the deploy says so, the release before serves on, and room is all that the next one needs."""

import os

import pytest
from asking import until
from changing import said
from conftest import Struck, full


@pytest.fixture
def small(host):
    app = Struck(host, "small", "small.example")
    app.update()
    return app


def test_full_while_shipping(small):
    before = small.release()
    with small.visited():
        with full(small, f"{small.root}/releases", 1 << 20):
            small.edit()
            (small.source / "large").write_bytes(os.urandom(3 << 20))
            run = small.play("deploy")
            assert run.returncode != 0
            assert "No space left on device" in said(run)
            assert "app small: disk" in said(run)
            assert small.release() == before
            small.rests()
        small.converges()


def test_full_while_the_venv_is_built(small):
    before = small.release()
    with small.visited():
        with full(small, f"{small.root}/venvs", 2 << 20):
            small.edit(requirements_txt="flask\nsix==1.17.0\n")
            run = small.play("deploy")
            assert run.returncode != 0
            assert "No space left on device" in said(run)
            assert small.release() == before
            small.rests()
        assert small.deploy() != before
        small.converges()


def test_home_is_full(small):
    """Before anything is written: also what the app itself writes needs some room."""
    before = small.release()
    small.host.check_output("systemctl stop supervisord@small")
    with full(small, "/home/small", 200 << 20):
        small.host.check_output("systemctl start supervisord@small")
        until(small.serves_a_whole_release)
        with small.visited():
            small.host.run("cat /dev/zero > /home/small/large")
            small.edit()
            run = small.play("deploy")
            assert run.returncode != 0
            assert "disk: 0 MiB are free in /home/small/apps/small" in said(run)
            assert small.release() == before
            small.rests()
            small.host.check_output("rm /home/small/large")
            small.converges()
