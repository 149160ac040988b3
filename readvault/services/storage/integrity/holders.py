"""Who holds an object: the accession versions that were made with it, or were submitted with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session, col

from readvault.db.tables import (
    CurrentResult,
    EntryFile,
    EntryVersion,
    Job,
    ManifestFile,
    Release,
    StoredObject,
    UploadedFile,
)
from readvault.db.tables import Manifest as ManifestRow
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.queue.new_jobs import release_job

_PLACE = (col(ManifestRow.accession), col(ManifestRow.version))


def all_of(session: Session, key: str) -> set[AccessionVersion]:
    """Every accession version that an object belongs to, released or not."""
    made = session.execute(_made_with(key, *_PLACE))
    return {AccessionVersion(*row) for row in made} | _submitted_with(session, key)


def lock_anew(house: House, session: Session, key: str, now: float) -> bool:
    """Queue the job that locks an object whose pin has moved; False when nothing released keeps it.

    It is a release done once more, of one of the results that hold the object. One that waits already is
    enough: it reads the pins when it begins.
    """
    kept = _kept_by(house, session, key)
    if kept is None:
        return False
    entry, pipeline_version = kept
    waits = (
        select(col(Job.id))
        .where(
            col(Job.accession) == entry.accession,
            col(Job.version) == entry.version,
            col(Job.kind) == JobKind.RELEASE.value,
            col(Job.pipeline_version) == pipeline_version,
            col(Job.state) == JobState.QUEUED.value,
        )
        .limit(1)
        # Nobody claims it before this transaction ends, and one that is being claimed is none that waits.
        .with_for_update(skip_locked=True)
    )
    if session.execute(waits).first() is None:
        name = AccessionVersion(entry.accession, entry.version)
        session.add(release_job(entry.organism, name, pipeline_version, now))
    return True


def _kept_by(house: House, session: Session, key: str) -> tuple[EntryVersion, int] | None:
    """A released entry that holds an object for ever, and the pipeline version of a published result of its.

    An organism that shreds its originals one day keeps none of them, whatever else they are.
    """
    approved = select(col(Release.manifest_id)).where(col(Release.manifest_id) == col(ManifestRow.id))
    since = select(col(CurrentResult.manifest_id)).where(col(CurrentResult.manifest_id) == col(ManifestRow.id))
    published = _made_with(key, *_PLACE, col(ManifestRow.pipeline_version)).where(approved.exists() | since.exists())
    made = session.execute(published.order_by(*_PLACE)).all()
    originals = _submitted_with(session, key)
    submitted = [
        (name.accession, name.version, session.get_one(ManifestRow, release.manifest_id).pipeline_version)
        for name in sorted(originals)
        if (release := session.get(Release, (name.accession, name.version))) is not None
    ]
    for accession, version, pipeline_version in (*made, *submitted):
        entry = session.get_one(EntryVersion, (accession, version))
        rules = house.organisms.get(entry.organism)
        stays = rules is not None and rules.pipeline.dehumanize.originals.shred_after_days is None
        if stays or AccessionVersion(accession, version) not in originals:
            return entry, pipeline_version
    return None


def _made_with(key: str, *columns: Any) -> Select[Any]:
    """The results that hold an object as a processed file."""
    return (
        select(*columns)
        .select_from(StoredObject)
        .join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
        .join(ManifestRow, col(ManifestRow.id) == col(ManifestFile.manifest_id))
        .where(col(StoredObject.key) == key)
        .distinct()
    )


def _submitted_with(session: Session, key: str) -> set[AccessionVersion]:
    query = (
        select(col(EntryFile.accession), col(EntryFile.version))
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(col(UploadedFile.key) == key)
    )
    return {AccessionVersion(*row) for row in session.execute(query)}
