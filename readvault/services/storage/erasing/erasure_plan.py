"""What an erasure takes: the pinned objects of accession versions, and all that the buckets hold under their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import batched, takewhile

from sqlalchemy import ColumnElement, select
from sqlmodel import Session, col

from readvault.db.erased import erased_among, is_erased, tombstones
from readvault.db.names import among
from readvault.db.tables import (
    EntryFile,
    Manifest,
    ManifestFile,
    PartialResult,
    StoredObject,
    SubmittedDataArchive,
    UploadedFile,
)
from readvault.domain import manifest
from readvault.domain.erasures import BUCKET, SECOND, Kind, Scope
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.referenced import is_referenced
from readvault.ports import ReadStore, StoredVersion
from readvault.services.house import House
from readvault.services.processing import chain

PAGE = 300


@dataclass(frozen=True, slots=True)
class Target:
    """A pinned object version that goes. Size in bytes; `file_id` where it is an upload."""

    key: str
    version_id: str | None
    sha256: str | None
    size: int
    kind: Kind
    file_id: str | None = None
    uploader: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One thing in a bucket that goes: an object version, a delete marker, the parts of an unfinished upload."""

    place: str
    key: str
    version_id: str
    """Of unfinished parts the upload ID; empty where the provider keeps no versions."""
    size: int
    kind: Kind

    @property
    def stored(self) -> StoredVersion:
        """As the store is asked for it."""
        return StoredVersion(self.key, self.version_id or None, self.size)


def targets(session: Session, names: Sequence[AccessionVersion], scope: Scope) -> list[Target]:
    """The pinned objects of these versions that are not shredded yet, by key."""
    found = {(each.key, each.version_id): each for each in _all(session, names, scope)}
    gone = erased_among(session, found)
    return [found[pin] for pin in sorted(found, key=lambda pin: (pin[0], pin[1] or "")) if pin not in gone]


def _all(session: Session, names: Sequence[AccessionVersion], scope: Scope) -> Iterator[Target]:
    if scope is Scope.EVERYTHING:
        yield from _processed(session, names)
    ids: set[str] = set()
    for page in batched(names, PAGE):
        ids |= set(session.execute(select(col(EntryFile.file_id)).where(among(EntryFile, page))).scalars())
        if scope is Scope.EVERYTHING:
            earlier = select(col(SubmittedDataArchive.files)).where(among(SubmittedDataArchive, page))
            ids |= _not_used_elsewhere(session, {
                file["fileId"] for files in session.execute(earlier).scalars() for listed in files.values()
                for file in listed
            })  # fmt: skip
    for some in batched(sorted(ids), PAGE):
        sealed = col(UploadedFile.sealed_at).is_not(None)
        for row in session.execute(select(UploadedFile).where(col(UploadedFile.id).in_(some), sealed)).scalars():
            kind = Kind.REFERENCED if is_referenced(row.key) else Kind.ORIGINAL
            yield Target(
                row.key, row.version_id, row.sha256 or row.declared_sha256, row.size or 0, kind, row.id, row.uploader,
            )  # fmt: skip


def _processed(session: Session, names: Sequence[AccessionVersion]) -> Iterator[Target]:
    for page in batched(names, PAGE):
        query = (
            select(StoredObject)
            .join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
            .join(Manifest, col(Manifest.id) == col(ManifestFile.manifest_id))
            .where(among(Manifest, page))
        )
        for row in session.execute(query).scalars():
            yield Target(row.key, row.version_id, row.sha256, row.size, Kind.PROCESSED)
        for part in session.execute(select(PartialResult).where(among(PartialResult, page))).scalars():
            for file in chain.staged_files(part):
                yield Target(file.stored.key, file.stored.version_id, file.sha256, file.size, Kind.STAGED)


def _not_used_elsewhere(session: Session, file_ids: set[str]) -> set[str]:
    used: set[str] = set()
    for some in batched(sorted(file_ids), PAGE):
        used |= set(session.execute(select(col(EntryFile.file_id)).where(col(EntryFile.file_id).in_(some))).scalars())
    return file_ids - used


