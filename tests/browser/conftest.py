"""The fixtures of browsing.py, for the tests here."""

from browsing import browser, console, keep, page, site, visit

__all__ = ["browser", "console", "keep", "page", "site", "visit"]
