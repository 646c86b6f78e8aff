"""app_skeleton as people see it: its front end, its pages and its API's description, in a browser."""

import re

import pytest
from browsing import PASSWORD, Site
from playwright.sync_api import Page, expect

JOB = re.compile(r"/app/jobs/[0-9a-f-]{36}$")
REFUSED = "status of {} .*{}"


def register(page: Page, name: str) -> None:
    """Register in the front end, and be at the list of jobs."""
    page.goto("app/register")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in the log-in form, which is shown, and send it."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in").click()


def logged_in(page: Page, site: Site) -> str:
    """Be at the list of jobs as a new user, and return the name."""
    name = site.register()
    page.goto("app/login")
    log_in(page, name)
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    return name


def start(page: Page, seconds: int) -> str:
    """Start a job from the list, and return its id."""
    page.get_by_label("Seconds").fill(str(seconds))
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(JOB)
    return page.url.rpartition("/")[2]


def state(page: Page):
    """Return what shows the state of the job that is watched."""
    return page.locator(".now .state")


def way(page: Page):
    """Return what shows how the page learns of changes."""
    return page.locator("#way")


def notice(page: Page):
    """Return what shows what just happened."""
    return page.locator("#notice")


# --- jobs


def test_register_and_watch_a_job(page, site, keep):
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto("app/")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    keep(page, "log-in")
    page.get_by_role("main").get_by_role("link", name="Register").click()
    expect(page.get_by_role("heading", name="Register")).to_be_focused()
    keep(page, "register")
    name = "somebody-" + site.register()
    register(page, name)
    expect(notice(page)).to_have_text(f"Welcome, {name}.")
    expect(page.get_by_role("navigation")).to_contain_text(name)
    expect(page.get_by_text("You have started no job yet.")).to_be_visible()
    keep(page, "no-jobs")
    job = start(page, 10)  # Less than the 15 seconds of a WebSocket.
    expect(page.get_by_role("heading", name="Job")).to_be_focused()
    expect(way(page)).to_have_attribute("data-way", "websocket")
    expect(state(page)).to_have_text("running")
    expect(page.get_by_role("progressbar")).not_to_have_attribute("value", "0")
    keep(page, "running")
    expect(state(page)).to_have_text("done", timeout=40_000)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")
    expect(page.get_by_text("Result: counted")).to_be_visible()
    keep(page, "done")
    assert [socket.url.rpartition("/api/")[2] for socket in sockets] == [f"jobs/{job}/watch"]
    page.get_by_role("link", name="All jobs").click()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("done")
    expect(row).to_contain_text("100 %")
    row.get_by_role("link").click()
    expect(state(page)).to_have_text("done")
    page.go_back()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_long_job_is_watched_over_several_websockets(page, site):
    """The server ends each after 15 seconds."""
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket))
    logged_in(page, site)
    start(page, 20)
    expect(page.get_by_role("progressbar")).to_have_attribute("value", re.compile(r"^(8[5-9]|9\d)$"), timeout=40_000)
    assert len(sockets) == 2
    expect(way(page)).to_have_attribute("data-way", "websocket")
    expect(state(page)).to_have_text("done", timeout=15_000)


@pytest.mark.parametrize("code", [1011, 1013])
def test_job_is_asked_for_where_websockets_fail(page, site, keep, code):
    page.route_web_socket(re.compile("/watch$"), lambda socket: socket.close(code=code))
    logged_in(page, site)
    start(page, 10)
    expect(way(page)).to_have_attribute("data-way", "asking")
    expect(state(page)).to_have_text("running")
    keep(page, "running")
    expect(state(page)).to_have_text("done", timeout=40_000)


def test_job_is_asked_for_where_websockets_say_nothing(page, site):
    """As behind a proxy that takes the handshake and forwards nothing."""
    page.route_web_socket(re.compile("/watch$"), lambda socket: None)
    logged_in(page, site)
    start(page, 7)
    expect(way(page)).to_have_attribute("data-way", "asking")
    expect(state(page)).to_have_text("done", timeout=40_000)


