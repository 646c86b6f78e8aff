"""Rollback, restart, status, hooks, the lock and check mode, each under visitors and beside an app left alone."""

import calendar
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asking import until
from changing import changed, said, versions

pytestmark = pytest.mark.usefixtures("neighbour")

# What root sees of a deploy on its host.
MODULE = "pgrep -f '^/usr/bin/python3 -Ic import base64'"
SLEEPER = "sleep 3601"

# Redirects to HTTPS and refuses other names, as apps with Talisman or werkzeug's trusted hosts do; the visitors of this
# test come over HTTP and are let in at one page.
STRICT = """
from flask import abort, redirect

@app.before_request
def strict():
    if request.host.partition(":")[0] != "shop.example":
        abort(400)
    if request.headers["X-Forwarded-Proto"] != "https" and request.path != "/":
        return redirect(request.url.replace("http:", "https:", 1), 301)
"""


def history(app):
    """Return an app's history, oldest first."""
    return [json.loads(line) for line in app.host.check_output(f"cat {app.root}/history.jsonl").splitlines()]


def test_health_of_an_app_that_wants_https_and_its_own_name(shop):
    with shop.visited():
        shop.update(STRICT)
        assert (shop.ask("/status").status, shop.ask("/status").release) == (301, shop.release())
        assert changed(shop.play("restart")) == 1
        shop.rests()


def test_rollbacks(shop):
    releases = [shop.update()[1] for _ in range(3)]
    with shop.visited() as visitors:
        assert changed(shop.play("rollback")) == 1
        assert shop.release() == releases[1]
        assert changed(shop.play("rollback")) == 1
        assert shop.release() == releases[0]
        shop.rests()
        assert changed(shop.play("rollback", "-e", f"release={releases[2]}")) == 1
        assert shop.release() == releases[2]
        shop.rests()
    assert len(versions(visitors.report())) == 3
    assert changed(shop.play("rollback", "-e", f"release={releases[2]}")) == 0
    unknown = shop.play("rollback", "-e", "release=0123456789ab")
    assert unknown.returncode != 0
    assert "release '0123456789ab' is not kept. Allowed: " in said(unknown)
    assert [entry["action"] for entry in history(shop)[-3:]] == ["rollback"] * 3


def test_restart(shop):
    release, before = shop.release(), shop.servers()
    with shop.visited():
        assert changed(shop.play("restart")) == 1
        shop.rests()
    assert shop.release() == release
    assert shop.servers()
    assert not set(before) & set(shop.servers())


def test_status(shop, tmp_path):
    file = tmp_path / "status.json"
    _, release = shop.update()
    run = shop.play("status", "-e", f"json={file}")
    assert changed(run) <= 1  # The file.
    (row,) = json.loads(file.read_text())
    last = history(shop)[-1]
    assert (row["host"], row["app"], row["release"]) == ("hosted-test-releases", "shop", release)
    assert (row["health"], row["front"], row["commit"]) == ("ok", "ok", last["commit"])
    assert (row["since"], row["by"], row["history"][0]) == (last["time"], last["who"], last)
    assert row["programs"] == {"shop": "RUNNING", "shop-socket": "RUNNING"}
    assert row["processes"] == len(shop.servers()) + len(shop.holder())
    assert row["memory"] > 5_000_000
    assert re.search(rf"hosted-test-releases +shop +{release} +{last['time']} .* ok$", run.stdout, re.MULTILINE), (
        run.stdout
    )
    try:
        shop.account("supervisorctl stop shop")
        stopped = shop.play("status", "-e", f"json={file}")
        (row,) = json.loads(file.read_text())
        assert (stopped.returncode, row["programs"]["shop"]) == (0, "STOPPED")
        assert row["health"] != "ok"
        assert "shop is STOPPED" in said(stopped)
    finally:
        shop.account("supervisorctl start shop")
    until(lambda: shop.ask().status == 200)


def test_after_switch_that_fails_is_a_warning(shop):
    before = shop.release()
    with shop.visited():
        shop.edit()
        run = shop.play("deploy", after_switch="echo the cache stays cold; exit 7")
    assert run.returncode == 0
    assert "[WARNING]" in said(run)
    assert "is live, but after_switch" in said(run)
    assert "the cache stays cold" in said(run)
    assert shop.release() != before
    shop.rests()


def test_two_deploys_at_once(shop):
    with shop.visited(), ThreadPoolExecutor() as threads:
        shop.edit()
        start = time.time()
        first = threads.submit(shop.play, "deploy", before_switch="until test -e instance/go; do sleep .1; done")
        try:
            until(lambda: shop.host.run(f"pgrep -u {shop.name} -f '^[^ ]*sh -c until test'").rc == 0)
            second = shop.play("deploy")
            assert not first.done()
            assert second.returncode != 0
            since = r"another deploy is under way: \w+@[\w-]+ since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"
            found = re.search(since, said(second))
            assert found, said(second)
            assert int(start) <= calendar.timegm(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) <= time.time()
            third = threads.submit(shop.play, "deploy", "-e", "wait=60")
            count = len(shop.host.check_output(MODULE).split())
            until(lambda: len(shop.host.check_output(MODULE).split()) > count)
        finally:
            shop.account(f"touch {shop.root}/data/go")
        assert changed(first.result()) == 1
        assert changed(third.result()) == 1
        shop.account(f"rm {shop.root}/data/go")
    assert [entry["action"] for entry in history(shop)[-2:]] == ["deploy", "deploy"]
    shop.rests()


def test_lock_of_a_holder_that_was_killed(shop):
    sleeps = f"pgrep -u {shop.name} -xf '{SLEEPER}'"
    assert shop.host.run(sleeps).rc == 1
    with shop.visited(), ThreadPoolExecutor() as threads:
        shop.edit()
        killed = threads.submit(shop.play, "deploy", migrate=SLEEPER)
        try:
            until(lambda: shop.host.run(sleeps).rc == 0)
            shop.host.check_output(f"kill -KILL {' '.join(shop.host.check_output(MODULE).split())}")
            assert killed.result().returncode != 0
            # What it had started ends with it, and holds nothing.
            until(lambda: shop.host.run(sleeps).rc == 1)
            shop.update()
        finally:
            shop.host.run(sleeps.replace("pgrep", "pkill -KILL"))
    shop.rests()


def test_check_mode_tells_and_changes_nothing(shop):
    shop.update()
    list_all = f"find {shop.root} /home/shop/etc -printf '%p %m %s %l %T@\n' | grep -v '/run\\b' | sort"
    before = shop.host.check_output(list_all), shop.servers(), shop.holder(), shop.release()
    with shop.visited() as visitors:
        shop.edit("\n# one line more\n", requirements_txt="flask\nsix==1.17.0\n")
        run = shop.play("deploy", "--check", "--diff", environment={"MESSAGE": "new"})
    assert len(versions(visitors.report())) == 1
    assert run.returncode == 0
    for line in (r"\+six==1\.17\.0", r"\+# one line more", r"\+MESSAGE=new", r"\+\+\+ after: shop: wsgi\.py"):
        assert re.search(rf"^ *{line}$", run.stdout, re.MULTILINE), (line, run.stdout)
    assert (shop.host.check_output(list_all), shop.servers(), shop.holder(), shop.release()) == before


def test_check_mode_tells_what_would_restart(shop):
    shop.edit()
    assert "restart shop" in said(shop.play("deploy", "--check", "--diff"))
