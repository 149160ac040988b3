"""Submitting entries: files are sealed and jobs written in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, SQLModel

from readvault.db import audit, clock
from readvault.db.tables import DataUseTerms
from readvault.db.upsert import insert_into
from readvault.domain.actor import Actor
from readvault.domain.identifiers import accession_of
from readvault.domain.organism import Organism
from readvault.failpoints import failpoint
from readvault.services import idempotency
from readvault.services.authorization import Action, authorize
from readvault.services.drops import claiming
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once
from readvault.services.submission import reading, terms, writing
from readvault.services.submission.reading import Content, Sent
from readvault.services.submission.terms import Terms
from readvault.services.submission.writing import SubmittedEntry
from readvault.services.uploads import sealing

__all__ = ["SubmittedEntry", "submit"]


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
    dry_run: bool = False,
    once: Once = NOT_ONCE,
) -> list[SubmittedEntry]:
    """Submit all rows of a metadata file, or none: their files are sealed and each waits as a job.

    `metadata` is a TSV and `sequences` a FASTA file, perhaps compressed, as their names tell. In a dry
    run everything is checked and nothing is written, sealed or charged. Sent again with the key of
    `once`, the request gets the answer that it got before.
    Raises BadRequest (400), Forbidden, NotFound, TooLarge, TooMany and Unprocessable (422, with all
    faults at once) in Loculus's words.
    """
    organism = house.organism(organism_name)
    with house.sessions.read() as session:
        authorize(session, actor, Action.SUBMIT, group_id=group_id)
        now = clock.read(session)
    assert actor is not None
    if (answered := writing.answered(house, actor, once)) is not None:
        return answered
    wanted = terms.requested(house, terms_type, restricted_until, now)
    sent = Sent(metadata, metadata_name, sequences, sequences_name)
    text = reading.metadata_text(house, sent)
    dropped = claiming.look_up(house, text, [group_id])
    content = reading.read(house, organism, sent, text=text, dropped=dropped)
    reading.refuse(content.faults)
    labels = reading.labels_of(content.rows)
    with house.sessions.read() as session:
        present = sealing.inspect(session, house.store, group_id, labels, now)
    reading.check_sizes(organism, content.rows, present)
    failpoint("submit-inspected")
    with house.sessions.begin() as session:
        # Membership may have ended while the files were looked at.
        authorize(session, actor, Action.SUBMIT, group_id=group_id)
        if (known := idempotency.earlier(session, actor, once)) is not None:
            return writing.from_answer(known)
        claiming.claim(session, claiming.of_these(dropped, labels), present)
        now = clock.read(session)
        sealing.seal(session, house.settings.limits, group_id, labels, present, now)
        failpoint("submit-sealed")
        if dry_run:
            session.rollback()
            return [SubmittedEntry(None, 1, row.submission_id) for row in content.rows]
        submitted, jobs = _write(session, actor, organism, group_id, content, wanted, house.settings.accession_prefix)
        idempotency.remember(session, actor, once, writing.as_answer(submitted))
        failpoint("submit-remembered")
        first, last = submitted[0].accession, submitted[-1].accession
        details = {"organism": organism.name, "entries": len(submitted), "first": first, "last": last}
        audit.append(session, actor.name, "submit", f"group {group_id}", details)
        failpoint("submit-before-commit")
    failpoint("submit-after-commit")
    writing.deliver(house, jobs)
    return submitted


def _write(
    session: Session, actor: Actor, organism: Organism, group_id: int, content: Content, wanted: Terms, prefix: str
) -> tuple[list[SubmittedEntry], list[str]]:
    """Write new entries with their files, jobs and terms; what came into being and the jobs' IDs."""
    now = clock.read(session)
    accessions = _next_accessions(session, len(content.rows), prefix)
    failpoint("submit-numbered")
    same = {
        "version": 1,
        "organism": organism.name,
        "group_id": group_id,
        "submitter": actor.name,
        "submitted_at": now,
        **wanted.columns(),
        "batch_id": writing.new_batch(),
    }
    entries = _entries(content, accessions, same)
    jobs = writing.write_versions(session, organism, entries, [row.files for row in content.rows], now)
    failpoint("submit-written")
    writing.insert_rows(session, DataUseTerms, [_terms_row(entry, wanted) for entry in entries])
    return [SubmittedEntry(entry["accession"], 1, entry["submission_id"]) for entry in entries], jobs


def _entries(content: Content, accessions: list[str], same: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "accession": accession,
            "submission_id": row.submission_id,
            "submitted_metadata": row.metadata,
            "submitted_sequences": content.sequences[row.submission_id],
            **same,
        }
        for accession, row in zip(accessions, content.rows, strict=True)
    ]


def _next_accessions(session: Session, count: int, prefix: str) -> list[str]:
    counter = SQLModel.metadata.tables["accession_counter"]
    new = insert_into(session, counter).values(id=1, last=count)
    raised = new.on_conflict_do_update(
        index_elements=["id"],
        set_={"last": counter.c.last + new.excluded.last},
    )
    last: int = session.execute(raised.returning(counter.c.last)).scalar_one()
    return [accession_of(number, prefix) for number in range(last - count + 1, last + 1)]


def _terms_row(entry: Mapping[str, Any], wanted: Terms) -> dict[str, Any]:
    return {
        "accession": entry["accession"],
        **wanted.columns(),
        "user_name": entry["submitter"],
        "changed_at": entry["submitted_at"],
    }
