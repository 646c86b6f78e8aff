"""Users and log-ins."""

from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, update

from .conftest import PASSWORD, Caller

pytest.importorskip("app.api")
model = pytest.importorskip("app.model")
from app.api import auth, limits, passwords  # noqa: E402  # after the check whether it is there
from app.model.base import now  # noqa: E402  # likewise


def test_register_and_log_in(ada):
    """Who registered can log in and is known then; the password is shown nowhere."""
    answer = ada.ask("GET", "/api/users/me")
    assert answer.status_code == 200
    assert (answer.json["username"], answer.json["groups"]) == ("ada", [])
    assert set(answer.json) == {"id", "username", "groups", "created"}
    assert "Set-Cookie" not in answer.headers


def test_name_is_taken(ada):
    """A name is somebody's for ever."""
    answer = ada.client.post("/api/users", json=ada.credentials)
    assert answer.status_code == 409
    assert "ada is taken" in answer.json["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "Ada"),
        ("username", "ad"),
        ("username", "a" * 33),
        ("username", "9ada"),
        ("username", "ada\n"),
        ("username", "a da"),
        ("username", None),
        ("username", 7),
        ("password", "too short"),
        ("password", "x" * 129),
        ("password", None),
        ("admin", True),
    ],
)
def test_what_is_wrong_is_said(make_api, field, value):
    """A validation error says which field it is about, and why."""
    good = {"username": "ada", "password": PASSWORD}
    answer = make_api().test_client().post("/api/users", json={**good, field: value})
    assert answer.status_code == 422
    assert answer.json["code"] == 422
    assert set(answer.json["errors"]["json"]) == {field}
    assert all(answer.json["errors"]["json"][field])


@pytest.mark.parametrize("name", ["username", "password"])
def test_what_is_missing_is_said(make_api, name):
    """So does a missing field."""
    given = {"username": "ada", "password": PASSWORD}
    del given[name]
    answer = make_api().test_client().post("/api/auth/login", json=given)
    assert answer.status_code == 422
    assert answer.json["errors"]["json"] == {name: ["Missing data for required field."]}


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800", "ada\udfff\n"])
@pytest.mark.parametrize("field", ["username", "password"])
def test_what_is_no_text(make_api, field, value):
    """What a database or a hash cannot take is refused, before it gets there."""
    given = {"username": "ada", "password": PASSWORD, field: value}
    answer = make_api().test_client().post("/api/auth/login", json=given)
    assert answer.status_code == 422
    assert set(answer.json["errors"]["json"]) == {field}


@pytest.mark.parametrize(
    "credentials",
    [{"username": "ada", "password": "wrong password"}, {"username": "eve", "password": PASSWORD}],
)
def test_wrong_credentials(ada, credentials):
    """A wrong name and a wrong password look the same."""
    answer = ada.client.post("/api/auth/login", json=credentials)
    assert answer.status_code == 401
    assert answer.json["message"] == "The name or the password is wrong."


def test_names_are_not_told(ada, monkeypatch):
    """Who is refused anyway does not learn by the time whether there is such a name."""
    monkeypatch.setattr(limits, "NETWORK", 0)
    monkeypatch.setattr(limits, "TIDY", 10**9)
    engine, statements = ada.client.application.extensions["database"].engine, []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    def asked(name):
        statements.clear()
        wrong = {"username": name, "password": "wrong password"}
        strangers = ada.client.application.test_client()
        assert strangers.post("/api/auth/login", json=wrong).status_code == 429
        return list(statements)

    assert asked("ada") == asked("eve") != []


def test_too_many_failures(ada):
    """After five failures nobody gets in from there under that name, with the password neither."""
    wrong = {"username": "ada", "password": "wrong password"}

    def login(credentials, address="192.0.2.1"):
        place = {"REMOTE_ADDR": address}
        return ada.client.post("/api/auth/login", json=credentials, environ_base=place)

    assert [login(wrong).status_code for _ in range(5)] == [401] * 5
    refused = login(ada.credentials)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60
    # From elsewhere she gets in, and there another name is tried.
    assert login(ada.credentials, "192.0.2.2").status_code == 200
    assert login({**wrong, "username": "eve"}).status_code == 401


