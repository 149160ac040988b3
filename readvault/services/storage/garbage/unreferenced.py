"""What lies in the bucket, or in rows about it, that nothing refers to: only looked at, page by page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import batched, groupby
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select, union_all
from sqlmodel import Session, col

from readvault.db import clock, references
from readvault.db.names import among
from readvault.db.tables import DeletedEntryVersion, EntryVersion, ErasedObject, StoredObject, UploadedFile
from readvault.domain.identifiers import AccessionVersion
from readvault.ports import ListedVersion
from readvault.services.house import House

PAGE = 200
HOUR = 3600.0
BUCKET = ("incoming/", "vault/")
DOCUMENTS = ("manifests/", "records/")
# Of a deleted version the records of its state stay: they say that the name is never used again.
_DOCUMENT = re.compile(
    r"(?:manifests|records)/(?P<accession>[^/]+)/(?P<version>[0-9]{1,9})/(?:[0-9a-f]{64}(?:\.private)?|result-[^/]+)\.json"
)


class Category(StrEnum):
    """Why something is garbage."""

    STRAY = "stray"
    """An object that no row knows: a step that was broken off, an upload that came too late."""
    BESIDE_PINNED = "beside a pinned version"
    """Another version or a delete marker on a pinned key: somebody got around us, or a repair replaced it."""
    EXPIRED_UPLOAD = "expired upload"
    """An upload that was requested and never submitted."""
    UNUSED_ORIGINAL = "unused original"
    """A sealed file that no entry has any more."""
    UNUSED_RESULT = "unused processed file"
    """A processed file that no result has any more."""
    SUPERSEDED = "superseded result"
    """A result of an unreleased entry in whose place another one came; rows only, its files follow."""
    MULTIPART = "unfinished multipart upload"
    """Parts of an upload that no row knows."""
    DOCUMENT = "document of a deleted entry"
    """Manifests and records of a version that was deleted before its release."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object version that nothing refers to. `version_id` is '' where there are no versions; size in bytes."""

    key: str
    version_id: str
    size: int
    category: Category


def old_before(house: House) -> float:
    """The moment (seconds since 1970) before which something must have come to be garbage."""
    with house.sessions.read() as session:
        return clock.read(session) - house.settings.storage.garbage_older_than_hours * HOUR


def unreferenced(house: House, before: float) -> Iterator[list[Garbage]]:
    """Pages of object versions that are older than `before` and that nothing refers to now."""
    for table, is_old, category in (
        (UploadedFile, col(UploadedFile.sealed_at) < before, Category.UNUSED_ORIGINAL),
        (StoredObject, col(StoredObject.stored_at) < before, Category.UNUSED_RESULT),
    ):
        yield from _unused(house, table, is_old, category, before)
    for prefix in BUCKET:
        for page in batched(groupby_key(house.store.walk(prefix)), PAGE):
            yield _of_bucket(house, page, before)
    for prefix in DOCUMENTS:
        for listed in batched(house.store.walk(prefix), PAGE):
            yield _documents(house, listed, before)


def groupby_key(listed: Iterable[ListedVersion]) -> Iterator[tuple[str, list[ListedVersion]]]:
    """The versions of each key."""
    for key, versions in groupby(listed, key=lambda each: each.stored.key):
        yield key, list(versions)


def _unused(
    house: House, table: Any, is_old: ColumnElement[bool], category: Category, before: float
) -> Iterator[list[Garbage]]:
    """Pinned versions without a reference, a stretch of keys at a time: no query goes over the whole table."""
    key, version_id = col(table.key), func.coalesce(col(table.version_id), "")
    after: str | None = ""
    while after is not None:
        with house.sessions.read() as session:
            beyond = select(key).where(key > after).order_by(key)
            end = session.execute(beyond.offset(PAGE * 10 - 1).limit(1)).scalar()
            stretch = (key > after,) if end is None else (key > after, key <= end)
            query = select(key, version_id, func.coalesce(col(table.size), 0)).where(
                *stretch, is_old, ~references.referenced(key, version_id, before)
            )
            yield [Garbage(name, pin, size, category) for name, pin, size in session.execute(query.order_by(key))]
        after = end


