"""Orders for a newer pipeline version than the organism's file has: it was lowered, or this process has an old file."""

from __future__ import annotations

from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import Job, Reprocessing
from readvault.domain.organism import Organism
from readvault.domain.reprocessing import OrderState
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.queue.fence import SYSTEM
from readvault.services.reprocessing import orders

WAITS = 600.0
"""Seconds that a job waits for a worker with its version. Workers read changed files within seconds."""
_NOBODYS = (JobState.QUEUED, JobState.NEEDS_ATTENTION)
NOTHING_TO_DO = "nothing to do: the organism's pipeline.version is lower than this job's"


def call_off_jobs(house: House) -> int:
    """End jobs of reprocessings that no worker takes, because the organism's version was lowered; how many.

    The order stays as it is and makes them anew should its version come back; until then nothing of it is
    begun. So nothing is lost either when it was this process that had an old file.
    """
    return sum(_call_off(house, organism) for organism in list(house.organisms.values()))


def _call_off(house: House, organism: Organism) -> int:
    ahead = (
        col(Reprocessing.organism) == organism.name,
        col(Reprocessing.pipeline_version) > organism.pipeline.version,
        col(Reprocessing.state) == OrderState.RUNNING.value,
    )
    with house.sessions.read() as session:
        waiting = [row for row in session.exec(select(Reprocessing.id).where(*ahead)) if _has_old(session, row)]
    if not waiting:
        return 0
    ended = 0
    with house.sessions.begin() as session:
        locked = select(Reprocessing).where(*ahead, col(Reprocessing.id).in_(waiting)).order_by(col(Reprocessing.id))
        for row in session.exec(locked.with_for_update()).all():
            jobs = orders.call_off(session, row.id or 0, states=_NOBODYS, reason=NOTHING_TO_DO)
            if jobs == 0:
                continue
            row.queued -= jobs
            row.after_accession, row.after_version, row.fed = "", 0, False
            orders.changed(session, row, OrderState.RUNNING)
            details = {"reprocessing": row.id, "pipelineVersion": row.pipeline_version, "jobs": jobs}
            audit.append(session, SYSTEM, "call off reprocessing jobs", organism.name, details)
            ended += jobs
    return ended


def _has_old(session: Session, order_id: int | None) -> bool:
    waits = col(Job.state).in_([state.value for state in _NOBODYS])
    long_ago = col(Job.created_at) < clock.read(session) - WAITS
    query = select(Job.id).where(Job.reprocessing_id == order_id, waits, long_ago)
    return session.exec(query.limit(1)).first() is not None
