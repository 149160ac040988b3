"""The fence: who holds a job, and how it comes and goes.

Every write of a worker happens only while the job is running under the attempt that it claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import ColumnElement, case, or_, update
from sqlmodel import Session, col, select

from readvault.config import WorkerSettings
from readvault.db import clock
from readvault.db.clock import now
from readvault.db.job_columns import UNDELIVERED as UNDELIVERED
from readvault.db.tables import Job
from readvault.domain.errors import LeaseLost
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState

PAGE = 500
LONGEST_SILENCE = 7 * 24 * 3600.0
"""Seconds after the end of a lease from which on its holder has lost the job, even if nobody took it back.

Far below the time for which the names of deleted garbage are kept: what a holder staged may be gone by then.
"""
SYSTEM = "readvault"
"""Who the audit log names when no person acted."""


_OF_RUN = ("run_id", "delivered_at")
NO_ENTRY = AccessionVersion("", 0)
"""What a job of kind `import-files` is about."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do a job, as long as its lease is renewed. `attempt` is the fence of all writes.

    `runs_alone`: the last worker that held the job died, so run it with nothing beside it.
    `input_bytes`: how much it reads, for its lane and its memory.
    """

    job_id: str
    attempt: int
    kind: JobKind
    organism: str
    accession_version: AccessionVersion
    pipeline_version: int
    worker: str
    group_id: int
    runs_alone: bool = False
    input_bytes: int = 0


def entry_of(job: Job) -> AccessionVersion:
    """The entry that a job is about, or NO_ENTRY."""
    return NO_ENTRY if job.accession is None or job.version is None else AccessionVersion(job.accession, job.version)


def subject_of(job: Job) -> str:
    """What a job is about, as lists, logs and Prefect name it: its entry, else nothing but a part of its own ID."""
    return f"{job.kind} {job.id[:8]}" if job.accession is None else str(entry_of(job))


def held(session: Session, claim: Claim) -> Job:
    """The claimed job, locked until the transaction ends: the fence. Raises LeaseLost when it isn't ours any more."""
    job = session.exec(
        select(Job)
        .where(
            Job.id == claim.job_id,
            Job.attempt == claim.attempt,
            Job.state == JobState.RUNNING.value,
            col(Job.lease_until) > now() - LONGEST_SILENCE,
        )
        .with_for_update()
    ).one_or_none()
    if job is None:
        raise LeaseLost(f"job {claim.job_id} is no longer held by attempt {claim.attempt}")
    return job


def is_last_try(session: Session, claim: Claim, limits: WorkerSettings) -> bool:
    """Whether the claimed job would need attention after one more failure. Raises LeaseLost."""
    return held(session, claim).failures + 1 >= limits.max_attempts


def finish(session: Session, job: Job, at: float | None = None) -> None:
    """Mark a locked job as done: now, or at this moment of the database's clock."""
    job.state = JobState.DONE.value
    job.finished_at = clock.read(session) if at is None else at
    job.lease_owner = job.lease_until = job.last_error = None


def hand_back(
    session: Session, job: Job, state: JobState, cause: str, *, wait: float = 0.0, keeps_run: bool = False
) -> None:
    """Put a locked job back, due in `wait` seconds by the database's clock.

    Its run is forgotten unless `keeps_run`, or it needs attention: a maintainer may want to look at the run.
    """
    keeps_run = keeps_run or state is JobState.NEEDS_ATTENTION
    job.state = state.value
    job.last_error = cause
    job.not_before = clock.read(session) + wait
    for name, value in UNDELIVERED.items():
        if not (keeps_run and name in _OF_RUN):
            setattr(job, name, value)


def is_finished_by(job: Job, claim: Claim) -> bool:
    """Whether this very attempt ended the job before: its answer was lost."""
    return job.state == JobState.DONE and job.attempt == claim.attempt


def lease_ran_out() -> ColumnElement[bool]:
    """The condition that a running job's lease has run out, by the database's clock."""
    return or_(col(Job.lease_until).is_(None), col(Job.lease_until) < now())


def take_back(session: Session, limits: WorkerSettings, *conditions: ColumnElement[bool]) -> list[str]:
    """Take running jobs that meet the conditions from a dead worker or a silent external pipeline; their IDs.

    The death of a whole worker doesn't count as a failure of the job, but next it runs alone.
    """
    external = col(Job.kind) == JobKind.EXTERNAL_PROCESSING.value
    exhausted = col(Job.handbacks) + 1 > limits.max_handbacks
    lost = select(Job.id).where(col(Job.state) == JobState.RUNNING.value, *conditions)
    # Who holds one of these jobs is about to end it, or takes it back as well: nobody waits for anybody.
    free = session.exec(lost.order_by(col(Job.id)).with_for_update(skip_locked=True)).all()
    return [job_id for page in batched(free, PAGE) for job_id in _take(session, page, external, exhausted)]


def _take(
    session: Session, job_ids: Sequence[str], external: ColumnElement[bool], exhausted: ColumnElement[bool]
) -> list[str]:
    taken = (
        update(Job)
        .where(col(Job.id).in_(job_ids))
        .values(
            state=case((exhausted, JobState.NEEDS_ATTENTION.value), else_=JobState.QUEUED.value),
            handbacks=col(Job.handbacks) + 1,
            runs_alone=or_(col(Job.runs_alone), ~external),
            not_before=now(),
            last_error=case(
                (external, "its external pipeline did not answer in time"),
                else_="its worker died or lost touch with the database",
            ),
            # As in `hand_back`: of one that needs attention it is known which run was the last.
            **{**UNDELIVERED, "run_id": case((exhausted, col(Job.run_id)), else_=None)},
        )
        .returning(col(Job.id))
        .execution_options(synchronize_session=False)
    )
    return list(session.execute(taken).scalars())
