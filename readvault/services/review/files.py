"""The files of an accession version, and which of them somebody who reviews it may read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from readvault.db.erased import erased_among
from readvault.db.tables import EntryFile, EntryVersion, Manifest, ManifestFile, StoredObject, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Damaged, Forbidden, ProcessingFailure
from readvault.domain.reads import READ_LEVEL
from readvault.domain.referenced import is_referenced
from readvault.ports import StoredVersion
from readvault.services.authorization import Action, authorize
from readvault.services.entries import giving
from readvault.services.house import House


@dataclass(frozen=True, slots=True)
class ReviewFile:
    """One file under the label that people know it by, and where it lies."""

    file_id: str
    category: str
    name: str
    size: int | None
    sha256: str | None
    key: str
    version_id: str | None
    given: bool
    """Whether the person who asks may read it."""
    public: bool
    """Whether everybody may."""

    @property
    def facts(self) -> dict[str, Any]:
        """Size (bytes), SHA-256 and where the bytes lie: here, or with the group, not under our guarantee."""
        return {
            "size": self.size,
            "sha256": self.sha256,
            "storage": "group" if is_referenced(self.key) else "readvault",
        }


def originals(session: Session, actor: Actor | None, entry: EntryVersion) -> list[ReviewFile]:
    """The submitted files, in the submitter's order; given to the group's members only."""
    given = _may_read_originals(session, actor, entry)
    rows = session.exec(
        select(EntryFile, UploadedFile)
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(EntryFile.accession == entry.accession, EntryFile.version == entry.version)
        .order_by(col(EntryFile.category), col(EntryFile.position), col(EntryFile.name))
    ).all()
    shredded = erased_among(session, ((uploaded.key, uploaded.version_id) for _, uploaded in rows))
    return [
        ReviewFile(
            file_id=file.file_id,
            category=file.category,
            name=file.name,
            size=uploaded.size,
            sha256=uploaded.sha256 or uploaded.declared_sha256,
            key=uploaded.key,
            version_id=uploaded.version_id,
            given=given and uploaded.sealed_at is not None and (uploaded.key, uploaded.version_id) not in shredded,
            public=False,
        )
        for file, uploaded in rows
    ]


def processed(
    session: Session,
    actor: Actor | None,
    entry: EntryVersion,
    manifest: Manifest,
    *,
    public: bool,
    withdrawn: bool,
) -> list[ReviewFile]:
    """The files of a result. What may never be public is given to the group's members only.

    `public` says that the version is released and no maintainer has hidden it; what was `withdrawn`
    is given to maintainers only.
    """
    member = _may_read_originals(session, actor, entry)
    gone = withdrawn and not (actor is not None and actor.is_maintainer)
    screened = json.loads(manifest.body).get("screened") is True
    rows = session.exec(
        select(ManifestFile, StoredObject)
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(ManifestFile.manifest_id == manifest.id)
        .order_by(col(ManifestFile.category), col(ManifestFile.name))
    ).all()
    shredded = erased_among(session, ((stored.key, stored.version_id) for _, stored in rows))
    files = []
    for file, stored in rows:
        # Reads that no screen has seen are as secret as originals: a maintainer breaks the glass for those.
        harmless = file.may_be_public and (screened or file.category not in READ_LEVEL)
        files.append(
            ReviewFile(
                file_id=file.file_id,
                category=file.category,
                name=file.name,
                size=stored.size,
                sha256=stored.sha256,
                key=stored.key,
                version_id=stored.version_id,
                given=(harmless or member) and not gone and (stored.key, stored.version_id) not in shredded,
                public=public and harmless,
            )
        )
    return files


def signed(file: ReviewFile, house: House) -> str:
    """A pre-signed URL of the pinned version that lives for minutes: a secret. Raises Damaged."""
    stored = StoredVersion(file.key, file.version_id, file.size or 0)
    return giving.signed_url(house, stored, name=file.name, expires=house.settings.urls.download)


def by_category(files: Iterable[ReviewFile], house: House) -> dict[str, list[dict[str, Any]]]:
    """The files with fresh URLs, size (bytes) and SHA-256, for people."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        url = _url_of(file, house) if file.given else None
        listed.setdefault(file.category, []).append(
            {"fileId": file.file_id, "name": file.name, "url": url, **file.facts}
        )
    return listed


def _url_of(file: ReviewFile, house: House) -> str | None:
    """One that its group has lost is no obstacle to whoever edits the entry to replace it."""
    try:
        return signed(file, house)
    except (Damaged, ProcessingFailure):
        if not is_referenced(file.key):
            raise
        return None


def without_urls(files: Iterable[ReviewFile]) -> dict[str, list[dict[str, Any]]]:
    """The files with size (bytes), SHA-256 and whether the person may ask for a URL."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        listed.setdefault(file.category, []).append(
            {"fileId": file.file_id, "name": file.name, "readable": file.given, **file.facts}
        )
    return listed


def as_loculus(files: Iterable[ReviewFile]) -> dict[str, list[dict[str, str]]]:
    """The files as pairs of ID and name."""
    listed: dict[str, list[dict[str, str]]] = {}
    for file in files:
        listed.setdefault(file.category, []).append({"fileId": file.file_id, "name": file.name})
    return listed


def _may_read_originals(session: Session, actor: Actor | None, entry: EntryVersion) -> bool:
    try:
        authorize(session, actor, Action.READ_ORIGINALS, group_id=entry.group_id)
    except Forbidden:
        return False
    return True
