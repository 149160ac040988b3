"""Documents for the bucket, queued in the transaction that makes them true.

A document can't be in S3 before the commit, and must be after it: so it is a row first, and
`readvault.services.storage.records` carries it over, as often as it takes.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from readvault.db import clock
from readvault.db.tables import PendingRecord
from readvault.domain import manifest


def queue(session: Session, prefix: str, body: dict[str, Any]) -> None:
    """Have `body` written to `<prefix>/<SHA-256 of it>.json` after the commit. It is private, like all records."""
    content = manifest.canonical(body)
    key = f"{prefix}/{manifest.digest(content)}.json"
    session.add(PendingRecord(key=key, body=content.decode("utf-8"), created_at=clock.read(session)))
