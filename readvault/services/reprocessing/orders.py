"""Orders to reprocess: one asks, a named maintainer confirms, and anybody of them pauses, goes on or calls it off.

What is confirmed runs in the background (`feeding`). An order that follows from a raised
`pipeline.version` comes into being by itself: the organism's file, which maintainers write, confirms it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import batched

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from readvault.db import audit, clock, records
from readvault.db.tables import ComparedResult, EntryVersion, Job, Reprocessing
from readvault.db.upsert import columns_of, insert_into
from readvault.domain import interventions
from readvault.domain.actor import Actor
from readvault.domain.errors import Conflict, NotFound
from readvault.domain.organism import Organism
from readvault.domain.reprocessing import OrderState, ResultState
from readvault.domain.status import JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM, UNDELIVERED
from readvault.services.reprocessing.choices import Choice
from readvault.services.reprocessing.planning import Plan, counted, processable

PAGE = 100
_LIVING = (OrderState.REQUESTED, OrderState.RUNNING, OrderState.PAUSED)
_OPEN = (JobState.QUEUED, JobState.NEEDS_ATTENTION, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Order:
    """An order and how far it is: open jobs by their state, results by what became of them."""

    row: Reprocessing
    jobs: dict[str, int] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)

    @property
    def choice(self) -> Choice:
        """Which entries."""
        return Choice.of_json(self.row.choice)


def request(
    house: House, actor: Actor | None, organism: str, choice: Choice, reason: str, *, per_hour: int | None = None
) -> tuple[Reprocessing, Plan]:
    """Ask for entries to be processed with the organism's present pipeline version; nothing happens before a yes.

    Raises Forbidden for all but maintainers, BadRequest without a reason, Unprocessable where nothing is
    to be done or an external pipeline does it.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
    assert actor is not None
    return _request(house, actor.name, organism, choice, reason, per_hour)


def request_unnamed(
    house: House, asker: str, organism: str, choice: Choice, reason: str, *, per_hour: int | None = None
) -> tuple[Reprocessing, Plan]:
    """What `request` does, for somebody who can't be named: a form of Prefect's, which knows no persons."""
    return _request(house, asker, organism, choice, reason, per_hour)


def confirm(house: House, actor: Actor | None, order_id: int) -> Reprocessing:
    """Let an order begin. Raises Forbidden for all but maintainers in person, NotFound, Conflict."""
    with house.sessions.begin() as session:
        authorize(session, actor, Action.CONFIRM_REPROCESSING)
        row = _locked(session, order_id)
        _check(row, OrderState.REQUESTED)
        version = house.organism(row.organism).pipeline.version
        if version != row.pipeline_version:
            raise Conflict(f"The pipeline of {row.organism} has version {version} by now. Ask anew.")
        assert actor is not None
        row.confirmed_by, row.confirmed_at = actor.name, clock.read(session)
        _step(session, row, OrderState.RUNNING, actor.name, "confirm reprocessing")
        return row


def pause(house: House, actor: Actor | None, order_id: int) -> Reprocessing:
    """Begin nothing more of an order, not even what was queued; what is under way ends. Raises as `resume` does."""
    return _move(house, actor, order_id, (OrderState.RUNNING,), OrderState.PAUSED, "pause reprocessing")


def resume(house: House, actor: Actor | None, order_id: int) -> Reprocessing:
    """Go on with a paused order, from the first entry that has no result yet. Raises Forbidden, NotFound, Conflict."""
    return _move(house, actor, order_id, (OrderState.PAUSED,), OrderState.RUNNING, "resume reprocessing")


def cancel(house: House, actor: Actor | None, order_id: int) -> Reprocessing:
    """End an order for good: its jobs are called off; results that were made stay as they are.

    Raises Forbidden, NotFound, Conflict for one that is over.
    """
    return _move(house, actor, order_id, _LIVING, OrderState.CANCELLED, "cancel reprocessing")


