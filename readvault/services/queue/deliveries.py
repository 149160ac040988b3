"""Deliveries: a worker is woken for every job, by the orchestrator.

Several dispatchers may run at once. An orchestrator is asked, never believed: a wrong answer costs a
needless delivery, which finds nothing to claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal_column, or_, tuple_, update
from sqlmodel import col, select

from readvault.db.clock import now
from readvault.db.likely import likely
from readvault.db.tables import Job
from readvault.domain.lanes import Lane, Queue
from readvault.domain.status import JobKind, JobState, Priority
from readvault.failpoints import failpoint
from readvault.ports import Delivery, RunState
from readvault.services.house import House
from readvault.services.queue.fence import hand_back, subject_of
from readvault.services.queue.sizes import lane_of
from readvault.stopping import CANCELLED

logger = logging.getLogger(__name__)

PAGE = 200
CHECKS_PER_PASS = 100
"""How many runs one pass of the dispatcher asks the orchestrator about; the longest unasked come first."""
TAKEN_TOGETHER = 8
"""How many deliveries a dispatcher prepares in one transaction, each at most once in a pass."""
REFUSALS_PER_PASS = 16
"""After so many deliveries in a row without an answer a pass ends. A busy Prefect answers 503 to some only."""
IN_FLIGHT = 30.0
"""Seconds that another dispatcher may need to hand a delivery to the orchestrator."""

_NEEDS_INDEX = (JobKind.PROCESS_SUBMISSION.value, JobKind.REPAIR.value, JobKind.SCREEN.value)

SideBySide = Callable[..., Iterator[Any]]
"""`map`, or a pool's."""


class _OrchestratorUnreachableError(Exception):
    """The orchestrator can't be reached: nothing more is tried in this pass."""


def deliver_now(house: House, job_ids: Iterable[str], *, budget_seconds: float = 2.0) -> int:
    """Wake a worker for new jobs, right after the commit; how many were delivered.

    Whatever doesn't fit the budget, or meets an orchestrator that can't be reached, is delivered by
    `dispatch`. Never raises for the orchestrator's sake.
    """
    deadline = time.monotonic() + budget_seconds
    delivered = 0
    for page in batched(job_ids, PAGE):
        with house.sessions.read() as session:
            jobs = {
                job.id: job for job in session.exec(select(Job).where(_due(), _undelivered(), col(Job.id).in_(page)))
            }
        for job_id in page:
            if time.monotonic() >= deadline:
                return delivered
            try:
                delivered += job_id in jobs and _deliver(house, jobs[job_id])
            except _OrchestratorUnreachableError:
                return delivered
    return delivered


def dispatch(house: House, ready: Container[str], *, budget_seconds: float = 10.0, at_once: int = 1) -> int:
    """Deliver every due job whose last delivery came to nothing; how many were delivered.

    That is: its run has ended or is missing, or started more than `worker.pending_limit` seconds ago
    and claimed nothing; or the job was never delivered, or handed back since. A run that waits for a
    worker is left alone. Jobs that process submissions are delivered only for organisms in `ready`.
    The orchestrator gets up to `at_once` requests side by side. What doesn't fit the budget waits for the
    next pass, so that a long queue never keeps the caller.
    """
    deadline = time.monotonic() + budget_seconds
    doable = _doable([name for name in house.organisms if name in ready])
    delivered = 0
    with ThreadPoolExecutor(at_once, thread_name_prefix="delivery") as pool:
        side_by_side = pool.map if at_once > 1 else map
        try:
            # The lost ones first, but not all the time of a pass: an orchestrator that lost all its runs is asked long.
            for page in batched(_not_waiting(house, _unclaimed_jobs(house, doable)), at_once):
                states = list(side_by_side(lambda asked: house.orchestrator.state_of(asked[0].run_id or ""), page))
                if not any(states):
                    break  # what is new is offered all the same: one run that gets no answer stops nobody else
                lost = [job for (job, at), state in zip(page, states, strict=True) if _is_lost(house, job, at, state)]
                taken = _taken(house, lost)
                handed = _handed_over(house, taken, side_by_side, refusals_allowed=len(taken))
                delivered += handed
                if (taken and not handed) or time.monotonic() >= deadline - budget_seconds / 2:
                    break
            delivered += _deliver_new(house, doable, deadline, side_by_side)
        except _OrchestratorUnreachableError:
            logger.warning("the orchestrator can't be reached; jobs wait and will be delivered later")
    return delivered


