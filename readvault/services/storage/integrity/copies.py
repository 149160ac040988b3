"""Copies of what is released in a second bucket: owed first, made as soon as it can be reached, read again in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from sqlalchemy import String, cast, or_, select, tuple_, union, update
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import (
    CurrentResult,
    EntryFile,
    EntryVersion,
    ManifestFile,
    Release,
    SecondCopy,
    StoredObject,
    UploadedFile,
)
from readvault.db.tables import Manifest as ManifestRow
from readvault.domain.errors import BytesLost, ProcessingFailure
from readvault.domain.referenced import FOLDER
from readvault.ports import ReadStore, StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.release import second_bucket

logger = logging.getLogger(__name__)

PAGE = 200


def make(house: House, *, check_time: Callable[[], None] = lambda: None) -> int:
    """Make the copies that the second bucket is owed; how many. 0 where there is none.

    A second bucket that was only switched on now is owed all that is released. It can be broken off anywhere
    and called again. Raises ProcessingFailure when a bucket can't be reached.
    """
    if house.second_store is None:
        return 0
    _owe_all(house, check_time)
    made, last = 0, ""
    while True:
        with house.sessions.read() as session:
            query = select(col(SecondCopy.key)).where(col(SecondCopy.copied_at).is_(None), col(SecondCopy.key) > last)
            page = session.execute(query.order_by(col(SecondCopy.key)).limit(PAGE)).scalars().all()
        if not page:
            return made
        last = page[-1]
        for key in page:
            check_time()
            try:
                made += second_bucket.copy(house, key)
            except BytesLost as loss:  # repaired first, copied then
                logger.warning("the copy of %s waits: %s", damage.called(key), loss.cause)


def verify(house: House, since: float, *, repairs: bool) -> Iterator[int]:
    """Read and hash the copies that were not read since that moment (seconds since 1970); the size of each, in bytes.

    A damaged one is owed again, and made again at once.
    """
    if house.second_store is None:
        return
    last = ""
    while True:
        with house.sessions.read() as session:
            query = select(SecondCopy).where(
                col(SecondCopy.copied_at).is_not(None),
                or_(col(SecondCopy.checked_at).is_(None), col(SecondCopy.checked_at) < since),
                col(SecondCopy.key) > last,
            )
            page = session.execute(query.order_by(col(SecondCopy.key)).limit(PAGE)).scalars().all()
        if not page:
            return
        last = page[-1].key
        for row in page:
            if _is_whole(house, house.second_store, row) or not repairs:
                yield row.size
                continue
            try:
                second_bucket.copy(house, row.key, anew=True)
            except ProcessingFailure as failure:
                logger.error("the copy of %s in the second bucket stays damaged: %s", damage.called(row.key), failure)
            yield row.size


def _is_whole(house: House, second: ReadStore, row: SecondCopy) -> bool:
    wrong = damage.found(second, StoredVersion(row.key, row.version_id, row.size), row.sha256)
    if wrong is not None:
        logger.error("integrity: the copy of %s in the second bucket is damaged: %s", damage.called(row.key), wrong)
    with house.sessions.begin() as session:
        values = {"checked_at": clock.read(session)} | ({"copied_at": None} if wrong is not None else {})
        session.execute(
            update(SecondCopy)
            .where(col(SecondCopy.key) == row.key, col(SecondCopy.version_id).is_not_distinct_from(row.version_id))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return wrong is None


def _owe_all(house: House, check_time: Callable[[], None]) -> None:
    """See that every released file and record has a row."""
    last = ("", 0)
    while True:
        check_time()
        with house.sessions.begin() as session:
            names = _released_after(session, last)
            for accession, version, organism in names:
                keys = _keys_of(session, accession, version)
                if second_bucket.originals_stay(house, organism):
                    keys |= _originals_of(session, accession, version)
                else:
                    keys -= _originals_of(session, accession, version)
                second_bucket.owe(session, keys)
        if not names:
            return
        last = names[-1][:2]


def _released_after(session: Session, last: tuple[str, int]) -> list[tuple[str, int, str]]:
    """Released accession versions beyond `last` whose record is not known to be in the second bucket."""
    record = "records/" + col(Release.accession) + "/" + cast(col(Release.version), String) + "/release.json"
    known = select(col(SecondCopy.key)).where(col(SecondCopy.key) == record)
    place = (col(Release.accession), col(Release.version))
    query = (
        select(*place, col(EntryVersion.organism))
        .join(
            EntryVersion,
            (col(EntryVersion.accession) == col(Release.accession))
            & (col(EntryVersion.version) == col(Release.version)),
        )
        .where(tuple_(*place) > last, ~known.exists())
    )
    rows = session.execute(query.order_by(*place).limit(PAGE))
    return [(row[0], row[1], row[2]) for row in rows]


def _keys_of(session: Session, accession: str, version: int) -> set[str]:
    """The processed files of all results that were published, and the records of the release."""
    since = select(col(CurrentResult.manifest_id)).where(
        col(CurrentResult.accession) == accession, col(CurrentResult.version) == version
    )
    approved = select(col(Release.manifest_id)).where(
        col(Release.accession) == accession, col(Release.version) == version
    )
    # One list: for a choice between two PostgreSQL goes through all manifests and their files.
    published = col(ManifestRow.id).in_(union(approved, since))
    files = (
        select(col(StoredObject.key))
        .join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
        .join(ManifestRow, col(ManifestRow.id) == col(ManifestFile.manifest_id))
        # What an external pipeline only passed on may be a file that stays with its group.
        .where(published, ~col(StoredObject.key).startswith(FOLDER))
    )
    digests = session.execute(select(col(ManifestRow.digest)).where(col(ManifestRow.id).in_(since))).scalars()
    folder = f"records/{accession}/{version}"
    records = {f"{folder}/release.json", *(f"{folder}/result-{digest}.json" for digest in digests)}
    return set(session.execute(files).scalars()) | records


def _originals_of(session: Session, accession: str, version: int) -> set[str]:
    query = (
        select(col(UploadedFile.key))
        .join(EntryFile, col(EntryFile.file_id) == col(UploadedFile.id))
        .where(col(EntryFile.accession) == accession, col(EntryFile.version) == version)
        .where(~col(UploadedFile.key).startswith(FOLDER))
    )
    return set(session.execute(query).scalars())
