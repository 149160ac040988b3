"""Deliveries: a worker is woken for every job, by the orchestrator.

Several dispatchers may run at once. An orchestrator is asked, never believed: a wrong answer costs a
needless delivery, which finds nothing to claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable, Iterator
from itertools import batched
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, tuple_, update
from sqlmodel import col, select

from readvault.db.clock import now
from readvault.db.tables import Job
from readvault.domain.lanes import Lane, Queue
from readvault.domain.status import JobKind, JobState, Priority
from readvault.failpoints import failpoint
from readvault.ports import Delivery, RunState
from readvault.services.house import House
from readvault.services.queue.sizes import lane_of

logger = logging.getLogger(__name__)

PAGE = 200
CHECKS_PER_PASS = 100
"""How many runs one pass of the dispatcher asks the orchestrator about; the longest unasked come first."""
REFUSALS_PER_PASS = 4
"""After so many deliveries without an answer a pass ends. A busy Prefect on SQLite answers 503 to some only."""
IN_FLIGHT = 30.0
"""Seconds that another dispatcher may need to hand a delivery to the orchestrator."""


_NEEDS_INDEX = (JobKind.PROCESS_SUBMISSION.value, JobKind.REPAIR.value, JobKind.SCREEN.value)


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


def dispatch(house: House, ready: Container[str], *, budget_seconds: float = 10.0) -> int:
    """Deliver every due job whose last delivery came to nothing; how many were delivered.

    That is: its run has ended or is missing, or started more than `worker.pending_limit` seconds ago
    and claimed nothing; or the job was never delivered, or handed back since. A run that waits for a
    worker is left alone. Jobs that process submissions are delivered only for organisms in `ready`.
    What doesn't fit the budget waits for the next pass, so that a long queue never keeps the caller.
    """
    deadline = time.monotonic() + budget_seconds
    doable = _doable([name for name in house.organisms if name in ready])
    delivered = refused = 0
    try:
        for job, at in _unclaimed_jobs(house, doable):
            if _came_to_nothing(house, job, at):
                delivered += _deliver(house, job)
        for job in _undelivered_jobs(house, doable):
            if time.monotonic() >= deadline:
                break
            try:
                delivered += _deliver(house, job)
            except _OrchestratorUnreachableError:
                refused += 1
                if refused == REFUSALS_PER_PASS:
                    raise
    except _OrchestratorUnreachableError:
        logger.warning("the orchestrator can't be reached; jobs wait and will be delivered later")
    return delivered


def _due() -> ColumnElement[bool]:
    """Due, and a worker's: external pipelines ask for their jobs themselves."""
    queued = (col(Job.state) == JobState.QUEUED.value) & (col(Job.kind) != JobKind.EXTERNAL_PROCESSING.value)
    return queued & (col(Job.not_before) <= now())


def _undelivered() -> ColumnElement[bool]:
    # Without a run ID but freshly delivered: another dispatcher is talking to the orchestrator right now.
    return col(Job.run_id).is_(None) & or_(col(Job.delivered_at).is_(None), col(Job.delivered_at) < now() - IN_FLIGHT)


def _doable(organisms: list[str]) -> ColumnElement[bool]:
    return or_(col(Job.kind).not_in(_NEEDS_INDEX), col(Job.organism).in_(organisms))


def _undelivered_jobs(house: House, doable: ColumnElement[bool]) -> Iterator[Job]:
    """Due jobs without a delivery: the urgent ones first, of those the oldest."""
    last: tuple[int, float, str] | None = None
    order = (col(Job.priority), col(Job.created_at), col(Job.id))
    while True:
        query = select(Job).where(_due(), _undelivered(), doable).order_by(*order)
        if last is not None:
            query = query.where(tuple_(*order) > last)
        with house.sessions.read() as session:
            page = session.exec(query.limit(PAGE)).all()
        if not page:
            return
        yield from page
        last = (page[-1].priority, page[-1].created_at, page[-1].id)


def _unclaimed_jobs(house: House, doable: ColumnElement[bool]) -> Iterator[tuple[Job, float]]:
    """Due jobs whose delivery nobody has claimed for a while, and the time; the longest unasked first."""
    asked = func.coalesce(col(Job.run_checked_at), col(Job.delivered_at), 0.0)
    patience = house.settings.worker.pending_limit / 4
    with house.sessions.read() as session:
        query = select(Job, now()).where(_due(), doable, col(Job.run_id).is_not(None), asked < now() - patience)
        page = session.exec(query.order_by(asked).limit(CHECKS_PER_PASS)).all()
    yield from page


def _came_to_nothing(house: House, job: Job, at: float) -> bool:
    assert job.run_id is not None
    state = house.orchestrator.state_of(job.run_id)
    if state is None:
        raise _OrchestratorUnreachableError
    if state in (RunState.ENDED, RunState.MISSING):
        return True
    idle_since = None
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
    number = job.deliveries + 1
    with house.sessions.begin() as session:
        mine = session.execute(
            update(Job)
            .where(col(Job.id) == job.id, col(Job.deliveries) == job.deliveries, _due())
            .values(deliveries=number, delivered_at=now(), run_id=None, run_checked_at=None, run_idle_since=None)
            .returning(col(Job.attempt))
        ).scalar_one_or_none()
    if mine is None:
        return False
    failpoint("deliver-before-handing-over")
    label = f"{job.accession}.{job.version}"
    run_id = house.orchestrator.deliver(Delivery(job.id, number, job.kind, label, _queue_of(house, job)))
    failpoint("deliver-after-handing-over")
    with house.sessions.begin() as session:
        # Handed back in the meantime: the job needs a new delivery, so this run is forgotten.
        unchanged = or_(col(Job.attempt) == mine, col(Job.state) == JobState.RUNNING.value)
        values: dict[str, Any] = {"run_id": run_id}
        if run_id is None:
            # A run may have been made although no answer came in time. The next try is the same delivery, so
            # that a busy orchestrator gets no further run for each; unless that run has claimed the job by now.
            same_again = case((col(Job.attempt) == mine, job.deliveries), else_=number)
            values = {"delivered_at": None, "deliveries": same_again}
        session.execute(
            update(Job).where(col(Job.id) == job.id, col(Job.deliveries) == number, unchanged).values(**values)
        )
    if run_id is None:
        raise _OrchestratorUnreachableError
    return True
