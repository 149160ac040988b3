"""Inserts that say what happens when the row is there already: both databases can, each in a dialect of its own."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel


def columns_of(table: type[SQLModel]) -> Table:
    """The table behind a model, for statements that touch many rows and need no model of each."""
    return SQLModel.metadata.tables[str(table.__tablename__)]


def insert_into(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert of the session's database, with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
