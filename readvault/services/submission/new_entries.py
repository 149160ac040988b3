"""Submitting entries: files are sealed and jobs written in one transaction."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from readvault.db import audit, clock
from readvault.db.tables import DataUseTerms, EntryFile, EntryVersion, Job
from readvault.domain import fasta
from readvault.domain.actor import Actor
from readvault.domain.annotations import MAX_LISTED, Annotation, Reason, first_listed
from readvault.domain.errors import TooLarge, Unprocessable
from readvault.domain.identifiers import accession_of
from readvault.domain.organism import Organism
from readvault.domain.status import JobKind
from readvault.ports import StoredVersion
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.submission import metadata_file, sealing, sequence_file
from readvault.services.submission.decompression import text_of
from readvault.services.submission.metadata_file import MetadataRow
from readvault.services.submission.terms import requested

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubmittedEntry:
    """One accession version that came into being."""

    accession: str
    version: int
    submission_id: str


def submit(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    group_id: int,
    metadata: bytes,
    metadata_name: str,
    sequences: bytes | None = None,
    sequences_name: str | None = None,
    terms_type: str | None = None,
    restricted_until: str | None = None,
) -> list[SubmittedEntry]:
    """Submit all rows of a metadata file, or none: their files are sealed and each waits as a job.

    `metadata` is a TSV and `sequences` a FASTA file, perhaps compressed, as their names tell.
    Raises BadRequest (400), Forbidden, NotFound, TooLarge, TooMany and Unprocessable (422, with all
    faults at once) in Loculus's words.
    """
    organism = house.organism(organism_name)
    with house.sessions.read() as session:
        authorize(session, actor, Action.SUBMIT, group_id=group_id)
        now = clock.read(session)
    assert actor is not None
    terms = requested(house, terms_type, restricted_until, now)
    rows, consensus = _read(house, organism, metadata, metadata_name, sequences, sequences_name)
    labels = {file.file_id: file.name for row in rows for files in row.files.values() for file in files}
    with house.sessions.read() as session:
        present = sealing.inspect(session, house.store, group_id, labels, now)
    _check_sizes(organism, rows, present)
    with house.sessions.begin() as session:
        # Membership may have ended while the files were looked at.
        authorize(session, actor, Action.SUBMIT, group_id=group_id)
        now = clock.read(session)
        sealing.seal(session, house.settings.limits, group_id, labels, present, now)
        accessions = _next_accessions(session, len(rows), house.settings.accession_prefix)

        same = {
            "version": 1,
            "organism": organism.name,
            "group_id": group_id,
            "submitter": actor.name,
            "submitted_at": now,
            "terms_type": terms.type,
            "restricted_until": terms.restricted_until,
            "batch_id": str(uuid.uuid4()),
        }
        entries = [
            {
                "accession": accession,
                "submission_id": row.submission_id,
                "submitted_metadata": row.metadata,
                "submitted_sequences": consensus[row.submission_id],
                **same,
            }
            for accession, row in zip(accessions, rows, strict=True)
        ]
        jobs = _write(session, organism, entries, rows, now)
        details = {"organism": organism.name, "entries": len(rows), "first": accessions[0], "last": accessions[-1]}
        audit.append(session, actor.name, "submit", f"group {group_id}", details)
    _deliver(house, jobs)
    return [SubmittedEntry(accession, 1, row.submission_id) for accession, row in zip(accessions, rows, strict=True)]


def _read(
    house: House,
    organism: Organism,
    metadata: bytes,
    metadata_name: str,
    sequences: bytes | None,
    sequences_name: str | None,
) -> tuple[list[MetadataRow], dict[str, dict[str, str]]]:
    """The entries and their consensus sequences by submission ID; raises all faults of both files at once."""
    limits = house.settings.limits
    text = text_of(metadata, metadata_name, kind="Metadata file", extensions=("tsv",), limit=limits.bytes_of_metadata)
    sequence_file.check_presence(organism, given=sequences is not None)
    records: dict[str, str] = {}
    faults: list[Annotation] = []
    if sequences is not None:
        records, faults = fasta.parse(
            text_of(
                sequences,
                sequences_name or "",
                kind="Sequence file",
                extensions=sequence_file.EXTENSIONS,
                limit=limits.bytes_of_sequences,
            )
        )
    content = metadata_file.parse(text, organism, max_rows=limits.rows_per_submission)
    consensus, misfits = sequence_file.assign(organism, content.rows, records)
    _refuse([*content.faults, *faults, *misfits, *_empty_entries(organism, content.rows, consensus)])
    return content.rows, consensus


def _empty_entries(
    organism: Organism, rows: Sequence[MetadataRow], consensus: Mapping[str, Mapping[str, str]]
) -> list[Annotation]:
    if organism.submission.consensus_sequences != "optional":
        return []
    with_reads = [name for name, category in organism.submission.files.items() if category.may_contain_reads]
    return [
        Annotation(
            Reason.INVALID_METADATA,
            f"In metadata file: record #{row.record} with id '{row.submission_id}': there is neither a file of reads"
            " nor a consensus sequence.",
            record=row.record,
            line=row.line,
        )
        for row in rows
        if not any(row.files.get(name) for name in with_reads) and not consensus[row.submission_id]
    ]


def _refuse(faults: Sequence[Annotation]) -> None:
    if faults:
        listed = first_listed(faults, MAX_LISTED)
        raise Unprocessable("\n".join(fault.message for fault in listed), listed)


def _check_sizes(organism: Organism, rows: Sequence[MetadataRow], present: Mapping[str, StoredVersion]) -> None:
    for row in rows:
        for category, files in row.files.items():
            limit = organism.submission.files[category].max_bytes_per_file
            for file in files:
                if (size := present[file.file_id].size) > limit:
                    raise TooLarge(
                        f"In metadata file: record #{row.record} with id '{row.submission_id}': file '{file.name}' has"
                        f" {size} bytes; a file of category {category} may have {limit}."
                    )


def _next_accessions(session: Session, count: int, prefix: str) -> list[str]:
    upsert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    counter = SQLModel.metadata.tables["accession_counter"]
    new = upsert(counter).values(id=1, last=count)
    raised = new.on_conflict_do_update(
        index_elements=["id"],
        set_={"last": counter.c.last + new.excluded.last},
    )
    last: int = session.execute(raised.returning(counter.c.last)).scalar_one()
    return [accession_of(number, prefix) for number in range(last - count + 1, last + 1)]


def _write(
    session: Session, organism: Organism, entries: Sequence[dict[str, Any]], rows: Sequence[MetadataRow], now: float
) -> list[str]:
    """Write entries, their files and one job each; the jobs' IDs."""
    versions = [{"accession": entry["accession"], "version": entry["version"]} for entry in entries]
    files = [
        {**version, "category": category, "name": file.name, "position": place, "file_id": file.file_id}
        for version, row in zip(versions, rows, strict=True)
        for category, named in row.files.items()
        for place, file in enumerate(named)
    ]
    same = {
        "kind": JobKind.PROCESS_SUBMISSION.value,
        "organism": organism.name,
        "pipeline_version": organism.pipeline.version,
        "created_at": now,
        "not_before": now,
    }
    jobs = [{"id": str(uuid.uuid4()), **version, **same} for version in versions]
    # Plain rows: ten thousand model instances would take longer than everything else together.
    session.execute(insert(EntryVersion), entries)
    session.execute(insert(DataUseTerms), [_terms_row(entry) for entry in entries])
    if files:
        session.execute(insert(EntryFile), files)
    session.execute(insert(Job), jobs)
    return [str(job["id"]) for job in jobs]


def _terms_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "accession": entry["accession"],
        "terms_type": entry["terms_type"],
        "restricted_until": entry["restricted_until"],
        "user_name": entry["submitter"],
        "changed_at": entry["submitted_at"],
    }


def _deliver(house: House, jobs: Sequence[str]) -> None:
    """Wake workers. The submission is committed, so whatever goes wrong here is left to the dispatcher."""
    from readvault.services import housekeeping

    try:
        housekeeping.deliver_now(house, jobs)
    except Exception as fault:
        logger.warning("%d jobs wait for the dispatcher: %s", len(jobs), type(fault).__name__)