def find(house: House, actor: Actor | None, order_id: int) -> Order:
    """One order and how far it is. Raises Forbidden for all but maintainers, NotFound."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        row = session.get(Reprocessing, order_id)
        if row is None:
            raise NotFound("There is no such reprocessing.")
        return _with_counts(session, [row])[0]


def page(house: House, actor: Actor | None, *, before: int | None = None, size: int = PAGE) -> list[Order]:
    """Orders, newest first, with IDs below `before`. Raises Forbidden for all but maintainers."""
    query = select(Reprocessing).order_by(col(Reprocessing.id).desc()).limit(size)
    if before is not None:
        query = query.where(col(Reprocessing.id) < before)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return _with_counts(session, session.exec(query).all())


def follow_organisms(house: House) -> int:
    """Make an order for each organism whose `pipeline.version` was raised, and end those of older versions; how many.

    An organism without older results gets none. Of several workers one makes it.
    """
    made = 0
    for organism in list(house.organisms.values()):
        _end_outdated(house, organism)
        external = organism.pipeline.external
        if organism.pipeline.reprocessing.automatic and (external is None or external.mode == "after"):
            made += _follow(house, organism)
    return made


def changed(session: Session, row: Reprocessing, state: OrderState) -> None:
    """Write down a new state of a locked order, for the bucket too."""
    row.state, row.changed_at = state.value, clock.read(session)
    row.pace_since, row.pace_queued = row.changed_at, 0
    session.flush()
    records.organism_changed(session, row.organism)


def call_off(
    session: Session, order_id: int, *, states: Collection[JobState] = _OPEN, reason: str = "called off"
) -> int:
    """End the jobs of an order that are in one of these states; how many. A worker's late result is refused."""
    open_jobs = (col(Job.reprocessing_id) == order_id, col(Job.state).in_([state.value for state in states]))
    # One after the other in the order of everybody else, so that nobody waits in a circle.
    ids = session.exec(select(Job.id).where(*open_jobs).order_by(col(Job.id)).with_for_update()).all()
    ended = {"state": JobState.DONE.value, "finished_at": clock.read(session), "last_error": reason}
    for some in batched(ids, PAGE):
        ends = update(Job).where(col(Job.id).in_(some)).values(attempt=col(Job.attempt) + 1, **ended, **UNDELIVERED)
        session.execute(ends.execution_options(synchronize_session=False))
    return len(ids)


def _request(
    house: House, asker: str, organism: str, choice: Choice, reason: str, per_hour: int | None
) -> tuple[Reprocessing, Plan]:
    told = interventions.checked_reason(reason)
    rules = processable(house, organism)
    with house.sessions.read() as session:
        plan = counted(session, rules, choice)
    if plan.entries == 0:
        older = f"results older than pipeline version {plan.pipeline_version}"
        raise Conflict(f"Nothing to do: of what was chosen nothing that can be processed again has only {older}.")
    with house.sessions.begin() as session:
        at = clock.read(session)
        row = Reprocessing(
            organism=organism,
            pipeline_version=plan.pipeline_version,
            choice=choice.as_json(),
            reason=told,
            per_hour=per_hour,
            planned_entries=plan.entries,
            planned_bytes=plan.bytes,
            requested_by=asker,
            requested_at=at,
            changed_at=at,
        )
        session.add(row)
        session.flush()
        records.organism_changed(session, organism)
        details = {"reprocessing": row.id, "pipelineVersion": plan.pipeline_version, "choice": row.choice}
        details |= {"entries": plan.entries, "reason": told}
        audit.append(session, asker, "request reprocessing", organism, details)
        return row, plan


def _move(
    house: House,
    actor: Actor | None,
    order_id: int,
    before: Collection[OrderState],
    after: OrderState,
    action: str,
) -> Reprocessing:
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        assert actor is not None
        row = _locked(session, order_id)
        _check(row, *before)
        if after is OrderState.CANCELLED:
            call_off(session, order_id)
        elif after is OrderState.PAUSED:
            row.queued -= call_off(session, order_id, states=(JobState.QUEUED,))
        else:
            row.after_accession, row.after_version, row.fed = "", 0, False
        _step(session, row, after, actor.name, action)
        return row


