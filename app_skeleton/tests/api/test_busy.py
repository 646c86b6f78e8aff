"""A database that cannot answer: visitors are told to come again."""

import sqlite3
import sys

import pytest
from sqlalchemy import text

from .conftest import PASSWORD, Caller

pytest.importorskip("app.api")
pytest.importorskip("app.model")


@pytest.fixture
def waiting(make_api, monkeypatch):
    """Return somebody with an account, in an application that waits for a moment only."""
    monkeypatch.setattr(sys.modules["app.model.database"], "PATIENCE", 0.2)
    return Caller(make_api(PROPAGATE_EXCEPTIONS=False).test_client(), "ada")


@pytest.fixture
def other(database_url):
    """Return a connection of another program to the same file."""
    connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    yield connection
    connection.close()


def refused(answer):
    """Tell whether somebody is sent away for a while."""
    return answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def test_writers_are_locked_out(waiting, other):
    """While another program writes, who wants to write is told to come again; readers read."""
    other.execute("BEGIN IMMEDIATE")
    eve = {"username": "eve", "password": PASSWORD}
    change = {"current_password": PASSWORD, "new_password": "a new password"}
    assert refused(waiting.client.post("/api/auth/login", json=waiting.credentials))
    assert refused(waiting.client.post("/api/users", json=eve))
    assert refused(waiting.ask("PUT", "/api/users/me/password", json=change))
    answer = waiting.ask("POST", "/api/auth/logout")
    assert refused(answer)
    assert answer.json["message"] == "The database cannot answer now. Try again in a moment."
    assert waiting.ask("GET", "/api/users/me").status_code == 200
    other.execute("ROLLBACK")
    waiting.login()


def test_everybody_is_locked_out(waiting, other):
    """So are readers where they cannot even open the file."""
    waiting.client.application.extensions["database"].engine.dispose()
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert refused(waiting.client.post("/api/auth/login", json=waiting.credentials))
    assert refused(waiting.ask("GET", "/api/users/me"))
    other.close()
    assert waiting.ask("GET", "/api/users/me").status_code == 200


def test_no_connection_is_free(waiting, monkeypatch):
    """Nor does it matter which of the things that one waits for does not come."""
    pool = waiting.client.application.extensions["database"].engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.1)
    taken = [pool.connect() for _ in range(pool.size() + pool._max_overflow)]
    assert refused(waiting.ask("GET", "/api/users/me"))
    for connection in taken:
        connection.close()
    assert waiting.ask("GET", "/api/users/me").status_code == 200


def test_server_is_away(make_api):
    """A PostgreSQL that cannot be reached may be back in a moment."""
    app = make_api(DATABASE_URL="postgresql://nobody@127.0.0.1:9/none", PROPAGATE_EXCEPTIONS=False)
    who = {"username": "ada", "password": PASSWORD}
    assert refused(app.test_client().post("/api/auth/login", json=who))


def test_fault_of_the_application(capsys, waiting):
    """To come again would not help: it is logged in full."""
    with waiting.client.application.extensions["database"].writing() as session:
        session.execute(text("DROP TABLE attempt"))
    answer = waiting.client.post("/api/auth/login", json=waiting.credentials)
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    assert "no such table: attempt" in capsys.readouterr().err


def test_no_password_in_a_log(capsys, waiting):
    """The log says what failed, not what was about to be stored."""
    with waiting.client.application.extensions["database"].writing() as session:
        session.execute(text('ALTER TABLE "user" RENAME COLUMN created TO moment'))
    eve = {"username": "eve", "password": PASSWORD}
    assert waiting.client.post("/api/users", json=eve).status_code == 500
    log = capsys.readouterr().err
    assert "INSERT INTO" in log
    assert "argon2" not in log
