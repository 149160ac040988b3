"""After a rebuild: is every object version there that the records pin?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlmodel import Session, SQLModel

from readvault.db import audit, clock, records
from readvault.db.tables import Repair, StoredObject, UploadedFile
from readvault.db.upsert import columns_of
from readvault.domain.actor import Actor
from readvault.domain.errors import BytesLost
from readvault.ports import StoredVersion
from readvault.services.house import House
from readvault.services.storage.integrity.fsck import fsck

PINNED: tuple[type[SQLModel], ...] = (UploadedFile, StoredObject)


def check(
    house: House, actor: Actor, counts: Counter[str], lost: Callable[[str], None], say: Callable[[str], None]
) -> None:
    """Compare all pins with the bucket's listing; where a version is gone, pin another one with the same bytes.

    A bucket that was copied gives every object another version ID. Which version stands for which is
    written down as a repair.
    """
    for finding in fsck(house):
        if not finding.difference.loses_bytes:
            continue
        with house.sessions.read() as session:
            pinned = _pinned(session, finding.key)
        other = None if pinned is None else _same_bytes(house, *pinned)
        if pinned is None or other is None:
            lost(f"{finding.key}: its bytes are not in the bucket")
            continue
        with house.sessions.begin() as session:
            _move(session, actor, *pinned, other)
        counts["objects found under another version"] += 1
        say(f"{finding.key}: version {other.version_id} has the same bytes and stands for {pinned[0].version_id}")


def follow(session: Session, repair: Mapping[str, Any]) -> None:
    """Pin what a repair put in a version's place: records of files are older than their repairs."""
    for table in PINNED:
        columns = columns_of(table)
        lost = columns.c.version_id.is_not_distinct_from(repair["lost_version_id"])
        moved = update(columns).where(columns.c.key == repair["key"], columns.c.size == repair["size"], lost)
        session.execute(moved.values(version_id=repair["version_id"]))


def _pinned(session: Session, key: str) -> tuple[StoredVersion, str | None] | None:
    """What is pinned under a key, with the SHA-256 that it must have, if anybody ever said."""
    for table in PINNED:
        columns = columns_of(table).c
        declared = columns.get("declared_sha256")
        for row in session.execute(select(*columns).where(columns.key == key)).mappings():
            sha256 = row["sha256"] or (None if declared is None else row["declared_sha256"])
            return StoredVersion(key, row["version_id"], row["size"]), sha256
    return None


def _same_bytes(house: House, pinned: StoredVersion, sha256: str | None) -> StoredVersion | None:
    for version in house.store.list_versions(pinned.key):
        if version.key == pinned.key and version.size == pinned.size and sha256 is not None:
            try:
                if house.store.sha256_of(version, expected=sha256) == sha256:
                    return version
            except BytesLost:
                continue
    return None


def _move(session: Session, actor: Actor, pinned: StoredVersion, sha256: str | None, other: StoredVersion) -> None:
    assert sha256 is not None
    row = Repair(
        key=pinned.key, lost_version_id=pinned.version_id, version_id=other.version_id, sha256=sha256,
        size=pinned.size, source="earlier version", actor=actor.name, at=clock.read(session),
    )  # fmt: skip
    session.add(row)
    session.flush()
    records.repaired(session, row)
    for table in PINNED:
        columns = columns_of(table)
        moved = update(columns).where(columns.c.key == pinned.key, columns.c.version_id == pinned.version_id)
        session.execute(moved.values(version_id=other.version_id))
    details = {"source": row.source, "lost": pinned.version_id, "version": other.version_id}
    audit.append(session, actor.name, "repair", pinned.key, details)
