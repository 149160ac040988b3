"""Which organisms have entries, so that none loses its configuration unseen."""

from __future__ import annotations

from sqlmodel import col, select

from readvault.db.tables import EntryVersion
from readvault.domain.actor import Actor
from readvault.services.authorization import Action, authorize
from readvault.services.house import House


def has_entries(house: House, organism: str) -> bool:
    """Whether anything was ever submitted of an organism and not deleted."""
    with house.sessions.read() as session:
        found = session.exec(select(EntryVersion.accession).where(col(EntryVersion.organism) == organism).limit(1))
        return found.first() is not None


def has_released(house: House, organism: str) -> bool:
    """Whether anything of an organism was ever released."""
    released = (col(EntryVersion.organism) == organism, col(EntryVersion.released))
    with house.sessions.read() as session:
        return session.exec(select(EntryVersion.accession).where(*released).limit(1)).first() is not None


def without_file(house: House) -> list[str]:
    """The organisms that have entries here, but no file: nobody sees or processes these."""
    lacking: list[str] = []
    last = ""
    while True:  # from one name to the next along the index: there are few names and many entries
        with house.sessions.read() as session:
            query = select(EntryVersion.organism).where(col(EntryVersion.organism) > last)
            following = session.exec(query.order_by(col(EntryVersion.organism)).limit(1)).first()
        if following is None:
            return lacking
        last = following
        if last not in house.organisms:
            lacking.append(last)


def may_look(house: House, actor: Actor | None) -> None:
    """See that somebody may look at the whole configuration: a maintainer. Raises Unauthenticated, Forbidden."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
