"""Originals are opened to everybody by two maintainers, and closed again by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, tuple_
from sqlalchemy import select as select_columns
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.erased import is_tombstone, refuse_erased
from readvault.db.names import among
from readvault.db.tables import EntryVersion, Job, OriginalOpening
from readvault.domain import interventions, openings
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.openings import State, Step
from readvault.domain.status import Visibility
from readvault.services.authorization import Action, authorize
from readvault.services.entries import released_state
from readvault.services.entries.visibility import is_listed, state_of
from readvault.services.house import House
from readvault.services.queue.new_jobs import release_job
from readvault.services.release.public_originals import Originals, originals_of

MOST_VERSIONS = 1000
LARGEST_PAGE = 500


@dataclass(frozen=True, slots=True)
class Opening:
    """How it stands with the originals of an accession version, by whom, why and since when.

    `obstacle`: why nobody gets them although they are open, or could not be opened; None when none is known.
    """

    id: int
    name: AccessionVersion
    state: State
    reason: str
    actor: str
    at: float
    files: int
    obstacle: str | None


def request(house: House, actor: Actor | None, names: Iterable[AccessionVersion], reason: str) -> list[Opening]:
    """Ask for the originals of released accession versions to be opened; nothing is open until another confirms.

    All or none of them. Raises Forbidden for all but maintainers, BadRequest without versions or reason,
    NotFound, Unprocessable for what isn't released, Conflict with each obstacle.
    """
    return _do(house, actor, names, Step.REQUEST, interventions.checked_reason(reason))


def confirm(house: House, actor: Actor | None, names: Iterable[AccessionVersion]) -> list[Opening]:
    """Say yes to another maintainer's request: from the commit on everybody may read these originals.

    All or none of them. They are locked like released files after the commit. Raises Forbidden for the
    one who asked and for machine tokens, NotFound, Conflict when nothing is requested (any more: after
    7 days) and for each obstacle.
    """
    return _do(house, actor, names, Step.CONFIRM, "")


def close(house: House, actor: Actor | None, names: Iterable[AccessionVersion], reason: str) -> list[Opening]:
    """Close originals again, or refuse a request: everybody who asks for them is told the reason from the commit on.

    Raises as `request` does, and Conflict for what is closed.
    """
    return _do(house, actor, names, Step.CLOSE, interventions.checked_reason(reason))


def _do(house: House, actor: Actor | None, names: Iterable[AccessionVersion], step: Step, reason: str) -> list[Opening]:
    wanted = sorted(set(names))
    if not 1 <= len(wanted) <= MOST_VERSIONS:
        raise BadRequest(f"One request is about 1 to {MOST_VERSIONS} accession versions.")
    with house.sessions.begin() as session:
        authorize(session, actor, Action.CONFIRM_OPENING if step is Step.CONFIRM else Action.MAINTAIN)
        assert actor is not None
        entries = _locked(session, wanted)
        now = clock.read(session)
        found = {name: originals_of(house, session, name) for name in wanted}
        for name, standing in found.items():
            openings.check(standing.state, step, str(name))
            if step is Step.CONFIRM and standing.said is not None and standing.said.actor == actor.name:
                raise Forbidden("Another maintainer has to confirm: nobody opens originals alone.")
        if step is not Step.CLOSE:
            _refuse_obstacles(session, found)
        rows = [_row(name, step, standing, reason, actor.name, now) for name, standing in found.items()]
        session.add_all(rows)
        if step is Step.CONFIRM:
            session.add_all(_lock_job(entry, found, now) for entry in entries)
        session.flush()
        records.changed(session, wanted)
        if step is not Step.REQUEST:
            for organism in sorted({entry.organism for entry in entries}):
                released_state.changed(session, organism, now)
        action = {Step.REQUEST: "request opening", Step.CONFIRM: "confirm opening", Step.CLOSE: "close originals"}[step]
        details = {"versions": [str(name) for name in wanted], **({"reason": reason} if reason else {})}
        audit.append(session, actor.name, action, str(wanted[0]), details)
        return [_described(row, found[name], now) for name, row in zip(found, rows, strict=True)]


def _locked(session: Session, names: Sequence[AccessionVersion]) -> list[EntryVersion]:
    """The entries, locked in the order of everybody else."""
    for name in names:
        refuse_erased(session, name)
    entries: list[EntryVersion] = []
    for start in range(0, len(names), LARGEST_PAGE):
        query = select(EntryVersion).where(among(EntryVersion, names[start : start + LARGEST_PAGE]))
        ordered = query.order_by(col(EntryVersion.accession), col(EntryVersion.version))
        entries += session.exec(ordered.with_for_update()).all()
    known = {AccessionVersion(entry.accession, entry.version): entry for entry in entries}
    for name in names:
        refuse_erased(session, name)  # while this waited
        if name not in known:
            raise NotFound(f"Accession version {name} does not exist.")
        if not known[name].released:
            raise Unprocessable(f"Accession version {name} is not released.")
    return entries


def _refuse_obstacles(session: Session, found: dict[AccessionVersion, Originals]) -> None:
    visible = state_of(session, found)
    told = [f"{name}: {standing.obstacle}" for name, standing in found.items() if standing.obstacle is not None]
    told += [f"{name}: it is {state}" for name, state in visible.items() if state is Visibility.SUPPRESSED]
    if told:
        more = f"; and {len(told) - 20} more" if len(told) > 20 else ""
        raise Conflict(f"These originals can't be public. {'; '.join(told[:20])}{more}")


def _row(
    name: AccessionVersion, step: Step, standing: Originals, reason: str, actor: str, now: float
) -> OriginalOpening:
    """Who confirms says yes to the reason of the one who asked."""
    said = standing.said.reason if step is Step.CONFIRM and standing.said is not None else reason
    assert standing.manifest_id is not None
    return OriginalOpening(
        accession=name.accession, version=name.version, step=step.value, manifest_id=standing.manifest_id,
        reason=said, actor=actor, at=now,
    )  # fmt: skip


def _lock_job(entry: EntryVersion, found: dict[AccessionVersion, Originals], now: float) -> Job:
    """A release is done once more, which locks the originals too: an organism may have begun to keep them since."""
    name = AccessionVersion(entry.accession, entry.version)
    version = found[name].pipeline_version
    assert version is not None
    return release_job(entry.organism, name, version, now)


def page(
    house: House, actor: Actor | None, *, state: State | None = None, before: int | None = None, size: int = 100
) -> list[Opening]:
    """Accession versions whose originals were ever asked for, those that changed last first, with IDs below `before`.

    With a `state` only those. Raises Forbidden for all but maintainers.
    """
    query = select(OriginalOpening).where(holds()).order_by(col(OriginalOpening.id).desc())
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        now = clock.read(session)
        if state is not None:
            query = query.where(is_in(state, now))
        if before is not None:
            query = query.where(col(OriginalOpening.id) < before)
        rows = session.exec(query.limit(size)).all()
        return [_described(row, originals_of(house, session, _name(row)), now) for row in rows]


def is_in(state: State, now: float) -> ColumnElement[bool]:
    """SQL: `openings.state_after`."""
    step = col(OriginalOpening.step)
    asked = (step == Step.REQUEST.value) & (col(OriginalOpening.at) >= now - openings.CONFIRM_WITHIN)
    is_open = step == Step.CONFIRM.value
    return {State.OPEN: is_open, State.REQUESTED: asked, State.CLOSED: ~is_open & ~asked}[state]


def waiting(session: Session) -> int:
    """How many accession versions wait for a second maintainer's yes."""
    asked = select_columns(func.count(col(OriginalOpening.id)))
    return session.scalar(asked.where(is_in(State.REQUESTED, clock.read(session)), holds())) or 0


