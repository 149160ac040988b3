"""What of a rebuilt database follows from its rows: sums, counters, and where numbering goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Integer, String, cast, delete, func, insert, literal, select, text
from sqlmodel import Session, SQLModel, col

from readvault.db import clock, references
from readvault.db.erased import is_erased
from readvault.db.tables import (
    AccessionCounter,
    EntryVersion,
    OrganismState,
    ReleasedCount,
    UploadedFile,
    UploadUsage,
)


def go_on_counting(session: Session) -> None:
    """Let the next row of every table get a number that no restored row has (PostgreSQL counts apart)."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in SQLModel.metadata.tables.values():
        column = table.c.get("id")
        if column is not None and isinstance(column.type, Integer) and column.primary_key:
            said = {"table": table.name}
            sequence = session.execute(text("SELECT pg_get_serial_sequence(:table, 'id')"), said).scalar()
            last = session.execute(select(func.max(column))).scalar()
            if sequence is not None and last is not None:
                session.execute(select(func.setval(sequence, last)))


def sum_up(session: Session, organisms: Iterable[dict[str, Any]], highest: int) -> None:
    """Write the sums that are kept beside the rows: what is used, what is released, which accession was the last."""
    at = clock.read(session)
    references.note_restored(session)
    session.execute(delete(UploadUsage))
    for name, owner in (("group", col(UploadedFile.group_id)), ("user", col(UploadedFile.uploader))):
        scope = literal(f"{name}:").op("||")(cast(owner, String))
        sealed = select(scope, func.sum(col(UploadedFile.size))).where(
            col(UploadedFile.sealed_at).is_not(None), ~is_erased(col(UploadedFile.key), col(UploadedFile.version_id))
        )
        session.execute(insert(UploadUsage).from_select(["scope", "sealed_bytes"], sealed.group_by(owner)))
    session.execute(delete(ReleasedCount))
    of_group = (col(EntryVersion.organism), col(EntryVersion.group_id))
    released = select(*of_group, func.count()).where(col(EntryVersion.released)).group_by(*of_group)
    session.execute(insert(ReleasedCount).from_select(["organism", "group_id", "entries"], released))
    session.execute(delete(AccessionCounter))
    session.add(AccessionCounter(id=1, last=highest))
    _organisms(session, organisms, at)


def _organisms(session: Session, organisms: Iterable[dict[str, Any]], at: float) -> None:
    """Whoever has looked at what is public before the loss finds that it has changed, by number and time."""
    known = {row["organism"]: row for body in organisms for row in body["rows"]["organism_state"]}
    session.execute(delete(OrganismState))
    names = set(session.execute(select(col(EntryVersion.organism)).distinct()).scalars()) | set(known)
    for name in sorted(names):
        before = known.get(name, {})
        session.add(
            OrganismState(
                organism=name,
                released_revision=before.get("released_revision", 0) + 1,
                released_changed_at=at,
                current_pipeline_version=before.get("current_pipeline_version"),
                processing_revision=before.get("processing_revision", 0) + 1,
            )
        )
