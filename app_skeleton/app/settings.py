"""Settings from the environment and from the ``.env`` file beside ``wsgi.py``."""

import os
import secrets
import tempfile
from pathlib import Path

from dotenv import dotenv_values

DEFAULTS = {"MESSAGE": "Hello", "SECRET_KEY": "", "PROXY_HOPS": "0"}


def read(top: Path) -> dict[str, str]:
    """Return every setting named in ``DEFAULTS`` as text.

    The environment wins over ``.env``, which wins over the default.

    :param top: The folder which may hold ``.env``.
    """
    found = {**DEFAULTS, **dotenv_values(top / ".env"), **os.environ}
    # A name without "=" in .env has no value at all.
    return {name: found[name] or "" for name in DEFAULTS}


def parse_proxy_hops(value: str | int) -> int:
    """Return the number of trusted proxies in front of the application.

    :param value: The setting as it was given.
    :raises ValueError: If it is not a whole number, 0 or more.
    """
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"PROXY_HOPS must be a whole number, 0 or more, not {value!r}")
    return int(text)


def saved_secret_key(instance: Path) -> str:
    """Return the key kept in ``secret_key`` of the instance folder, making it the first time.

    Processes starting together all get the same key.

    :param instance: The instance folder.
    :raises RuntimeError: If the key can be neither read nor kept, or its file is empty.
    """
    path = instance / "secret_key"
    try:
        if not path.exists():
            _create(path, secrets.token_hex(32))
        key = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise RuntimeError(f"Set SECRET_KEY: no key can be kept in {path} ({error})") from error
    if not key:
        raise RuntimeError(f"Set SECRET_KEY, or remove the empty file {path}")
    return key


def _create(path: Path, text: str) -> None:
    # mkstemp gives mode 0600; linking shows the file only when whole, and never replaces one.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret_key-")
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
