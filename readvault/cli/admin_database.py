"""The database's schema, by hand: for an installation that `readvault up` doesn't run."""

from __future__ import annotations

import typer


def migrate() -> None:
    """Bring the database to the newest schema, and put back triggers that are missing. Does nothing twice."""
    from readvault import bootstrap
    from readvault.db import schema
    from readvault.db.engine import migrate

    migrate(bootstrap.settings().database)
    typer.echo(f"the database has schema {schema.newest()}")
