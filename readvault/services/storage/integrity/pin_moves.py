"""A pin moves to another version with the same bytes: one transaction, with all that follows from it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import ColumnElement, select, update
from sqlmodel import Session, col

from readvault.db import audit, clock, condemned, records
from readvault.db.erased import is_erased
from readvault.db.names import among
from readvault.db.tables import (
    FixityCheck,
    Job,
    Repair,
    StoredObject,
    UploadedFile,
)
from readvault.domain.errors import ProcessingFailure
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.ports import StoredVersion
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM, hand_back
from readvault.services.storage.integrity import holders
from readvault.services.storage.integrity.pinned import Pinned, pinned_at

logger = logging.getLogger(__name__)

EARLIER, SECOND, UPLOADED, MADE = "earlier version", "second bucket", "uploaded again", "made again"
"""Where restored bytes came from."""
PAGE = 200


def put_back(house: House, pinned: Pinned, source: Path, sha256: str, origin: str) -> bool:
    """Store these bytes anew under the key, read them back, move the pin; False when somebody else did so before.

    Raises ProcessingFailure when S3 doesn't give back what it got: then no pin moves.
    """
    stored = house.store.store_again(source, pinned.key, sha256=sha256)
    failpoint("repair-before-read-back")
    if house.store.sha256_of(stored, expected=sha256) != sha256:
        raise ProcessingFailure("repair", "S3 doesn't give back the bytes that were put there")
    failpoint("repair-before-pin")
    if move(house, pinned, stored, sha256, origin):
        return True
    if pinned_at(house, pinned.key) is None and stored.version_id is not None:
        # Erased or deleted while it was restored. Whoever searched for its bytes may have done so before this.
        house.store.delete(stored)
    return False


def move(house: House, pinned: Pinned, stored: StoredVersion, sha256: str, origin: str) -> bool:
    """Let `stored`, whose bytes were just read and hashed, stand for a damaged version; False when that is over.

    The repair is a row before the pin moves, is written down in the audit log and queued as a record;
    jobs that waited for these bytes are queued again, and so is the one that locks what is released.
    """
    with house.sessions.begin() as session:
        waiting = _lock(session, pinned)
        if not _is_pinned_as(session, pinned):
            return False
        condemned.revive(session, [pinned.key])
        at = clock.read(session)
        row = Repair(
            key=pinned.key,
            lost_version_id=pinned.stored.version_id,
            version_id=stored.version_id,
            sha256=sha256,
            size=pinned.stored.size,
            source=origin,
            actor=SYSTEM,
            at=at,
        )
        session.add(row)
        session.flush()
        if not _repin(session, pinned, stored.version_id):
            session.rollback()
            return False
        damage.put(session, stored, None)
        _queue_again(session, waiting)
        holders.lock_anew(house, session, pinned.key, at)
        records.repaired(session, row)
        told = {"source": origin, "lost": pinned.stored.version_id, "version": stored.version_id}
        details = {**told, "jobs": len(waiting)}
        audit.append(session, SYSTEM, "repair", pinned.key, details)
    logger.warning("integrity: %s is repaired: %s", damage.called(pinned.key), origin)
    failpoint("repair-after-commit")
    return True


def left_behind(house: House, key: str) -> set[str | None]:
    """The versions under a key that a repair replaced."""
    with house.sessions.read() as session:
        return set(session.execute(select(col(Repair.lost_version_id)).where(col(Repair.key) == key)).scalars())


def queue_waiting(house: House, key: str) -> None:
    """Let the jobs go on that met damage under a key that is whole again."""
    with house.sessions.begin() as session:
        _queue_again(session, _waiting_for(session, key))


def write_down_uncovered(house: House, pinned: Pinned, removed: int) -> None:
    """Say in the audit log that something lay over a pinned version and was removed."""
    with house.sessions.begin() as session:
        audit.append(session, SYSTEM, "uncover", pinned.key, {"removed": removed})


def _lock(session: Session, pinned: Pinned) -> list[Job]:
    """Let nobody erase or move the pin meanwhile, in the order of an erasure's locks; the jobs that wait for it."""
    session.execute(select(col(UploadedFile.id)).where(*_same(UploadedFile, pinned)).with_for_update()).all()
    waiting = _waiting_for(session, pinned.key)
    session.execute(select(col(StoredObject.id)).where(*_same(StoredObject, pinned)).with_for_update()).all()
    return waiting


def _is_pinned_as(session: Session, pinned: Pinned) -> bool:
    """Whether nothing has changed about the pin, and nobody shredded it."""
    check = session.get(FixityCheck, pinned.key, with_for_update=True)
    if check is not None and check.damage is None:
        return False
    for table in (UploadedFile, StoredObject):
        same = _same(table, pinned)
        if session.execute(
            select(col(table.id)).where(*same, is_erased(col(table.key), col(table.version_id)))
        ).first():
            return False
    return True


def _same(table: type[UploadedFile] | type[StoredObject], pinned: Pinned) -> tuple[ColumnElement[bool], ...]:
    there = col(table.version_id).is_not_distinct_from(pinned.stored.version_id)
    sealed = () if table is StoredObject else (col(UploadedFile.sealed_at).is_not(None),)
    return (col(table.key) == pinned.key, there, *sealed)


def _repin(session: Session, pinned: Pinned, version_id: str | None) -> bool:
    """Move the pin in every row that has it; False when another repair moved it first."""
    moved = 0
    for table in (UploadedFile, StoredObject):
        rows = update(table).where(*_same(table, pinned)).values(version_id=version_id).returning(col(table.id))
        moved += len(session.execute(rows.execution_options(synchronize_session=False)).all())
    return moved > 0


def _waiting_for(session: Session, key: str) -> list[Job]:
    """The jobs that met the damage."""
    names = holders.all_of(session, key)
    if not names:
        return []
    jobs = session.execute(
        select(Job)
        .where(
            among(Job, sorted(names)[:PAGE]),
            col(Job.state) == JobState.NEEDS_ATTENTION.value,
            col(Job.last_error).contains(damage.IS_DAMAGED),
        )
        .order_by(col(Job.id))
        .with_for_update()
    ).scalars().all()  # fmt: skip
    return list(jobs)


def _queue_again(session: Session, jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.failures = job.handbacks = 0
        hand_back(session, job, JobState.QUEUED, "its damaged bytes were restored")
