"""Where a walk that was broken off goes on."""

from __future__ import annotations

from readvault.db import clock
from readvault.db.tables import Bookmark
from readvault.services.house import House


def bookmark(house: House, name: str) -> Bookmark:
    """How far a walk came; at its begin where none was broken off."""
    with house.sessions.read() as session:
        return session.get(Bookmark, name) or Bookmark(name=name, position="")


def keep_place(house: House, name: str, position: str, *, finished: bool) -> None:
    """Write down that the next walk goes on beyond a key, and whether this one came to its end."""
    with house.sessions.begin() as session:
        row = session.get(Bookmark, name) or Bookmark(name=name)
        row.position = position
        if finished:
            row.finished_at = clock.read(session)
        session.add(row)