def test_failures_are_forgotten(ada):
    """Old failures do not count, nor those before a success."""
    database = ada.client.application.extensions["database"]
    wrong = {"username": "ada", "password": "wrong password"}
    for _ in range(4):
        ada.client.post("/api/auth/login", json=wrong)
    ada.login()
    assert [ada.client.post("/api/auth/login", json=wrong).status_code for _ in range(5)] == (
        [401] * 5
    )
    assert ada.client.post("/api/auth/login", json=wrong).status_code == 429
    with database.writing() as session:
        session.execute(update(model.Attempt).values(ends=now() - timedelta(seconds=1)))
    ada.login()


def test_who_is_refused_is_not_counted(make_api, monkeypatch):
    """Attempts under one name, once they are refused, use up nothing that others have left."""
    monkeypatch.setattr(limits, "NETWORK", 7)
    client = make_api().test_client()

    def fail(name, times):
        wrong = {"username": name, "password": "wrong password"}
        return [client.post("/api/auth/login", json=wrong).status_code for _ in range(times)]

    assert fail("ada", 20) == [401] * 5 + [429] * 15
    assert fail("eve", 3) == [401, 401, 429]


def test_success_is_no_attempt(ada, monkeypatch):
    """Who knows the password logs in as often as they like, from the same place as many others."""
    monkeypatch.setattr(limits, "NETWORK", 3)
    monkeypatch.setattr(limits, "USER", 3)
    for _ in range(10):
        ada.login()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8:0:1::1", "2001:DB8:0:1:2::", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("127.0.0.1", "127.9.8.7", True),
        ("127.0.0.1", "::ffff:127.0.0.2", True),
        ("::1", "127.0.0.1", False),
        ("", None, True),
        ("", "192.0.2.1", False),
    ],
)
def test_networks(make_api, first, second, same):
    """What a visitor can choose of an address does not count."""

    def network(address):
        with app.test_request_context(environ_base={"REMOTE_ADDR": address}):
            return limits.network()

    app = make_api()
    assert (network(first) == network(second)) == same


def test_failures_of_a_network(ada):
    """Five failures from one IPv6 network are five, whatever their addresses."""
    wrong = {"username": "ada", "password": "wrong password"}

    def fail(address):
        place = {"REMOTE_ADDR": address}
        return ada.client.post("/api/auth/login", json=wrong, environ_base=place).status_code

    assert [fail(f"2001:db8::{n}") for n in range(1, 8)] == [401] * 5 + [429] * 2
    assert fail("2001:db8:0:1::1") == 401


def test_failures_of_a_place_and_of_a_name(make_api, monkeypatch):
    """Many names from one place, and one name from many places, have an end too."""
    monkeypatch.setattr(limits, "NETWORK", 3)
    monkeypatch.setattr(limits, "USER", 4)
    client = make_api().test_client()

    def fail(name, address):
        wrong = {"username": name, "password": "wrong password"}
        place = {"REMOTE_ADDR": address}
        return client.post("/api/auth/login", json=wrong, environ_base=place).status_code

    assert [fail(f"name{n}", "192.0.2.1") for n in range(4)] == [401, 401, 401, 429]
    assert [fail("eve", f"192.0.2.{n}") for n in range(2, 7)] == [401] * 4 + [429]


@pytest.fixture
def attack(ada):
    """Return a function by which strangers fail as ada until they are refused, everywhere."""

    def fail(places):
        strangers = ada.client.application.test_client(use_cookies=False)
        wrong = {"username": "ada", "password": "wrong password"}
        for place in places:
            for _ in range(6):
                there = {"REMOTE_ADDR": place}
                answer = strangers.post("/api/auth/login", json=wrong, environ_base=there)
        assert answer.status_code == 429
        return strangers.post(
            "/api/auth/login", json=ada.credentials, environ_base={"REMOTE_ADDR": "198.51.100.1"}
        ).status_code

    return fail


