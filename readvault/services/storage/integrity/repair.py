"""Repair: lost or altered bytes are put back from wherever they still are, and never other ones.

In this order: another version under the same key, the second bucket, another file of the group with the
same SHA-256 (somebody uploaded it again), and for processed files the pipeline, from the sealed
originals. What is put back is read back and hashed before the pin moves; the damaged version stays
where it is until garbage is collected.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from sqlalchemy import func, select
from sqlmodel import col

from readvault.db.tables import FixityCheck, StoredObject, UploadedFile
from readvault.domain.errors import ProcessingFailure, Unavailable
from readvault.domain.referenced import is_referenced
from readvault.ports import ReadStore, StoredVersion
from readvault.scratch import temporary
from readvault.services.entries import damage
from readvault.services.entries.damage import called
from readvault.services.house import House
from readvault.services.storage.integrity import making_again, pin_moves
from readvault.services.storage.integrity.pin_moves import EARLIER, SECOND, UPLOADED
from readvault.services.storage.integrity.pinned import Pinned, pinned_at

logger = logging.getLogger(__name__)

UNREAD = "nothing had read the file and nobody declared its SHA-256, so no bytes can be known as the right ones"


def repair(house: House, pinned: Pinned) -> str | None:
    """Put the bytes of a damaged pinned version back; None when that was done, else what stands in the way.

    What the pipeline has to make again takes a while: a job is queued, and until it ends that stands in the way.
    """
    if is_referenced(pinned.key):
        return _remains(house, pinned, "it stays in a bucket of its group, which has to put it back")
    if pinned.restorable is None:
        return _remains(house, pinned, UNREAD)
    obstacle = ""
    for look in (_earlier, _from_second_bucket, _from_the_same_bytes):
        try:
            if look(house, pinned, pinned.restorable):
                return None
        except (ProcessingFailure, Unavailable) as failure:
            obstacle = f"; {failure}"
    if pinned_at(house, pinned.key) != pinned:
        return None  # somebody else repaired it, or it was erased: nothing is left to put back
    return _remains(house, pinned, making_again.wish(house, pinned) + obstacle)


def with_new_bytes(house: House, group_id: int, hashes: Collection[str]) -> int:
    """Repair what the group has lost with files of the same SHA-256 that it has uploaded again; how many objects.

    Nothing is asked of S3 unless one of these very files is damaged, and no failure reaches the caller:
    what isn't repaired now is tried again by the next verification.
    """
    lost: set[str] = set()
    with house.sessions.read() as session:
        sealed = func.coalesce(col(UploadedFile.sha256), col(UploadedFile.declared_sha256))
        for key, sha256, owner in (
            (col(UploadedFile.key), sealed, col(UploadedFile.group_id)),
            (col(StoredObject.key), col(StoredObject.sha256), col(StoredObject.group_id)),
        ):
            query = select(key).join(FixityCheck, col(FixityCheck.key) == key)
            same = (owner == group_id, sha256.in_(hashes), col(FixityCheck.damage).is_not(None))
            lost.update(session.execute(query.where(*same)).scalars())
    repaired = 0
    for name in sorted(lost):
        pinned = pinned_at(house, name)
        if pinned is None or pinned.restorable is None or is_referenced(name):
            continue
        try:
            repaired += _from_the_same_bytes(house, pinned, pinned.restorable)
        except (ProcessingFailure, Unavailable) as failure:
            logger.warning("integrity: %s is not repaired yet: %s", called(pinned.key), failure)
    return repaired


def uncover(house: House, pinned: Pinned) -> tuple[int, bool]:
    """Remove what lies over a whole pinned version: how many markers and versions, and whether a lock held one.

    Versions that a repair left behind are no cover: they stay for the collection of garbage.
    """
    left_behind = pin_moves.left_behind(house, pinned.key)
    removed = 0
    while True:
        listed = (each for each in house.store.walk(pinned.key) if each.stored.key == pinned.key)
        top = next((each for each in listed if each.newest), None)
        if top is None or top.stored.version_id in {pinned.stored.version_id, *left_behind}:
            break
        if not house.store.delete(top.stored):
            logger.error("integrity: a lock holds what lies over %s; a maintainer must remove it", called(pinned.key))
            return removed, True
        removed += 1
    if removed:
        logger.warning("integrity: removed %d versions and markers that lay over %s", removed, called(pinned.key))
        pin_moves.write_down_uncovered(house, pinned, removed)
    return removed, False


def _remains(house: House, pinned: Pinned, obstacle: str) -> str:
    with house.sessions.begin() as session:
        row = session.get(FixityCheck, pinned.key)
        if row is not None and row.damage is not None:
            row.unrepaired = obstacle
    if not is_referenced(pinned.key):
        logger.error("integrity: %s is damaged and not repaired: %s", called(pinned.key), obstacle)
    return obstacle


def _earlier(house: House, pinned: Pinned, sha256: str) -> bool:
    for stored in _versions_with(house.store, pinned.key, pinned.stored.size, sha256):
        if stored.version_id != pinned.stored.version_id:
            return pin_moves.move(house, pinned, stored, sha256, EARLIER)
    return False


def _from_second_bucket(house: House, pinned: Pinned, sha256: str) -> bool:
    if house.second_store is None:
        return False
    for stored in _versions_with(house.second_store, pinned.key, pinned.stored.size, sha256):
        if _copied(house, pinned, house.second_store, stored, sha256, SECOND):
            return True
    return False


def _from_the_same_bytes(house: House, pinned: Pinned, sha256: str) -> bool:
    """Another file of the group's, submitted or only uploaded. Declared hashes only tell where to look."""
    with house.sessions.read() as session:
        upload, made = UploadedFile, StoredObject
        keys = session.execute(
            select(col(upload.key)).where(
                col(upload.group_id) == pinned.group_id,
                (col(upload.sha256) == sha256) | (col(upload.declared_sha256) == sha256),
                col(upload.key) != pinned.key,
            )
        ).scalars().all()  # fmt: skip
        others = session.execute(
            select(col(made.key)).where(
                col(made.group_id) == pinned.group_id, col(made.sha256) == sha256, col(made.key) != pinned.key
            )
        ).scalars().all()  # fmt: skip
        known = damage.damaged_among(session, [*keys, *others])
    # What lies in a group's own bucket comes last: it is slow, and may not answer.
    for key in sorted({*keys, *others} - known, key=lambda each: (is_referenced(each), each)):
        for stored in _versions_with(house.store, key, pinned.stored.size, sha256):
            if _copied(house, pinned, house.store, stored, sha256, UPLOADED):
                return True
    return False


def _versions_with(store: ReadStore, key: str, size: int, sha256: str) -> Iterator[StoredVersion]:
    """The versions under a key that have these bytes, every one of them read now."""
    for stored in list(store.list_versions(key)):
        if stored.key == key and stored.size == size and damage.found(store, stored, sha256) is None:
            yield stored


def _copied(house: House, pinned: Pinned, store: ReadStore, stored: StoredVersion, sha256: str, origin: str) -> bool:
    with temporary(house.settings.scratch, "repair") as folder:
        path = folder / "bytes"
        if store.fetch(stored, path, expected=sha256) != sha256:
            return False
        return pin_moves.put_back(house, pinned, path, sha256, origin)
