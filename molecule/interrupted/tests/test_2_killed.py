"""Ansible and its module on the host are killed at a point of a deploy: no visitor notices, the next one converges."""

import pytest
from changing import Client

HOOK = "sleep 3601"
# A part of the time that the host's share of a deploy takes.
PARTS = [0.02, 0.1, 0.25, 0.4, 0.55, 0.7]


@pytest.fixture(scope="module")
def seconds():
    """What the host's share takes, once it was measured."""
    return []


def killed(shop, moment, **more):
    """Kill a deploy, see that visitors get something whole, and return how many processes were killed on the host."""
    before = shop.sealed()
    count = int(shop.deploy_until(moment, "modules", **more))
    assert shop.serves_a_whole_release()
    assert len(shop.sealed() - before) <= 1
    return count


@pytest.mark.parametrize("part", PARTS)
def test_killed_after_a_while(shop, seconds, part):
    if not seconds:
        shop.edit()
        seconds.append(float(shop.deploy_until("end", "none", die=False)))
    with shop.visited():
        shop.edit()
        while not killed(shop, str(part * seconds[0])):
            # It was measured while this machine had more to do: the deploy had ended before.
            seconds[0] *= 0.8
            shop.edit()
        shop.converges()


@pytest.mark.parametrize("hook", ["migrate", "before_switch"])
def test_killed_while_a_hook_runs(shop, hook):
    before = shop.release()
    with shop.visited():
        shop.edit()
        assert killed(shop, "sleeps", **{hook: HOOK})
        assert shop.release() == before
        shop.converges()


def test_killed_while_the_venv_is_built(shop):
    before = shop.release()
    with shop.visited():
        shop.edit(requirements_txt="flask\nsix==1.17.0\n")
        assert killed(shop, "builds")
        assert shop.release() == before
        assert shop.deploy() != before
        shop.converges()


@pytest.mark.parametrize("moment", ["shown", "STOPPING", "STOPPED"])
def test_killed_while_visitors_are_on_the_standby(shop, moment):
    before = shop.release()
    # A long request is what the live program still answers while it is stopping.
    slow = Client("slow", connections=1, path="/slow/2.0", pause=0, timeout=20)
    with shop.visited(60, slow):
        shop.edit()
        assert killed(shop, moment)
        assert shop.release() != before
        shop.converges()


def test_ansible_alone_is_killed(shop):
    """What runs on the host then ends as if nothing had been; it needs nobody."""
    with shop.visited():
        shop.edit()
        shop.deploy_until("0.1", "none")
        shop.deploy("-e", "wait=60")
        shop.converges()
