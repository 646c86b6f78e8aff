"""The fixtures of tests/browser, at the places of this scenario's apps."""

import sys

from asking import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests/browser"))

from browsing import browser, console, keep, page, site, visit  # noqa: E402  # it lies in tests/browser/

__all__ = ["browser", "console", "keep", "page", "site", "visit"]
