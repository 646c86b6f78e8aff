"""The WSGI entry point: a server imports ``app`` from here."""

from app import create_app

app = create_app()
