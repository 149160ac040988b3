"""What has to be done again and again: jobs come back from dead workers, and one worker does what all need."""

from __future__ import annotations

import logging
from itertools import batched

from sqlmodel import col, select

from readvault.db import clock
from readvault.db.tables import Bookmark, Job
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.queue.fence import lease_ran_out, take_back

logger = logging.getLogger(__name__)

PAGE = 200


def reap(house: House) -> int:
    """Take back the jobs whose lease has run out; how many. Their worker is dead, so they next run alone."""
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.state == JobState.RUNNING.value, lease_ran_out())
        ended = list(session.exec(query.order_by(col(Job.id))))
    taken = 0
    for page in batched(ended, PAGE):
        with house.sessions.begin() as session:
            taken += len(take_back(session, house.settings.worker, col(Job.id).in_(page), lease_ran_out()))
            failpoint("reap-before-commit")
    if taken:
        logger.warning("%d jobs were taken back from workers that died", taken)
    return taken


def hand_back_worker(house: House, worker: str) -> int:
    """Take back at once what a dead worker of this name still holds; how many jobs. For a worker's start."""
    with house.sessions.begin() as session:
        return len(take_back(session, house.settings.worker, col(Job.lease_owner) == worker))


def take_turn(house: House, chore: str, every: float) -> bool:
    """Whether this worker is to do a chore now that one does for all; nobody else is told so for `every` seconds."""
    table = columns_of(Bookmark)
    with house.sessions.begin() as session:
        at = clock.read(session)
        new = insert_into(session, table).values(name=chore, position="", finished_at=at)
        taken = new.on_conflict_do_update(
            index_elements=["name"], set_={"finished_at": at}, where=table.c.finished_at < at - every
        )
        return session.execute(taken.returning(table.c.name)).first() is not None