def _step(session: Session, row: Reprocessing, state: OrderState, actor: str, action: str) -> None:
    changed(session, row, state)
    audit.append(session, actor, action, row.organism, {"reprocessing": row.id})


def _locked(session: Session, order_id: int) -> Reprocessing:
    row = session.get(Reprocessing, order_id, with_for_update=True)
    if row is None:
        raise NotFound("There is no such reprocessing.")
    return row


def _check(row: Reprocessing, *wanted: OrderState) -> None:
    if row.state not in wanted:
        raise Conflict(f"The reprocessing is {row.state}.")


def _with_counts(session: Session, rows: Collection[Reprocessing]) -> list[Order]:
    ids = [row.id for row in rows]
    open_jobs = (
        select(col(Job.reprocessing_id), col(Job.state), func.count())
        .where(col(Job.reprocessing_id).in_(ids), col(Job.state) != JobState.DONE.value)
        .group_by(col(Job.reprocessing_id), col(Job.state))
    )
    order, state = col(ComparedResult.reprocessing_id), col(ComparedResult.state)
    results = (
        select(order, state, func.count())
        .where(order.in_(ids), state != ResultState.REPLACED.value)
        .group_by(order, state)
    )
    jobs: dict[int | None, dict[str, int]] = {number: {} for number in ids}
    made: dict[int | None, dict[str, int]] = {number: {} for number in ids}
    for found, query in ((jobs, open_jobs), (made, results)):
        for number, name, count in session.exec(query):
            found[number][name] = count
    return [Order(row, jobs[row.id], made[row.id]) for row in rows]


def _end_outdated(house: House, organism: Organism) -> None:
    """Nobody makes results of an older pipeline version any more: orders of one end, and a newer one begins anew."""
    outdated = (
        col(Reprocessing.organism) == organism.name,
        col(Reprocessing.pipeline_version) < organism.pipeline.version,
        col(Reprocessing.state).in_([state.value for state in _LIVING]),
    )
    with house.sessions.read() as session:
        if session.exec(select(Reprocessing.id).where(*outdated)).first() is None:
            return
    with house.sessions.begin() as session:
        for row in session.exec(select(Reprocessing).where(*outdated).order_by(col(Reprocessing.id)).with_for_update()):
            call_off(session, row.id or 0, states=(JobState.QUEUED, JobState.NEEDS_ATTENTION))
            _step(session, row, OrderState.CANCELLED, SYSTEM, "cancel reprocessing")


def _follow(house: House, organism: Organism) -> bool:
    version, rules = organism.pipeline.version, organism.pipeline.reprocessing
    of_organism = (col(Reprocessing.organism) == organism.name, col(Reprocessing.automatic))
    known = (*of_organism, col(Reprocessing.pipeline_version) >= version)
    with house.sessions.read() as session:
        if version == 1 or session.exec(select(Reprocessing.id).where(*known)).first() is not None:
            return False
        if session.exec(select(EntryVersion.accession).where(EntryVersion.organism == organism.name)).first() is None:
            return False
        choice = Choice(versions=rules.versions)
        plan = counted(session, organism, choice)
    with house.sessions.begin() as session:
        at = clock.read(session)
        row = Reprocessing(
            organism=organism.name, pipeline_version=version, choice=choice.as_json(), automatic=True,
            reason=f"pipeline.version was raised to {version}", state=OrderState.RUNNING.value,
            per_hour=rules.per_hour, planned_entries=plan.entries, planned_bytes=plan.bytes,
            requested_by=SYSTEM, requested_at=at, confirmed_by=f"{SYSTEM}: pipeline.version of the organism's file",
            confirmed_at=at, pace_since=at, changed_at=at,
        ).model_dump(exclude={"id"})  # fmt: skip
        new = insert_into(session, columns_of(Reprocessing)).values(**row).on_conflict_do_nothing()
        order_id = session.execute(new.returning(col(Reprocessing.id))).scalar_one_or_none()
        if order_id is None:
            return False
        records.organism_changed(session, organism.name)
        details = {"reprocessing": order_id, "pipelineVersion": version, "entries": plan.entries}
        audit.append(session, SYSTEM, "begin reprocessing", organism.name, details)
    return True
