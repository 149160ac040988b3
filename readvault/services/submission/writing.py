"""Writing accession versions, with their files and one job each."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from readvault.db import records
from readvault.db.tables import EntryFile, EntryVersion, Job
from readvault.db.upsert import columns_of
from readvault.domain.actor import Actor
from readvault.domain.organism import Organism
from readvault.services import idempotency
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.queue import deliveries
from readvault.services.queue.new_jobs import job_rows
from readvault.services.queue.sizes import note_sizes
from readvault.services.submission.metadata_file import NamedFile

logger = logging.getLogger(__name__)

DELIVERY_SECONDS = 0.5
"""How long a submitter waits for workers to be woken; the dispatcher wakes them for the rest of a large batch."""


@dataclass(frozen=True, slots=True)
class SubmittedEntry:
    """One accession version that came into being; in a dry run a new entry has no accession."""

    accession: str | None
    version: int
    submission_id: str


def as_answer(entries: Sequence[SubmittedEntry]) -> dict[str, Any]:
    """The entries as an answer that is remembered."""
    return {"entries": [[entry.accession, entry.version, entry.submission_id] for entry in entries]}


def from_answer(answer: Mapping[str, Any]) -> list[SubmittedEntry]:
    """The entries of an answer that was remembered."""
    return [SubmittedEntry(*entry) for entry in answer["entries"]]


def answered(house: House, actor: Actor, once: Once) -> list[SubmittedEntry] | None:
    """What this very request was answered before, if it was: then nothing needs to be looked at again."""
    if once.key is None:
        return None
    with house.sessions.begin() as session:
        known = idempotency.earlier(session, actor, once)
    return None if known is None else from_answer(known)


def new_batch() -> str:
    """What the accession versions of one request have in common."""
    return str(uuid.uuid4())


def write_versions(
    session: Session,
    organism: Organism,
    entries: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Sequence[NamedFile]]],
    now: float,
) -> list[str]:
    """Write rows of `entry_version`, for each its files by category, and one job each; the jobs' IDs."""
    if not entries:
        return []
    file_rows = [row for entry, named in zip(entries, files, strict=True) for row in entry_file_rows(entry, named)]
    jobs = job_rows(organism, entries, now)
    insert_rows(session, EntryVersion, entries)
    insert_rows(session, EntryFile, file_rows)
    insert_rows(session, Job, jobs)
    note_sizes(session, (str(job["id"]) for job in jobs))
    records.changed(session, ((entry["accession"], entry["version"]) for entry in entries))
    return [str(job["id"]) for job in jobs]


def insert_rows(session: Session, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write many rows, without a model for each: that would take longer than everything else together."""
    if rows:
        session.connection().execute(insert(columns_of(table)), list(rows))


def entry_file_rows(entry: Mapping[str, Any], files: Mapping[str, Sequence[NamedFile]]) -> list[dict[str, Any]]:
    """Rows of `entry_file`, in the submitter's order."""
    version = {"accession": entry["accession"], "version": entry["version"]}
    return [
        {**version, "category": category, "name": file.name, "position": place, "file_id": file.file_id}
        for category, named in files.items()
        for place, file in enumerate(named)
    ]


def deliver(house: House, jobs: Sequence[str]) -> None:
    """Wake workers. What was written is committed, so whatever goes wrong here is left to the dispatcher."""
    try:
        deliveries.deliver_now(house, jobs, budget_seconds=DELIVERY_SECONDS)
    except Exception as fault:
        logger.warning("%d jobs wait for the dispatcher: %s", len(jobs), type(fault).__name__)
