"""Every object version that the database holds pinned and expects in the bucket, in the order of its key."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, func, or_, select
from sqlmodel import col

from readvault.db.condemned import is_being_deleted
from readvault.db.erased import is_erased
from readvault.db.tables import FixityCheck, StoredObject, UploadedFile
from readvault.ports import StoredVersion
from readvault.services.house import House

PAGE = 500


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version that must be there. `sha256` is None where nothing has read the file yet."""

    key: str
    stored: StoredVersion
    sha256: str | None
    group_id: int
    restorable: str | None = None
    """The SHA-256 of what may be put in its place: of what was sealed, or as it was declared where nothing read it."""


_Row = tuple[str, str | None, int, str | None, int, str | None]
_Source = tuple[ColumnElement[str], Select[_Row]]


def pinned_versions(
    house: House, *, after: str = "", unchecked_since: float | None = None, damaged_before: float | None = None
) -> Iterator[Pinned]:
    """Sealed originals and processed files, by key, only those beyond `after`; read page by page.

    What was shredded is left out, and garbage whose deletion has begun; what was repaired comes with the
    version that stands for it now.
    With `unchecked_since` only those whose bytes were not read since that moment (seconds since 1970), and
    with `damaged_before` also those that were last read before that one and found damaged.
    """
    times = (unchecked_since, damaged_before)
    sources = (_pages(house, source, after, *times) for source in (_originals, _processed))
    return heapq.merge(*sources, key=lambda each: each.key)


def pinned_at(house: House, key: str) -> Pinned | None:
    """What is pinned under a key; None when nothing is (any more)."""
    with house.sessions.read() as session:
        for column, query in (_originals(), _processed()):
            row = session.execute(query.where(column == key).limit(1)).first()
            if row is not None:
                return _pinned(*row)
    return None


def _originals() -> _Source:
    key, version_id = col(UploadedFile.key), col(UploadedFile.version_id)
    size, sha256, group_id = col(UploadedFile.size), col(UploadedFile.sha256), col(UploadedFile.group_id)
    restorable = func.coalesce(sha256, col(UploadedFile.declared_sha256))
    query = select(key, version_id, size, sha256, group_id, restorable)
    return key, query.where(col(UploadedFile.sealed_at).is_not(None), _is_expected(key, version_id))  # type: ignore[return-value]


def _processed() -> _Source:
    key, version_id = col(StoredObject.key), col(StoredObject.version_id)
    sha256 = col(StoredObject.sha256)
    query = select(key, version_id, col(StoredObject.size), sha256, col(StoredObject.group_id), sha256)
    # Files that an external pipeline uploaded itself stay where they are: the row of the upload stands for them.
    uploads = select(col(UploadedFile.key)).where(col(UploadedFile.key) == key)
    return key, query.where(~uploads.exists(), _is_expected(key, version_id))  # type: ignore[return-value]


def _is_expected(key: SQLColumnExpression[str], version_id: SQLColumnExpression[str | None]) -> ColumnElement[bool]:
    return and_(~is_erased(key, version_id), ~is_being_deleted(key, version_id))


def _pages(
    house: House,
    source: Callable[[], _Source],
    after: str,
    unchecked_since: float | None,
    damaged_before: float | None,
) -> Iterator[Pinned]:
    key, query = source()
    if unchecked_since is not None:
        due = [col(FixityCheck.key).is_(None), col(FixityCheck.checked_at) < unchecked_since]
        if damaged_before is not None:
            due.append(and_(col(FixityCheck.damage).is_not(None), col(FixityCheck.checked_at) < damaged_before))
        query = query.outerjoin(FixityCheck, col(FixityCheck.key) == key).where(or_(*due))
    while True:
        # The keys first: where all conditions come with the page, PostgreSQL goes through all rows for each.
        with house.sessions.read() as session:
            page = session.execute(select(key).where(key > after).order_by(key).limit(PAGE)).scalars().all()
            rows = session.execute(query.where(key.in_(page)).order_by(key)).all()
        yield from (_pinned(*row) for row in rows)
        if len(page) < PAGE:
            return
        after = page[-1]


def _pinned(
    key: str, version_id: str | None, size: int, sha256: str | None, group_id: int, restorable: str | None
) -> Pinned:
    return Pinned(key, StoredVersion(key, version_id, size), sha256, group_id, restorable)