def test_strangers_lock_nobody_out(ada, attack):
    """Whoever fails in ada's name, in her network too: where she has logged in she goes on."""
    # She is elsewhere for the first time: one network of strangers does not matter there either.
    assert attack(["127.0.0.1"]) == 200
    assert attack([f"192.0.2.{n}" for n in range(30)]) == 429
    ada.login()
    assert ada.ask("GET", "/api/users/me").status_code == 200
    assert ada.ask("POST", "/api/auth/refresh", "refresh_token").status_code == 200
    # There she may fail as often as anybody.
    wrong = {"username": "ada", "password": "wrong password"}
    codes = [ada.client.post("/api/auth/login", json=wrong).status_code for _ in range(6)]
    assert codes == [401] * 5 + [429]
    place = {"REMOTE_ADDR": "203.0.113.1"}
    answer = ada.client.post("/api/auth/login", json=ada.credentials, environ_base=place)
    assert answer.status_code == 200


def test_device_of_somebody_else(ada, attack):
    """A cookie is good for one user, as long as its password is; made up ones never are."""
    attack([f"192.0.2.{n}" for n in range(30)])

    def log_in(client, credentials):
        return client.post("/api/auth/login", json=credentials).status_code

    mallory = Caller(ada.client.application.test_client(), "mallory")
    assert log_in(mallory.client, ada.credentials) == 429
    for value in ("", "x", "x.y.z"):
        mallory.client.set_cookie("device", value, path="/api/auth/login")
        assert log_in(mallory.client, ada.credentials) == 429
    old = ada.client.get_cookie("device", path="/api/auth/login").value
    given = {"current_password": PASSWORD, "new_password": "a new password"}
    assert ada.ask("PUT", "/api/users/me/password", json=given).status_code == 204
    credentials = {"username": "ada", "password": "a new password"}
    mallory.client.set_cookie("device", old, path="/api/auth/login")
    assert log_in(mallory.client, credentials) == 429
    assert log_in(ada.client, credentials) == 200


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_device_cookie(ada, scheme, secure):
    """No script sees it, no other page sends it, and it goes to the log-in alone."""
    answer = ada.client.post(
        "/api/auth/login", json=ada.credentials, base_url=f"{scheme}://localhost/here"
    )
    (cookie,) = answer.headers.getlist("Set-Cookie")
    name, *rest = cookie.split("; ")
    assert name.startswith("device=")
    assert {"Path=/here/api/auth/login", "HttpOnly", "SameSite=Strict"} <= set(rest)
    assert ("Secure" in rest) == secure


@pytest.mark.parametrize("token", ["access_token", "refresh_token"])
@pytest.mark.parametrize("path", ["/api/users/me", "/api/auth/refresh"])
def test_each_token_has_its_use(ada, token, path):
    """An access token asks, a refresh token gets a new access token, not the other way round."""
    refresh = path.endswith("refresh")
    answer = ada.ask("POST" if refresh else "GET", path, token)
    if refresh == (token == "refresh_token"):
        assert answer.status_code == 200
    else:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer x.y.z", "Basic YTpi", "Bearer a b"])
def test_no_good_token(ada, header):
    """Without a good token nobody is known."""
    headers = {"Authorization": header} if header else {}
    answer = ada.client.get("/api/users/me", headers=headers)
    assert answer.status_code == 401
    assert answer.json["message"]


def test_token_of_another_key(make_api, ada):
    """A token signed with another key is worth nothing."""
    other = make_api(SECRET_KEY="another key: " + 32 * "1").test_client()
    headers = {"Authorization": f"Bearer {ada.tokens['access_token']}"}
    assert other.get("/api/users/me", headers=headers).status_code == 401


def test_refreshed_token(ada):
    """The new access token is as good as the first."""
    ada.tokens.update(ada.ask("POST", "/api/auth/refresh", "refresh_token").json)
    assert ada.ask("GET", "/api/users/me").status_code == 200


