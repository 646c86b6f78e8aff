"""A release that is not fit is refused: its own words are shown, visitors keep the one before and notice nothing."""

import time

import pytest
from changing import said, versions

pytestmark = pytest.mark.usefixtures("neighbour")

# Of what never answers.
SOON = {"health": {"timeout": 6}}


HANGS = """
@app.before_request
def hang():
    if request.path == "/status":
        print("status asks a database that never answers", flush=True)
        time.sleep(3600)
"""
AWAY = """
@app.before_request
def away():
    if request.path == "/status":
        print("the database is away", flush=True)
        return "not yet", 503
"""
# Begun by the first request, so in the process that serves.
GIVES_UP = """
import os, threading

def give_up():
    print("the licence server said no", flush=True)
    os._exit(3)

@app.before_request
def begin():
    app.before_request_funcs[None].clear()
    threading.Timer(1, give_up).start()
"""
# In the server's first process, as an app does whose own threads start at import.
ENDS = """
import os, threading
threading.Timer(1, os._exit, [3]).start()
print("starting a thread that ends it all", flush=True)
"""
FAILS = "import sqlite3\nsqlite3.connect(':memory:').execute('select * from orders')\n"
# Name, appended to wsgi.py, more files, more of the description, what is said.
REFUSED = [
    ("import error", "\nfrom flask import nothing_like_it\n", {}, {}, "cannot import name 'nothing_like_it'"),
    ("missing module", "\nimport not_there\n", {}, {}, "ModuleNotFoundError: No module named 'not_there'"),
    (
        "migration",
        "",
        {"migrate_py": FAILS},
        {"migrate": "python migrate.py"},
        "OperationalError: no such table: orders",
    ),
    ("503 for ever", AWAY, {}, SOON, "the database is away"),
    ("hangs", HANGS, {}, SOON, "status asks a database that never answers"),
    ("worker ends", GIVES_UP, {}, {}, "the licence server said no"),
    ("server ends", ENDS, {}, {}, "starting a thread that ends it all"),
    ("binds itself", "\napp.run(port=5000)\n", {}, SOON, "Running on http://127.0.0.1:5000"),
    ("no such package", "", {"requirements_txt": "flask==0.0.99\n"}, {}, "there is no version of flask==0.0.99"),
    ("needs a compiler", "", {"requirements_txt": "flask\nuwsgi==2.0.30\n"}, {}, "uwsgi"),
    ("before_switch", "", {"prove_py": FAILS}, {"before_switch": "python prove.py"}, "no such table: orders"),
]


@pytest.mark.parametrize(("code", "files", "more", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_refused(shop, code, files, more, words):
    good, before, sealed = shop.ask().text, shop.release(), shop.sealed()
    with shop.visited() as visitors:
        shop.edit(code, **files)
        begin = time.monotonic()
        run = shop.play("deploy", **more)
        took = time.monotonic() - begin
        assert run.returncode != 0
        assert words in said(run)
        assert shop.release() == before
        shop.rests()
        # Kept, it would push a good one out.
        assert shop.sealed() == sealed
        after, release = shop.update()
        assert release != before
    assert {good, after} <= versions(visitors.report())
    if more == SOON:
        assert took < 55, "the standby's last requests, which never end, were waited for: supervisor does so for 60 s"
