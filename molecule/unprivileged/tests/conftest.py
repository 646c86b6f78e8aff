"""The apps of this scenario, and their owners, who log in as their accounts."""

import pytest
from changing import App, blog, neighbour  # noqa: F401  fixtures


class Owned(App):
    """An app whose owner works on it over ssh, as its account and with the account's rights alone."""

    def words(self, **more):
        return ["-e", "ansible_user=shop", *super().words(**more)]


@pytest.fixture
def shop(host):
    return Owned(host, "shop", "shop.example")