def test_expired_token(make_api):
    """An access token is good for a while only; the refresh token gets another."""
    app = make_api(JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=-1))
    ada = Caller(app.test_client(), "ada")
    answer = ada.ask("GET", "/api/users/me")
    assert (answer.status_code, answer.json["message"]) == (401, "The token has expired.")
    assert ada.ask("POST", "/api/auth/refresh", "refresh_token").status_code == 200


def test_log_out(ada):
    """After the log-out neither token is good; another log-in's tokens are."""
    first = ada.tokens
    ada.login()
    second, ada.tokens = ada.tokens, first
    assert ada.ask("POST", "/api/auth/logout").status_code == 204
    assert ada.ask("GET", "/api/users/me").status_code == 401
    assert ada.ask("POST", "/api/auth/refresh", "refresh_token").status_code == 401
    ada.tokens = second
    assert ada.ask("GET", "/api/users/me").status_code == 200


def test_many_log_ins(ada, monkeypatch):
    """Of many log-ins the oldest ends; those of others do not."""
    monkeypatch.setattr(auth, "LOGINS", 2)
    bob = Caller(ada.client, "bob")
    given = [ada.tokens]
    for _ in range(2):
        ada.login()
        given.append(ada.tokens)
    codes = []
    for ada.tokens in given:
        codes.append(ada.ask("GET", "/api/users/me").status_code)
    assert codes == [401, 200, 200]
    assert bob.ask("GET", "/api/users/me").status_code == 200


def test_attempts_are_tidied(ada, monkeypatch):
    """Attempts that no longer count do not stay, also where nothing recurs."""
    database = ada.client.application.extensions["database"]
    with database.writing() as session:
        for days in (-1, 1):
            session.add(model.Attempt(key=str(days), count=1, ends=now() + timedelta(days=days)))
    monkeypatch.setattr(limits, "TIDY", 1)
    ada.login()
    with database.reading() as session:
        keys = session.scalars(select(model.Attempt.key)).all()
    assert ("1" in keys, "-1" in keys) == (True, False)


def test_expired_log_in(ada):
    """A log-in has an end, whatever its tokens say."""
    database = ada.client.application.extensions["database"]
    with database.writing() as session:
        session.execute(update(model.Login).values(expires=now() - timedelta(seconds=1)))
    assert ada.ask("GET", "/api/users/me").status_code == 401


def test_change_of_password(ada):
    """The new password is the one that counts, and all other log-ins have ended."""
    other = ada.tokens
    ada.login()
    passwords_given = {"current_password": "wrong password", "new_password": "a new password"}
    answer = ada.ask("PUT", "/api/users/me/password", json=passwords_given)
    assert answer.status_code == 403
    passwords_given["current_password"] = PASSWORD
    assert ada.ask("PUT", "/api/users/me/password", json=passwords_given).status_code == 204
    assert ada.ask("GET", "/api/users/me").status_code == 200
    here, ada.tokens = ada.tokens, other
    assert ada.ask("GET", "/api/users/me").status_code == 401
    ada.tokens = here
    answer = ada.client.post("/api/auth/login", json=ada.credentials)
    assert answer.status_code == 401
    ada.credentials["password"] = "a new password"
    ada.login()


@pytest.fixture
def meanwhile(ada, monkeypatch):
    """Let another change of ada's password come in whenever hers has just been checked."""
    database = ada.client.application.extensions["database"]
    matches = passwords.matches

    def check(password, stored):
        right = matches(password, stored)
        with database.writing() as session:
            session.execute(update(model.User).values(password_hash="changed"))
        return right

    monkeypatch.setattr(passwords, "matches", check)
    return database


def test_log_in_during_a_change(ada, meanwhile):
    """A log-in with the old password does not outlive it, however long it was on its way."""
    answer = ada.client.post("/api/auth/login", json=ada.credentials)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
    with meanwhile.reading() as session:
        assert session.scalar(select(func.count(model.Login.id))) == 1