def test_deep_link_survives_a_reload(page, site, keep):
    logged_in(page, site)
    start(page, 20)
    expect(state(page)).to_have_text("running")
    page.reload()
    expect(way(page)).to_have_attribute("data-way", "websocket")
    expect(state(page)).to_have_text("running")
    expect(state(page)).to_have_text("done", timeout=40_000)
    page.reload()
    expect(state(page)).to_have_text("done")
    keep(page, "reloaded")


def test_deep_link_of_a_visitor_leads_there_after_the_log_in(page, site, keep):
    name = site.register()
    status, job = site.ask("POST", "jobs", {"kind": "count", "seconds": 1}, site.log_in(name))
    assert status == 202
    page.goto(f"app/jobs/{job['id']}")
    expect(notice(page)).to_have_text("Log in to see this page.")
    keep(page, "log-in")
    page.reload()
    log_in(page, name)
    page.wait_for_url(JOB)
    expect(page.locator("code")).to_have_text(job["id"])
    expect(state(page)).to_have_text("done")


def test_job_of_somebody_else(page, site, keep, console):
    status, job = site.ask("POST", "jobs", {"kind": "count", "seconds": 1}, site.log_in(site.register()))
    assert status == 202
    logged_in(page, site)
    console.expect(REFUSED.format(404, job["id"]))
    page.goto(f"app/jobs/{job['id']}")
    expect(page.get_by_role("alert")).to_have_text("You have no such job.")
    keep(page, "none")


def test_leaving_a_job_closes_its_websocket(page, site):
    logged_in(page, site)
    with page.expect_websocket() as opened:
        start(page, 10)
    expect(way(page)).to_have_attribute("data-way", "websocket")
    with opened.value.expect_event("close"):
        page.get_by_role("link", name="All jobs").click()
    # The list goes on by itself.
    expect(page.get_by_role("row").nth(1)).to_contain_text("running")
    expect(page.get_by_role("row").nth(1)).to_contain_text("done")


# --- log-ins


def test_log_out_ends_the_log_in(page, site, keep):
    logged_in(page, site)
    with page.expect_request("**/api/jobs") as asked:
        page.get_by_role("link", name="Jobs").click()
    token = asked.value.headers["authorization"].removeprefix("Bearer ")
    assert site.ask("GET", "users/me", token=token)[0] == 200
    page.get_by_role("button", name="Log out").click()
    expect(notice(page)).to_have_text("You are logged out.")
    expect(page.get_by_role("heading", name="Log in")).to_be_focused()
    keep(page, "logged-out")
    assert site.ask("GET", "users/me", token=token)[0] == 401
    assert page.evaluate("sessionStorage.length") == 0
    page.go_back()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_wrong_password(page, site, keep, console):
    name = site.register()
    page.goto("app/login")
    console.expect(REFUSED.format(401, "/auth/login"))
    log_in(page, name, "not the password")
    expect(page.get_by_role("alert").and_(page.locator(":visible"))).to_have_text("The name or the password is wrong.")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    keep(page, "wrong")
    log_in(page, name)
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_access_token_that_is_not_good_any_more_is_renewed(page, site, console):
    """Its place is taken by the same token with a wrong signature: the server refuses both alike."""
    logged_in(page, site)
    spoiled = []

    def spoil(route):
        if spoiled:
            return route.continue_()
        spoiled.append(route.request.url)
        return route.continue_(headers={**route.request.headers, "authorization": "Bearer a.b.c"})

    page.route("**/api/jobs", spoil)
    console.expect(REFUSED.format(401, "/api/jobs"))
    with page.expect_response("**/api/auth/refresh") as refreshed:
        page.get_by_role("link", name="Jobs").click()
    assert refreshed.value.status == 200
    expect(page.get_by_text("You have started no job yet.")).to_be_visible()
    assert spoiled


def test_websocket_renews_the_access_token(page, site):
    """The first is told of a bad token, as when the token ran out since the last."""
    logged_in(page, site)
    sockets = []

    def refuse_first(socket):
        sockets.append(socket)
        if len(sockets) == 1:
            socket.close(code=4401)
        else:
            socket.connect_to_server()

    page.route_web_socket(re.compile("/watch$"), refuse_first)
    with page.expect_response("**/api/auth/refresh") as refreshed:
        start(page, 2)
    assert refreshed.value.status == 200
    expect(way(page)).to_have_attribute("data-way", "websocket")
    expect(state(page)).to_have_text("done")
    assert len(sockets) == 2


