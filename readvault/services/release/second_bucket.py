"""What a second bucket is owed and gets: a copy of every released object, under the same key."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.erased import erased_among
from readvault.db.tables import SecondCopy, StoredObject, UploadedFile
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import ProcessingFailure
from readvault.ports import StoredVersion
from readvault.scratch import temporary
from readvault.services.entries import damage
from readvault.services.house import House

logger = logging.getLogger(__name__)


def owe(session: Session, keys: Iterable[str]) -> None:
    """Note that the second bucket needs copies of these objects; those that it has stay as they are."""
    now = clock.read(session)
    rows = [{"key": key, "owed_at": now, "size": 0} for key in sorted(set(keys))]
    if rows:
        new = insert_into(session, columns_of(SecondCopy)).on_conflict_do_nothing()
        session.connection().execute(new, rows)


def originals_stay(house: House, organism: str) -> bool:
    """Whether the originals of released entries are kept for ever, so that they may be locked and copied."""
    rules = house.organisms.get(organism)
    return rules is not None and rules.pipeline.dehumanize.originals.shred_after_days is None


def settle(house: House, keys: Iterable[str]) -> None:
    """Owe these copies and make them now, as far as the second bucket can be reached; the rest is made up for later.

    A release is public since its commit: a second bucket that is down must not hold up what follows.
    """
    if house.second_store is None:
        return
    wanted = sorted(set(keys))
    with house.sessions.begin() as session:
        owe(session, wanted)
    for key in wanted:
        try:
            copy(house, key)
        except ProcessingFailure as failure:
            logger.warning("copies for the second bucket wait: %s", failure)
            return


def copy(house: House, key: str, *, anew: bool = False) -> bool:
    """Copy one object to the second bucket, hashed while it comes; False when there is nothing to copy any more.

    `anew`: over a damaged copy. Raises BytesLost when our own bytes are damaged (and notes that), else
    ProcessingFailure when a bucket or the disk is at fault.
    """
    second = house.second_store
    with house.sessions.read() as session:
        row = session.get(SecondCopy, key)
    source = _source(house, key)
    if second is None or row is None or (row.copied_at is not None and not anew):
        return False
    if source is None:
        _forget(house, key)
        return False
    stored, sha256 = source
    with temporary(house.settings.scratch, "copy") as folder:
        path = folder / "bytes"
        found = house.store.fetch(stored, path, expected=sha256)
        if sha256 not in (None, found):
            raise damage.noticed(house, stored, sha256, "copy")
        put = second.store_again if anew else second.store
        made = put(path, key, sha256=found)
    with house.sessions.begin() as session:
        kept = session.get(SecondCopy, key, with_for_update=True)
        wanted = kept is not None and not erased_among(session, [(key, stored.version_id)])
        if kept is not None and wanted:
            kept.copied_at = clock.read(session)
            kept.checked_at, kept.version_id, kept.sha256, kept.size = None, made.version_id, found, made.size
    if not wanted:  # shredded while it was copied
        second.delete(made)
    return wanted


def _source(house: House, key: str) -> tuple[StoredVersion, str | None] | None:
    """The version to copy and its SHA-256, where it is known; None for what was shredded or is gone."""
    with house.sessions.read() as session:
        for table in (UploadedFile, StoredObject):
            found = session.execute(
                select(col(table.version_id), col(table.size), col(table.sha256)).where(col(table.key) == key).limit(1)
            ).first()
            if found is not None:
                version_id, size, sha256 = found
                erased = erased_among(session, [(key, version_id)])
                return None if erased else (StoredVersion(key, version_id, size), sha256)
    # A record: written once, so its first version is the one.
    first = next((each for each in house.store.list_versions(key) if each.key == key), None)
    return None if first is None else (first, None)


def _forget(house: House, key: str) -> None:
    with house.sessions.begin() as session:
        session.execute(delete(SecondCopy).where(col(SecondCopy.key) == key))