def _deliver_new(house: House, doable: ColumnElement[bool], deadline: float, side_by_side: SideBySide) -> int:
    """Deliver what has no delivery, a few at a time, so that several dispatchers share the queue."""
    delivered = refused = 0
    last: tuple[int, float, str] | None = None
    while time.monotonic() < deadline:
        taken = _taken_anew(house, doable, last)
        if not taken:
            break
        last = max((job.priority, job.created_at, job.id) for job, _ in taken)
        handed = _handed_over(house, taken, side_by_side, refusals_allowed=len(taken))
        delivered += handed
        refused = 0 if handed else refused + len(taken)
        if refused >= REFUSALS_PER_PASS or (refused and len(taken) < TAKEN_TOGETHER):
            raise _OrchestratorUnreachableError
    return delivered


def _due() -> ColumnElement[bool]:
    """Due, and a worker's: external pipelines ask for their jobs themselves."""
    # Written out, and with a hint: else SQLite doesn't see that the indexes of queued jobs are the ones to walk along.
    queued = likely(col(Job.state) == literal_column(f"'{JobState.QUEUED.value}'"))
    return queued & (col(Job.kind) != JobKind.EXTERNAL_PROCESSING.value) & (col(Job.not_before) <= now())


def _undelivered() -> ColumnElement[bool]:
    # Without a run ID but freshly delivered: another dispatcher is talking to the orchestrator right now.
    return col(Job.run_id).is_(None) & or_(col(Job.delivered_at).is_(None), col(Job.delivered_at) < now() - IN_FLIGHT)


def _doable(organisms: list[str]) -> ColumnElement[bool]:
    return or_(col(Job.kind).not_in(_NEEDS_INDEX), col(Job.organism).in_(organisms))


def _taken_anew(
    house: House, doable: ColumnElement[bool], last: tuple[int, float, str] | None
) -> list[tuple[Job, int]]:
    """The next few due jobs without a delivery, which now is ours: the urgent ones first, of those the oldest.

    Each with the attempt that it is at. What another dispatcher takes at this moment is passed over.
    """
    order = (col(Job.priority), col(Job.created_at), col(Job.id))
    query = select(Job).where(_due(), _undelivered(), doable).order_by(*order).limit(TAKEN_TOGETHER)
    if last is not None:
        query = query.where(tuple_(*order) > last)
    with house.sessions.read() as session:
        if session.exec(query.limit(1)).first() is None:
            return []
    with house.sessions.begin() as session:
        found = session.exec(query.with_for_update(skip_locked=True)).all()
        session.execute(
            update(Job)
            .where(col(Job.id).in_([job.id for job in found]))
            .values(deliveries=col(Job.deliveries) + 1, **_on_its_way())
            .execution_options(synchronize_session=False)
        )
    return [(job, job.attempt) for job in found]


def _on_its_way() -> dict[str, Any]:
    return {"delivered_at": now(), "run_id": None, "run_checked_at": now(), "run_idle_since": None}


def _unclaimed_jobs(house: House, doable: ColumnElement[bool]) -> Sequence[tuple[Job, float]]:
    """Due jobs whose delivery nobody has claimed for a while, and the time; the longest unasked first."""
    before = now() - house.settings.worker.pending_limit / 4
    asked = col(Job.run_checked_at)
    never_asked = asked.is_(None) & (func.coalesce(col(Job.delivered_at), 0.0) < before)
    found: list[tuple[Job, float]] = []
    with house.sessions.read() as session:
        for which in (never_asked, asked < before):
            query = select(Job, now()).where(_due(), doable, col(Job.run_id).is_not(None), which)
            found += session.exec(query.order_by(asked).limit(CHECKS_PER_PASS - len(found))).all()
    return found


def _not_waiting(house: House, unclaimed: Sequence[tuple[Job, float]]) -> list[tuple[Job, float]]:
    """Those whose run may be lost; of the others it is noted that they wait."""
    waiting = house.orchestrator.waiting_among([job.run_id or "" for job, _ in unclaimed]) if unclaimed else None
    if waiting:
        ids = [job.id for job, _ in unclaimed if job.run_id in waiting]
        with house.sessions.begin() as session:
            session.execute(
                update(Job)
                .where(col(Job.id).in_(ids), col(Job.run_id).in_(waiting))
                .values(run_checked_at=now(), run_idle_since=None)
            )
    return [(job, at) for job, at in unclaimed if job.run_id not in (waiting or ())]


