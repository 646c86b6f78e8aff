"""An application with a database, and somebody who uses its API."""

from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

PASSWORD = "correct horse 1"


@pytest.fixture
def make_api(make_app, database_url, monkeypatch) -> Callable[..., Flask]:
    """Return a function building an application whose passwords are hashed quickly."""
    pytest.importorskip("app.model")
    from app.api import passwords

    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "hasher", quick)
    passwords.nobody.cache_clear()

    def make(**config: Any) -> Flask:
        return make_app(**{"DATABASE_URL": database_url, **config})

    return make


class Caller:
    """Somebody with an account."""

    def __init__(self, client: FlaskClient, name: str) -> None:
        self.client = client
        self.credentials = {"username": name, "password": PASSWORD}
        assert client.post("/api/users", json=self.credentials).status_code == 201
        self.login()

    def login(self) -> None:
        """Log in with the present password."""
        answer = self.client.post("/api/auth/login", json=self.credentials)
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json

    def ask(self, method: str, path: str, token: str = "access_token", **options: Any) -> Any:
        """Ask with one of the tokens."""
        headers = {"Authorization": f"Bearer {self.tokens[token]}"}
        return self.client.open(path, method=method, headers=headers, **options)


@pytest.fixture
def ada(make_api) -> Caller:
    """Return somebody with an account, logged in."""
    return Caller(make_api().test_client(), "ada")
