"""Release: what follows the approval. All of it can be done twice."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.erased import erased_among
from readvault.db.tables import (
    CurrentResult,
    EntryFile,
    EntryVersion,
    Manifest,
    ManifestFile,
    Release,
    Repair,
    StoredObject,
    UploadedFile,
)
from readvault.domain import manifest as manifests
from readvault.domain.errors import ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.domain.referenced import is_referenced
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.processing.jobs import complete
from readvault.services.queue.fence import Claim
from readvault.services.release import second_bucket

SCHEMA = 2
"""Of the record."""
LOCKED_FOR = 10 * 365.25 * 86400
"""Seconds: ten years."""


@dataclass(frozen=True, slots=True)
class _File:
    category: str
    name: str
    sha256: str | None
    stored: StoredVersion
    file_id: str
    may_be_public: bool
    first_version: str | None
    """The version that was sealed or stored: `stored` too, unless that was lost and repaired since."""

    def as_json(self) -> dict[str, Any]:
        # A record is written once: what a repair moves later lies in the repair's own record.
        place = {"key": self.stored.key, "versionId": self.first_version, "size": self.stored.size}
        said = {"category": self.category, "name": self.name, "sha256": self.sha256, "mayBePublic": self.may_be_public}
        return {"fileId": self.file_id, **said, **place}


@dataclass(frozen=True, slots=True)
class _Released:
    entry: EntryVersion
    release: Release
    manifest: Manifest
    files: tuple[_File, ...]
    originals: tuple[_File, ...]


def publish(house: House, claim: Claim) -> int:
    """Lock the released files in S3, the manifest and the release's record beside them, end the job; how many files.

    Originals are locked too, unless the organism shreds them after a while. Everything can be
    repeated. Raises ProcessingFailure when a file isn't in S3 as it was approved, and LeaseLost.
    """
    with house.sessions.read() as session:
        released = _load(session, claim.accession_version, claim.pipeline_version)
        until = clock.read(session) + LOCKED_FOR
        files = _there(session, released)
    _refuse_unscreened(released)
    failpoint("release-before-verify")
    for file in files:
        _verify(house, file)
    failpoint("release-verified")
    # An external pipeline may pass an original on: then it is one of the released files too.
    passing = set() if _originals_stay(house, claim.organism) else {file.stored for file in released.originals}
    for file in (file for file in files if file.stored not in passing):
        house.store.lock(file.stored, until=until)
        failpoint("release-between-locks")
    failpoint("release-before-record")
    record = _write_record(house, released)
    _lock_documents(house, released, record, until)
    failpoint("release-after-record")
    # An organism's originals that are shredded one day must not outlive that in another bucket.
    second_bucket.settle(house, [record, *(file.stored.key for file in files if file.stored not in passing)])
    complete(house, claim)
    return len(released.files)


def _load(session: Session, name: AccessionVersion, pipeline_version: int) -> _Released:
    entry = session.get_one(EntryVersion, (name.accession, name.version))
    release = session.get(Release, (name.accession, name.version))
    if release is None:
        raise ProcessingFailure("release", "the accession version is not released")
    manifest = _published_since(session, name, pipeline_version) or session.get_one(Manifest, release.manifest_id)
    processed = session.exec(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(ManifestFile.manifest_id == manifest.id)
        .order_by(col(ManifestFile.category), col(ManifestFile.name))
    )
    files = tuple(
        _File(
            file.category,
            file.name,
            at.sha256,
            StoredVersion(at.key, at.version_id, at.size),
            file.file_id,
            file.may_be_public,
            _first_version(session, at.key, at.version_id),
        )
        for file, at in processed
    )
    submitted = session.exec(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == name.accession, EntryFile.version == name.version)
        .order_by(col(EntryFile.category), col(EntryFile.position))
    )
    originals = tuple(
        _File(
            file.category,
            file.name,
            at.sha256,
            StoredVersion(at.key, at.version_id, at.size or 0),
            file.file_id,
            False,
            _first_version(session, at.key, at.version_id),
        )
        for file, at in submitted
    )
    return _Released(entry, release, manifest, files, originals)


def _first_version(session: Session, key: str, version_id: str | None) -> str | None:
    for repair in session.exec(select(Repair).where(Repair.key == key).order_by(col(Repair.id).desc())):
        if repair.version_id == version_id:
            version_id = repair.lost_version_id
    return version_id


def _there(session: Session, released: _Released) -> list[_File]:
    """The files and originals that nobody shredded: a later result may come after the originals are gone.

    What its group keeps elsewhere is not ours to promise.
    """
    files = [file for file in (*released.files, *released.originals) if not is_referenced(file.stored.key)]
    erased = erased_among(session, ((file.stored.key, file.stored.version_id) for file in files))
    return [file for file in files if (file.stored.key, file.stored.version_id) not in erased]


def _published_since(session: Session, name: AccessionVersion, pipeline_version: int) -> Manifest | None:
    """The result of a newer pipeline version that stands in place of the approved one, if this job is about it."""
    return session.exec(
        select(Manifest)
        .join(CurrentResult, col(CurrentResult.manifest_id) == col(Manifest.id))
        .where(
            CurrentResult.accession == name.accession,
            CurrentResult.version == name.version,
            Manifest.pipeline_version == pipeline_version,
        )
        .limit(1)
    ).first()


def _refuse_unscreened(released: _Released) -> None:
    screened = json.loads(released.manifest.body).get("screened") is True
    if not screened and any(file.category in READ_LEVEL for file in released.files):
        raise ProcessingFailure("release", "reads that no complete screen for human reads has seen are never published")


def _verify(house: House, file: _File) -> None:
    there = (each for each in house.store.list_versions(file.stored.key) if each.key == file.stored.key)
    if not any(each.version_id == file.stored.version_id and each.size == file.stored.size for each in there):
        raise damage.noticed(house, file.stored, file.sha256, "release")


def _originals_stay(house: House, organism: str) -> bool:
    return house.organism(organism).pipeline.dehumanize.originals.shred_after_days is None


def _lock_documents(house: House, released: _Released, record: str, until: float) -> None:
    """The record, and the public manifest where it lies, can't be deleted as little as the files that they name."""
    entry = released.entry
    document = f"manifests/{entry.accession}/{entry.version}/{released.manifest.digest}.json"
    for key in (record, document):
        first = next((each for each in house.store.list_versions(key) if each.key == key), None)
        if first is not None:
            house.store.lock(first, until=until)


