"""Requests that may be sent again: the second one gets the answer of the first, and nothing is done twice.

Both calls belong into the caller's write transaction: `authorize`, then `earlier`, then the work, then
`remember`. A request without a key is done each time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, text
from sqlmodel import Session, col, select

from readvault.db import clock
from readvault.db.tables import IdempotentRequest
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.services.house import House

KEPT_HOURS = 7 * 24
"""How long an answer can be had again: as long as an upload lasts."""


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is done once for its key: `purpose` names what is asked, `fingerprint` all of it."""

    key: str | None
    purpose: str
    fingerprint: str

    @classmethod
    def of(cls, key: str | None, purpose: str, *asked: Any) -> Once:
        """For a request that asks for these things: bytes, or anything that JSON can hold."""
        digest = hashlib.sha256()
        for each in asked if key is not None else ():
            is_bytes = isinstance(each, bytes)
            written = each if is_bytes else json.dumps(each, sort_keys=True, separators=(",", ":")).encode()
            digest.update(f"{'b' if is_bytes else 'j'}{len(written)}:".encode() + written)
        return cls(key, purpose, digest.hexdigest())


NOT_ONCE = Once(None, "", "")
"""A request without a key."""


def earlier(session: Session, actor: Actor, once: Once) -> dict[str, Any] | None:
    """The answer that this request got before, or None: then do it, and `remember` the answer.

    A second request with the key waits here until the first one has ended. Raises Unprocessable when
    the key was used for another request.
    """
    if once.key is None:
        return None
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _lock_of(actor.name, once.key)})
    known = session.get(IdempotentRequest, (actor.name, once.key))
    if known is None:
        return None
    if known.at <= clock.read(session) - KEPT_HOURS * 3600:
        session.delete(known)
        session.flush()
        return None
    if (known.purpose, known.fingerprint) != (once.purpose, once.fingerprint):
        raise Unprocessable("This Idempotency-Key was used for another request. Use a new key for a new request.")
    return dict(known.answer)


def remember(session: Session, actor: Actor, once: Once, answer: dict[str, Any]) -> None:
    """Keep the answer (JSON without URLs and secrets) for the request's next sending."""
    if once.key is None:
        return
    row = IdempotentRequest(
        user_name=actor.name,
        key=once.key,
        purpose=once.purpose,
        fingerprint=once.fingerprint,
        answer=answer,
        at=clock.read(session),
    )
    session.add(row)
    session.flush()


def forget(session: Session, actor: Actor, once: Once) -> None:
    """Drop an answer that turned out to be none: the request's next sending is done anew."""
    if once.key is not None and (known := session.get(IdempotentRequest, (actor.name, once.key))) is not None:
        session.delete(known)


def forget_old(house: House) -> int:
    """Drop answers that are older than `KEPT_HOURS`; how many."""
    old = col(IdempotentRequest.at) <= clock.now() - KEPT_HOURS * 3600
    with house.sessions.read() as session:
        if session.exec(select(IdempotentRequest.key).where(old).limit(1)).first() is None:
            return 0  # no write transaction every other second
    with house.sessions.begin() as session:
        return session.connection().execute(delete(IdempotentRequest).where(old)).rowcount


def _lock_of(user: str, key: str) -> int:
    digest = hashlib.sha256(f"{user}\x00{key}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