def holds() -> ColumnElement[bool]:
    """SQL: whether no later step was taken."""
    later = aliased(OriginalOpening)
    return (
        ~select_columns(col(later.id))
        .where(
            col(later.accession) == col(OriginalOpening.accession),
            col(later.version) == col(OriginalOpening.version),
            col(later.id) > col(OriginalOpening.id),
        )
        .exists()
    )


def candidates(
    house: House,
    actor: Actor | None,
    organism: str,
    *,
    group_id: int | None = None,
    after: AccessionVersion | None = None,
    size: int = 100,
) -> tuple[list[AccessionVersion], AccessionVersion | None]:
    """Released accession versions whose originals could be opened and are closed, and the name to go on after.

    `size` names are looked at, so a page may hold fewer or none; None says that there are no more.
    Raises Forbidden for all but maintainers, BadRequest for an unknown organism.
    """
    house.organism(organism)
    place = (col(EntryVersion.accession), col(EntryVersion.version))
    of_group: tuple[Any, ...] = () if group_id is None else (col(EntryVersion.group_id) == group_id,)
    last = after or AccessionVersion("", 0)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        rows = session.execute(
            select_columns(*place)
            .where(
                col(EntryVersion.organism) == organism,
                col(EntryVersion.released),
                is_listed(),
                ~is_tombstone(),
                tuple_(*place) > (last.accession, last.version),
                *of_group,
            )
            .order_by(*place)
            .limit(size)
        ).all()
        names = [AccessionVersion(*row) for row in rows]
        found = [(name, originals_of(house, session, name)) for name in names]
    good = [name for name, each in found if each.state is State.CLOSED and each.obstacle is None]
    return good, names[-1] if len(names) == size else None


def _name(row: OriginalOpening) -> AccessionVersion:
    return AccessionVersion(row.accession, row.version)


def _described(row: OriginalOpening, standing: Originals, now: float) -> Opening:
    return Opening(
        id=row.id or 0,
        name=_name(row),
        state=openings.state_after(row.step, row.at, now),
        reason=row.reason,
        actor=row.actor,
        at=row.at,
        files=len(standing.files),
        obstacle=standing.obstacle,
    )
