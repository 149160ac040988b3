"""Editing what was submitted: the same accession version is processed again, with other data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, insert, update
from sqlmodel import Session, col

from readvault.db import audit, clock, records
from readvault.db.tables import EntryFile, EntryVersion, Job, Manifest, SubmittedDataArchive
from readvault.domain import fasta, filenames
from readvault.domain.actor import Actor
from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.domain.errors import BadRequest, TooLarge, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.metadata import faults_of
from readvault.domain.organism import FILES_PREFIX, Organism
from readvault.ports import StoredVersion
from readvault.services.authorization import Action
from readvault.services.drops import claiming
from readvault.services.drops.claiming import Dropped
from readvault.services.entries.candidates import locked
from readvault.services.entries.finding import find_versions
from readvault.services.house import House
from readvault.services.queue.new_jobs import call_off, job_rows
from readvault.services.queue.sizes import note_sizes
from readvault.services.submission import latest, reading, writing
from readvault.services.submission.metadata_file import MAX_CELL, NamedFile, is_metadata_column
from readvault.services.uploads import sealing

MAX_FIELDS = 2000
"""Metadata fields of one entry."""


@dataclass(frozen=True, slots=True)
class EditedData:
    """What takes the place of what was submitted. `files` is None when the entry keeps its files.

    A file ID may be `drop:<object name>`, as in a metadata file.
    """

    metadata: Mapping[str, str]
    sequences: Mapping[str, str]
    files: Mapping[str, Sequence[NamedFile]] | None = None


def edit(house: House, actor: Actor | None, organism_name: str, name: AccessionVersion, data: EditedData) -> None:
    """Replace what was submitted for a processed, unreleased accession version; it is processed again.

    What was submitted before is archived, its results are superseded, and whoever still works on it
    has lost the job. Raises Unprocessable (unknown, not processed, a revocation, and all faults of the
    data at once), Forbidden for a foreign one, BadRequest, TooLarge and TooMany.
    """
    organism = house.organism(organism_name)
    with house.sessions.read() as session:
        entry = find_versions(session, actor, Action.SUBMIT, organism.name, [name])[0]
        if entry.is_revocation:
            raise Unprocessable(f"Accession version {name} is a revocation.")
        files = data.files if data.files is not None else _files_now(session, name)
        now = clock.read(session)
    assert actor is not None
    metadata = {field: value.strip() for field, value in data.metadata.items()}
    named = " ".join(file.file_id for listed in files.values() for file in listed)
    dropped = claiming.look_up(house, named, [entry.group_id])
    files, unfit = _with_delivered(organism, files, dropped)
    reading.refuse([*_faults(organism, metadata, data, files), *unfit])
    labels = {file.file_id: file.name for listed in files.values() for file in listed}
    with house.sessions.read() as session:
        present = sealing.inspect(session, house.store, entry.group_id, labels, now)
    _check_sizes(organism, files, present)
    with house.sessions.begin() as session:
        find_versions(session, actor, Action.SUBMIT, organism.name, [name])
        had = {file.file_id for listed in _files_now(session, name).values() for file in listed}
        claiming.claim(session, claiming.of_these(dropped, labels), present)
        limits, at = house.settings.limits, clock.read(session)
        sealing.seal(session, limits, entry.group_id, labels, present, at, kept=had)
        _lock_processed(session, name)
        # Files that the entry keeps may be others than those that were looked at.
        if data.files is None and _files_now(session, name) != files:
            raise Unprocessable(f"Accession version {name} was edited by somebody else just now.")
        jobs = _replace(session, actor, organism, name, EditedData(metadata, data.sequences, files))
        audit.append(session, actor.name, "edit", str(name), {"files": sum(map(len, files.values()))})
    writing.deliver(house, jobs)


def _with_delivered(
    organism: Organism, files: Mapping[str, Sequence[NamedFile]], dropped: Mapping[str, Dropped]
) -> tuple[dict[str, list[NamedFile]], list[Annotation]]:
    """The files, those that came through drop links by the IDs of their uploads; and which can't stand there, why."""
    found: dict[str, list[NamedFile]] = {}
    unfit: list[Annotation] = []
    for category, listed in files.items():
        found[category] = list(listed)
        if category not in organism.submission.files:  # told with the other faults
            continue
        for number, file in enumerate(listed):
            read = claiming.read_token(file.file_id, organism, category, dropped)
            if isinstance(read, str):
                unfit.append(_fault(FieldType.FILE, category, f"file '{file.file_id}' can't be here: {read}."))
            elif read is not None:
                found[category][number] = NamedFile(file.name, read[1])
    return found, unfit


def _faults(
    organism: Organism, metadata: Mapping[str, str], data: EditedData, files: Mapping[str, Sequence[NamedFile]]
) -> Iterator[Annotation]:
    yield from _metadata_faults(organism, metadata, [category for category, listed in files.items() if listed])
    for category, listed in (data.files or {}).items():
        yield from _file_faults(organism, category, listed)
    for category, rules in organism.submission.files.items():
        if rules.required and not files.get(category):
            yield _fault(FieldType.FILE, category, f"{FILES_PREFIX}{category}: a file is required")
    rule = organism.submission.consensus_sequences
    if data.sequences and rule == "forbidden":
        raise BadRequest(f"Sequence uploads are not allowed for organism {organism.name}.")
    yield from fasta.faults_of(data.sequences)
    if rule == "required" and not data.sequences:
        yield Annotation(Reason.INVALID_CONSENSUS, f"Submissions for organism {organism.name} require a sequence.")
    elif reading.lacks_data(organism, files, data.sequences):
        yield Annotation(Reason.INVALID_METADATA, "There is neither a file of reads nor a consensus sequence.")


