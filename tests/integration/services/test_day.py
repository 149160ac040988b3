"""A day in figures: what the maintainers read in the morning is what happened, and names nobody."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from readvault.db.tables import AuditEntry, Manifest
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.failures import Failure, failure_of
from readvault.domain.status import JobKind
from readvault.services.house import House
from readvault.services.housekeeping import standing
from readvault.services.housekeeping.day import Day, in_figures
from readvault.services.housekeeping.day_as_text import headline, markdown
from readvault.services.processing import jobs
from readvault.services.queue import open_jobs
from readvault.services.submission.new_entries import submit
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.life import METADATA, released
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    WARNING,
    change,
    claimed,
    entry,
    group,
    processed,
    result,
)

FILE = b"@r\nACGT\n+\nFFFF\n"


def _submitted(house: House, count: int) -> None:
    group_id = group_of(house, ALICE)
    [file_id] = upload(house, ALICE, group_id, FILE)
    rows = [{"id": f"secret-{n}", **METADATA, "files.rawReads": f"secret.fastq:{file_id}"} for n in range(count)]
    submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(*rows), metadata_name="metadata.tsv")


def _with_human(house: House, job_id: str, share: float) -> None:
    claim = claimed(house, job_id)
    made = result(house, claim, text=f">main\n{job_id}\n".encode())
    body = {**made.manifest, "metadata": {**made.manifest["metadata"], "humanFraction": share}}
    jobs.register(house, claim, replace(made, manifest=body))


def test_a_day_is_told_as_it_was(house: House) -> None:
    group_id, others = group(house, "alice"), (f"TEST_{number:03}" for number in range(100))
    _submitted(house, 3)
    faults = (ERROR, ERROR, replace(ERROR, reason=Reason.TRUNCATED_FILE))
    processed(house, group_id, accession=next(others), errors=faults)
    processed(house, group_id, accession=next(others), warnings=(WARNING,))
    released(house, group_id, accession=next(others))
    for number in range(20):
        _with_human(house, entry(house, group_id, accession=next(others))[1], number / 100)
    told = in_figures(house, days_ago=0)
    assert not told.is_over
    assert told.received == {ORGANISM: 3}
    assert told.received_bytes == 3 * len(FILE)
    assert told.results == {ORGANISM: {"HAS_ERRORS": 1, "HAS_WARNINGS": 1, "NO_ISSUES": 21}}
    assert told.errors == {"noReads": 1, "truncatedFile": 1}
    assert told.warnings == {"lowDepth": 1}
    assert told.happened == {"released": 1}
    assert told.attempts == 23
    human = told.host_reads[ORGANISM]
    assert (human.entries, human.median, human.p95, human.highest) == (20, 0.095, 0.18, 0.19)
    assert set(told.stored) == {"consensus"}
    assert told.standing.queue.queued == 4  # three submissions, and the side effects of the release
    assert told.standing.by_category is not None
    assert told.standing.by_category["consensus"] == told.stored["consensus"] > 0
    text = markdown(told) + headline(told) + json.dumps(told.as_json())
    assert "secret" not in text
    assert "alice" not in text
    assert "| noReads | 1 |" in text
    assert "processed 23" in headline(told)


def test_what_was_before_and_after_a_day_is_not_of_it(house: House) -> None:
    group_id = group(house, "alice")
    _submitted(house, 2)
    processed(house, group_id, errors=(ERROR,))
    assert in_figures(house).results == {}
    assert in_figures(house, dt.date(2020, 1, 1)).received == {}
    _move_everything_back(house, days=1)
    _submitted(house, 5)
    processed(house, group_id)
    yesterday, today = in_figures(house), in_figures(house, days_ago=0)
    assert (yesterday.is_over, yesterday.received, yesterday.errors) == (True, {ORGANISM: 2}, {"noReads": 1})
    assert (today.received, today.errors, today.results) == ({ORGANISM: 5}, {}, {ORGANISM: {"NO_ISSUES": 1}})
    assert in_figures(house, dt.date.fromisoformat(yesterday.day)).received == yesterday.received


def _move_everything_back(house: House, days: int) -> None:
    with house.sessions.begin() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        else:
            triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('audit_log', 'manifest')"
            for (name,) in connection.exec_driver_sql(triggers).all():
                connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        session.execute(update(AuditEntry).values(at=col(AuditEntry.at) - 86_400 * days))
        session.execute(update(Manifest).values(created_at=col(Manifest.created_at) - 86_400 * days))


def test_a_result_that_is_told_twice_counts_once(house: House) -> None:
    """Pages of the log may speak of one entry again and again: it is processed again, or was made in parts."""
    name, _ = processed(house, group(house, "alice"))
    with house.sessions.begin() as session:
        from readvault.db import audit

        for _ in range(600):
            details: dict[str, Any] = {"accessionVersions": [str(name)], "results": 1, "refused": []}
            audit.append(session, "pipeline", "submit processed data", ORGANISM, details)
    assert in_figures(house, days_ago=0).results == {ORGANISM: {"NO_ISSUES": 1}}


def test_failures_are_told_by_words_of_ours(house: House) -> None:
    group_id = group(house, "alice")
    for cause in ("align: OSError", "secret.fastq exploded", "fetch: S3 broke off the transfer"):
        _, job_id = entry(house, group_id)
        change(house, job_id, state="needs attention", last_error=cause)
    _, job_id = entry(house, group_id)
    change(house, job_id, failures=1, last_error="its worker died or lost touch with the database")
    told = in_figures(house, days_ago=0).standing
    assert told.attention == {"tool": 1, "other": 1, "storage": 1}
    assert told.failures == {"workerDied": 1}
    assert told.waiting["jobs that need attention"] == 3
    assert "**Waits for you:** jobs that need attention: 3" in markdown(in_figures(house, days_ago=0))


@pytest.mark.parametrize(
    ("cause", "failure"),
    [
        ("validate: memory limit", Failure.MEMORY_LIMIT),
        ("align: cancelled", Failure.CANCELLED),
        ("its external pipeline did not answer in time", Failure.EXTERNAL_PIPELINE),
        ("repair: stored bytes are damaged: gone", Failure.BYTES_LOST),
        ("this worker stops", Failure.WORKER_STOPPED),
        (None, Failure.OTHER),
    ],
)
def test_a_cause_is_one_of_a_few_words(cause: str | None, failure: Failure) -> None:
    assert failure_of(cause) is failure


def test_an_old_queue_is_seen(house: House) -> None:
    _, job_id = entry(house, group(house, "alice"))
    assert standing.queue(house) == standing.Queue(queued=1, due=1)
    change(house, job_id, not_before=1.0)
    assert standing.queue(house).oldest_minutes > 1_000_000
    change(house, job_id, kind=JobKind.EXTERNAL_PROCESSING.value)
    assert standing.queue(house).oldest_minutes == 0, "a pipeline of somebody else's may ask whenever it likes"


def test_what_a_form_names_is_found(house: House) -> None:
    name, job_id = entry(house, group(house, "alice"))
    assert open_jobs.open_job_of(house, name, JobKind.PROCESS_SUBMISSION) == job_id
    assert open_jobs.open_job_of(house, name, JobKind.RELEASE) is None
    assert not open_jobs.needs_attention(house, job_id)
    change(house, job_id, state="needs attention")
    assert open_jobs.needs_attention(house, job_id)
    change(house, job_id, state="done")
    assert open_jobs.open_job_of(house, name, JobKind.PROCESS_SUBMISSION) is None
    assert not open_jobs.needs_attention(house, "no such job")


def test_an_empty_day_says_so() -> None:
    text = markdown(Day("2026-11-22", is_over=True))
    assert text.startswith("# 2026-11-22\n\nNothing waits for a maintainer.\n")
    assert "Errors" not in text


def test_reasons_of_strangers_are_one_word(house: House) -> None:
    """An external pipeline's annotation may say anything as its reason."""
    from readvault.services.housekeeping.day import _reason

    assert _reason({"reason": "patient 7"}) == _reason({}) == "externalPipeline"
    assert _reason(Annotation(Reason.LOW_DEPTH, "low").as_json()) == "lowDepth"
