"""One database: SQLite in a file, or PostgreSQL."""

import os
import weakref
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

# SQLite: who is going to write says so at the beginning and waits for the other writers there; a
# reader that turns into a writer cannot wait.
WRITING = {"sqlite_begin": "IMMEDIATE"}
# For so many seconds.
PATIENCE = 10


class Database:
    """Sessions of one database. Nothing is opened before the first of them.

    :param url: As SQLAlchemy writes it; ``postgresql://`` and ``postgres://`` mean psycopg.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._reading = sessionmaker(self.engine, expire_on_commit=False)
        writing = self.engine.execution_options(**WRITING)
        self._writing = sessionmaker(writing, expire_on_commit=False)
        # A server may import the application, connect, and fork only then.
        forget = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def reading(self) -> Session:
        """Return a session to read with: ``with database.reading() as session``."""
        return self._reading()

    def writing(self) -> AbstractContextManager[Session]:
        """Return a session to write with; it commits at the end, or rolls back on an exception."""
        return self._writing.begin()

    def state(self) -> str:
        """Tell how the database is: ``ok``, ``not migrated``, or ``down``."""
        name = self.engine.url.database
        if self.engine.dialect.name == "sqlite" and name and not os.path.exists(name):
            # To ask would make the file.
            return "not migrated" if os.path.isdir(os.path.dirname(name)) else "down"
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                try:
                    found = connection.execute(text("SELECT version_num FROM alembic_version"))
                except (OperationalError, ProgrammingError):
                    return "not migrated"
                return "ok" if found.first() else "not migrated"
        except SQLAlchemyError:
            return "down"

    def _after_fork(self) -> None:
        self.engine.dispose(close=False)


def make_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """Return the engine for a database, set up for many processes at once.

    :param url: As SQLAlchemy writes it.
    :param foreign_keys: Whether SQLite shall heed them.
    """
    address = make_url(url)
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    # Parameters are hidden: an error goes into the log, where no hash of a password belongs.
    if address.get_backend_name() != "sqlite":
        # A connection that the database closed meanwhile is replaced, not an error.
        return create_engine(
            address, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": 5}
        )
    engine = create_engine(address, hide_parameters=True, connect_args={"timeout": PATIENCE})

    def set_up(connection: Any, record: Any) -> None:
        # Transactions are begun by begin_sqlite, not by the driver's guess.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Readers and one writer at the same time; a commit survives a crash of the process, and
        # after a power cut the file is whole.
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin_sqlite)
    return engine


def begin_sqlite(connection: Connection) -> None:
    """Begin a transaction of the kind that the session asked for.

    :param connection: Which begins one.
    """
    kind = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {kind}")
