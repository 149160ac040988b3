"""How the database is opened: write transactions that wait for each other, reads that never wait."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlmodel import Session

from readvault.db import immutability
from readvault.db.faults import commit_follows
from readvault.db.turns import Turns
from readvault.domain.errors import NotReady

if TYPE_CHECKING:  # only who migrates waits for it
    from alembic.config import Config

BUSY_TIMEOUT = 30.0
"""Seconds that a SQLite writer waits for another one."""
PROBE_TIMEOUT = 5
"""Seconds that a probe waits for the database."""
IDLE_LIMIT = 60
"""Seconds that a write transaction on PostgreSQL may do nothing: a frozen process must not hold its locks for ever."""
_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Of PostgreSQL, where the URL doesn't say otherwise: a server that vanished without a word is noticed (seconds)."""
_WRITES = "readvault_writes"
_turns: weakref.WeakKeyDictionary[Engine, Turns] = weakref.WeakKeyDictionary()
_making_turns = threading.Lock()
_MIGRATION_LOCK = 0x72656164


def create_engine(url: str) -> Engine:
    """Open the database at `url` (SQLite file or PostgreSQL); nothing is created in it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = sqlalchemy.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={name: value for name, value in _CONNECTION.items() if name not in parsed.query},
        )
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # Errors must not carry metadata or file names into logs.
    engine = sqlalchemy.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Without an isolation level Python begins no transaction by itself, so that _begin_sqlite can.
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "recursive_triggers = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait when two do that to a new database at once, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a writer ignores the busy timeout; an immediate one waits.
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    # Reads may take as long as the client of a download takes to read; they hold no locks.
    if connection.get_execution_options().get(_WRITES, True):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_LIMIT}s'")


def _turns_of(engine: Engine) -> Turns | None:
    """What the writers of a SQLite database in this process wait for; None where the database itself is fair."""
    if engine.dialect.name != "sqlite":
        return None
    with _making_turns:
        return _turns.setdefault(engine, Turns())


class Sessions:
    """Sessions of one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._turns = _turns_of(engine)
        self._readers = engine.execution_options(**{_WRITES: False})

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A write transaction: committed at the end, rolled back by an exception.

        On SQLite there is one at a time (BEGIN IMMEDIATE); on PostgreSQL it is READ COMMITTED and
        what races must lock its rows. Keep it short: no S3, no parsing inside.
        """
        turn = nullcontext() if self._turns is None else self._turns.turn(BUSY_TIMEOUT)
        with turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session
            commit_follows()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction, never committed."""
        with Session(self._readers, expire_on_commit=False, autoflush=False) as session:
            yield session

    def answers(self) -> bool:
        """Whether the database answers, over a connection of its own: others may hold all that there are."""
        dialect = self.engine.dialect
        arguments, options = dialect.create_connect_args(self.engine.url)
        if dialect.name == "postgresql":
            options["connect_timeout"] = PROBE_TIMEOUT
        try:
            with closing(dialect.connect(*arguments, **options)) as connection:
                connection.cursor().execute("SELECT 1")
        except dialect.loaded_dbapi.Error:
            return False
        return True

    def close(self) -> None:
        """Close all idle connections."""
        self.engine.dispose()


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema, in one transaction; safe to call at each start."""
    from alembic import command

    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            command.upgrade(alembic_config(connection), "head")
            if missing := immutability.missing(connection):
                raise NotReady(f"The database lacks the triggers {', '.join(missing)}.")
    finally:
        engine.dispose()


def alembic_config(connection: Connection | None) -> Config:
    """Alembic's configuration for the migrations in this package, on an open connection if they are to be run."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
