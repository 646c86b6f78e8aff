"""Settings from the environment and from the ``.env`` file beside ``wsgi.py``; no Flask in here."""

import os
from pathlib import Path

from dotenv import dotenv_values

TOP = Path(__file__).resolve().parent.parent

DEFAULTS = {
    "MESSAGE": "Hello",
    "SECRET_KEY": "",
    "PROXY_HOPS": "0",
    "DATABASE_URL": "",
    "CELERY_BROKER_URL": "",
    "CORS_ORIGINS": "",
    "METRICS_TOKEN": "",
    "LOG_FORMAT": "json",
}


def read() -> dict[str, str]:
    """Return every setting named in ``DEFAULTS`` as text.

    The environment wins over ``.env``, which wins over the default. Without ``DATABASE_URL`` the
    data is kept in ``instance/app.sqlite``.
    """
    found = {**DEFAULTS, **dotenv_values(TOP / ".env"), **os.environ}
    # A name without "=" in .env has no value at all.
    values = {name: found[name] or "" for name in DEFAULTS}
    values["DATABASE_URL"] = values["DATABASE_URL"] or f"sqlite:///{instance() / 'app.sqlite'}"
    return values


def instance() -> Path:
    """Return the folder for what outlives a release."""
    return TOP / "instance"


def parse_proxy_hops(value: str | int) -> int:
    """Return the number of trusted proxies in front of the application.

    :param value: The setting as it was given.
    :raises ValueError: If it is not a whole number, 0 or more.
    """
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"PROXY_HOPS must be a whole number, 0 or more, not {value!r}")
    return int(text)
