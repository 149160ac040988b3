"""How many files the pulls of a list have, and how they stand; and which pull stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import func
from sqlmodel import col, select

from readvault.db.tables import Job, Pull, PullSource
from readvault.domain.actor import Actor
from readvault.domain.pulls import SourceState
from readvault.domain.status import JobState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.pulls.access import own_pull


def files_of(
    house: House, actor: Actor | None, group_id: int, pull_ids: Collection[str]
) -> Mapping[str, Counter[SourceState]]:
    """How many files these pulls of a group have in each state; other groups' pulls are left out."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.PULL, group_id=group_id)
        query = (
            select(PullSource.pull_id, PullSource.state, func.count())
            .join(Pull, col(Pull.id) == col(PullSource.pull_id))
            .where(Pull.group_id == group_id, col(Pull.id).in_(pull_ids))
            .group_by(col(PullSource.pull_id), col(PullSource.state))
        )
        found: dict[str, Counter[SourceState]] = {pull_id: Counter() for pull_id in pull_ids}
        for pull_id, state, count in session.exec(query):
            found[pull_id][SourceState(state)] += count
        return found


def stands_still(house: House, actor: Actor | None, pull_id: str) -> bool:
    """Whether nobody goes on with an open pull before a maintainer has looked after its job. Raises NotFound."""
    with house.sessions.read() as session:
        pull = own_pull(session, actor, pull_id)
        job = None if pull.ended_at is not None or pull.job_id is None else session.get(Job, pull.job_id)
        return job is not None and job.state == JobState.NEEDS_ATTENTION
