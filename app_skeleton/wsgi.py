"""The WSGI entry point: a server imports ``app`` from here."""

from app.factory import create_app

app = create_app()
