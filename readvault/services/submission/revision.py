"""Revising entries: a new version of each, of what was sent and of what was there before."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from readvault.db import audit, clock
from readvault.domain.actor import Actor
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import Conflict
from readvault.domain.organism import Organism
from readvault.ports import StoredVersion
from readvault.services import idempotency
from readvault.services.authorization import Action, authorize
from readvault.services.drops import claiming
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once
from readvault.services.submission import latest, metadata_file, reading, writing
from readvault.services.submission.latest import Latest
from readvault.services.submission.metadata_file import ACCESSION_COLUMN, MetadataRow
from readvault.services.submission.reading import Content, Sent
from readvault.services.submission.terms import Terms, terms_now
from readvault.services.submission.writing import SubmittedEntry
from readvault.services.uploads import sealing

_CHANGED = "Somebody else changed some of these entries just now. Look at them again."


def revise(
    house: House,
    actor: Actor | None,
    organism_name: str,
    *,
    metadata: bytes,
    metadata_name: str,
    sequences: bytes | None = None,
    sequences_name: str | None = None,
    dry_run: bool = False,
    once: Once = NOT_ONCE,
) -> list[SubmittedEntry]:
    """Make a new version of every entry that a metadata file names, or of none.

    The latest version of each must be released. Its metadata are what the file says. In a file
    category without a column `files.<category>` it keeps its latest files, an empty cell drops them;
    without a sequence file it keeps its latest sequences. The data use terms stay.
    In a dry run everything is checked and nothing is written, sealed or charged. Raises what `submit`
    raises, and Conflict when an entry has changed since it was looked at.
    """
    organism = house.organism(organism_name)
    sent = Sent(metadata, metadata_name, sequences, sequences_name)
    text = reading.metadata_text(house, sent)
    accessions = metadata_file.accessions_of(text)
    with house.sessions.read() as session:
        before = _allowed(session, actor, accessions)
        faults = _faults(organism, accessions, before)
        previous = latest.previous_of(session, list(before.values()), sequences=sequences is None)
        now = clock.read(session)
    assert actor is not None
    if (answered := writing.answered(house, actor, once)) is not None:
        return answered
    dropped = claiming.look_up(house, text, {each.group_id for each in before.values()})
    content = reading.read(house, organism, sent, text=text, previous=previous, dropped=dropped)
    reading.refuse([*faults, *content.faults])
    labels = _labels(content.rows, before)
    kept = {file.file_id for each in previous.values() for listed in each.files.values() for file in listed}
    present = _present(house, labels, now)
    everything = {file_id: stored for of_group in present.values() for file_id, stored in of_group.items()}
    reading.check_sizes(organism, content.rows, everything)
    try:
        with house.sessions.begin() as session:
            if (known := idempotency.earlier(session, actor, once)) is not None:
                return writing.from_answer(known)
            claiming.claim(session, claiming.of_these(dropped, everything), everything)
            limits = house.settings.limits
            sealing.take_turns(session, labels)
            for group_id in sorted(labels):
                names, at = labels[group_id], clock.read(session)
                sealing.seal(session, limits, group_id, names, present[group_id], at, kept=kept)
            _lock_unchanged(session, actor, organism, accessions, before)
            revised = [
                SubmittedEntry(row.accession, before[row.accession].next_version, row.submission_id)
                for row in content.rows
            ]
            if dry_run:
                session.rollback()
                return revised
            jobs = _write(session, actor, organism, content, before)
            idempotency.remember(session, actor, once, writing.as_answer(revised))
            details = {"entries": len(revised), "versions": [f"{each.accession}.{each.version}" for each in revised]}
            audit.append(session, actor.name, "revise", organism.name, details)
    except IntegrityError:
        raise Conflict(_CHANGED) from None
    writing.deliver(house, jobs)
    return revised


def _allowed(
    session: Session, actor: Actor | None, accessions: Collection[str], *, lock: bool = False
) -> dict[str, Latest]:
    if actor is None:
        authorize(session, actor, Action.SUBMIT)
    found = latest.find(session, accessions, lock=lock)
    latest.let_change(session, actor, found, Action.SUBMIT)
    return found


def _faults(organism: Organism, accessions: Collection[str], found: dict[str, Latest]) -> list[Annotation]:
    field = Field(FieldType.METADATA, ACCESSION_COLUMN)
    texts = latest.faults_of(organism.name, accessions, found)
    return [Annotation(Reason.INVALID_METADATA, text, (field,)) for text in texts]


def _labels(rows: Collection[MetadataRow], before: Mapping[str, Latest]) -> dict[int, dict[str, str]]:
    """The submitter's name for each file ID, by the group that must own the file."""
    labels: dict[int, dict[str, str]] = {}
    for row in rows:
        labels.setdefault(before[row.accession].group_id, {}).update(reading.labels_of([row]))
    return labels


def _present(house: House, labels: Mapping[int, Mapping[str, str]], now: float) -> dict[int, dict[str, StoredVersion]]:
    """What lies in the store under these file IDs, group by group."""
    present: dict[int, dict[str, StoredVersion]] = {}
    for group_id, names in labels.items():
        with house.sessions.read() as session:
            present[group_id] = sealing.inspect(session, house.store, group_id, names, now)
    return present


def _lock_unchanged(
    session: Session, actor: Actor, organism: Organism, accessions: Collection[str], before: dict[str, Latest]
) -> None:
    """Make sure, once nobody else can change them, that the entries are as they were when they were looked at."""
    now = _allowed(session, actor, accessions, lock=True)
    reading.refuse(_faults(organism, accessions, now))
    if now != before:
        raise Conflict(_CHANGED)


def _write(
    session: Session, actor: Actor, organism: Organism, content: Content, before: Mapping[str, Latest]
) -> list[str]:
    now = clock.read(session)
    terms = terms_now(session, before)
    batch = writing.new_batch()
    entries = [
        {
            "accession": row.accession,
            "version": before[row.accession].next_version,
            "organism": organism.name,
            "group_id": before[row.accession].group_id,
            "submission_id": row.submission_id,
            "submitter": actor.name,
            "submitted_at": now,
            "batch_id": batch,
            **terms.get(row.accession, Terms()).columns(),
            "submitted_metadata": row.metadata,
            "submitted_sequences": content.sequences[row.submission_id],
        }
        for row in content.rows
    ]
    return writing.write_versions(session, organism, entries, [row.files for row in content.rows], now)
