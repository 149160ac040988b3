"""What is known about what an external pipeline sent: entries, claims, readvault's parts, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db.names import among
from readvault.db.tables import EntryFile, EntryVersion, Job, PartialResult, UploadedFile
from readvault.domain.annotations import Annotation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Organism
from readvault.domain.processed_data import Data
from readvault.domain.status import JobKind, JobState
from readvault.services.processing import chain, external_files
from readvault.services.processing.chain import THEIRS
from readvault.services.processing.external_claims import external_of
from readvault.services.processing.external_files import SentFile
from readvault.services.queue.fence import entry_of

PAGE = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """What a pipeline says of one accession version. `data` is Loculus's ProcessedData without files."""

    name: AccessionVersion
    data: Data
    errors: tuple[Annotation, ...] = ()
    warnings: tuple[Annotation, ...] = ()
    files: tuple[SentFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says about what was sent."""

    entries: dict[AccessionVersion, EntryVersion]
    parts: dict[AccessionVersion, PartialResult]
    uploads: dict[str, UploadedFile]
    originals: dict[AccessionVersion, list[EntryFile]]
    submitted: set[str]
    """IDs of files that some entry was submitted with."""


def look_up(session: Session, organism: Organism, sent: Sequence[Sent], version: int) -> Known:
    """All that is needed to judge what was sent, and to register it."""
    names = [each.name for each in sent]
    after = external_of(organism).mode == "after"
    originals: dict[AccessionVersion, list[EntryFile]] = {}
    if not after:
        for page in batched(names, PAGE):
            query = select(EntryFile).where(among(EntryFile, page))
            for file in session.execute(query.order_by(col(EntryFile.category), col(EntryFile.position))).scalars():
                originals.setdefault(AccessionVersion(file.accession, file.version), []).append(file)
    ids = [file.file_id for each in sent for file in each.files]
    ids += [file.file_id for files in originals.values() for file in files]
    return Known(
        entries=entries_of(session, names),
        parts=chain.first_parts(session, names, version) if after else {},
        uploads=external_files.uploads(session, ids),
        originals=originals,
        submitted=external_files.submitted_ones(session, ids),
    )


def entries_of(
    session: Session, names: Sequence[AccessionVersion], *, for_update: bool = False
) -> dict[AccessionVersion, EntryVersion]:
    """The entry versions by name."""
    found: dict[AccessionVersion, EntryVersion] = {}
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    for page in batched(sorted(set(names)), PAGE):
        query = select(EntryVersion).where(among(EntryVersion, page)).order_by(*place)
        if for_update:
            query = query.with_for_update(key_share=True)
        for entry in session.execute(query.execution_options(populate_existing=for_update)).scalars():
            found[AccessionVersion(entry.accession, entry.version)] = entry
    return found


def claims_of(
    session: Session, names: Sequence[AccessionVersion], *, for_update: bool = False
) -> dict[AccessionVersion, list[Job]]:
    """The claims of external pipelines, of any version, by name."""
    found: dict[AccessionVersion, list[Job]] = {}
    for page in batched(sorted(set(names)), PAGE):
        query = (
            select(Job)
            .where(
                among(Job, page),
                col(Job.kind) == JobKind.EXTERNAL_PROCESSING.value,
                col(Job.state) == JobState.RUNNING.value,
            )
            .order_by(col(Job.accession), col(Job.version), col(Job.id))
        )
        if for_update:
            query = query.with_for_update()
        for job in session.execute(query.execution_options(populate_existing=for_update)).scalars():
            found.setdefault(entry_of(job), []).append(job)
    return found


def stored_part(session: Session, name: AccessionVersion, pipeline_version: int) -> Sent | None:
    """What a pipeline sent that waits for the SHA-256 of its files, or None."""
    part = session.get(PartialResult, (name.accession, name.version, pipeline_version, THEIRS))
    if part is None:
        return None
    return Sent(
        name=name,
        data=part.processed_data,
        errors=tuple(Annotation.of_json(each) for each in part.errors),
        warnings=tuple(Annotation.of_json(each) for each in part.warnings),
        files=tuple(SentFile(**each) for each in part.files),
    )


def inputs(session: Session, name: AccessionVersion) -> list[tuple[UploadedFile, str, str]]:
    """The submitted files of an accession version with their labels and categories."""
    rows = session.execute(
        select(UploadedFile, col(EntryFile.name), col(EntryFile.category))
        .join(EntryFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(col(EntryFile.accession) == name.accession, col(EntryFile.version) == name.version)
        .order_by(col(EntryFile.category), col(EntryFile.position))
    )
    return [(row[0], row[1], row[2]) for row in rows]
