"""Apps on one host share its names, and none gets a request that is another's."""

import json

import pytest
from asking import ask

ONE, TWO, IDN = "one.example", "two.example", "xn--bcher-kva.example"
# App, a name it answers to, its mount.
PLACES = [
    ("front", ONE, ""),
    ("path", ONE, "/your/path"),
    ("deeper", ONE, "/your/path/deeper"),
    ("per", TWO, "/per"),
    ("other", TWO, ""),
    ("other", IDN, ""),
    ("every", ONE, "/every"),
    ("every", TWO, "/every"),
    ("every", "unknown.example", "/every"),
]
places = pytest.mark.parametrize(("app", "name", "mount"), PLACES, ids=lambda value: value or "-")


def seen(host, name, path):
    """Return what an app tells of a request."""
    answer = ask(host, path, name=name)
    assert answer.status == 200, answer
    return json.loads(answer.text)


@places
def test_app_knows_its_place(host, app, name, mount):
    told = seen(host, f"{name}:8014", f"{mount}/?a=1&b=%20")
    assert told["app"] == app
    assert (told["script_root"], told["path"], told["query"]) == (mount, "/", "a=1&b=%20")
    assert told["page"] == f"{mount}/folder/"
    assert told["outside"] == f"http://{name}:8014{mount}/say/a%20b/%C3%BC"


@places
def test_release_is_the_apps_own(host, app, name, mount):
    account = "pair" if app in ("path", "deeper") else app
    live = host.check_output(f"readlink /home/{account}/apps/{app}/slots/live").rpartition("/")[2]
    assert ask(host, f"{mount}/", name=name).release == live


@places
def test_static_file_is_the_apps_own_and_served_by_the_front(host, app, name, mount):
    answer = ask(host, f"{mount}/static/name.txt", name=name)
    assert (answer.status, answer.text, answer.release) == (200, app, None)
    assert answer.headers["ETag"]
    assert seen(host, name, f"{mount}/")["static"] == f"{mount}/static/name.txt"


@places
@pytest.mark.parametrize("port", ["", ":8014"], ids=["80", "8014"])
def test_redirects_stay_at_the_place(host, app, name, mount, port):
    """Also where the port that visitors use is not the one the front listens on."""
    place = f"http://{name}{port}{mount}/folder/"
    go = ask(host, f"{mount}/go", name=name + port)
    assert (go.status, go.headers["Location"]) == (302, f"{mount}/folder/")
    assert ask(host, f"{mount}/go/outside", name=name + port).headers["Location"] == place
    slash = ask(host, f"{mount}/folder", name=name + port)
    assert (slash.status, slash.headers["Location"]) == (308, place)
    assert ask(host, f"{mount}/folder/", name=name + port).text == "folder"


@places
def test_cookie_belongs_to_the_place(host, app, name, mount):
    cookie = ask(host, f"{mount}/cookie", name=name).headers["Set-Cookie"]
    assert cookie.split("; ")[0] == f"name={app}"
    assert f"Path={mount or '/'}" in cookie.split("; ")


@places
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a%2Fb", "a/b"),
        ("%C3%BC%E2%82%AC", "ü€"),
        ("50%25", "50%"),
        ("a%3Fb%23c", "a?b#c"),
        ("a%2520b", "a%20b"),
        ("semi;colon=1", "semi;colon=1"),
        ("end/", "end/"),
    ],
)
def test_encoded_urls_arrive_as_they_were_meant(host, app, name, mount, sent, words):
    told = seen(host, name, f"{mount}/say/{sent}")
    assert (told["app"], told["words"]) == (app, words)


@pytest.mark.parametrize(
    ("name", "path", "app"),
    [
        (ONE, "/your/pathology", "front"),
        (ONE, "/your/path-of-another", "front"),
        (ONE, "/your/", "front"),
        (ONE, "/your/path/deepest", "path"),
        (ONE, "/Your/Path/", "front"),
        (ONE, "/per/", "front"),
        (TWO, "/perhaps", "other"),
        (TWO, "/your/path/", "other"),
        (TWO, "/everything", "other"),
    ],
)
def test_neighbours_do_not_get_each_others_requests(host, name, path, app):
    """No app has such a page; whose 404 it is tells its release."""
    answer = ask(host, path, name=name)
    mount = next(mount for a, n, mount in PLACES if (a, n) == (app, name))
    assert answer.status == 404
    assert answer.release == ask(host, f"{mount}/", name=name).release


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/your/path", "/your/path/"),
        ("/your/path?a=%20&b=1", "/your/path/?a=%20&b=1"),
        ("/your/path/deeper", "/your/path/deeper/"),
        ("/every", "/every/"),
    ],
)
def test_mount_without_its_slash(host, path, place):
    answer = ask(host, path, name=f"{ONE}:8014")
    assert (answer.status, answer.headers["Location"]) == (308, place)


@pytest.mark.parametrize("name", ["unknown.example", "", "127.0.0.1", "two.example.evil", "sub.one.example"])
def test_unknown_name_reaches_apps_of_all_names_only(host, name):
    answer = ask(host, "/", name=name)
    assert (answer.status, answer.release) == (404, None)
    assert seen(host, name, "/every/")["app"] == "every"
    assert ask(host, "/your/path/", name=name).release is None


def test_shared_account_has_one_supervisord_for_both(host):
    status = host.run("su - pair -c 'supervisorctl status'").stdout.splitlines()
    assert [line.split()[0] for line in status] == ["deeper", "deeper-socket", "path", "path-socket"]
    assert not host.user("path").exists


def test_accounts_do_not_see_each_other(host):
    for account in ("front", "pair", "other"):
        others = {"front", "pair", "per", "other", "every"} - {account}
        looks = " ; ".join(f"ls /home/{other} /home/{other}/apps" for other in sorted(others))
        assert host.run(f"su - {account} -c %s", f"{looks} ; whoami").stdout == f"{account}\n"
