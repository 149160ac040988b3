"""Records go to the bucket: what transactions queued is written there, once, and taken off the queue."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlmodel import Session, col

from readvault.db import audit, clock, record_documents, records
from readvault.db.records import Kind
from readvault.db.tables import AuditEntry, ErasedVersion, PendingRecord
from readvault.domain import manifest
from readvault.domain.errors import ProcessingFailure
from readvault.failpoints import failpoint
from readvault.ports import ReadStore, StoredVersion
from readvault.services.house import House
from readvault.services.release import second_bucket

logger = logging.getLogger(__name__)

PAGE = 200
HEAD_EVERY = 86_400.0
"""Seconds from one exported head of the audit log to the next, where nothing is released."""
GIVE_UP = 3
"""So many failures one after the other: the bucket can't be reached."""
LOCKED_FOR = 10 * 365.25 * 86400
"""Seconds that heads of the audit log can't be deleted: ten years."""
_OF_VERSION = re.compile(records.ROOT + r"/([^/]+)/([0-9]+)/")


def export(house: House, *, seconds: float | None = None) -> int:
    """Write what is queued to the bucket, and to the second one where there is one; how many records.

    At most `seconds` long. It can be broken off anywhere and called again, by several workers at once:
    the same bytes under the same key are a success. What can't be written stays queued. A second bucket
    that is down holds nothing up: it is owed these copies, and gets them from the next verification.
    """
    started = time.monotonic()
    second = _Second(house)
    done, last, failed = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while page := _page(house, last):
            last = page[-1][0]
            written: list[int] = []
            try:
                for row in page:
                    if failed >= GIVE_UP or (seconds is not None and time.monotonic() - started > seconds):
                        return done + len(written)
                    if _try(house, second, Path(folder), *row):
                        written.append(row[0])
                        failed = 0
                    else:
                        failed += 1
            finally:
                _forget(house, written, second)
            done += len(written)
    return done


def queued(house: House) -> int:
    """How many records wait to be written."""
    with house.sessions.read() as session:
        return int(session.execute(select(func.count()).select_from(PendingRecord)).scalar_one())


def queue_head(house: House) -> bool:
    """Queue the last row of the audit log as what it has to end with, or go on from; False for an empty log."""
    with house.sessions.begin() as session:
        entry = session.execute(select(AuditEntry).order_by(col(AuditEntry.id).desc()).limit(1)).scalar_one_or_none()
        if entry is None:
            return False
        audit.queue_head(session, entry)
        return True


def _page(house: House, after: int) -> list[tuple[int, str, str, str | None]]:
    with house.sessions.read() as session:
        columns = (col(PendingRecord.id), col(PendingRecord.kind), col(PendingRecord.key), col(PendingRecord.body))
        query = select(*columns).where(col(PendingRecord.id) > after).order_by(columns[0]).limit(PAGE)
        return [tuple(row) for row in session.execute(query)]


class _Second:
    """The second bucket during one export: asked until it fails for the first time, owed copies from then on."""

    def __init__(self, house: House) -> None:
        self._store = house.second_store
        self._is_down = False
        self.owed: list[str] = []

    def write(self, path: Path, key: str, sha256: str, until: float) -> StoredVersion | None:
        """Write a record there, or note that it is owed."""
        if self._store is None:
            return None
        try:
            if not self._is_down:
                return _put(self._store, path, key, sha256, until)
        except ProcessingFailure as failure:
            logger.warning("copies of records for the second bucket wait: %s", failure.cause)
            self._is_down = True
        self.owed.append(key)
        return None


def _put(store: ReadStore, path: Path, key: str, sha256: str, until: float) -> StoredVersion:
    stored = store.store(path, key, sha256=sha256)
    if key.startswith(f"{records.AUDIT}/"):
        store.lock(stored, until=until)
    return stored


def _try(house: House, second: _Second, folder: Path, number: int, kind: str, subject: str, body: str | None) -> bool:
    try:
        _write(house, second, folder, kind, subject, body)
    except ProcessingFailure as failure:
        logger.warning("record %d waits for the next time: %s", number, failure.cause)
        return False
    return True


def _write(house: House, second: _Second, folder: Path, kind: str, subject: str, body: str | None) -> None:
    with house.sessions.read() as session:
        made = _made(session, Kind(kind), subject, body)
        until = clock.read(session) + LOCKED_FOR
    if made is not None:
        key, content = made
        path = folder / "record.json"
        path.write_bytes(content)
        stored = _put(house.store, path, key, manifest.digest(content), until)
        copy = second.write(path, key, manifest.digest(content), until)
        if not _still_true(house, Kind(kind), subject, made):
            house.store.delete(stored)
            if copy is not None and house.second_store is not None:
                house.second_store.delete(copy)
            raise ProcessingFailure("records", "the version was erased while it was written")
    failpoint("record-written")


def _still_true(house: House, kind: Kind, subject: str, made: tuple[str, bytes]) -> bool:
    """Whether an erasure, which may have looked for documents before this one came, leaves it as it is."""
    name = _OF_VERSION.match(made[0])
    if name is None:
        return True
    with house.sessions.read() as session:
        if session.get(ErasedVersion, (name[1], int(name[2]))) is None:
            return True
        now = record_documents.document(session, kind, subject, clock.read(session))
    return now is not None and now[1] == made[1]


def _made(session: Session, kind: Kind, subject: str, body: str | None) -> tuple[str, bytes] | None:
    if body is not None:
        return subject, body.encode("utf-8")
    # The clock is read after the row was: whoever sees a change writes it under a later time.
    return record_documents.document(session, kind, subject, clock.read(session))


def _forget(house: House, written: list[int], second: _Second) -> None:
    if not written:
        return
    with house.sessions.begin() as session:
        second_bucket.owe(session, second.owed)
        gone = delete(PendingRecord).where(col(PendingRecord.id).in_(written))
        session.execute(gone.execution_options(synchronize_session=False))
    second.owed.clear()
