"""Probes of the database: is it there, of the newest schema, as strict as it must be, and on time?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, delete, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import col

from readvault.config import Settings
from readvault.db import clock, immutability, schema
from readvault.db.engine import PROBE_TIMEOUT, Sessions, create_engine
from readvault.db.tables import Repair
from readvault.doctor.addresses import is_loopback
from readvault.doctor.findings import Finding, Level

MOST_SKEW = 60.0
"""Seconds by which the database's clock may differ from this machine's."""
STATEMENT_LIMIT = 10
"""Seconds that one statement may take."""
_SHOWN = 3
_PRAGMAS = {"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "recursive_triggers": "1"}
_DURABLE = ("on", "local", "remote_write", "remote_apply")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database says of itself. `skew`: seconds that its clock is ahead of ours."""

    kind: str
    version: str
    schema: str | None
    head: str
    missing_triggers: tuple[str, ...]
    refuses: bool | None
    """Whether a statement that is forbidden was refused when it was tried; None: with another schema it isn't tried."""
    skew: float
    pragmas: Mapping[str, str] = field(default_factory=dict)
    isolation: str = ""
    superuser: bool = False
    durable: bool = True
    encrypted: bool = True
    """Whether nobody on the way reads along: TLS that is insisted on, or no way at all."""
    verified: bool = True
    """Whether the server has to show whom it is."""


def database(settings: Settings) -> Iterator[Finding]:
    """Look at the database without changing it: what is tried is rolled back."""
    url = make_url(settings.database)
    lacking = _file_is_lacking(url)
    if lacking:
        yield Finding(
            "database",
            Level.WARN,
            lacking,
            "The first start of `readvault up` makes it; else `readvault admin migrate`.",
        )
        return
    try:
        facts = look(url)
    except DBAPIError as fault:
        kind = type(fault.orig or fault).__name__
        advice = "Start it, or correct READVAULT_DATABASE_URL: without it nothing works."
        yield Finding("database", Level.FAIL, f"it can't be used ({kind})", advice, refused=True)
        return
    yield from told(facts)


def look(url: URL) -> DatabaseFacts:
    """Ask the database; raises DBAPIError when it can't be used."""
    if url.get_backend_name() == "postgresql":
        url = url.update_query_dict({"connect_timeout": str(PROBE_TIMEOUT)})
    engine = create_engine(url.render_as_string(hide_password=False))
    try:
        with Sessions(engine).read() as session:
            connection = session.connection()
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SET statement_timeout = '{STATEMENT_LIMIT}s'"))
                facts = _on_postgres(connection)
            else:
                facts = _on_sqlite(connection)
        return replace(facts, refuses=_refuses(engine)) if facts.schema == facts.head else facts
    finally:
        engine.dispose()


def told(facts: DatabaseFacts) -> Iterator[Finding]:
    """What the facts mean."""
    sqlite = facts.kind == "SQLite"
    yield Finding("database", Level.OK, f"{facts.kind} {facts.version} answers")
    yield from _schema(facts)
    yield from _triggers(facts)
    yield _skew(facts)
    if sqlite:
        yield from _pragmas(facts)
        message = "SQLite is for one machine: it has no replica, and no second machine can work with it"
        yield Finding("database", Level.WARN, message, "Use PostgreSQL in production.", refused=True)
        return
    if facts.superuser:
        message, advice = "we are a superuser, who can switch the triggers off", "Give readvault a role of its own."
        yield Finding("database", Level.FAIL, message, advice, refused=True)
    if not facts.durable:
        message = "what was committed can be lost (fsync or synchronous_commit is off)"
        yield Finding("database", Level.FAIL, message, "Switch both on.", refused=True)
    if not facts.encrypted:
        message = "the way to it is not encrypted, or need not be"
        yield Finding("database", Level.WARN, message, "Add ?sslmode=verify-full to its URL.", refused=True)
    elif not facts.verified:
        message = "any server that answers at its address is believed: its certificate is not checked"
        yield Finding("database", Level.WARN, message, "Add ?sslmode=verify-full to its URL.")
    if facts.isolation != "read committed":
        message = f"transactions are {facts.isolation}, tried is read committed"
        yield Finding("database", Level.FAIL, message, "Use a role without a default of its own.", refused=True)


def _schema(facts: DatabaseFacts) -> Iterator[Finding]:
    if facts.schema == facts.head:
        yield Finding("database", Level.OK, f"its schema is the newest ({facts.head})")
        return
    message = f"its schema is {facts.schema or 'missing'}, this readvault needs {facts.head}"
    yield Finding("database", Level.FAIL, message, "readvault admin migrate", refused=True)


