"""Whether what is public of an organism has changed since somebody last looked, and how much there is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlmodel import Session

from readvault.db import clock
from readvault.db.tables import OrganismState, ReleasedCount
from readvault.db.upsert import columns_of, insert_into
from readvault.services.house import House

DIGITS = 12
"""Of the digest of a configuration; enough to tell one from the next."""


def released_etag(house: House, organism: str) -> str:
    """A strong, quoted ETag that changes with all that is public, with the organism's configuration (it names columns
    and segments), and with the date (UTC), as terms lapse by date."""
    with house.sessions.read() as session:
        state = session.get(OrganismState, organism)
        today = datetime.fromtimestamp(clock.read(session), UTC).date()
    revision, changed_at = (0, 0.0) if state is None else (state.released_revision, state.released_changed_at)
    configuration = house.digest_of(organism)[:DIGITS]
    return f'"{revision}-{changed_at:.6f}|{today.isoformat()}{configuration and "|"}{configuration}"'


def changed(session: Session, organism: str, at: float) -> None:
    """Note that something public of an organism is another than before. Locks the organism's row: call it late."""
    table = columns_of(OrganismState)
    new = insert_into(session, table).values(organism=organism, released_revision=1, released_changed_at=at)
    session.execute(
        new.on_conflict_do_update(
            index_elements=["organism"],
            set_={"released_revision": table.c.released_revision + 1, "released_changed_at": at},
        )
    )


def count(session: Session, organism: str, by_group: Mapping[int, int], at: float) -> None:
    """Add newly released entries, so many for each group, to what is counted, and note the change."""
    table = columns_of(ReleasedCount)
    for group_id in sorted(by_group):
        new = insert_into(session, table).values(organism=organism, group_id=group_id, entries=by_group[group_id])
        session.execute(
            new.on_conflict_do_update(
                index_elements=["organism", "group_id"], set_={"entries": table.c.entries + new.excluded.entries}
            )
        )
    changed(session, organism, at)
