"""A queue of tiny jobs, made in bulk by SQL: entries without files, one job each."""

# ruff: noqa: S608 - all that enters these statements is the benchmark's own
from __future__ import annotations

from sqlalchemy import text

from readvault.db import clock
from readvault.db.engine import Sessions
from readvault.db.tables import Group

ORGANISM = "bench"


def fill_queue(sessions: Sessions, *, queued: int, done: int, delivered: float = 0.0) -> None:
    """Put so many jobs into a migrated database without entries; of the queued ones a share is `delivered`, unclaimed.

    The queued ones are the youngest, and lie apart as jobs of one night do.
    """
    total = queued + done
    with sessions.begin() as session:
        now = clock.read(session)
        address = {"line1": "1 Way", "city": "Basel", "country": "Switzerland"}
        session.add(
            Group(id=1, name="Group", institution="I", address=address, contact_email="a@example.org", created_at=now)
        )
        session.flush()
        empty = "'{}'" if sessions.dialect == "sqlite" else "'{}'::json"
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {total}) "
        waits, has_run = f"i > {done}", f"(i > {done} AND i <= {done + int(queued * delivered)})"
        for statement in (
            "INSERT INTO entry_version (accession, version, organism, group_id, submission_id, submitter, submitted_at,"
            f" released, is_revocation, terms_type, submitted_metadata, submitted_sequences) {numbers}"
            f"SELECT 'LOC_' || (1000000 + i), 1, '{ORGANISM}', 1, 'sample ' || i, 'alice', {now}, false, false,"
            f" 'OPEN', {empty}, {empty} FROM n",
            "INSERT INTO job (id, kind, organism, accession, version, pipeline_version, state, created_at, not_before,"
            " finished_at, attempt, failures, handbacks, runs_alone, deliveries, run_id, delivered_at, run_checked_at)"
            f" {numbers}SELECT 'job-' || ((CAST(i AS BIGINT) * 7919) % 10000019), 'process-submission', '{ORGANISM}',"
            f" 'LOC_' || (1000000 + i), 1, 1, CASE WHEN {waits} THEN 'queued' ELSE 'done' END, {now} - {total} + i,"
            f" {now} - {total} + i, CASE WHEN {waits} THEN NULL ELSE {now} END, CASE WHEN {waits} THEN 0 ELSE 1 END,"
            f" 0, 0, false, CASE WHEN {has_run} OR NOT {waits} THEN 1 ELSE 0 END,"
            f" CASE WHEN {has_run} OR NOT {waits} THEN 'run-' || i ELSE NULL END, CASE WHEN {has_run} THEN {now} ELSE"
            f" NULL END, CASE WHEN {has_run} THEN {now} ELSE NULL END FROM n",
        ):
            session.execute(text(statement.replace(":", "\\:")))
    if sessions.dialect == "postgresql":  # which would do so by itself a minute later
        with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
