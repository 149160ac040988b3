"""Stored bytes that are lost or altered: how that is made sure, noted, and kept from everybody who asks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import batched

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import FixityCheck
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import BytesLost, Damaged, ProcessingFailure, StoreUnavailable
from readvault.domain.referenced import is_referenced
from readvault.ports import ReadStore, StoredVersion
from readvault.services.house import House

logger = logging.getLogger(__name__)

MISSING, OTHER_BYTES = "missing", "other bytes"
REFERENCE_LOST = "reference lost"
"""A file that stays in a bucket of its group is not there any more as it was: theirs to mend, no loss of ours."""
IS_DAMAGED = "stored bytes are damaged"
"""What a job's reason holds when it waits for a repair: the repair queues it again."""
ACTOR = "readvault"
PAGE = 500


def called(key: str) -> str:
    """How the log names an object: its key holds a file ID or a hash, which are secret.

    >>> called("vault/1/e3b0c442")
    'vault object 843f953487ed'
    """
    return f"{key.partition('/')[0]} object {hashlib.sha256(key.encode()).hexdigest()[:12]}"


def found(
    store: ReadStore, stored: StoredVersion, sha256: str | None, *, progress: Callable[[int], None] | None = None
) -> str | None:
    """What is wrong with a version's bytes (MISSING, OTHER_BYTES, REFERENCE_LOST), all of them read now; None: nothing.

    What looks wrong is read once more: a broken transfer is no damage. Raises ProcessingFailure when S3
    can't be reached.
    """
    seen = _once(store, stored, sha256, progress)
    return seen if seen is None else _once(store, stored, sha256, progress)


def _once(
    store: ReadStore, stored: StoredVersion, sha256: str | None, progress: Callable[[int], None] | None
) -> str | None:
    try:
        read = store.sha256_of(stored, expected=sha256, progress=progress)
        wrong = None if read == sha256 or sha256 is None else OTHER_BYTES
    except BytesLost:
        wrong = MISSING
    return REFERENCE_LOST if wrong is not None and is_referenced(stored.key) else wrong


def note(house: House, stored: StoredVersion, damage: str | None, *, unrepaired: str | None = None) -> str | None:
    """Write down what the bytes under a key are like now; what was noted before. A change is a row of the audit log."""
    with house.sessions.begin() as session:
        before = session.get(FixityCheck, stored.key)
        was = None if before is None else before.damage
        put(session, stored, damage, unrepaired=unrepaired)
        if damage != was:
            details = {"damage": damage, "before": was, "size": stored.size}
            audit.append(session, ACTOR, "verify integrity", stored.key, details)
    if damage == REFERENCE_LOST and damage != was:  # no alarm: an owner can take a file away as often as they like
        logger.warning("%s is not in its group's bucket any more as it was", called(stored.key))
    elif damage is not None and damage != was:
        logger.error("integrity: %s is damaged: %s", called(stored.key), damage)
    return was


def note_whole(house: House, versions: Sequence[StoredVersion], since: float) -> int:
    """Write down that these versions were read after `since` (seconds since 1970) and are whole; how many weren't.

    One transaction for all of them. What was found damaged after `since` stays so.
    """
    table = columns_of(FixityCheck)
    keys = sorted(stored.key for stored in versions)
    with house.sessions.begin() as session:
        earlier = or_(table.c.damage.is_(None), table.c.checked_at < since)
        were = select(table.c.key, table.c.damage).where(table.c.key.in_(keys), table.c.damage.is_not(None), earlier)
        mended = dict(session.execute(were.order_by(table.c.key).with_for_update()).tuples().all())
        good = {"checked_at": clock.read(session), "damage": None, "damaged_since": None, "unrepaired": None}
        rows = [{"key": stored.key, "size": stored.size, **good} for stored in sorted(versions, key=lambda v: v.key)]
        new = insert_into(session, table)
        changed = {name: new.excluded[name] for name in rows[0] if name != "key"}
        upsert = new.on_conflict_do_update(index_elements=["key"], set_=changed, where=earlier)
        session.connection().execute(upsert, rows)
        for stored in versions:
            if stored.key in mended:
                details = {"damage": None, "before": mended[stored.key], "size": stored.size}
                audit.append(session, ACTOR, "verify integrity", stored.key, details)
    return len(mended)


def put(session: Session, stored: StoredVersion, damage: str | None, *, unrepaired: str | None = None) -> None:
    """Note the state of the bytes under a key in an open transaction."""
    table = columns_of(FixityCheck)
    now = clock.read(session)
    values = {
        "checked_at": now,
        "size": stored.size,
        "damage": damage,
        "unrepaired": unrepaired if damage is not None else None,
    }
    since = None if damage is None else func.coalesce(table.c.damaged_since, now)
    new = insert_into(session, table).values(key=stored.key, damaged_since=None if damage is None else now, **values)
    session.execute(new.on_conflict_do_update(index_elements=["key"], set_={**values, "damaged_since": since}))


def noticed(house: House, stored: StoredVersion, sha256: str | None, step: str) -> ProcessingFailure:
    """What to raise for a version that looked lost or altered: BytesLost when it is (and it is noted), else a retry."""
    damage = found(house.store, stored, sha256)
    if damage is None and is_referenced(stored.key):  # somebody else's store: no outage of ours
        return ProcessingFailure(step, "a referenced file was read with other bytes than it has now; it is read again")
    if damage is None:
        return StoreUnavailable(step, "S3 gave other bytes than it holds; they are read again")
    note(house, stored, damage)
    # Without the key: Prefect shows this text, and where originals lie is not even a maintainer's matter.
    return BytesLost(step, f"{IS_DAMAGED} ({damage}): readvault verify-integrity names them")


def damaged_among(session: Session, keys: Iterable[str]) -> set[str]:
    """Which of these keys are known to be damaged."""
    known: set[str] = set()
    for page in batched(sorted(set(keys)), PAGE):
        query = select(FixityCheck.key).where(col(FixityCheck.key).in_(page), col(FixityCheck.damage).is_not(None))
        known |= set(session.exec(query))
    return known


def refuse_damaged(session: Session, keys: Collection[str]) -> None:
    """Raise Damaged when one of these files is: nobody ever gets other bytes than were sealed."""
    damaged = damaged_among(session, keys)
    if any(map(is_referenced, damaged)):
        raise Damaged("This file stays in a bucket of its group, and was not found there as it was submitted.")
    if damaged:
        raise Damaged("The stored bytes of this file are damaged. They are being restored; please try again later.")
