"""What people see in their browsers while something happens to the app."""

import os
import re
import subprocess

import pytest
from asking import CHECKOUT, pids, until
from browsing import PASSWORD
from playwright.sync_api import Page, expect

JOB = re.compile(r"/app/jobs/[0-9a-f-]{36}$")


@pytest.fixture
def app(site) -> str:
    """Return the name of the app that is visited."""
    return "front" if site.name == "root" else "mounted"


def log_in(page: Page, site, name: str) -> None:
    """Be at the list of jobs."""
    page.goto(f"{site.url}app/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def start(page: Page, seconds: int) -> None:
    """Start a job from the list, and watch it."""
    page.get_by_label("Seconds").fill(str(seconds))
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(JOB)


def state(page: Page):
    """Return what shows the state of the job that is watched."""
    return page.locator(".now .state")


def test_job_is_watched_through_a_redeploy(page, site, app, host, keep):
    """It ends in the old worker, and the page that watches it learns of that without a word of an error."""
    log_in(page, site, site.register())
    live = f"readlink /home/{app}/apps/{app}/slots/live"
    before = host.check_output(live), pids(host, rf"^{app} .*celery -A app.tasks worker")
    start(page, 25)
    expect(page.locator("#way")).to_have_attribute("data-way", "websocket")
    page.evaluate("document.documentElement.dataset.loaded = 'once'")
    inventory = os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"
    command = ["ansible-playbook", "deploy.yml", "-i", inventory, "-e", f"app={app}", "-e", f"test_round=for-{app}"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as deploy:
        expect(state(page)).to_have_text("done", timeout=90_000)
        keep(page, "done")
        said, _ = deploy.communicate()
    assert deploy.returncode == 0, said
    assert page.evaluate("document.documentElement.dataset.loaded") == "once"
    assert host.check_output(live) != before[0]
    until(lambda: pids(host, rf"^{app} .*celery -A app.tasks worker"))
    assert not set(before[1]) & set(pids(host, rf"^{app} .*celery -A app.tasks worker"))
    # The page goes on with the new release as it is.
    page.get_by_role("link", name="All jobs").click()
    start(page, 1)
    expect(state(page)).to_have_text("done", timeout=60_000)


def test_more_watchers_than_threads(visit, site, app, console):
    """uWSGI has no thread for each: who gets none asks. gevent has one for everybody."""
    name = site.register()
    pages = [visit() for _ in range(5)]
    for page in pages:
        log_in(page, site, name)
    first, *others = pages
    start(first, 25)
    for page in others:
        page.goto(first.url)
    for page in pages:
        expect(page.locator("#way")).to_have_attribute("data-way", re.compile("websocket|asking"))
    ways = [page.locator("#way").get_attribute("data-way") for page in pages]
    if app == "front":
        console.expect("WebSocket connection to .* 503")
        assert {"websocket", "asking"} == set(ways)
    else:
        assert {"websocket"} == set(ways)
    for page in pages:
        expect(state(page)).to_have_text("done", timeout=40_000)


def test_two_apps_of_one_site_in_one_tab(page, site):
    """Their log-ins do not get into each other's way."""
    others = [place for place in os.environ["HOSTED_BROWSER_URL"].split() if place != site.url]
    here, there = site, type(site)(others[0])
    names = {one: one.register() for one in (here, there)}
    for one, name in names.items():
        log_in(page, one, name)
    for one, name in names.items():
        page.goto(f"{one.url}app/")
        expect(page.get_by_role("navigation")).to_contain_text(name)
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{here.url}app/")
    expect(page.get_by_role("navigation")).to_contain_text(names[here])


def test_broker_that_is_away(page, site, app, host, console, keep):
    """The app says so, and goes on when it is back."""
    log_in(page, site, site.register())
    host.check_output(f"su - {app} -c 'supervisorctl stop redis'")
    try:
        console.expect("status of 503 .*/api/jobs")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_text("The broker cannot be reached. Try again later.")).to_be_visible()
        keep(page, "away")
    finally:
        host.check_output(f"su - {app} -c 'supervisorctl start redis'")
    start(page, 1)
    expect(state(page)).to_have_text("done", timeout=60_000)
