"""The audit log: it only grows, and each row holds the SHA-256 of the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import AuditEntry

BEGINNING = "0" * 64
_LOCK = 0x61756469


def append(
    session: Session, actor: str, action: str, subject: str, details: dict[str, Any] | None = None
) -> AuditEntry:
    """Write down what `actor` did. `details` is JSON.

    On PostgreSQL this waits for every other transaction that appended, so it belongs at the end of
    a transaction, after all other locks.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    previous = session.exec(select(AuditEntry.sha256).order_by(col(AuditEntry.id).desc()).limit(1)).first()
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


def verify(session: Session) -> list[int]:
    """The IDs of rows that were altered, or before which a row is missing; none when the log is whole.

    Rows cut off at the end leave no trace in the log itself.
    """
    return [number for number, right in _examined(session) if not right]


def examine(session: Session) -> tuple[int | None, int]:
    """The ID of the first row that is not as it was written (None: all are), and how many rows were looked at."""
    rows = 0
    for number, right in _examined(session):
        rows += 1
        if not right:
            return number, rows
    return None, rows


def _examined(session: Session) -> Iterator[tuple[int, bool]]:
    previous = BEGINNING
    for entry in session.exec(select(AuditEntry).order_by(col(AuditEntry.id)).execution_options(yield_per=1000)):
        yield entry.id or 0, entry.previous_sha256 == previous and entry.sha256 == _digest(entry)
        previous = entry.sha256


def _digest(entry: AuditEntry) -> str:
    content = [entry.at, entry.actor, entry.action, entry.subject, entry.details, entry.previous_sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
