"""Reprocessing beside other things: other orders, edits, erasures, reviewers who sent back, terms that change."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from readvault.db.tables import ComparedResult, CurrentResult, Job, Manifest
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import Conflict, LeaseLost
from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.housekeeping import desk
from readvault.services.processing import jobs
from readvault.services.reprocessing import decisions, feeding, lowered, orders
from readvault.services.reprocessing.choices import Choice
from readvault.services.review.approval import Scope, approve
from readvault.services.review.sending_back import send_back
from readvault.services.storage.erasing import erasure
from readvault.services.submission.editing import EditedData, edit
from tests.houses import ALICE, MAINTAINER
from tests.integration.services.life import METADATA, at_once, released, revised, status
from tests.integration.services.scenes import (
    ORGANISM,
    READY,
    audit_log,
    claimed,
    group,
    of_next_pipeline,
    processed,
    result,
)

REASON = "a better aligner"
OTHER = Actor("other-maintainer", frozenset({MAINTAINER_ROLE}))


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


def test_what_a_reviewer_sent_back_stays_so_with_a_newer_result(house: House, mine: int, later: House) -> None:
    name, _ = processed(house, mine)
    send_back(house, ALICE, ORGANISM, [(name, None)], "a mixed up tube")
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    jobs.register(later, claim, result(later, claim, text=b">main\nACGA\n"))
    assert approve(later, ALICE, ORGANISM, scope=Scope.ALL) == []


def _waiting(house: House) -> list[AccessionVersion]:
    return [AccessionVersion(each.row.accession, each.row.version) for each in decisions.waiting(house, MAINTAINER)]


def test_a_registration_beside_an_edit_leaves_only_what_was_edited(house: House, mine: int, later: House) -> None:
    name, _ = processed(house, mine)
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    made = result(later, claim, text=b">main\nACGA\n")
    registered, edited = at_once(
        lambda: jobs.register(later, claim, made),
        lambda: edit(later, ALICE, ORGANISM, name, EditedData({**METADATA, "country": "CH"}, {})),
    )
    assert not isinstance(edited, Exception), edited
    assert isinstance(registered, str | LeaseLost), registered
    with house.sessions.read() as session:
        assert session.exec(select(Manifest).where(col(Manifest.superseded_at).is_(None))).all() == []
        (again,) = session.exec(select(Job).where(Job.state != "done")).all()
    assert (again.reprocessing_id, again.pipeline_version) == (None, 2)
    again_claimed = claimed(later, again.id)
    jobs.register(later, again_claimed, result(later, again_claimed, text=b">main\nACGC\n"))
    assert _waiting(house) == []
    assert status(house, name) == "PROCESSED"


def test_a_registration_beside_a_revision_takes_the_place_in_the_older_version(
    house: House, mine: int, later: House
) -> None:
    name = released(house, mine)
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    made = result(later, claim, text=b">main\nACGA\n")
    answers = at_once(lambda: jobs.register(later, claim, made), lambda: revised(later, {"accession": name.accession}))
    assert not any(isinstance(answer, Exception) for answer in answers), answers
    with house.sessions.read() as session:
        assert len(session.exec(select(CurrentResult)).all()) == 1
        (queued,) = session.exec(select(Job).where(Job.state != "done", Job.kind == "process-submission")).all()
    assert (queued.version, queued.pipeline_version) == (2, 2)


@pytest.mark.parametrize("is_released", [True, False])
def test_a_registration_beside_an_erasure_gives_nothing_back(
    house: House, mine: int, later: House, is_released: bool
) -> None:
    name = released(house, mine) if is_released else processed(house, mine)[0]
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    made = result(later, claim, text=b">main\nACGA\n")
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    number, objects, code = asked.id or 0, asked.objects, asked.code
    registered, confirmed = at_once(
        lambda: jobs.register(later, claim, made),
        lambda: erasure.confirm(house, OTHER, number, objects=objects, code=code),
    )
    if isinstance(confirmed, Exception):  # the new result came first: its files are not what was asked for
        assert isinstance(confirmed, Conflict), confirmed
        assert isinstance(registered, str), registered
    else:
        assert isinstance(registered, LeaseLost), registered
        with house.sessions.read() as session:
            assert session.exec(select(CurrentResult)).all() == []
            assert session.exec(select(ComparedResult)).all() == []


def test_what_waits_of_an_erased_or_edited_entry_is_on_nobodys_list(house: House, mine: int) -> None:
    later = of_next_pipeline(house, switch="byMaintainer")
    name, other = released(house, mine, text=b">one"), processed(house, mine, text=b">two")[0]
    feeding.feed(later)
    for number, job in enumerate(_queued(house)):
        claim = claimed(later, job.id)
        jobs.register(later, claim, result(later, claim, text=b">main\nACG%d\n" % number))
    assert sorted(_waiting(house)) == sorted([name, other])
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    erasure.confirm(house, OTHER, asked.id or 0, objects=asked.objects, code=asked.code)
    edit(later, ALICE, ORGANISM, other, EditedData(METADATA, {}))
    assert _waiting(house) == []
    assert desk.desk(house, MAINTAINER).results == 0


def test_a_paused_order_begins_nothing_more_and_ends_what_is_under_way(house: House, mine: int, later: House) -> None:
    names = [released(house, mine) for _ in range(3)]
    feeding.feed(later)
    begun, waits, _ = (each.id for each in _queued(house))
    under_way = claimed(later, begun)
    number = orders.page(later, MAINTAINER)[0].row.id or 0
    orders.pause(later, MAINTAINER, number)
    assert jobs.claim(later, waits, "worker", READY) is None
    jobs.register(later, under_way, result(later, under_way, text=b">main\nACGA\n"))
    orders.resume(later, MAINTAINER, number)
    feeding.feed(later)
    assert [job.accession for job in _queued(house)] == [name.accession for name in names[1:]]
    assert orders.find(later, MAINTAINER, number).row.queued == 3


def _age(house: House, seconds: float) -> None:
    """Let all jobs be so much older."""
    with house.sessions.begin() as session:
        session.execute(update(Job).values(created_at=col(Job.created_at) - seconds))


def test_a_lowered_version_leaves_no_jobs_that_nobody_takes(house: House, mine: int, later: House) -> None:
    names = [released(house, mine) for _ in range(3)]
    assert feeding.feed(later) == 3
    held = claimed(later, _queued(house)[0].id)
    assert feeding.feed(house) == 0
    assert len(_queued(house)) == 2, "perhaps only this worker's file is old"
    _age(house, lowered.WAITS + 1)
    feeding.feed(house)
    assert _queued(house) == []
    with house.sessions.read() as session:
        ended = session.exec(select(Job).where(Job.last_error == lowered.NOTHING_TO_DO)).all()
    assert [job.state for job in ended] == ["done"] * 2
    jobs.register(later, held, result(later, held))  # what somebody works on ends as it would have
    (order,) = orders.page(house, MAINTAINER)
    assert (order.row.state, order.row.queued, order.jobs) == ("running", 1, {})
    line = audit_log(house)[-1]
    assert feeding.feed(house) == 0
    assert audit_log(house)[-1].id == line.id
    assert feeding.feed(later) == 2, "the version came back"
    for job in _queued(house):
        claim = claimed(later, job.id)
        jobs.register(later, claim, result(later, claim))
    feeding.feed(later)
    (order,) = orders.page(house, MAINTAINER)
    assert (order.row.state, order.row.queued) == ("done", len(names))


def test_a_worker_with_the_version_ends_none_of_its_own_jobs(house: House, mine: int, later: House) -> None:
    released(house, mine)
    feeding.feed(later)
    _age(house, 10 * lowered.WAITS)
    feeding.feed(later)
    assert len(_queued(house)) == 1
