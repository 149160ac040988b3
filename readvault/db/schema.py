"""Which schema a database has, and which one this readvault needs."""

from __future__ import annotations

import functools

from sqlalchemy import Connection, inspect, text


@functools.cache
def newest() -> str:
    """The revision that `migrate` brings a database to."""
    from alembic.script import ScriptDirectory

    from readvault.db.engine import alembic_config

    return str(ScriptDirectory.from_config(alembic_config(None)).get_current_head())


def of(connection: Connection) -> str | None:
    """The revision of this database; None for one that no migration has seen."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