@dataclass(slots=True)
class _Rows:
    """What the database says of a key."""

    pins: set[str]
    open: bool = False
    expired: bool = False
    erased: set[str] = field(default_factory=set)
    """Versions that belong to an erasure; what lies beside them came after it, and is judged like any other."""


def _of_bucket(house: House, page: Sequence[tuple[str, list[ListedVersion]]], before: float) -> list[Garbage]:
    with house.sessions.read() as session:
        rows = _rows_of(session, [key for key, _ in page], before)
        found = [each for key, listed in page for each in _judged(listed, rows.get(key), before)]
        return _without_referenced(session, found, before)


def _rows_of(session: Session, keys: Sequence[str], before: float) -> dict[str, _Rows]:
    rows: defaultdict[str, _Rows] = defaultdict(lambda: _Rows(set()))
    file = UploadedFile
    uploads = select(col(file.key), col(file.version_id), col(file.sealed_at), col(file.expires_at))
    for key, version_id, sealed_at, expires_at in session.execute(uploads.where(col(file.key).in_(keys))):
        if sealed_at is not None:
            rows[key].pins.add(version_id or "")
        elif expires_at < before:
            rows[key].expired = True
        else:
            rows[key].open = True
    stored = select(col(StoredObject.key), col(StoredObject.version_id)).where(col(StoredObject.key).in_(keys))
    for key, version_id in session.execute(stored):
        rows[key].pins.add(version_id or "")
    erased = select(col(ErasedObject.key), col(ErasedObject.version_id)).where(col(ErasedObject.place) == "bucket")
    for key, version_id in session.execute(erased.where(col(ErasedObject.key).in_(keys))):
        rows[key].erased.add(version_id)
    return dict(rows)


def _judged(listed: Sequence[ListedVersion], row: _Rows | None, before: float) -> Iterator[Garbage]:
    versions = {each.stored.version_id or "" for each in listed if not each.deleted}
    row = row or _Rows(set())
    standing = row.pins - row.erased
    if row.open or not standing <= versions:
        return  # where a pinned version is lost, every other one may be what it is repaired from
    category = Category.BESIDE_PINNED if standing else Category.EXPIRED_UPLOAD if row.expired else Category.STRAY
    kept = row.pins | row.erased
    for each in listed:
        version_id = each.stored.version_id or ""
        if version_id not in kept and each.modified_at < before:
            yield Garbage(each.stored.key, version_id, each.stored.size, category)


def _without_referenced(session: Session, found: Sequence[Garbage], before: float) -> list[Garbage]:
    if not found:
        return []
    kept: set[tuple[str, str]] = set()
    for page in batched(found, PAGE):
        named = union_all(
            *(select(literal(g.key).label("key"), literal(g.version_id).label("version_id")) for g in page)
        )
        these = named.subquery()
        query = select(these.c.key, these.c.version_id)
        kept |= {
            (row[0], row[1])
            for row in session.execute(query.where(references.referenced(these.c.key, these.c.version_id, before)))
        }
    return [each for each in found if (each.key, each.version_id) not in kept]


def _documents(house: House, listed: Sequence[ListedVersion], before: float) -> list[Garbage]:
    """Documents of versions that were deleted unreleased. What no such row explains is left alone."""
    named: list[tuple[AccessionVersion, ListedVersion]] = []
    for each in listed:
        match = _DOCUMENT.fullmatch(each.stored.key)
        if match is not None and each.modified_at < before:
            named.append((AccessionVersion(match["accession"], int(match["version"])), each))
    if not named:
        return []
    names = sorted({name for name, _ in named})
    with house.sessions.read() as session:
        deleted, alive = (
            {
                AccessionVersion(*row)
                for row in session.execute(select(table.accession, table.version).where(among(table, names)))  # type: ignore[call-overload]
            }
            for table in (DeletedEntryVersion, EntryVersion)
        )
        keys = sorted({each.stored.key for _, each in named})
        queued = set[str]()
        for some in batched(keys, PAGE):
            pending = union_all(*(select(literal(key).label("key")) for key in some)).subquery()
            queued |= set(session.execute(select(pending.c.key).where(references.awaited(pending.c.key))).scalars())
    return [
        Garbage(each.stored.key, each.stored.version_id or "", each.stored.size, Category.DOCUMENT)
        for name, each in named
        if name in deleted - alive and each.stored.key not in queued
    ]
