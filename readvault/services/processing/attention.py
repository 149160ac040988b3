"""Jobs that wait for a maintainer."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col, select

from readvault.db.tables import Job
from readvault.domain.actor import Actor
from readvault.domain.status import JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that is not tried again until somebody has looked after its cause."""

    id: str
    kind: str
    organism: str
    accession: str
    version: int
    created_at: float
    last_error: str | None


def needing_attention(house: House, actor: Actor) -> list[WaitingJob]:
    """The jobs that need attention, oldest first. For maintainers; raises Forbidden for others."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        rows = session.exec(
            select(Job).where(Job.state == JobState.NEEDS_ATTENTION.value).order_by(col(Job.created_at), col(Job.id))
        )
        return [
            WaitingJob(row.id, row.kind, row.organism, row.accession, row.version, row.created_at, row.last_error)
            for row in rows
        ]
