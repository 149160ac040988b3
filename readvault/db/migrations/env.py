"""How Alembic runs: on the connection that `readvault.db.engine` opened, in its transaction."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import readvault.db.tables  # noqa: F401 - registers the tables
from readvault.db import immutability

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("Migrations run through readvault.db.engine.migrate(url).")
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    # SQLite changes a table by rebuilding it, and it can do that in a transaction when we begin it.
    render_as_batch=True,
    transactional_ddl=True,
    compare_type=True,
)
context.run_migrations()
if context.get_context().get_current_revision() == context.script.get_current_head():
    # Rebuilding a table drops its triggers, so they are emitted anew after each run. The rules are about the newest
    # tables: half-way there is nothing yet that they could be about.
    immutability.install(connection)
