"""Openings of originals end when their organism wants them public no more: going back needs two maintainers anew."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.erased import is_tombstone
from readvault.db.names import among
from readvault.db.tables import EntryVersion, OriginalOpening
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.openings import State, Step
from readvault.domain.organism import Organism
from readvault.services.entries import released_state
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM
from readvault.services.release.opening import holds, is_in
from readvault.services.release.public_originals import newest_steps, unwanted

PAGE = 100


def end_unwanted(house: House) -> int:
    """Close originals that are open or asked for where the organism's file wants none public any more; how many.

    Everybody who asks for them reads why. While the file says so nobody gets them anyway; this is for the
    day when it says otherwise again.
    """
    ended = 0
    for organism in list(house.organisms.values()):
        reason = unwanted(organism)
        if reason is not None:
            while closed := _close_some(house, organism, reason):
                ended += closed
    return ended


def _close_some(house: House, organism: Organism, reason: str) -> int:
    with house.sessions.read() as session:
        now = clock.read(session)
        living = or_(is_in(State.OPEN, now), is_in(State.REQUESTED, now))
        rows = session.exec(
            select(OriginalOpening)
            .join(EntryVersion, _same())
            .where(col(EntryVersion.organism) == organism.name, holds(), living, ~is_tombstone())
            .order_by(col(OriginalOpening.id))
            .limit(PAGE)
        ).all()
    if not rows:
        return 0
    with house.sessions.begin() as session:
        return _close(session, organism, rows, reason)


def _close(session: Session, organism: Organism, seen: Sequence[OriginalOpening], reason: str) -> int:
    names = sorted({AccessionVersion(row.accession, row.version) for row in seen})
    entries = select(EntryVersion).where(among(EntryVersion, names), ~is_tombstone())
    ordered = entries.order_by(col(EntryVersion.accession), col(EntryVersion.version))
    there = {AccessionVersion(each.accession, each.version) for each in session.exec(ordered.with_for_update())}
    ids = {row.id for row in seen}
    # What somebody decided since it was seen is newer, and stays.
    old = {name: row for name, row in newest_steps(session, there).items() if row.id in ids}
    if not old:
        return 0
    now = clock.read(session)
    session.add_all(
        OriginalOpening(
            accession=name.accession, version=name.version, step=Step.CLOSE.value, manifest_id=row.manifest_id,
            reason=reason, actor=SYSTEM, at=now,
        )
        for name, row in old.items()
    )  # fmt: skip
    session.flush()
    records.changed(session, old)
    released_state.changed(session, organism.name, now)
    details = {"versions": [str(name) for name in old], "reason": reason}
    audit.append(session, SYSTEM, "close originals", str(next(iter(old))), details)
    return len(old)


def _same() -> ColumnElement[bool]:
    return (col(EntryVersion.accession) == col(OriginalOpening.accession)) & (
        col(EntryVersion.version) == col(OriginalOpening.version)
    )
