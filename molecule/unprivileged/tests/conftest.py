"""The apps of this scenario, and their owners, who log in as their accounts."""

import pytest
from changing import App


class Owned(App):
    """An app whose owner works on it over ssh, as its account and with the account's rights alone."""

    def words(self, **more):
        return ["-e", "ansible_user=shop", *super().words(**more)]


@pytest.fixture
def shop(host):
    return Owned(host, "shop", "shop.example")


@pytest.fixture
def blog(host):
    return App(host, "blog")


@pytest.fixture
def neighbour(blog):
    """The app of another account, which nothing of what happens meanwhile may touch."""
    before = blog.servers(), blog.holder()
    assert all(before)
    yield blog
    assert (blog.servers(), blog.holder()) == before
