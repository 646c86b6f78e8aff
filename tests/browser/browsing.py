"""A browser that visits a deployed app_skeleton, and what may not happen in it.

``HOSTED_BROWSER_URL`` says where it is deployed, or several such places, separated by spaces. The browser is Debian's
chromium without a screen. Each step's picture is kept in ``.cache/test/screenshots/``.
"""

import json
import os
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium-headless-shell"
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
""".split()
PICTURES = Path(__file__).resolve().parents[2] / ".cache/test/screenshots"
PASSWORD = "correct horse battery"
# Without any, each test fails; none is skipped.
PLACES = os.environ.get("HOSTED_BROWSER_URL", "").split() or [""]

expect.set_options(timeout=15_000)


class Site:
    """A deployed app, asked without a browser."""

    def __init__(self, url: str) -> None:
        """Know where it is.

        :param url: of its first page.
        """
        self.url = url.rstrip("/") + "/"
        parts = urlsplit(self.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.name = parts.path.strip("/").replace("/", "-") or "root"

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, dict | None]:
        """Return status and body of the API's answer."""
        request = urllib.request.Request(f"{self.url}api/{path}", method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read()
        return answer.status, json.loads(text) if text else None

    def register(self) -> str:
        """Make a user with the password ``PASSWORD`` and return the name."""
        name = f"user-{secrets.token_hex(4)}"
        status, told = self.ask("POST", "users", {"username": name, "password": PASSWORD})
        assert status == 201, told
        return name

    def log_in(self, name: str) -> str:
        """Return an access token of a log-in of its own."""
        status, told = self.ask("POST", "auth/login", {"username": name, "password": PASSWORD})
        assert status == 200, told
        return told["access_token"]


class Console:
    """All that browsers complain about. Complaints that no test announced fail the test."""

    def __init__(self, site: Site) -> None:
        """Begin with none."""
        self.site, self.complaints, self.announced = site, [], []

    def expect(self, pattern: str) -> None:
        """Announce a complaint, which has to come: Chromium complains of each 4xx and 5xx that a script gets."""
        self.announced.append(pattern)

    def listen(self, context: BrowserContext) -> None:
        """Write down what is said in a context."""

        def hear(message):
            line = f"{message.type}: {message.text} [{message.location['url']}]"
            print(line)
            if message.type in ("error", "warning", "assert"):
                self.complaints.append(line)

        def see(request):
            if urlsplit(request.url).scheme not in ("data", "blob") and not request.url.startswith(self.site.origin):
                self.complaints.append(f"request to another host: {request.url}")

        context.on("console", hear)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on("request", see)

    def judge(self) -> None:
        """Fail for what was not announced, and for what was and did not come."""
        left = [line for line in self.complaints if not any(re.search(one, line) for one in self.announced)]
        assert left == [], "the browser complains"
        silent = [one for one in self.announced if not any(re.search(one, line) for line in self.complaints)]
        assert silent == [], "the browser did not complain as announced"


@pytest.fixture(scope="session", params=PLACES, ids=lambda place: Site(place).name)
def site(request: pytest.FixtureRequest) -> Site:
    """Run each test at each place."""
    assert request.param, "set HOSTED_BROWSER_URL to where app_skeleton is deployed"
    return Site(request.param)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def console(site: Site) -> Iterator[Console]:
    """Say which complaints are expected; all others fail the test."""
    console = Console(site)
    yield console
    console.judge()


@pytest.fixture
def visit(browser: Browser, console: Console, site: Site, keep) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page of a visitor who was never here, with options of a browser context."""
    contexts = []

    def open_page(**options: object) -> Page:
        context = browser.new_context(base_url=site.url, locale="en-GB", **options)
        context.set_default_timeout(15_000)
        console.listen(context)
        contexts.append(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        for page in context.pages:
            keep(page, "end")
        context.close()


@pytest.fixture
def page(visit) -> Page:
    """Open a page."""
    return visit()


@pytest.fixture
def keep(request: pytest.FixtureRequest, site: Site) -> Callable[[Page, str], None]:
    """Return a function that keeps a picture of a page under a name."""
    folder = PICTURES / site.name
    folder.mkdir(parents=True, exist_ok=True)
    test = re.sub("[^a-z0-9_]+", "-", request.node.name.replace(f"[{site.name}", "[")).strip("-").removeprefix("test_")
    for old in folder.glob(f"{test}-[0-9]*.png"):
        old.unlink()
    count = iter(range(1, 100))

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{test}-{next(count):02}-{name}.png", full_page=True)

    return take
