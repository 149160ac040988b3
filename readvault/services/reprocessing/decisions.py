"""What maintainers decide: a waiting result stands or doesn't, one entry goes back, a whole order goes back.

Whatever was decided of a result stays so until a maintainer decides again: feeding passes over entries
that have a result of the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlmodel import Session, col

from readvault.db import audit, clock
from readvault.db.erased import is_tombstone, refuse_erased
from readvault.db.tables import ComparedResult, EntryVersion, Manifest, Reprocessing
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reprocessing import TAKEN, OrderState, ResultState
from readvault.domain.status import ProcessingResult, Visibility
from readvault.services.authorization import Action, authorize
from readvault.services.entries.visibility import state_of
from readvault.services.house import House
from readvault.services.processing.standing import Standing, put_in_place, standing
from readvault.services.release.interventions import locked_entry
from readvault.services.reprocessing import going_back, orders

PAGE = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A compared result with what a list of them shows: organism, the two pipeline versions, whether it is released."""

    row: ComparedResult
    organism: str
    pipeline_version: int
    released: bool


def waiting(
    house: House,
    actor: Actor | None,
    *,
    state: ResultState | None = ResultState.WAITS,
    reprocessing_id: int | None = None,
    after: int | None = None,
    size: int = PAGE,
) -> list[Waiting]:
    """Compared results in this state (None: any), oldest first, with IDs above `after`. For maintainers.

    Results that were replaced, by a newer one or by an edit of their entry, and those of erased entries
    are left out.
    """
    shown = (col(EntryVersion.organism), col(Manifest.pipeline_version), col(EntryVersion.released))
    query = _living(select(ComparedResult, *shown))
    if state is not None:
        query = query.where(col(ComparedResult.state) == state.value)
    if reprocessing_id is not None:
        query = query.where(col(ComparedResult.reprocessing_id) == reprocessing_id)
    if after is not None:
        query = query.where(col(ComparedResult.id) > after)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return [Waiting(*row) for row in session.execute(query.order_by(col(ComparedResult.id)).limit(size))]


def count_waiting(session: Session) -> int:
    """How many results wait for a maintainer: as many as `waiting` lists."""
    waits = col(ComparedResult.state) == ResultState.WAITS.value
    return session.scalar(_living(select(func.count(col(ComparedResult.id)))).where(waits)) or 0


def _living(query: Select[Any]) -> Select[Any]:
    entry = (col(EntryVersion.accession) == col(ComparedResult.accession)) & (
        col(EntryVersion.version) == col(ComparedResult.version)
    )
    return (
        query.select_from(ComparedResult)
        .join(Manifest, col(Manifest.id) == col(ComparedResult.manifest_id))
        .join(EntryVersion, entry)
        .where(
            col(Manifest.superseded_at).is_(None),
            col(ComparedResult.state) != ResultState.REPLACED.value,
            ~is_tombstone(),
        )
    )


def accept(house: House, actor: Actor | None, compared_id: int, reason: str) -> ComparedResult:
    """Let a waiting result stand for its entry: of a released one for everybody, from the commit on.

    Also one that was kept back or rolled back before. Raises Forbidden for all but maintainers in person, NotFound,
    BadRequest without a reason, Gone for what was erased, and Conflict for what can't be public, is
    withdrawn, was replaced, or is older than what stands.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        row, entry, name = _for_decision(session, actor, compared_id)
        if row.state in TAKEN:
            raise Conflict(f"The result of {name} stands already.")
        new = session.get_one(Manifest, row.manifest_id)
        before = _replaceable(session, name, new)
        if entry.released:
            if new.processing_result == ProcessingResult.HAS_ERRORS:
                raise Conflict(f"The result of {name} has errors: it can't be public.")
            if state_of(session, [name])[name] is Visibility.WITHDRAWN:
                raise Conflict(f"{name} is withdrawn. Restore it first.")
            put_in_place(session, entry.organism, new, actor=_name(actor), reason=told)
        going_back.decide(session, row, ResultState.ACCEPTED, _name(actor), told)
        details = {"compared": row.id, "from": before.pipeline_version, "to": new.pipeline_version, "reason": told}
        audit.append(session, _name(actor), "accept result", str(name), details)
        return row


def keep(house: House, actor: Actor | None, compared_id: int, reason: str) -> ComparedResult:
    """Let the older result stand: the waiting one is never public unless somebody accepts it later.

    Raises Forbidden for all but maintainers in person, NotFound, BadRequest without a reason, Conflict unless it waits.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        row, _, name = _for_decision(session, actor, compared_id)
        if row.state != ResultState.WAITS:
            raise Conflict(f"The result of {name} doesn't wait: it is {row.state}.")
        going_back.decide(session, row, ResultState.KEPT, _name(actor), told)
        audit.append(session, _name(actor), "keep older result", str(name), {"compared": row.id, "reason": told})
        return row


