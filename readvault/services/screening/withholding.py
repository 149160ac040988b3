"""Reads that a screening withheld: what waits for a maintainer, who gives them again or lets it be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from readvault.db import audit, clock, entry_state, records
from readvault.db.erased import is_tombstone, refuse_erased
from readvault.db.tables import CurrentResult, EntryVersion, Manifest, Release, Screening, Withholding
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.services.authorization import Action, authorize
from readvault.services.entries import released_state, withheld
from readvault.services.entries.visibility import is_withdrawn
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM

LARGEST_PAGE = 500


@dataclass(frozen=True, slots=True)
class WithheldResult:
    """A published result whose reads are withheld.

    `reads` and `hits` are those of the newest screening that found any (a pair is two reads), 0 without one.
    `is_current`: it stands for its accession version. `is_decided`: a person has looked after it.
    """

    id: int
    organism: str
    name: AccessionVersion
    pipeline_version: int
    reason: str
    actor: str
    at: float
    reads: int
    hits: int
    is_current: bool
    is_decided: bool


def give_again(
    house: House, actor: Actor | None, name: AccessionVersion, pipeline_version: int, reason: str
) -> withheld.Withheld:
    """Let everybody have the reads of a result again that were withheld, from the commit on.

    Another host index that finds too many withholds them anew. Raises Forbidden for all but maintainers in
    person, BadRequest without a reason, NotFound, Conflict when they are not withheld.
    """
    return _decide(house, actor, name, pipeline_version, reason, withhold=False)


def withhold(
    house: House, actor: Actor | None, name: AccessionVersion, pipeline_version: int, reason: str
) -> withheld.Withheld:
    """Withhold the reads of a published result from everybody but its group and maintainers, from the commit on.

    The reason is public. Of reads that a screening withheld it says that a person has looked and that it
    stays so. Raises Forbidden for all but maintainers, BadRequest without a reason, NotFound, Conflict
    when a person has withheld them already.
    """
    return _decide(house, actor, name, pipeline_version, reason, withhold=True)


def _decide(
    house: House, actor: Actor | None, name: AccessionVersion, pipeline_version: int, reason: str, *, withhold: bool
) -> withheld.Withheld:
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN if withhold else Action.DECIDE_WHAT_IS_PUBLIC)
        assert actor is not None
        refuse_erased(session, name)
        entry = session.get(EntryVersion, (name.accession, name.version), with_for_update=True)
        refuse_erased(session, name)  # while this waited
        if entry is None:
            raise NotFound(f"Accession version {name} does not exist.")
        if not entry.released:
            raise Unprocessable(f"Accession version {name} is not released: nobody but its group has its reads.")
        manifest_id = _published(session, name, pipeline_version)
        before = withheld.newest(session, [manifest_id]).get(manifest_id)
        is_withheld = before is not None and before.withheld
        if not withhold and not is_withheld:
            raise Conflict(f"The reads of {name} by pipeline version {pipeline_version} are not withheld.")
        if withhold and before is not None and is_withheld and before.actor != SYSTEM:
            raise Conflict(f"The reads of {name} by pipeline version {pipeline_version} are withheld by a person.")
        now = clock.read(session)
        session.add(
            Withholding(
                accession=name.accession, version=name.version, manifest_id=manifest_id, withheld=withhold,
                reason=told, actor=actor.name, at=now,
            )
        )  # fmt: skip
        session.flush()
        records.changed(session, [name])
        released_state.changed(session, entry.organism, now)
        details = {"pipelineVersion": pipeline_version, "manifest": manifest_id, "reason": told}
        audit.append(session, actor.name, "withhold reads" if withhold else "give reads again", str(name), details)
    return withheld.Withheld(told, actor.name, now)


def _published(session: Session, name: AccessionVersion, pipeline_version: int) -> int:
    approved = select(col(Release.manifest_id)).where(col(Release.manifest_id) == col(Manifest.id))
    since = select(col(CurrentResult.manifest_id)).where(col(CurrentResult.manifest_id) == col(Manifest.id))
    found: int | None = session.execute(
        select(col(Manifest.id)).where(
            col(Manifest.accession) == name.accession,
            col(Manifest.version) == name.version,
            col(Manifest.pipeline_version) == pipeline_version,
            approved.exists() | since.exists(),
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"{name} has no published result of pipeline version {pipeline_version}.")
    return found


def page(
    house: House, actor: Actor | None, *, before: int | None = None, undecided: bool = False, size: int = LARGEST_PAGE
) -> list[WithheldResult]:
    """The results whose reads are withheld, newest first, those with IDs below `before`.

    `undecided`: only what waits for a person: results that stand and that no person has decided about.
    Raises Forbidden for all but maintainers.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        query = _holding().order_by(col(Withholding.id).desc()).limit(size)
        if before is not None:
            query = query.where(col(Withholding.id) < before)
        if undecided:
            query = query.where(_waits())
        rows = session.execute(query).all()
        return _described(session, [tuple(row) for row in rows])


def waiting(session: Session) -> int:
    """How many results wait for a maintainer, because a screening withheld the reads of what stands."""
    query = _holding().where(_waits())
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def _holding() -> Select[Any]:
    """Rows that hold and withhold, with the entry's organism and the result that stands for it."""
    later = aliased(Withholding)
    newer = select(col(later.id)).where(
        col(later.manifest_id) == col(Withholding.manifest_id), col(later.id) > col(Withholding.id)
    )
    standing = entry_state.with_state(
        select(col(EntryVersion.organism), col(Manifest.id).label("standing"), Withholding)
    ).join(
        Withholding,
        (col(Withholding.accession) == col(EntryVersion.accession))
        & (col(Withholding.version) == col(EntryVersion.version)),
    )
    return standing.where(col(Withholding.withheld), ~newer.exists())


def _waits() -> ColumnElement[bool]:
    return (
        (col(Withholding.actor) == SYSTEM)
        & (col(Withholding.manifest_id) == col(Manifest.id))
        & ~is_withdrawn()
        & ~is_tombstone()
    )


def _described(session: Session, rows: Sequence[tuple[str, int | None, Withholding]]) -> list[WithheldResult]:
    ids = [row.manifest_id for _, _, row in rows]
    versions = select(col(Manifest.id), col(Manifest.pipeline_version)).where(col(Manifest.id).in_(ids))
    of_pipeline = {row[0]: row[1] for row in session.execute(versions)}
    counted = select(Screening).where(col(Screening.manifest_id).in_(ids), col(Screening.hits) > 0)
    found = {row.manifest_id: row for row in session.execute(counted.order_by(col(Screening.id))).scalars()}
    return [
        WithheldResult(
            id=row.id or 0,
            organism=organism,
            name=AccessionVersion(row.accession, row.version),
            pipeline_version=of_pipeline[row.manifest_id],
            reason=row.reason,
            actor=row.actor,
            at=row.at,
            reads=found[row.manifest_id].reads if row.manifest_id in found else 0,
            hits=found[row.manifest_id].hits if row.manifest_id in found else 0,
            is_current=row.manifest_id == standing,
            is_decided=row.actor != SYSTEM,
        )
        for organism, standing, row in rows
    ]
