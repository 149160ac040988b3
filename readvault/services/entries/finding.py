"""Which entries somebody may see or do something with."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, true
from sqlmodel import Session, col, select

from readvault.db.names import among
from readvault.db.tables import EntryVersion
from readvault.domain.actor import Actor
from readvault.domain.errors import Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.services.authorization import Action, acts_for, authorize


def find_versions(
    session: Session, actor: Actor | None, action: Action, organism: str, wanted: Sequence[AccessionVersion]
) -> list[EntryVersion]:
    """The named versions, if the actor may do `action` with every one of them; sorted.

    Raises Unprocessable for unknown ones and those of another organism, Forbidden for foreign ones.
    """
    found: list[EntryVersion] = []
    names = sorted(set(wanted))
    for start in range(0, len(names), 500):
        page = names[start : start + 500]
        found += session.exec(select(EntryVersion).where(among(EntryVersion, page))).all()
    found.sort(key=lambda entry: (entry.accession, entry.version))
    known = {AccessionVersion(entry.accession, entry.version): entry for entry in found}
    if missing := [str(name) for name in names if name not in known]:
        raise Unprocessable(f"Accession versions {', '.join(missing)} do not exist")
    authorize(session, actor, action, group_ids=sorted({entry.group_id for entry in found}))
    if foreign := [str(name) for name in names if known[name].organism != organism]:
        raise Unprocessable(f"The following accession versions are not of organism {organism}: {', '.join(foreign)}")
    return found


def visible_to(
    session: Session, actor: Actor | None, group_ids: Sequence[int] | None, action: Action = Action.REVIEW
) -> ColumnElement[bool]:
    """The condition that an entry belongs to these groups, or to any that the actor may act for."""
    if group_ids:
        authorize(session, actor, action, group_ids=group_ids)
        return col(EntryVersion.group_id).in_(sorted(set(group_ids)))
    if actor is None:
        authorize(session, actor, action)
    own = None if actor is None else acts_for(actor, action)
    return true() if own is None else col(EntryVersion.group_id).in_(own)
