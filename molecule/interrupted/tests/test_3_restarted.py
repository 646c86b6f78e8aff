"""supervisord dies or the host restarts in the middle of a deploy: the site comes back by itself and whole."""

import subprocess

import pytest
from asking import CHECKOUT, until

POINTS = pytest.mark.parametrize(
    ("moment", "more"),
    [("sleeps", {"before_switch": "sleep 4"}), ("shown", {}), ("STOPPED", {})],
    ids=["before_switch", "shown", "stopped"],
)


@POINTS
def test_supervisord_is_killed(shop, moment, more):
    shop.edit()
    assert shop.deploy_until(moment, "supervisord", die=False, **more) == "1"
    until(shop.serves_a_whole_release)
    shop.converges()


@POINTS
def test_host_is_rebooted(shop, moment, more):
    shop.edit()
    assert int(shop.deploy_until(moment, "modules", **more)) >= 1
    subprocess.run([CHECKOUT / "tests/hosts", "reboot", "hosted-test-interrupted"], check=True)
    until(shop.serves_a_whole_release)
    shop.converges()
