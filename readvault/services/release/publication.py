"""Release: what follows the approval. All of it can be done twice."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import func, tuple_
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import (
    EntryFile,
    EntryVersion,
    Group,
    Manifest,
    ManifestFile,
    Release,
    StoredObject,
    UploadedFile,
)
from readvault.domain import manifest as manifests
from readvault.domain.errors import ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import READ_LEVEL
from readvault.ports import ReadStore, StoredVersion
from readvault.services.house import House
from readvault.services.processing.fence import Claim
from readvault.services.processing.jobs import complete
from readvault.services.review.entries import terms_of

LOCKED_FOR = 10 * 365.25 * 86400
"""Seconds: ten years."""
PAGE = 200
SEQUENCES = (
    "unalignedNucleotideSequences",
    "alignedNucleotideSequences",
    "nucleotideInsertions",
    "alignedAminoAcidSequences",
    "aminoAcidInsertions",
)


@dataclass(frozen=True, slots=True)
class _File:
    category: str
    name: str
    sha256: str | None
    stored: StoredVersion
    file_id: str

    def as_json(self) -> dict[str, Any]:
        place = {"key": self.stored.key, "versionId": self.stored.version_id, "size": self.stored.size}
        return {"fileId": self.file_id, "category": self.category, "name": self.name, "sha256": self.sha256, **place}


@dataclass(frozen=True, slots=True)
class _Released:
    entry: EntryVersion
    release: Release
    manifest: Manifest
    files: tuple[_File, ...]
    originals: tuple[_File, ...]


def publish(house: House, claim: Claim) -> int:
    """Lock the released files in S3, write the release's record beside them, end the job; how many files.

    Originals are locked too, unless the organism shreds them after a while. Everything can be
    repeated. Raises ProcessingFailure when a file isn't in S3 as it was approved, and LeaseLost.
    """
    with house.sessions.read() as session:
        released = _load(session, claim.accession_version)
        until = clock.read(session) + LOCKED_FOR
    _refuse_unscreened(released)
    files = (*released.files, *released.originals)
    for file in files:
        _verify(house.store, file)
    kept = files if _originals_stay(house, claim.organism) else released.files
    for file in kept:
        house.store.lock(file.stored, until=until)
    _write_record(house, released)
    complete(house, claim)
    return len(released.files)


def released_data(house: House, organism: str) -> Iterator[dict[str, Any]]:
    """Every version ever released, by accession and version, as Loculus's get-released-data lines.

    Read page by page, so that memory stays flat; each page is one consistent look at the database.
    """
    outputs = [category.value for category in house.organism(organism).pipeline.outputs]
    last = ("", 0)
    name = (col(EntryVersion.accession), col(EntryVersion.version))
    query = (
        select(EntryVersion, Release, Manifest, Group)
        .join(Release, (col(Release.accession) == name[0]) & (col(Release.version) == name[1]))
        .join(Manifest, col(Manifest.id) == col(Release.manifest_id))
        .join(Group, col(Group.id) == col(EntryVersion.group_id))
        .where(EntryVersion.organism == organism)
        .order_by(*name)
        .limit(PAGE)
    )
    while True:
        with house.sessions.read() as session:
            page = session.exec(query.where(tuple_(*name) > last)).all()
            if not page:
                return
            newest = _newest(session, {entry.accession for entry, *_ in page})
            files = _file_columns(house, session, [row[2] for row in page], outputs)
            today = _day(clock.read(session))
        for entry, release, manifest, group in page:
            line = {key: manifest.processed_data.get(key) or {} for key in SEQUENCES}
            metadata = dict(manifest.processed_data.get("metadata") or {})
            metadata |= _facts(entry, release, manifest, group) | files[manifest.id or 0]
            if house.settings.data_use_terms:
                metadata |= _terms(entry, release, today)
            metadata["versionStatus"] = _version_status(entry, *newest[entry.accession])
            yield {"metadata": metadata, **line}
        last = (page[-1][0].accession, page[-1][0].version)


def _load(session: Session, name: AccessionVersion) -> _Released:
    entry = session.get_one(EntryVersion, (name.accession, name.version))
    release = session.get(Release, (name.accession, name.version))
    if release is None:
        raise ProcessingFailure("release", "the accession version is not released")
    manifest = session.get_one(Manifest, release.manifest_id)
    processed = session.exec(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(ManifestFile.manifest_id == manifest.id)
        .order_by(col(ManifestFile.category), col(ManifestFile.name))
    )
    files = tuple(
        _File(file.category, file.name, at.sha256, StoredVersion(at.key, at.version_id, at.size), file.file_id)
        for file, at in processed
    )
    submitted = session.exec(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == name.accession, EntryFile.version == name.version)
        .order_by(col(EntryFile.category), col(EntryFile.position))
    )
    originals = tuple(
        _File(file.category, file.name, at.sha256, StoredVersion(at.key, at.version_id, at.size or 0), file.file_id)
        for file, at in submitted
    )
    return _Released(entry, release, manifest, files, originals)


def _refuse_unscreened(released: _Released) -> None:
    screened = json.loads(released.manifest.body).get("screened") is True
    if not screened and any(file.category in READ_LEVEL for file in released.files):
        raise ProcessingFailure("release", "reads that no complete screen for human reads has seen are never published")


def _verify(store: ReadStore, file: _File) -> None:
    there = (each for each in store.list_versions(file.stored.key) if each.key == file.stored.key)
    if not any(each.version_id == file.stored.version_id and each.size == file.stored.size for each in there):
        raise ProcessingFailure("release", f"file {file.file_id} is not in the store as it was approved")


def _originals_stay(house: House, organism: str) -> bool:
    return house.organism(organism).pipeline.dehumanize.originals.shred_after_days is None


def _write_record(house: House, released: _Released) -> None:
    """With the manifest's body, what the database can be rebuilt from. The same bytes each time."""
    entry, release = released.entry, released.release
    record = manifests.canonical(
        {
            "accession": entry.accession,
            "version": entry.version,
            "organism": entry.organism,
            "groupId": entry.group_id,
            "submitter": entry.submitter,
            "submissionId": entry.submission_id,
            "submittedAt": entry.submitted_at,
            "submittedMetadata": entry.submitted_metadata,
            "isRevocation": entry.is_revocation,
            "versionComment": entry.version_comment,
            "dataUseTerms": terms_of(entry),
            "releasedAt": release.released_at,
            "approver": release.approver,
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
        key = f"records/{entry.accession}/{entry.version}/release.json"
        house.store.store(path, key, sha256=manifests.digest(record))


def _newest(session: Session, accessions: set[str]) -> dict[str, tuple[int, int]]:
    """For each accession its newest released version, and its newest released revocation (0: none)."""
    newest: dict[str, tuple[int, int]] = {}
    rows = session.exec(
        select(EntryVersion.accession, EntryVersion.is_revocation, func.max(EntryVersion.version))
        .join(
            Release,
            (col(Release.accession) == col(EntryVersion.accession))
            & (col(Release.version) == col(EntryVersion.version)),
        )
        .where(col(EntryVersion.accession).in_(accessions))
        .group_by(col(EntryVersion.accession), col(EntryVersion.is_revocation))
    )
    for accession, is_revocation, version in rows:
        latest, revocation = newest.get(accession, (0, 0))
        newest[accession] = (max(latest, version), version if is_revocation else revocation)
    return newest


def _version_status(entry: EntryVersion, latest: int, revocation: int) -> str:
    if entry.version == latest:
        return "LATEST_VERSION"
    return "REVOKED" if entry.version < revocation else "REVISED"


def _facts(entry: EntryVersion, release: Release, manifest: Manifest, group: Group) -> dict[str, Any]:
    return {
        "accession": entry.accession,
        "version": entry.version,
        "accessionVersion": f"{entry.accession}.{entry.version}",
        "submissionId": entry.submission_id,
        "isRevocation": entry.is_revocation,
        "versionComment": entry.version_comment,
        "submitter": entry.submitter,
        "groupId": entry.group_id,
        "groupName": group.name,
        "submittedDate": _day(entry.submitted_at).isoformat(),
        "submittedAtTimestamp": int(entry.submitted_at),
        "releasedDate": _day(release.released_at).isoformat(),
        "releasedAtTimestamp": int(release.released_at),
        "pipelineVersion": manifest.pipeline_version,
    }


def _day(moment: float) -> date:
    return datetime.fromtimestamp(moment, UTC).date()


def _terms(entry: EntryVersion, release: Release, today: date) -> dict[str, Any]:
    """The terms as they are today: a restriction lapses by its date, without a write."""
    until = entry.restricted_until if entry.terms_type == "RESTRICTED" else None
    if until is not None and until > today.isoformat():
        return {"dataUseTerms": "RESTRICTED", "dataUseTermsRestrictedUntil": until, "dataBecameOpenAt": None}
    opened = max(until or "", _day(release.released_at).isoformat())
    return {"dataUseTerms": "OPEN", "dataUseTermsRestrictedUntil": None, "dataBecameOpenAt": opened}


def _file_columns(
    house: House, session: Session, rows: list[Manifest], categories: list[str]
) -> dict[int, dict[str, str | None]]:
    """For each manifest and category the files as a JSON string, or None; SILO reads them as metadata."""
    by_manifest = {row.id: row for row in rows}
    listed: dict[tuple[int, str], list[dict[str, str]]] = {}
    files = session.exec(
        select(ManifestFile)
        .where(col(ManifestFile.manifest_id).in_(by_manifest))
        .order_by(col(ManifestFile.manifest_id), col(ManifestFile.category), col(ManifestFile.name))
    )
    for file in files:
        row = by_manifest[file.manifest_id]
        place = f"{row.accession}/{row.version}/{quote(file.category, safe='')}/{quote(file.name, safe='')}"
        url = f"{house.settings.public_url}/files/get/{place}"
        listed.setdefault((file.manifest_id, file.category), []).append(
            {"fileId": file.file_id, "name": file.name, "url": url}
        )
    return {
        row.id or 0: {
            category: json.dumps(listed[row.id or 0, category]) if (row.id or 0, category) in listed else None
            for category in categories
        }
        for row in rows
    }