def test_two_changes_at_the_same_time(ada, meanwhile):
    """The first one counts: the second gave a password that is the old one by now."""
    given = {"current_password": PASSWORD, "new_password": "a new password"}
    answer = ada.ask("PUT", "/api/users/me/password", json=given)
    assert (answer.status_code, answer.json["message"]) == (403, "The current password is wrong.")
    with meanwhile.reading() as session:
        assert session.scalar(select(model.User.password_hash)) == "changed"


def test_guesses_at_the_current_password(ada):
    """Who has found a token does not find the password; its owner changes it meanwhile."""
    bob = Caller(ada.client, "bob")
    wrong = {"current_password": "wrong password", "new_password": "a new password"}
    right = {**wrong, "current_password": PASSWORD}

    def change(who, given):
        return who.ask("PUT", "/api/users/me/password", json=given)

    assert [change(ada, wrong).status_code for _ in range(4)] == [403] * 4
    # A change is no guess.
    assert change(ada, {**right, "new_password": PASSWORD}).status_code == 204
    assert [change(ada, wrong).status_code for _ in range(5)] == [403] * 5
    refused = change(ada, right)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60
    assert change(bob, right).status_code == 204
    ada.login()
    assert change(ada, right).status_code == 204


def test_guesses_of_many_log_ins(ada, monkeypatch):
    """All log-ins of a user together have an end too."""
    monkeypatch.setattr(limits, "USER", 8)
    wrong = {"current_password": "wrong password", "new_password": "a new password"}
    codes = []
    for _ in range(2):
        ada.login()
        for _ in range(5):
            codes.append(ada.ask("PUT", "/api/users/me/password", json=wrong).status_code)
    assert codes == [403] * 8 + [429] * 2


def test_too_many_registrations(make_api, monkeypatch):
    """From one network come so many users and no more, also where their names are taken."""
    monkeypatch.setattr(limits, "REGISTRATIONS", 4)
    client = make_api().test_client()

    def register(name, address):
        given = {"username": name, "password": PASSWORD}
        place = {"REMOTE_ADDR": address}
        return client.post("/api/users", json=given, environ_base=place).status_code

    assert [register("ada", f"2001:db8::{n}") for n in range(6)] == [201, *[409] * 3, 429, 429]
    assert register("eve", "2001:db8::1") == 429
    assert register("eve", "2001:db8:0:1::1") == 201


def test_list_is_for_admins(ada):
    """Only admins see all users, page by page."""
    assert ada.ask("GET", "/api/users").status_code == 403
    runner = ada.client.application.test_cli_runner()
    assert runner.invoke(args=["users", "grant", "ada", "admins"]).exit_code == 0
    for name in ("bob", "cy.d"):
        Caller(ada.client, name)
    answer = ada.ask("GET", "/api/users?page_size=2")
    assert [user["username"] for user in answer.json] == ["ada", "bob"]
    assert answer.json[0]["groups"] == ["admins"]
    assert '"total": 3' in answer.headers["X-Pagination"]
    answer = ada.ask("GET", "/api/users?page_size=2&page=2")
    assert [user["username"] for user in answer.json] == ["cy.d"]
    assert ada.ask("GET", "/api/users?page_size=1000").status_code == 422
    answer = ada.ask("GET", f"/api/users?page={'9' * 100}")
    assert (answer.status_code, answer.json) == (200, [])
    assert ada.ask("GET", f"/api/users?page={'9' * 5000}").status_code == 422


def test_passwords_are_hashed(ada):
    """What is stored is a hash by argon2id, another for each user."""
    Caller(ada.client, "bob")
    with ada.client.application.extensions["database"].reading() as session:
        hashes = session.scalars(select(model.User.password_hash)).all()
        assert session.scalar(select(func.count(model.User.id))) == 2
    assert all(stored.startswith("$argon2id$") for stored in hashes)
    assert hashes[0] != hashes[1]
    assert not passwords.matches(PASSWORD, "no hash at all")
