"""A small Flask application: ``factory.py`` builds it from its parts, ``pages.py`` is the first.

Nothing is imported here, so that a worker can use ``app.model`` without the web part.
"""