def roll_back(
    house: House, actor: Actor | None, name: AccessionVersion, reason: str, *, pipeline_version: int | None = None
) -> int:
    """Let an older result stand for an entry again; its pipeline version.

    Of a released entry the result that stood before the present one, or the published one of this
    `pipeline_version`. The present one stays downloadable by its own. Raises Forbidden for all but
    maintainers in person, NotFound, Gone for what was erased, BadRequest without a reason, and Conflict where
    there is nothing to go back to.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.DECIDE_WHAT_IS_PUBLIC)
        refuse_erased(session, name)
        entry = locked_entry(session, name)
        refuse_erased(session, name)
        target = going_back.go_back(session, entry, name, _name(actor), told, pipeline_version)
        details = {"to": target.pipeline_version, "manifestDigest": target.digest, "reason": told}
        audit.append(session, _name(actor), "roll back result", str(name), details)
        return target.pipeline_version


def roll_back_order(house: House, actor: Actor | None, order_id: int, reason: str) -> Reprocessing:
    """Take back all that an order changed: its jobs are called off, and `going_back.carry_on` does the rest.

    Raises Forbidden for all but maintainers in person, NotFound, BadRequest without a reason, Conflict for one that
    never began or is rolled back already.
    """
    told = interventions.checked_reason(reason)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.DECIDE_WHAT_IS_PUBLIC)
        row = session.get(Reprocessing, order_id, with_for_update=True)
        if row is None:
            raise NotFound("There is no such reprocessing.")
        if row.confirmed_at is None or row.rolled_back_at is not None:
            raise Conflict(
                "The reprocessing never began." if row.confirmed_at is None else "It is rolled back already."
            )
        orders.call_off(session, order_id)
        row.rolled_back_by, row.rolled_back_reason = _name(actor), told
        row.rolled_back_at = clock.read(session)
        over = row.state in (OrderState.DONE, OrderState.CANCELLED)
        orders.changed(session, row, OrderState(row.state) if over else OrderState.CANCELLED)
        details = {"reprocessing": row.id, "reason": told}
        audit.append(session, _name(actor), "roll back reprocessing", row.organism, details)
        return row


def _for_decision(
    session: Session, actor: Actor | None, compared_id: int
) -> tuple[ComparedResult, EntryVersion, AccessionVersion]:
    """A compared result and its entry, both locked; the entry first, as everybody does."""
    authorize(session, actor, Action.DECIDE_WHAT_IS_PUBLIC)
    known = session.get(ComparedResult, compared_id)
    if known is None:
        raise NotFound("There is no such compared result.")
    name = AccessionVersion(known.accession, known.version)
    refuse_erased(session, name)
    entry = locked_entry(session, name)
    refuse_erased(session, name)
    row = session.get(ComparedResult, compared_id, with_for_update=True, populate_existing=True)
    if row is None:  # the entry was deleted and made anew in between
        raise NotFound("There is no such compared result.")
    if session.get_one(Manifest, row.manifest_id, populate_existing=True).superseded_at is not None:
        raise Conflict(f"The result of {name} was replaced.")
    return row, entry, name


def _replaceable(session: Session, name: AccessionVersion, new: Manifest) -> Standing:
    before = standing(session, name)
    if before is None or before.pipeline_version >= new.pipeline_version:
        raise Conflict(f"A newer result stands for {name}.")
    return before


def _name(actor: Actor | None) -> str:
    assert actor is not None
    return actor.name
