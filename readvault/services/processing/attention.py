"""Jobs that wait for a maintainer."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import tuple_
from sqlmodel import col, select

from readvault.db.tables import Job
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest
from readvault.domain.status import JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that is not tried again until somebody has looked after its cause."""

    id: str
    kind: str
    organism: str
    accession: str | None
    version: int | None
    """Both None for a job about no entry: one that pulls files."""
    created_at: float
    last_error: str | None
    failures: int
    handbacks: int
    run_id: str | None = None
    """The orchestrator's run that last tried it."""


def needing_attention(
    house: House, actor: Actor, *, after: str | None = None, size: int = LARGEST_PAGE
) -> list[WaitingJob]:
    """The jobs that need attention, oldest first: at most `size` that come after the job `after`.

    For maintainers; raises Forbidden for others, and BadRequest when there is no job `after`.
    """
    place = (col(Job.created_at), col(Job.id))
    query = select(Job).where(Job.state == JobState.NEEDS_ATTENTION.value).order_by(*place).limit(size)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        if after is not None:
            last = session.get(Job, after)
            if last is None:
                raise BadRequest("There is no such job to go on after.")
            query = query.where(tuple_(*place) > (last.created_at, last.id))
        return [
            WaitingJob(
                row.id,
                row.kind,
                row.organism,
                row.accession,
                row.version,
                row.created_at,
                row.last_error,
                row.failures,
                row.handbacks,
                row.run_id,
            )
            for row in session.exec(query)
        ]
