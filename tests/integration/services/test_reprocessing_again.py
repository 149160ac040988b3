"""Reprocessing beside other things: other orders, edits, erasures, reviewers who sent back, terms that change."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from readvault.db.tables import Job
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.reprocessing import feeding, orders
from readvault.services.reprocessing.choices import Choice
from tests.houses import MAINTAINER
from tests.integration.services.life import released
from tests.integration.services.scenes import ORGANISM, claimed, group, of_next_pipeline, result

REASON = "a better aligner"


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


@pytest.fixture
def later(house: House) -> House:
    """The house whose organism's file has got pipeline version 2."""
    return of_next_pipeline(house)


def _queued(house: House) -> list[Job]:
    query = select(Job).where(Job.state == "queued", col(Job.reprocessing_id).is_not(None))
    with house.sessions.read() as session:
        return list(session.exec(query.order_by(col(Job.accession), col(Job.version))))


def test_two_orders_for_the_same_entry_make_one_job(house: House, mine: int, later: House) -> None:
    name = released(house, mine)
    for _ in range(2):
        row, _ = orders.request(later, MAINTAINER, ORGANISM, Choice(accession_versions=(str(name),)), REASON)
        orders.confirm(later, MAINTAINER, row.id or 0)
    feeding.feed(later)
    assert len(_queued(house)) == 1
    claim = claimed(later, _queued(house)[0].id)
    jobs.register(later, claim, result(later, claim))
    feeding.feed(later)
    assert {order.row.state for order in orders.page(later, MAINTAINER)} == {"done"}
