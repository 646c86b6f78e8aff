"""What its owner does by hand, and what kills its processes, loses no request either."""

import pytest
from asking import until

pytestmark = pytest.mark.usefixtures("neighbour")


def served_by_others_than(shop, before):
    """Whether other processes serve, and only they."""
    return shop.servers() and not set(before) & set(shop.servers()) and shop.programs()["shop"] == "RUNNING"


@pytest.mark.parametrize("command", ["restart shop", "signal HUP shop"])
def test_restart_by_the_account(shop, command):
    before = shop.servers()
    assert before
    with shop.visited(rate=200):
        shop.account(f"supervisorctl {command}")
        until(lambda: served_by_others_than(shop, before))
        assert shop.ask().status == 200


def test_holder_of_the_sockets_is_killed(shop):
    before, servers = shop.holder(), shop.servers()
    assert len(before) == 1
    with shop.visited(rate=200):
        shop.host.check_output(f"kill -KILL {before[0]}")
        until(lambda: shop.holder() and shop.holder() != before)
        assert shop.servers() == servers
        assert shop.ask().status == 200
        shop.update()
        shop.rests()
    with shop.visited(rate=200):
        shop.account("supervisorctl restart shop")
        until(lambda: shop.ask().status == 200)


def test_stopped_app_says_so(shop):
    try:
        shop.account("supervisorctl stop shop")
        answer = shop.ask()  # Who comes first waits: a restart would end that.
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        for accept in ("text/html", "application/json"):
            answer = shop.ask(Accept=accept)
            assert (answer.status, answer.headers["Content-Type"]) == (503, accept)
    finally:
        shop.account("supervisorctl start shop")
    until(lambda: shop.ask().status == 200)
    with shop.visited():
        shop.update()