def _metadata_faults(
    organism: Organism, metadata: Mapping[str, str], categories: Sequence[str]
) -> Iterator[Annotation]:
    if len(metadata) > MAX_FIELDS:
        raise Unprocessable(f"An entry may have {MAX_FIELDS} metadata fields.")
    for field, value in metadata.items():
        if not field or field != field.strip() or not is_metadata_column(field):
            yield _fault(FieldType.METADATA, field, f"'{field}' can't be the name of a metadata field")
        elif len(value) > MAX_CELL:
            yield _fault(FieldType.METADATA, field, f"column '{field}': a value may have {MAX_CELL} characters")
    for field, text in faults_of(organism.metadata, metadata, categories):
        yield _fault(FieldType.METADATA, field, f"column '{field}': {text}")


def _file_faults(organism: Organism, category: str, listed: Sequence[NamedFile]) -> Iterator[Annotation]:
    categories = organism.submission.files
    if not categories:
        raise BadRequest(f"the {organism.name} organism does not support file submission.")
    if category not in categories:
        text = f"The category {category} is not part of the configured submission categories for {organism.name}."
        yield _fault(FieldType.FILE, category, f"{text} Allowed categories are: {', '.join(categories)}.")
        return
    for file in listed:
        if wrong := filenames.fault_of(file.name):
            yield _fault(FieldType.FILE, category, filenames.message(file.name, category, wrong))
    if repeated := [name for name, count in Counter(file.name for file in listed).items() if count > 1]:
        text = f"found duplicate file names in category '{category}': {', '.join(repeated)}"
        yield _fault(FieldType.FILE, category, text)
    if len(listed) > (limit := categories[category].max_files):
        text = f"category '{category}' has {len(listed)} files; {limit} are allowed"
        yield _fault(FieldType.FILE, category, text)


def _fault(kind: FieldType, name: str, text: str) -> Annotation:
    return Annotation(Reason.INVALID_METADATA, text, (Field(kind, name),))


def _files_now(session: Session, name: AccessionVersion) -> dict[str, list[NamedFile]]:
    return latest.files_of(session, [name]).get(name, {})


def _check_sizes(
    organism: Organism, files: Mapping[str, Sequence[NamedFile]], present: Mapping[str, StoredVersion]
) -> None:
    for category, listed in files.items():
        rules = organism.submission.files.get(category)
        for file in listed if rules is not None else ():
            if rules is not None and (size := present[file.file_id].size) > rules.max_bytes_per_file:
                raise TooLarge(
                    f"File '{file.name}' has {size} bytes; a file of category {category} may have"
                    f" {rules.max_bytes_per_file}."
                )


def _lock_processed(session: Session, name: AccessionVersion) -> None:
    """Make sure that the version is processed and not released, once nobody can change that."""
    is_version = and_(col(EntryVersion.accession) == name.accession, col(EntryVersion.version) == name.version)
    found = locked(session, is_version)  # jobs come after entries, as in a registration
    if not found:
        raise Unprocessable(f"Accession versions {name} do not exist")
    if not found[0].is_processed:
        raise Unprocessable(f"Accession versions are not in one of the states [PROCESSED]: {name} - {found[0].status}")


def _replace(session: Session, actor: Actor, organism: Organism, name: AccessionVersion, data: EditedData) -> list[str]:
    """Archive what was there, write what is there now, and queue its job; the job's ID."""
    now = clock.read(session)
    version = {"accession": name.accession, "version": name.version}
    entry = session.get_one(EntryVersion, (name.accession, name.version), populate_existing=True)
    before = {
        category: [{"name": file.name, "fileId": file.file_id} for file in listed]
        for category, listed in _files_now(session, name).items()
    }
    session.execute(
        insert(SubmittedDataArchive).values(
            **version,
            edited_by=actor.name,
            edited_at=now,
            submitted_metadata=entry.submitted_metadata,
            submitted_sequences=entry.submitted_sequences,
            files=before,
        )
    )
    entry.submitted_metadata = dict(data.metadata)
    entry.submitted_sequences = dict(data.sequences)
    session.flush()
    of_entry = and_(col(EntryFile.accession) == name.accession, col(EntryFile.version) == name.version)
    session.execute(delete(EntryFile).where(of_entry).execution_options(synchronize_session=False))
    if rows := writing.entry_file_rows(version, data.files or {}):
        session.execute(insert(EntryFile), rows)
    current = and_(
        col(Manifest.accession) == name.accession,
        col(Manifest.version) == name.version,
        col(Manifest.superseded_at).is_(None),
    )
    superseded = update(Manifest).where(current).values(superseded_at=now)
    session.execute(superseded.execution_options(synchronize_session=False))
    call_off(session, [name])
    jobs = job_rows(organism, [version], now)
    session.execute(insert(Job), jobs)
    note_sizes(session, (str(job["id"]) for job in jobs))
    records.changed(session, [name])
    return [str(job["id"]) for job in jobs]