def _write_record(house: House, released: _Released) -> str:
    """With the manifest's body, what the database can be rebuilt from. The same bytes each time. Its key."""
    entry, release = released.entry, released.release
    record = manifests.canonical(
        {
            "schema": SCHEMA,
            "accession": entry.accession,
            "version": entry.version,
            "organism": entry.organism,
            "groupId": entry.group_id,
            "submitter": entry.submitter,
            "submissionId": entry.submission_id,
            "submittedAt": entry.submitted_at,
            "batchId": entry.batch_id,
            "submittedMetadata": entry.submitted_metadata,
            "submittedSequences": entry.submitted_sequences,
            "isRevocation": entry.is_revocation,
            "versionComment": entry.version_comment,
            "dataUseTerms": _terms_of(entry),
            "releasedAt": release.released_at,
            "approver": release.approver,
            "digestWasGiven": release.digest_was_given,
            "pipelineVersion": released.manifest.pipeline_version,
            "processedAt": released.manifest.created_at,
            "processedData": released.manifest.processed_data,
            "errors": released.manifest.errors,
            "warnings": released.manifest.warnings,
            "manifestDigest": released.manifest.digest,
            "manifest": json.loads(released.manifest.body),
            "privateManifest": json.loads(released.manifest.private_body or "null"),
            "files": [file.as_json() for file in released.files],
            "originals": [file.as_json() for file in released.originals],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "release.json"
        path.write_bytes(record)
        approved = released.manifest.id == release.manifest_id
        label = "release" if approved else f"result-{released.manifest.digest}"
        key = f"records/{entry.accession}/{entry.version}/{label}.json"
        house.store.store(path, key, sha256=manifests.digest(record))
    return key


def _terms_of(entry: EntryVersion) -> dict[str, str]:
    """The data use terms, in Loculus's shape."""
    if entry.terms_type == "RESTRICTED" and entry.restricted_until is not None:
        return {"type": "RESTRICTED", "restrictedUntil": entry.restricted_until}
    return {"type": entry.terms_type}
