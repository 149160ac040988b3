"""A migration that is killed half-way leaves the older schema with its data, and the next one does it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from readvault.db.engine import migrate
from tests.integration.db.test_migrations import (
    BEFORE_THE_WHOLE_PROTOCOL,
    _rows,
    build_older,
    empty_database,
)

__all__ = ["empty_database"]

KILLS = int(os.environ.get("READVAULT_MIGRATION_KILLS", "1"))
"""More of them: READVAULT_MIGRATION_KILLS=20."""
KILLED = """
import os, signal, sys
from sqlalchemy import event
from readvault.db import engine as engines
left = int(sys.argv[2])
create = engines.create_engine
def watched(url):
    made = create(url)
    @event.listens_for(made, "after_cursor_execute")
    def count(*_):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return made
engines.create_engine = watched
engines.migrate(sys.argv[1])
"""


def test_a_killed_migration_is_done_by_the_next_one(empty_database: str) -> None:
    """`kill -9` after one statement of the migration after the other: always all of it or nothing."""
    engine = build_older(empty_database)
    kept = _rows(engine, "SELECT accession, version, submitter FROM entry_version ORDER BY 1, 2")
    engine.dispose()
    for number in range(KILLS):
        after = 20 + 5 * number
        code = [sys.executable, "-c", KILLED, empty_database, str(after)]
        ended = subprocess.run(code, cwd=Path(__file__).parents[3], timeout=120, check=False)
        assert ended.returncode == -signal.SIGKILL, f"it had fewer than {after} statements"
        assert _rows(engine, "SELECT version_num FROM alembic_version") == [(BEFORE_THE_WHOLE_PROTOCOL,)]
        assert _rows(engine, "SELECT accession, version, submitter FROM entry_version ORDER BY 1, 2") == kept
        engine.dispose()
    migrate(empty_database)
    with engine.connect() as connection:
        from alembic.autogenerate import compare_metadata

        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    assert _rows(engine, "SELECT accession, version, submitter FROM entry_version ORDER BY 1, 2") == kept
    assert _rows(engine, "SELECT accession, version, released FROM entry_version ORDER BY 1, 2") == [
        ("A", 1, True), ("A", 2, False), ("B", 1, False),
    ]  # fmt: skip
    engine.dispose()
