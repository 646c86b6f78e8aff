"""Session cookies which fit the place where the application is mounted."""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface


class MountedSessionInterface(SecureCookieSessionInterface):
    """Flask's sessions, with the cookie kept to the mount point and, over HTTPS, to HTTPS."""

    def get_cookie_path(self, app: Flask) -> str:
        """Return ``SESSION_COOKIE_PATH`` if set, else the path the application is mounted at."""
        return app.config["SESSION_COOKIE_PATH"] or request.script_root or "/"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Return true if ``SESSION_COOKIE_SECURE`` is set or the visitor came over HTTPS."""
        return app.config["SESSION_COOKIE_SECURE"] or request.is_secure
