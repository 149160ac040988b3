"""Every object version that the database holds pinned, in the order of its key."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, or_, select
from sqlmodel import col

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


def pinned_versions(house: House, *, after: str = "", unchecked_since: float | None = None) -> Iterator[Pinned]:
    """Sealed originals and processed files, by key, only those beyond `after`; read page by page.

    With `unchecked_since` only those whose bytes were not read since that moment (seconds since 1970).
    """
    sources = (_pages(house, source, after, unchecked_since) for source in (_originals, _processed))
    return heapq.merge(*sources, key=lambda each: each.key)


def _originals() -> tuple[ColumnElement[str], Select[tuple[str, str | None, int, str | None, int]]]:
    file = UploadedFile
    query = select(col(file.key), col(file.version_id), col(file.size), col(file.sha256), col(file.group_id))
    return col(file.key), query.where(col(file.sealed_at).is_not(None))  # type: ignore[return-value]


def _processed() -> tuple[ColumnElement[str], Select[tuple[str, str | None, int, str | None, int]]]:
    stored = StoredObject
    query = select(col(stored.key), col(stored.version_id), col(stored.size), col(stored.sha256), col(stored.group_id))
    # Files that an external pipeline uploaded itself stay where they are: the row of the upload stands for them.
    uploads = select(col(UploadedFile.key)).where(col(UploadedFile.key) == col(stored.key))
    return col(stored.key), query.where(~uploads.exists())  # type: ignore[return-value]


def _pages(
    house: House,
    source: Callable[[], tuple[ColumnElement[str], Select[tuple[str, str | None, int, str | None, int]]]],
    after: str,
    unchecked_since: float | None,
) -> Iterator[Pinned]:
    key, query = source()
    if unchecked_since is not None:
        query = query.outerjoin(FixityCheck, col(FixityCheck.key) == key).where(
            or_(col(FixityCheck.key).is_(None), col(FixityCheck.checked_at) < unchecked_since)
        )
    while True:
        with house.sessions.read() as session:
            page = session.execute(query.where(key > after).order_by(key).limit(PAGE)).all()
        for name, version_id, size, sha256, group_id in page:
            yield Pinned(name, StoredVersion(name, version_id, size), sha256, group_id)
        if len(page) < PAGE:
            return
        after = page[-1][0]
