"""Whether the released data of an organism have changed since somebody last looked."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import col, func, select

from readvault.db import clock
from readvault.db.tables import EntryVersion, Release
from readvault.services.house import House


def released_etag(house: House, organism: str) -> str:
    """A strong, quoted ETag that changes with every release and with the date (UTC), as terms of use lapse by date."""
    released = (
        select(func.count(), func.max(Release.released_at))
        .select_from(Release)
        .join(
            EntryVersion,
            (col(EntryVersion.accession) == col(Release.accession))
            & (col(EntryVersion.version) == col(Release.version)),
        )
        .where(EntryVersion.organism == organism)
    )
    with house.sessions.read() as session:
        count, last = session.exec(released).one()
        today = datetime.fromtimestamp(clock.read(session), UTC).date()
    return f'"{count}-{last or 0:.6f}|{today.isoformat()}"'
