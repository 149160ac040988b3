"""How many files the pulls of a list have, and how they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import func
from sqlmodel import col, select

from readvault.db.tables import Pull, PullSource
from readvault.domain.actor import Actor
from readvault.domain.pulls import SourceState
from readvault.services.authorization import Action, authorize
from readvault.services.house import House


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