def others(
    session: Session, names: Iterable[AccessionVersion], keys: Iterable[str]
) -> dict[AccessionVersion, set[str]]:
    """Which other accession versions have an object under one of these keys, and which keys."""
    mine = set(names)
    found: dict[AccessionVersion, set[str]] = {}
    for some in batched(sorted(set(keys)), PAGE):
        for accession, version, key in (*_submitted(session, some), *_made(session, some)):
            if (name := AccessionVersion(accession, version)) not in mine:
                found.setdefault(name, set()).add(key)
    # A tombstone has no use for bytes that came again.
    gone = tombstones(session, found)
    return {name: keys for name, keys in found.items() if name not in gone}


def _submitted(session: Session, keys: Sequence[str]) -> list[tuple[str, int, str]]:
    query = (
        select(col(EntryFile.accession), col(EntryFile.version), col(UploadedFile.key))
        .join(UploadedFile, col(UploadedFile.id) == col(EntryFile.file_id))
        .where(col(UploadedFile.key).in_(keys), _pin_stands(UploadedFile))
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def _made(session: Session, keys: Sequence[str]) -> list[tuple[str, int, str]]:
    query = (
        select(col(Manifest.accession), col(Manifest.version), col(StoredObject.key))
        .join(ManifestFile, col(ManifestFile.manifest_id) == col(Manifest.id))
        .join(StoredObject, col(StoredObject.id) == col(ManifestFile.stored_object_id))
        .where(col(StoredObject.key).in_(keys), _pin_stands(StoredObject))
    )
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def _pin_stands(table: type[UploadedFile] | type[StoredObject]) -> ColumnElement[bool]:
    return ~is_erased(col(table.key), col(table.version_id))


def places(house: House) -> list[tuple[str, ReadStore]]:
    """The buckets by what they are called in lists and proofs."""
    second = [] if house.second_store is None else [(SECOND, house.second_store)]
    return [(BUCKET, house.store), *second]


def lines(house: House, keys: Iterable[str]) -> Iterator[Line]:
    """Everything that both buckets hold under these keys: versions, delete markers, unfinished uploads."""
    wanted = sorted(set(keys))
    for place, store in places(house):
        for key in wanted:
            for each in takewhile(lambda each, key=key: each.stored.key == key, store.walk(key)):  # type: ignore[misc]
                kind = Kind.MARKER if each.deleted else Kind.OTHER_VERSION
                yield Line(place, key, each.stored.version_id or "", each.stored.size, kind)
            for upload in store.unfinished_uploads(key):
                if upload.key == key:
                    yield Line(place, key, upload.upload_id, 0, Kind.PARTS)


def documents(house: House, prefixes: Iterable[tuple[str, bool]]) -> Iterator[Line]:
    """The documents under these prefixes, of released versions (True) the private ones and the records alone."""
    for place, store in places(house):
        for prefix, released in prefixes:
            for each in store.walk(prefix):
                key = each.stored.key
                if released and key.startswith("manifests/") and not key.endswith(".private.json"):
                    continue
                kind = Kind.MARKER if each.deleted else Kind.DOCUMENT
                yield Line(place, key, each.stored.version_id or "", each.stored.size, kind)


def document_prefixes(name: AccessionVersion, *, released: bool) -> list[tuple[str, bool]]:
    """Where the documents of an accession version lie."""
    place = f"{name.accession}/{name.version}/"
    return [(f"manifests/{place}", released), (f"records/{place}", released)]


def code_of(names: Iterable[AccessionVersion], scope: Scope, listed: Iterable[Line], pins: Iterable[Target]) -> str:
    """SHA-256 of the list of what goes: another list has another code."""
    body = {
        "accessionVersions": sorted(map(str, names)),
        "scope": scope.value,
        "listed": sorted([each.place, each.key, each.version_id] for each in listed),
        "pinned": sorted([each.key, each.version_id or ""] for each in pins),
    }
    return manifest.digest(manifest.canonical(body))
