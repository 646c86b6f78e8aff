"""The login is not root."""

import pytest


@pytest.fixture
def host(host):
    """Run everything by sudo."""
    with host.sudo():
        yield host
