"""What lies on the maintainers' desk: how much waits for a person, and how each organism gets on, in counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import and_, case, func, select
from sqlmodel import Session, col

from readvault.db import clock
from readvault.db.tables import Erasure, FixityCheck, Job, Reprocessing
from readvault.domain.actor import Actor
from readvault.domain.erasures import CONFIRM_WITHIN
from readvault.domain.reprocessing import OrderState
from readvault.domain.status import JobKind, JobState
from readvault.services.authorization import Action, authorize
from readvault.services.entries.damage import REFERENCE_LOST
from readvault.services.house import House
from readvault.services.release import opening
from readvault.services.reprocessing import decisions
from readvault.services.screening import withholding

_PROCESSING = (JobKind.PROCESS_SUBMISSION.value, JobKind.EXTERNAL_PROCESSING.value, JobKind.REGISTER_EXTERNAL.value)
_OPEN = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.NEEDS_ATTENTION.value)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries of an organism that are processed or wait for it. `oldest_due` counts seconds; None: nothing is due."""

    queued: int = 0
    running: int = 0
    need_attention: int = 0
    oldest_due: float | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """How many things wait for a person, by what they are, and the backlog of each organism that has one."""

    jobs: int
    results: int
    orders: int
    """Orders to reprocess that were requested and not confirmed."""
    erasures: int
    """Erasures that were asked for and may still be confirmed."""
    withheld: int
    """Results whose reads a screening withheld."""
    openings: int
    """Entries whose originals were asked for and may still be opened."""
    damaged: int
    backlogs: Mapping[str, Backlog]


def desk(house: House, actor: Actor | None) -> Desk:
    """What waits for a maintainer now. Costs what is open, never what was ever done.

    Raises Unauthenticated, and Forbidden for all but maintainers.
    """
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        return desk_in(session, clock.read(session))


def desk_in(session: Session, now: float) -> Desk:
    """As `desk`, in an open transaction, for the instance itself."""
    asked = col(Erasure.confirmed_at).is_(None) & (col(Erasure.requested_at) + CONFIRM_WITHIN >= now)
    ours = col(FixityCheck.damage) != REFERENCE_LOST
    return Desk(
        jobs=_count(session, col(Job.id), col(Job.state) == JobState.NEEDS_ATTENTION.value),
        results=decisions.count_waiting(session),
        orders=_count(session, col(Reprocessing.id), col(Reprocessing.state) == OrderState.REQUESTED.value),
        erasures=_count(session, col(Erasure.id), asked),
        withheld=withholding.waiting(session),
        openings=opening.waiting(session),
        damaged=_count(session, col(FixityCheck.key), col(FixityCheck.damage).is_not(None) & ours),
        backlogs=_backlogs(session, now),
    )


def _count(session: Session, column: object, condition: object) -> int:
    return int(session.execute(select(func.count(column)).where(condition)).scalar_one())  # type: ignore[arg-type]


def _backlogs(session: Session, now: float) -> dict[str, Backlog]:
    def number(state: JobState) -> object:
        return func.count(case((col(Job.state) == state.value, 1)))

    due = and_(col(Job.state) == JobState.QUEUED.value, col(Job.not_before) <= now)
    rows = session.execute(
        select(  # type: ignore[call-overload]
            col(Job.organism),
            number(JobState.QUEUED),
            number(JobState.RUNNING),
            number(JobState.NEEDS_ATTENTION),
            func.min(case((due, col(Job.not_before)))),
        )
        .where(col(Job.state).in_(_OPEN), col(Job.kind).in_(_PROCESSING))
        .group_by(col(Job.organism))
    )
    return {
        organism: Backlog(queued, running, stuck, None if since is None else max(0.0, now - since))
        for organism, queued, running, stuck, since in rows
    }
