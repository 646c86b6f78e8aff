"""The two apps of this scenario."""

import pytest
from changing import App, blog, neighbour  # noqa: F401  fixtures


@pytest.fixture
def shop(host):
    return App(host, "shop", "shop.example")