def _is_lost(house: House, job: Job, at: float, state: RunState | None) -> bool:
    """Whether a delivery came to nothing, by what the orchestrator says of its run."""
    if state in (RunState.ENDED, RunState.MISSING):
        return True
    if state is RunState.CANCELLED:
        _set_aside_cancelled(house, job)
        return False
    idle_since = job.run_idle_since if state is None else None  # no answer for this one: others are asked before it
    if state in (RunState.PENDING, RunState.RUNNING):
        # It may have started right after it was last seen waiting.
        idle_since = job.run_idle_since or job.run_checked_at or job.delivered_at or at
        if at - idle_since > house.settings.worker.pending_limit:
            return True
    with house.sessions.begin() as session:
        session.execute(
            update(Job)
            .where(col(Job.id) == job.id, col(Job.deliveries) == job.deliveries)
            .values(run_checked_at=now(), run_idle_since=idle_since)
        )
    return False


def _set_aside_cancelled(house: House, job: Job) -> None:
    """Let a job whose run somebody cancelled need attention: to deliver it again and again would mock them."""
    with house.sessions.begin() as session:
        mine = session.exec(
            select(Job).where(Job.id == job.id, Job.deliveries == job.deliveries, _due()).with_for_update()
        ).one_or_none()
        if mine is not None:
            hand_back(session, mine, JobState.NEEDS_ATTENTION, CANCELLED)


def _queue_of(house: House, job: Job) -> Queue:
    """Where a job waits; a huge one waits among the large ones where nobody has a machine for it."""
    lane = lane_of(house.settings.worker, job.input_bytes)
    if lane is Lane.HUGE and (
        house.settings.prefect.huge_work_pool is None or job.kind != JobKind.PROCESS_SUBMISSION.value
    ):
        lane = Lane.LARGE
    return Queue.of(lane, background=job.priority >= Priority.BACKGROUND)


def _deliver(house: House, job: Job) -> bool:
    """Make the next delivery of a job, unless another dispatcher was faster or the job has moved on."""
    return _handed_over(house, _taken(house, [job]), map) == 1


def _taken(house: House, jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """Those jobs whose next delivery is ours, each with the attempt it is at; the others have moved on."""
    if not jobs:
        return []
    taken = []
    with house.sessions.begin() as session:
        for job in sorted(jobs, key=lambda each: each.id):  # in one order, whoever takes them
            attempt = session.execute(
                update(Job)
                .where(col(Job.id) == job.id, col(Job.deliveries) == job.deliveries, _due())
                .values(deliveries=job.deliveries + 1, **_on_its_way())
                .returning(col(Job.attempt))
                .execution_options(synchronize_session=False)
            ).scalar_one_or_none()
            if attempt is not None:
                taken.append((job, attempt))
    return [each for job in jobs for each in taken if each[0] is job]


def _handed_over(
    house: House, taken: Sequence[tuple[Job, int]], side_by_side: SideBySide, refusals_allowed: int = 0
) -> int:
    """Give deliveries to the orchestrator and note their runs; how many it took.

    Raises _OrchestratorUnreachableError after the notes, when it refused more than allowed.
    """
    if not taken:
        return 0
    failpoint("deliver-before-handing-over")

    def hand_over(each: tuple[Job, int]) -> str | None:
        job, _ = each
        delivery = Delivery(job.id, job.deliveries + 1, job.kind, subject_of(job), _queue_of(house, job))
        return house.orchestrator.deliver(delivery)

    run_ids = list(side_by_side(hand_over, taken))
    failpoint("deliver-after-handing-over")
    with house.sessions.begin() as session:
        for (job, attempt), run_id in sorted(zip(taken, run_ids, strict=True), key=lambda each: each[0][0].id):
            # Handed back in the meantime: the job needs a new delivery, so this run is forgotten.
            unchanged = or_(col(Job.attempt) == attempt, col(Job.state) == JobState.RUNNING.value)
            values: dict[str, Any] = {"run_id": run_id}
            if run_id is None:
                # A run may have been made although no answer came in time. The next try is the same delivery, so
                # that a busy orchestrator gets no further run for each; unless that run has claimed the job by now.
                same_again = case((col(Job.attempt) == attempt, job.deliveries), else_=job.deliveries + 1)
                values = {"delivered_at": None, "run_checked_at": None, "deliveries": same_again}
            session.execute(
                update(Job)
                .where(col(Job.id) == job.id, col(Job.deliveries) == job.deliveries + 1, unchanged)
                .values(**values)
                .execution_options(synchronize_session=False)
            )
    refused = sum(run_id is None for run_id in run_ids)
    if refused > refusals_allowed:
        raise _OrchestratorUnreachableError
    return len(run_ids) - refused
