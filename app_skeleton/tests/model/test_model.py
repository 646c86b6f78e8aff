"""The database, its migrations and the commands."""

import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Table, select, text

from app import factory

model = pytest.importorskip("app.model")
from app.model.base import Moment, now  # noqa: E402  # after the check whether it is there

HERE = Path(factory.__file__).resolve().parent.parent


@pytest.fixture
def database(database_url):
    """Return an empty database."""
    opened = model.Database(database_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def migrations(release):
    """Return a copy of the folder of migrations in the release."""
    return Path(shutil.copytree(HERE / "migrations", release / "migrations"))


@pytest.fixture
def make_user(database):
    """Return a function adding a user."""

    def make(name="ada"):
        with database.writing() as session:
            user = model.User(username=name, password_hash="-", memberships=[])
            session.add(user)
        return user

    return make


def test_models_need_no_flask():
    """A worker imports the models without the web part."""
    code = "import sys, app.model; print(sorted({'flask', 'werkzeug'} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


def test_migrations_are_the_models(make_app, database_url, migrations):
    """The migrations make exactly the tables of the models, and can be taken back."""
    app = make_app(DATABASE_URL=database_url)
    runner = app.test_cli_runner()
    for command, code in (("check", 0), ("downgrade", 0), ("check", 1), ("upgrade", 0)):
        arguments = ["db", command] + (["base"] if command == "downgrade" else [])
        result = runner.invoke(args=arguments)
        assert result.exit_code == code, result.output
    assert runner.invoke(args=["db", "check"]).exit_code == 0
    assert "upgrade" in runner.invoke(args=["db", "--help"]).output


def test_new_migration(make_app, database_url, migrations):
    """A changed model becomes a migration that knows nothing of the application."""
    app = make_app(DATABASE_URL=database_url)
    table = Table("note", model.Base.metadata, Column("seen", Moment))
    try:
        result = app.test_cli_runner().invoke(args=["db", "revision", "Seen"])
    finally:
        model.Base.metadata.remove(table)
    assert result.exit_code == 0, result.output
    (made,) = migrations.glob("*_seen.py")
    assert "sa.DateTime(timezone=True)" in made.read_text()
    assert "app." not in made.read_text()


def test_failed_migration_changes_nothing(make_app, database_url, migrations):
    """All of a migration or nothing of it, also in SQLite."""
    (migrations / "0003.py").write_text(
        "from alembic import op\nrevision = '0003'\ndown_revision = '0002'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (id INTEGER)')\n    op.execute('NONSENSE')\n"
    )
    app = make_app(DATABASE_URL=database_url)
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert result.exit_code != 0
    with app.extensions["database"].reading() as session:
        names = session.scalars(text("SELECT name FROM sqlite_master")).all()
        assert "half" not in names
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "0002"


def test_state(database, tmp_path):
    """The state is what a status page needs."""
    assert database.state() == "ok"
    assert model.Database(f"sqlite:///{tmp_path}/new.sqlite").state() == "not migrated"
    assert not (tmp_path / "new.sqlite").exists()
    (tmp_path / "new.sqlite").touch()
    assert model.Database(f"sqlite:///{tmp_path}/new.sqlite").state() == "not migrated"
    assert model.Database(f"sqlite:///{tmp_path}/none/new.sqlite").state() == "down"
    assert model.Database("postgresql://nobody@127.0.0.1:9/none").state() == "down"
    with database.writing() as session:
        session.execute(text("DELETE FROM alembic_version"))
    assert database.state() == "not migrated"


def test_status_page(make_app, tmp_path):
    """An application whose database is away is not well; one without tables is."""
    page = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/none/x").test_client().get("/status")
    assert (page.status_code, page.json["database"]) == (503, "down")
    page = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/x").test_client().get("/status")
    assert (page.status_code, page.json["database"]) == (200, "not migrated")


def test_sqlite_is_set_up(database):
    """Readers beside one writer, and foreign keys are heeded."""
    with database.reading() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_writers_wait_for_each_other(database, make_user):
    """What is read at the beginning of a change is still true at its end."""
    user = make_user()

    def add():
        for _ in range(25):
            with database.writing() as session:
                found = session.get_one(model.User, user.id)
                found.password_hash = str(int(found.password_hash.strip("-") or 0) + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert session.get_one(model.User, user.id).password_hash == "100"


def test_nothing_is_kept_of_a_change_that_failed(database):
    """An exception undoes the change."""
    with pytest.raises(ZeroDivisionError), database.writing() as session:
        session.add(model.User(username="eve", password_hash="-"))
        session.flush()
        1 / 0  # noqa: B018  # it is there to fail
    with database.reading() as session:
        assert session.scalars(select(model.User)).all() == []


def test_connections_are_not_shared_with_a_child(database):
    """After a fork the child opens connections of its own."""
    with database.reading() as session:
        session.execute(text("SELECT 1"))
    pid = os.fork()
    if pid == 0:
        os._exit(database.engine.pool.checkedin())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert database.engine.pool.checkedin() == 1


def test_moments(database, make_user):
    """A moment comes back with its zone; one without is refused."""
    zone = timezone(timedelta(hours=2))
    user = make_user()
    moment = datetime(2026, 1, 1, 1, tzinfo=zone)
    with database.writing() as session:
        session.add(model.Login(user_id=user.id, expires=moment))
    with database.reading() as session:
        found = session.scalars(select(model.Login.expires)).one()
    assert found == moment
    assert found.tzinfo == UTC
    with pytest.raises(Exception, match="no time zone"), database.writing() as session:
        session.add(model.Login(user_id=user.id, expires=datetime(2026, 1, 1)))


def test_what_belongs_to_a_user_goes_with_them(database, make_user):
    """Removing a user removes their log-ins and jobs."""
    user = make_user()
    with database.writing() as session:
        session.add(model.Login(user_id=user.id, expires=now()))
        session.add(model.Job(user_id=user.id, kind="count"))
    with database.writing() as session:
        session.delete(session.get_one(model.User, user.id))
    with database.reading() as session:
        assert session.scalars(select(model.Login)).all() == []
        assert session.scalars(select(model.Job)).all() == []


def test_grant(make_app, database_url, make_user):
    """A user is put into a group on the command line, once."""
    make_user()
    runner = make_app(DATABASE_URL=database_url).test_cli_runner()
    for _ in range(2):
        result = runner.invoke(args=["users", "grant", "ada", "admins"])
        assert (result.exit_code, result.output) == (0, "ada: admins\n")
    result = runner.invoke(args=["users", "grant", "eve", "admins"])
    assert (result.exit_code, result.output) == (1, "Error: There is no user eve.\n")


def test_database_of_the_settings(release, monkeypatch):
    """Without an application the settings say where the data is."""
    monkeypatch.setenv("DATABASE_URL", "postgres://db/app")
    model.database.cache_clear()
    try:
        assert model.database().engine.url.render_as_string() == "postgresql+psycopg://db/app"
    finally:
        model.database.cache_clear()
