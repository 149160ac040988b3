"""The audit log: it only grows, and each row holds the SHA-256 of the one before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlmodel import Session, col

from readvault.db import clock, records
from readvault.db.tables import AuditEntry
from readvault.db.upsert import columns_of
from readvault.domain import manifest

BEGINNING = "0" * 64
PAGE = 1000
_LOCK = 0x61756469
_BEGINS = "-begins"
_HEAD = re.compile(records.AUDIT + r"/[0-9]+-([0-9]+)-([0-9a-f]{64})(-begins)?\.json")


def append(
    session: Session, actor: str, action: str, subject: str, details: dict[str, Any] | None = None
) -> AuditEntry:
    """Write down what `actor` did. `details` is JSON.

    On PostgreSQL this waits for every other transaction that appended, so it belongs at the end of
    a transaction, after all other locks.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    previous = session.execute(select(col(AuditEntry.sha256)).order_by(col(AuditEntry.id).desc()).limit(1)).scalar()
    entry = AuditEntry(
        at=round(clock.read(session), 6),
        actor=actor,
        action=action,
        subject=subject,
        details=json.loads(json.dumps(details or {})),
        previous_sha256=previous or BEGINNING,
        sha256="",
    )
    entry.sha256 = _digest(entry)
    session.add(entry)
    session.flush()
    return entry


@dataclass(frozen=True, slots=True)
class Head:
    """A row that was exported as the log's last one. `begins`: a log that follows the one of a lost database."""

    id: int
    sha256: str
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """What a look at all rows found: the first one that isn't as it was written, and a head that is no row."""

    rows: int
    first_bad: int | None = None
    lost: Head | None = None


def queue_head(session: Session, entry: AuditEntry, *, begins: bool = False) -> None:
    """Have this row written to the bucket as the log's last one: rows cut off behind it, or written anew, show.

    Its key says all of it, so that nobody has to read it.
    """
    assert entry.id is not None
    said = {"id": entry.id, "sha256": entry.sha256, "at": entry.at, "begins": begins}
    name = f"{records.stamp(entry.at)}-{entry.id:012d}-{entry.sha256}{_BEGINS if begins else ''}"
    records.queue_at(session, f"{records.AUDIT}/{name}.json", manifest.canonical(said), entry.at)


def head_of(key: str) -> Head | None:
    """The head that an object's key names; None for another key."""
    match = _HEAD.fullmatch(key)
    return None if match is None else Head(int(match[1]), match[2], match[3] is not None)


def verify(session: Session) -> list[int]:
    """The IDs of rows that were altered, or before which a row is missing; none when the log is whole.

    Rows cut off at the end leave no trace in the log itself: `examine` finds them by exported heads.
    """
    return [number for number, right, _ in _examined(session) if not right]


def examine(session: Session, heads: Collection[Head] = ()) -> Examined:
    """Look at every row and see that each of `heads` is one of them. Ends at the first row that is wrong."""
    expected = {head.id: head for head in heads}
    rows = 0
    for number, right, sha256 in _examined(session):
        rows += 1
        head = expected.pop(number, None)
        if not right:
            return Examined(rows, first_bad=number)
        if head is not None and head.sha256 != sha256:
            return Examined(rows, lost=head)
    return Examined(rows, lost=next((head for _, head in sorted(expected.items())), None))


def _examined(session: Session) -> Iterator[tuple[int, bool, str]]:
    previous = BEGINNING
    columns = columns_of(AuditEntry).c
    rows = session.execute(select(*columns).order_by(columns.id).execution_options(yield_per=PAGE))
    for row in rows:
        yield row.id, row.previous_sha256 == previous and row.sha256 == _digest(row), row.sha256
        previous = row.sha256


def _digest(entry: Any) -> str:
    content = [entry.at, entry.actor, entry.action, entry.subject, entry.details, entry.previous_sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
