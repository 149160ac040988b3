"""Interventions of maintainers on released versions: the table of steps, and what they leave behind."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlmodel import col, select

from readvault.db.tables import Intervention, OrganismState
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, Gone, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import TABLE, Step
from readvault.domain.status import Visibility
from readvault.services.entries.released_state import released_etag
from readvault.services.entries.visibility import refuse_withdrawn, state_of
from readvault.services.house import House
from readvault.services.release.interventions import history, intervene
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE
from tests.integration.services import scenes

WHY = "the patient took back consent"
WAYS_TO: dict[Visibility, tuple[Step, ...]] = {
    Visibility.PUBLIC: (),
    Visibility.SUPPRESSED: (Step.SUPPRESS,),
    Visibility.WITHDRAWN: (Step.WITHDRAW,),
}


@pytest.fixture
def released(house: House) -> AccessionVersion:
    name, digest = scenes.processed(house, scenes.group(house, "alice"))
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def state(house: House, name: AccessionVersion) -> Visibility:
    with house.sessions.read() as session:
        return state_of(session, [name])[name]


# Written out by hand, so that a changed table must be changed here too.
EXPECTED = {
    (Visibility.PUBLIC, Step.SUPPRESS): Visibility.SUPPRESSED,
    (Visibility.PUBLIC, Step.WITHDRAW): Visibility.WITHDRAWN,
    (Visibility.PUBLIC, Step.RESTORE): None,
    (Visibility.SUPPRESSED, Step.SUPPRESS): None,
    (Visibility.SUPPRESSED, Step.WITHDRAW): Visibility.WITHDRAWN,
    (Visibility.SUPPRESSED, Step.RESTORE): Visibility.PUBLIC,
    (Visibility.WITHDRAWN, Step.SUPPRESS): None,
    (Visibility.WITHDRAWN, Step.WITHDRAW): None,
    (Visibility.WITHDRAWN, Step.RESTORE): Visibility.PUBLIC,
}


@pytest.mark.parametrize(("before", "step"), EXPECTED, ids=lambda each: each.value)
def test_the_table_of_steps(house: House, released: AccessionVersion, before: Visibility, step: Step) -> None:
    for way in WAYS_TO[before]:
        intervene(house, MAINTAINER, released, way, WHY)
    after = EXPECTED[before, step]
    if after is None:
        with pytest.raises(Conflict, match=f"{released}: It is {before}"):
            intervene(house, MAINTAINER, released, step, WHY)
        assert state(house, released) is before
    else:
        assert intervene(house, MAINTAINER, released, step, WHY).state is after
        assert state(house, released) is after


def test_the_table_is_whole() -> None:
    assert set(EXPECTED) == {(visibility, step) for visibility in Visibility for step in Step}
    assert {key: after for key, after in EXPECTED.items() if after is not None} == TABLE


def test_an_intervention_is_a_row_a_line_in_the_log_and_another_etag(house: House, released: AccessionVersion) -> None:
    etags = [released_etag(house, scenes.ORGANISM)]
    for step in (Step.SUPPRESS, Step.RESTORE, Step.WITHDRAW, Step.RESTORE):
        intervene(house, MAINTAINER, released, step, f"  {WHY} {step}\n")
        etags.append(released_etag(house, scenes.ORGANISM))
    assert len(set(etags)) == 5
    told = history(house, MAINTAINER, released)
    assert [each.state.value for each in told] == ["SUPPRESSED", "PUBLIC", "WITHDRAWN", "PUBLIC"]
    assert told[0].reason == f"{WHY} suppress"
    lines = [line for line in scenes.audit_log(house) if line.subject == str(released)][-4:]
    assert [(line.actor, line.action) for line in lines] == [
        ("maintainer", step) for step in ("suppress", "restore", "withdraw", "restore")
    ]
    assert lines[2].details == {"before": "PUBLIC", "after": "WITHDRAWN", "reason": f"{WHY} withdraw"}


def test_a_withdrawn_version_is_gone_with_its_reason_and_comes_back(house: House, released: AccessionVersion) -> None:
    intervene(house, MAINTAINER, released, Step.WITHDRAW, WHY)
    with house.sessions.read() as session, pytest.raises(Gone, match=WHY):
        refuse_withdrawn(session, released)
    intervene(house, MAINTAINER, released, Step.RESTORE, "consent was given again")
    with house.sessions.read() as session:
        refuse_withdrawn(session, released)


@pytest.mark.parametrize(
    "actor",
    [ALICE, BOB, PIPELINE, Actor("x", scopes=frozenset({"approve"}))],
    ids=["member", "stranger", "pipeline", "token"],
)
@pytest.mark.parametrize("step", Step)
def test_only_maintainers_intervene(house: House, released: AccessionVersion, actor: Actor, step: Step) -> None:
    with pytest.raises(Forbidden):
        intervene(house, actor, released, step, WHY)
    with pytest.raises(Forbidden):
        history(house, actor, released)


def test_a_machine_hides_but_does_not_show_again(house: House, released: AccessionVersion) -> None:
    robot = replace(MAINTAINER, scopes=frozenset({"maintain"}))
    intervene(house, robot, released, Step.SUPPRESS, WHY)
    with pytest.raises(Forbidden, match="not meant to decide what everybody gets"):
        intervene(house, robot, released, Step.RESTORE, WHY)
    intervene(house, robot, released, Step.WITHDRAW, WHY)
    with pytest.raises(Forbidden):
        intervene(house, robot, released, Step.RESTORE, WHY)
    intervene(house, MAINTAINER, released, Step.RESTORE, WHY)


def test_anonymous_intervenes_nowhere(house: House, released: AccessionVersion) -> None:
    with pytest.raises(Unauthenticated):
        intervene(house, None, released, Step.WITHDRAW, WHY)


def test_what_is_not_released_or_not_there(house: House) -> None:
    name, _ = scenes.processed(house, scenes.group(house, "alice"))
    with pytest.raises(Unprocessable, match="is not released"):
        intervene(house, MAINTAINER, name, Step.WITHDRAW, WHY)
    for unknown in (AccessionVersion(name.accession, 2), AccessionVersion("LOC_NONE", 1)):
        with pytest.raises(NotFound):
            intervene(house, MAINTAINER, unknown, Step.WITHDRAW, WHY)
        with pytest.raises(NotFound):
            history(house, MAINTAINER, unknown)


@pytest.mark.parametrize("reason", ["", "   ", "\n\t ", "why", "x" * 2001])
def test_a_reason_must_say_something(house: House, released: AccessionVersion, reason: str) -> None:
    with pytest.raises(BadRequest, match="reason"):
        intervene(house, MAINTAINER, released, Step.WITHDRAW, reason)
    assert state(house, released) is Visibility.PUBLIC


def test_one_version_of_an_accession_does_not_drag_another_along(house: House, released: AccessionVersion) -> None:
    with house.sessions.read() as session:
        before = session.get(OrganismState, scenes.ORGANISM)
    intervene(house, MAINTAINER, released, Step.SUPPRESS, WHY)
    other = AccessionVersion(released.accession, 2)
    assert state(house, other) is Visibility.PUBLIC
    with house.sessions.read() as session:
        after = session.get_one(OrganismState, scenes.ORGANISM)
    assert before is not None
    assert after.released_revision == before.released_revision + 1


def test_of_racing_interventions_each_sees_the_one_before(house: House, released: AccessionVersion) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def race() -> None:
        start.wait()
        try:
            intervene(house, MAINTAINER, released, Step.WITHDRAW, WHY)
            outcomes.append("done")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["refused"] * 7
    with house.sessions.read() as session:
        assert len(session.exec(select(Intervention).order_by(col(Intervention.id))).all()) == 1
