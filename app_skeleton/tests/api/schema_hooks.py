"""How schemathesis gets a token: one user, a new log-in for each request.

The command of test_schema.py loads it.
"""

import os
import secrets

import requests
import schemathesis

BASE = os.environ["BASE_URL"]
USER = {"username": "u" + secrets.token_hex(8), "password": secrets.token_hex(8)}
requests.post(f"{BASE}/api/users", json=USER, timeout=20).raise_for_status()


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """A token of the kind that the operation wants."""

    def get(self, case, context):
        """Log in."""
        answer = requests.post(f"{BASE}/api/auth/login", json=USER, timeout=20)
        kind = "refresh_token" if case.path.endswith("/refresh") else "access_token"
        return answer.json()[kind]

    def set(self, case, data, context):
        """Send it."""
        case.headers["Authorization"] = f"Bearer {data}"
