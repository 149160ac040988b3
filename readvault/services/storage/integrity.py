"""Integrity: what was sealed is read again from time to time, and every damage is found and said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import FixityCheck
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import BytesLost
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM
from readvault.services.storage.pinned import Pinned, pinned_versions

logger = logging.getLogger(__name__)

DAY = 86_400.0
MISSING, OTHER_BYTES = "missing", "other bytes"


@dataclass(slots=True)
class Verification:
    """How far a verification came. `finished` is False when its time was up; the next one goes on from there."""

    checked: int = 0
    bytes: int = 0
    damaged: int = 0
    mended: int = 0
    """Objects that were damaged when they were last read, and are whole now."""
    finished: bool = False


def verify(
    house: House,
    *,
    days: float = 90,
    bytes_per_second: float | None = None,
    budget_seconds: float | None = None,
    progress: Callable[[Verification], None] = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> Verification:
    """Read and hash every pinned version whose bytes were not read in the last `days`; damage is noted and logged.

    At most `bytes_per_second` on the average, at most `budget_seconds` in all: what is left comes next
    time, as what was read now is not due again. Raises ProcessingFailure when S3 can't be reached: that
    is no damage.
    """
    done = Verification()
    started = time.monotonic()
    with house.sessions.read() as session:
        since = clock.read(session) - days * DAY
    for pinned in pinned_versions(house, unchecked_since=since):
        if budget_seconds is not None and time.monotonic() - started >= budget_seconds:
            return done
        _check(house, pinned, done)
        progress(done)
        if bytes_per_second:
            ahead = done.bytes / bytes_per_second - (time.monotonic() - started)
            if ahead > 0:
                pause(ahead)
    done.finished = True
    return done


def damaged(house: House) -> list[FixityCheck]:
    """What is known to be damaged now, by key."""
    with house.sessions.read() as session:
        found = select(FixityCheck).where(col(FixityCheck.damage).is_not(None)).order_by(col(FixityCheck.key))
        return list(session.exec(found))


def _check(house: House, pinned: Pinned, done: Verification) -> None:
    damage: str | None = None
    try:
        found = house.store.sha256_of(pinned.stored, expected=pinned.sha256)
        if pinned.sha256 not in (None, found):
            damage = OTHER_BYTES
    except BytesLost:
        damage = MISSING
    done.checked += 1
    done.bytes += pinned.stored.size
    done.damaged += damage is not None
    with house.sessions.begin() as session:
        before = session.get(FixityCheck, pinned.key)
        was = None if before is None else before.damage
        _note(session, pinned, damage)
        done.mended += was is not None and damage is None
        if damage != was:
            details = {"damage": damage, "before": was, "size": pinned.stored.size}
            audit.append(session, SYSTEM, "verify integrity", pinned.key, details)
    if damage is not None:
        logger.error("integrity: object %s is damaged: %s", pinned.key, damage)


def _note(session: Session, pinned: Pinned, damage: str | None) -> None:
    table = columns_of(FixityCheck)
    now = clock.read(session)
    since = None if damage is None else func.coalesce(table.c.damaged_since, now)
    new = insert_into(session, table).values(
        key=pinned.key,
        checked_at=now,
        size=pinned.stored.size,
        damage=damage,
        damaged_since=None if damage is None else now,
    )
    session.execute(
        new.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "checked_at": now,
                "size": pinned.stored.size,
                "damage": damage,
                "damaged_since": since,
            },
        )
    )
