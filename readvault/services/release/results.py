"""Which results of an accession version there are, which were published, and which one stands for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import Session, col

from readvault.db import entry_state
from readvault.db.erased import refuse_erased
from readvault.db.names import among
from readvault.db.tables import CurrentResult, EntryVersion, Manifest, Release
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, NotFound, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.services.authorization import Action, authorize
from readvault.services.entries.visibility import refuse_withdrawn

NOT_FOUND = "There is no such manifest."


@dataclass(frozen=True, slots=True)
class Result:
    """A manifest's row, when it was published (None: never), and whether it stands for the accession version."""

    manifest: Manifest
    published_at: float | None
    is_current: bool


def visible_results(session: Session, actor: Actor | None, organism: str, name: AccessionVersion) -> list[Result]:
    """The results of an accession version that this reader may know of, oldest pipeline version first.

    Published ones are for everybody, the others for the group. Raises NotFound, always in the same
    words, where there is none; Gone for a withdrawn version, except for maintainers.
    """
    refuse_erased(session, name)
    entry = session.get(EntryVersion, (name.accession, name.version))
    if entry is None or entry.organism != organism:
        raise NotFound(NOT_FOUND)
    for_group = may_review(session, actor, entry.group_id)
    if entry.released and not (actor is not None and actor.is_maintainer and for_group):
        refuse_withdrawn(session, name)
    published = published_at(session, name)
    standing = session.execute(
        entry_state.with_state(select(col(Manifest.id))).where(among(EntryVersion, [name]))
    ).scalar_one_or_none()
    rows = session.execute(
        select(Manifest)
        .where(among(Manifest, [name]), col(Manifest.superseded_at).is_(None))
        .order_by(col(Manifest.pipeline_version))
    ).scalars()
    found = [
        Result(row, published.get(row.id or 0), row.id == standing) for row in rows if for_group or row.id in published
    ]
    if not found:
        raise NotFound(NOT_FOUND)
    return found


def published_at(session: Session, name: AccessionVersion) -> dict[int, float]:
    """When each published manifest of an accession version became public (seconds since 1970), by its ID."""
    approved = select(col(Release.manifest_id), col(Release.released_at)).where(among(Release, [name]))
    since = (
        select(col(CurrentResult.manifest_id), col(CurrentResult.since))
        .where(among(CurrentResult, [name]))
        .order_by(col(CurrentResult.id).desc())
    )
    later = {row[0]: row[1] for row in session.execute(since)}
    return later | {row[0]: row[1] for row in session.execute(approved)}


def may_review(session: Session, actor: Actor | None, group_id: int) -> bool:
    """Whether the actor may see what the group has not released."""
    try:
        authorize(session, actor, Action.REVIEW, group_id=group_id)
    except (Unauthenticated, Forbidden):
        return False
    return True