def _triggers(facts: DatabaseFacts) -> Iterator[Finding]:
    if facts.schema != facts.head:
        message = "whether its triggers refuse was not tried: they belong to its schema"
        yield Finding("database", Level.WARN, message, "Ask again after readvault admin migrate.")
        return
    if facts.missing_triggers:
        some = ", ".join(facts.missing_triggers[:_SHOWN])
        message = f"{len(facts.missing_triggers)} triggers are missing: {some}"
        advice = "What is released could be changed. readvault admin migrate puts them back."
        yield Finding("database", Level.FAIL, message, advice, refused=True)
    elif not facts.refuses:
        message = "a change of what never changes was let through (and rolled back)"
        advice = "Triggers are switched off: see session_replication_role, or who owns the tables."
        yield Finding("database", Level.FAIL, message, advice, refused=True)
    else:
        yield Finding("database", Level.OK, "all triggers are there, and refuse")


def _skew(facts: DatabaseFacts) -> Finding:
    message = f"its clock differs from this machine's by {facts.skew:+.1f} s"
    if abs(facts.skew) < MOST_SKEW:
        return Finding("database", Level.OK, message)
    return Finding("database", Level.FAIL, message, "Set the clocks (NTP).", refused=True)


def _pragmas(facts: DatabaseFacts) -> Iterator[Finding]:
    for name, wanted in _PRAGMAS.items():
        if facts.pragmas.get(name) != wanted:
            message = f"{name} is {facts.pragmas.get(name)}, not {wanted}"
            advice = "Is it on a network disk? SQLite needs a local one."
            yield Finding("database", Level.FAIL, message, advice, refused=True)


def _on_sqlite(connection: Connection) -> DatabaseFacts:
    pragmas = {name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar()) for name in _PRAGMAS}
    version = str(connection.exec_driver_sql("SELECT sqlite_version()").scalar())
    return replace(_common(connection), kind="SQLite", version=version, pragmas=pragmas)


def way_to(opened: Any) -> dict[str, Any]:
    """Whether the way of an open psycopg connection is encrypted, and its end verified.

    Asked of the connection itself: its URL may name the host in a parameter, or leave it to the environment.
    """
    if is_loopback(opened.info.hostaddr or opened.info.host):
        return {"encrypted": True, "verified": True}
    mode = opened.info.get_parameters().get("sslmode", "prefer")  # which gives way to whoever refuses TLS
    encrypted = opened.pgconn.ssl_in_use and mode in ("require", "verify-ca", "verify-full")
    return {"encrypted": bool(encrypted), "verified": mode.startswith("verify")}


def _on_postgres(connection: Connection) -> DatabaseFacts:
    superuser = connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar()
    return replace(
        _common(connection),
        kind="PostgreSQL",
        version=_shown(connection, "server_version"),
        isolation=_shown(connection, "transaction_isolation"),
        superuser=bool(superuser),
        durable=_shown(connection, "fsync") == "on" and _shown(connection, "synchronous_commit") in _DURABLE,
        **way_to(connection.connection.driver_connection),
    )


def _shown(connection: Connection, name: str) -> str:
    return str(connection.execute(text(f"SHOW {name}")).scalar())


def _common(connection: Connection) -> DatabaseFacts:
    before = time.time()
    theirs = float(connection.execute(select(clock.now())).scalar_one())
    ours = (before + time.time()) / 2
    return DatabaseFacts(
        kind="",
        version="",
        schema=schema.of(connection),
        head=schema.newest(),
        missing_triggers=tuple(immutability.missing(connection)),
        refuses=None,
        skew=theirs - ours,
    )


def _refuses(engine: Engine) -> bool:
    """Whether the database refuses what it must: the deletion of a row that was just written; all is rolled back."""
    row = {"id": -1, "key": "doctor", "sha256": "", "size": 0, "source": "doctor", "actor": "doctor", "at": 0.0}
    with engine.connect() as connection, connection.begin() as transaction:
        try:
            connection.execute(insert(Repair).values(row))
            try:
                connection.execute(delete(Repair).where(col(Repair.id) == -1))
            except IntegrityError:
                return True
            return False
        finally:
            transaction.rollback()


def _file_is_lacking(url: URL) -> str:
    """What is to be said when there is no SQLite file yet: opening it would make one."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return ""
    return "" if Path(url.database).exists() else "there is no database yet"