@pytest.mark.parametrize("watching", [False, True], ids=["list", "watching"])
def test_ended_log_in_leads_to_the_log_in_and_back(visit, page, site, keep, console, watching):
    name = logged_in(page, site)
    if watching:
        start(page, 20)
        expect(way(page)).to_have_attribute("data-way", "websocket")
    # Elsewhere the password is changed, which ends all other log-ins.
    other = visit()
    other.goto("app/login")
    log_in(other, name)
    other.get_by_role("link", name="Password").click()
    other.get_by_label("Current password").fill(PASSWORD)
    other.get_by_label("New password").fill(PASSWORD + "!")
    other.get_by_role("button", name="Change password").click()
    expect(notice(other)).to_have_text("Your password is changed.")
    console.expect(REFUSED.format(401, "/api/auth/refresh"))
    if not watching:
        console.expect(REFUSED.format(401, "/api/jobs"))
        page.get_by_role("link", name="Jobs").click()
    expect(notice(page)).to_have_text("Your session has ended. Log in again.", timeout=20_000)
    keep(page, "ended")
    log_in(page, name, PASSWORD + "!")
    if watching:
        page.wait_for_url(JOB)
        expect(page.get_by_role("progressbar")).to_be_visible()
    else:
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_change_of_password(page, site, keep, console):
    name = logged_in(page, site)
    page.get_by_role("link", name="Password").click()
    expect(page.get_by_role("heading", name="Change your password")).to_be_focused()
    current, new = page.get_by_label("Current password"), page.get_by_label("New password")
    current.fill("not the password")
    new.fill("another good password")
    console.expect(REFUSED.format(403, "/users/me/password"))
    page.get_by_role("button", name="Change password").click()
    expect(current).to_have_accessible_description("The current password is wrong.")
    expect(current).to_be_focused()
    keep(page, "wrong")
    current.fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(notice(page)).to_have_text("Your password is changed.")
    page.get_by_role("button", name="Log out").click()
    log_in(page, name, "another good password")
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_log_in_by_keyboard_alone(page, site):
    name = site.register()
    page.goto("app/login")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "username":
            break
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Log in")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_focused()
    # On from the heading: the first field of the view, and a job without touching the mouse.
    page.keyboard.press("Tab")
    expect(page.get_by_label("Seconds")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    page.wait_for_url(JOB)
    expect(state(page)).to_have_text("done")


# --- forms


def test_browser_says_what_is_wrong_at_the_field(page, keep):
    page.goto("app/register")
    name, password = page.get_by_label("Name"), page.get_by_label("Password")
    name.fill("No Name")
    page.keyboard.press("Enter")
    expect(name).to_be_focused()
    expect(name).to_have_accessible_description(re.compile("^3 to 32 of .+, beginning with a letter.$"))
    expect(password).to_have_attribute("aria-invalid", "true")
    keep(page, "wrong")
    name.fill("good-name")
    password.press_sequentially("short")
    page.keyboard.press("Enter")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    expect(password).to_be_focused()
    expect(password).to_have_accessible_description(re.compile("lengthen"))


def test_server_says_what_is_wrong_at_the_field(page, site, keep, console):
    page.goto("app/register")
    name, password = page.get_by_label("Name"), page.get_by_label("Password")
    # A server that has become stricter than the page.
    name.evaluate("input => input.removeAttribute('pattern')")
    password.evaluate("input => input.removeAttribute('minlength')")
    name.fill("No Name")
    password.fill("short")
    console.expect(REFUSED.format(422, "/api/users"))
    page.get_by_role("button", name="Register").click()
    expect(name).to_be_focused()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(password).to_have_accessible_description(re.compile("Shorter than minimum length 10."))
    keep(page, "wrong")
    name.fill(site.register())
    password.fill(PASSWORD)
    console.expect(REFUSED.format(409, "/api/users"))
    page.get_by_role("button", name="Register").click()
    expect(name).to_have_accessible_description(re.compile("is taken.$"))
    keep(page, "taken")


def test_seconds_out_of_range(page, site, console):
    logged_in(page, site)
    seconds = page.get_by_label("Seconds")
    for wrong in ("0", "61", "", "1.5"):
        seconds.fill(wrong)
        page.get_by_role("button", name="Start").click()
        expect(seconds).to_have_attribute("aria-invalid", "true")
        expect(seconds).to_be_focused()
    seconds.evaluate("input => input.removeAttribute('max')")
    seconds.fill("61")
    console.expect(REFUSED.format(422, "/api/jobs"))
    page.get_by_role("button", name="Start").click()
    expect(seconds).to_have_accessible_description(re.compile("Must be greater than or equal to 1 and"))


# --- the page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_every_view_fits(visit, site, keep, scheme, width):
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    name = "x" * 27 + site.register()[-5:]

    def fits(title):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep(page, f"{scheme}-{width}-{title}")

    for path in ("app/login", "app/register"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        fits(path.rpartition("/")[2])
    register(page, name)
    expect(page.get_by_role("navigation")).to_contain_text(name)
    start(page, 8)
    expect(state(page)).to_have_text("running")
    fits("running")
    expect(state(page)).to_have_text("done", timeout=40_000)
    fits("done")
    page.get_by_role("link", name="All jobs").click()
    expect(page.get_by_role("table")).to_be_visible()
    fits("jobs")
    page.get_by_role("link", name="Password").click()
    fits("password")


def test_address_that_is_none(page, site, keep):
    logged_in(page, site)
    page.goto("app/no/such/page")
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    keep(page, "none")
    page.get_by_role("link", name="Back to the jobs").click()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_page_names_the_current_view(page, site):
    logged_in(page, site)
    expect(page).to_have_title("Jobs")
    expect(page.locator("[aria-current=page]")).to_have_text("Jobs")
    page.get_by_role("link", name="Password").click()
    expect(page).to_have_title("Change your password – Jobs")
    expect(page.locator("[aria-current=page]")).to_have_text("Password")


# --- the other pages


def test_first_page_and_its_form(page, site, keep):
    page.goto("")
    expect(page.locator("#visits")).to_have_text("1")
    page.reload()
    expect(page.locator("#visits")).to_have_text("2")
    keep(page, "first-page")
    page.get_by_role("button", name="Forget my visits").click()
    expect(page.locator("#visits")).to_have_text("1")
    assert page.url == site.url
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.get_by_role("link", name="First page").click()
    expect(page.locator("#visits")).to_have_text("2")


def test_form_without_its_token_is_refused(page, keep, console):
    page.goto("")
    page.evaluate("document.querySelector('[name=csrf_token]').remove()")
    console.expect(REFUSED.format(400, "/forget"))
    page.get_by_role("button", name="Forget my visits").click()
    expect(page.get_by_role("heading", name="Bad Request")).to_be_visible()
    keep(page, "refused")
    page.get_by_role("link", name="Back to the first page").click()
    expect(page.locator("#visits")).to_have_text("2")


def test_page_that_is_not_there(page, keep, console):
    console.expect(REFUSED.format(404, "/no-such-page"))
    page.goto("no-such-page")
    expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
    keep(page, "not-found")


def test_api_is_tried_out_in_its_description(page, site, keep):
    name = site.register()
    page.goto("api/docs")
    login = page.locator("#operations-auth-post_api_auth_login, [id^=operations-auth-post][id*=login]").first
    expect(login).to_be_visible()
    keep(page, "description")
    login.get_by_role("button").first.click()
    login.get_by_role("button", name="Try it out").click()
    login.locator("textarea").fill(f'{{"username": "{name}", "password": "{PASSWORD}"}}')
    with page.expect_response("**/api/auth/login") as answered:
        login.get_by_role("button", name="Execute").click()
    assert answered.value.status == 200
    expect(login.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    keep(page, "logged-in")
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_role("textbox").first.fill(answered.value.json()["access_token"])
    dialog.get_by_role("button", name="Apply credentials").or_(dialog.locator("button.authorize")).first.click()
    dialog.get_by_role("button", name="Close").last.click()
    me = page.locator("[id^=operations-users-get][id*=me]").first
    me.get_by_role("button").first.click()
    me.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/api/users/me") as answered:
        me.get_by_role("button", name="Execute").click()
    assert answered.value.json()["username"] == name
    keep(page, "me")
