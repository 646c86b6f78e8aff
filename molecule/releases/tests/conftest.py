"""The two apps of this scenario."""

import pytest
from changing import App


@pytest.fixture
def shop(host):
    return App(host, "shop", "shop.example")


@pytest.fixture
def blog(host):
    return App(host, "blog")


@pytest.fixture
def neighbour(blog):
    """The other app, which nothing of what happens meanwhile may touch."""
    before = blog.servers(), blog.holder()
    assert all(before)
    yield blog
    assert (blog.servers(), blog.holder()) == before
