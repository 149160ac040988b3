"""Reprocessing: orders become jobs a few at a time, results switch or wait by rule, and everything can go back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from readvault.db.tables import ComparedResult, CurrentResult, EntryVersion, Job, Manifest, Reprocessing
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, LeaseLost, NotFound, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import External
from readvault.domain.reads import Platform
from readvault.domain.reprocessing import OrderState, ResultState
from readvault.domain.status import JobKind, JobState, Priority, ProcessingResult
from readvault.services.house import House
from readvault.services.processing import chain, jobs
from readvault.services.processing.reprocessing import process_again
from readvault.services.release.interventions import intervene
from readvault.services.release.manifests import manifest as manifest_of
from readvault.services.reprocessing import decisions, feeding, going_back, orders, planning
from readvault.services.reprocessing.choices import Choice
from readvault.services.reprocessing.form import Reprocess
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.life import at_once
from tests.integration.services.scenes import (
    ERROR,
    ORGANISM,
    audit_log,
    change,
    claimed,
    entry,
    group,
    of_next_pipeline,
    processed,
    result,
)

REASON = "a better aligner"


@pytest.fixture
def mine(house: House) -> int:
    return group(house, "alice")


@pytest.fixture
def later(house: House) -> House:
    """The house whose organism's file has got pipeline version 2."""
    return of_next_pipeline(house)


def _released(house: House, group_id: int, **changes: Any) -> AccessionVersion:
    name, digest = processed(house, group_id, **changes)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def _queued(house: House) -> list[Job]:
    """The queued jobs of reprocessings, by entry."""
    query = select(Job).where(Job.state == JobState.QUEUED.value, col(Job.reprocessing_id).is_not(None))
    with house.sessions.read() as session:
        return list(session.exec(query.order_by(col(Job.accession), col(Job.version))))


def _do(house: House, job: Job, **of_result: Any) -> None:
    """Do a job as a worker does."""
    claim = claimed(house, job.id)
    jobs.register(house, claim, result(house, claim, text=b">main\nACGA\n", **of_result))


def _order(house: House, number: int | None = None) -> Reprocessing:
    with house.sessions.read() as session:
        query = select(Reprocessing).order_by(col(Reprocessing.id).desc())
        return session.exec(query).first() if number is None else session.get_one(Reprocessing, number)  # type: ignore[return-value]


def _compared(house: House) -> list[ComparedResult]:
    with house.sessions.read() as session:
        return list(session.exec(select(ComparedResult).order_by(col(ComparedResult.id))))


def _stands(house: House, name: AccessionVersion) -> int:
    """The pipeline version of the result that everybody, or the group, sees."""
    found = manifest_of(house, ALICE, ORGANISM, name)
    return int(json.loads(found.body)["pipelineVersion"])


def _public(house: House, name: AccessionVersion, version: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest_of(house, None, ORGANISM, name, version).body)
    return found


def _all_done(house: House, **of_result: Any) -> int:
    """Feed and do all jobs, until nothing is left; how many."""
    done = 0
    while feeding.feed(house) or _queued(house):
        for job in _queued(house):
            _do(house, job, **of_result)
            done += 1
    feeding.feed(house)
    return done


def test_a_raised_version_reprocesses_everything_and_better_results_become_current(house: House, mine: int) -> None:
    names = [_released(house, mine) for _ in range(3)]
    unreleased, _ = processed(house, mine)
    later = of_next_pipeline(house)
    assert feeding.feed(house) == 0, "nothing was raised for the older worker"
    assert feeding.feed(later) == 4
    order = _order(house)
    assert (order.automatic, order.state, order.pipeline_version, order.planned_entries) == (True, "running", 2, 4)
    assert {(job.priority, job.reprocessing_id, job.input_bytes) for job in _queued(house)} == {
        (Priority.BACKGROUND.value, order.id, 5)
    }
    _all_done(later)
    assert [_stands(house, name) for name in (*names, unreleased)] == [2] * 4
    assert {row.state for row in _compared(house)} == {ResultState.SWITCHED.value}
    assert _public(house, names[0], 1)["pipelineVersion"] == 1, "the old result is there under its version"
    with house.sessions.read() as session:
        switched = session.exec(select(CurrentResult)).all()
        followed = session.exec(select(Job).where(Job.kind == JobKind.RELEASE.value, Job.pipeline_version == 2)).all()
    assert len(switched) == 3
    assert {job.priority for job in followed} == {Priority.BACKGROUND.value}
    assert len(followed) == 3
    order = _order(house)
    assert (order.state, order.queued) == (OrderState.DONE.value, 4)
    assert feeding.feed(later) == 0
    assert feeding.begin_again(later) == 0, "nothing is left"


def test_a_worse_result_waits_and_nothing_public_changes(house: House, mine: int, later: House) -> None:
    public, hidden = _released(house, mine), processed(house, mine)[0]
    before = manifest_of(house, None, ORGANISM, public).body
    _all_done(later, errors=(ERROR,))
    assert manifest_of(house, None, ORGANISM, public).body == before
    assert (_stands(house, public), _stands(house, hidden)) == (1, 1)
    with pytest.raises(NotFound):
        manifest_of(house, None, ORGANISM, public, 2)
    listed = decisions.waiting(house, MAINTAINER)
    assert [(each.row.accession, each.released, each.pipeline_version) for each in listed] == [
        (public.accession, True, 2),
        (hidden.accession, False, 2),
    ]
    assert listed[0].row.findings[0] == {"figure": "processingResult", "old": "NO_ISSUES", "new": "HAS_ERRORS"}
    with pytest.raises(Conflict, match="has errors"):
        decisions.accept(house, MAINTAINER, listed[0].row.id or 0, REASON)
    decisions.keep(house, MAINTAINER, listed[0].row.id or 0, REASON)
    decisions.accept(house, MAINTAINER, listed[1].row.id or 0, REASON)
    assert (_stands(house, public), _stands(house, hidden)) == (1, 2)
    assert feeding.begin_again(later) == 0, "what was decided is never touched again by the night"
    with pytest.raises(Conflict):
        decisions.keep(house, MAINTAINER, listed[0].row.id or 0, REASON)


def test_a_waiting_result_that_is_accepted_is_public_and_can_go_back(house: House, mine: int) -> None:
    cautious = of_next_pipeline(house, switch="byMaintainer")
    name = _released(house, mine)
    _all_done(cautious)
    (waits,) = decisions.waiting(house, MAINTAINER)
    assert waits.row.findings == []
    decisions.accept(house, MAINTAINER, waits.row.id or 0, REASON)
    assert _public(house, name)["pipelineVersion"] == 2
    with pytest.raises(Conflict, match="stands already"):
        decisions.accept(house, MAINTAINER, waits.row.id or 0, REASON)
    assert decisions.roll_back(house, MAINTAINER, name, "it is wrong after all") == 1
    assert _public(house, name)["pipelineVersion"] == 1
    assert _public(house, name, 2)["pipelineVersion"] == 2, "what was public stays so by its version"
    with pytest.raises(Conflict, match="nothing to go back to"):
        decisions.roll_back(house, MAINTAINER, name, "once more, please")
    assert feeding.begin_again(cautious) == 0
    assert decisions.roll_back(house, MAINTAINER, name, "it was right", pipeline_version=2) == 2
    assert _compared(house)[0].state == ResultState.ACCEPTED.value
    actions = [row.action for row in audit_log(house)]
    assert actions.count("roll back result") == 2
    assert "accept result" in actions


def test_a_machine_token_looks_at_results_and_decides_nothing(house: House, mine: int) -> None:
    cautious = of_next_pipeline(house, switch="byMaintainer")
    _released(house, mine)
    name = _released(house, mine)
    _all_done(cautious)
    robot = replace(MAINTAINER, scopes=frozenset({"maintain"}))
    waits, other = (each.row.id or 0 for each in decisions.waiting(house, robot))
    order = _order(house).id or 0
    deeds: tuple[Callable[[Actor], object], ...] = (
        lambda actor: decisions.keep(house, actor, waits, REASON),
        lambda actor: decisions.accept(house, actor, other, REASON),
        lambda actor: decisions.roll_back(house, actor, name, REASON),
        lambda actor: decisions.roll_back_order(house, actor, order, REASON),
    )
    for deed in deeds:
        with pytest.raises(Forbidden, match="not meant to decide what everybody gets"):
            deed(robot)
        deed(MAINTAINER)


def test_a_third_version_is_compared_with_what_stands_after_a_roll_back(house: House, mine: int, later: House) -> None:
    name = _released(house, mine)
    _all_done(later)
    decisions.roll_back(house, MAINTAINER, name, REASON)
    third = of_next_pipeline(house, 3)
    _all_done(third)
    assert _stands(house, name) == 3
    compared = _compared(house)[1]
    with house.sessions.read() as session:
        assert session.get_one(Manifest, compared.compared_manifest_id).pipeline_version == 1
    assert decisions.roll_back(house, MAINTAINER, name, REASON) == 1, "what stood before, not what was rolled back"


def test_an_unreleased_entry_goes_back_to_its_older_result(house: House, mine: int, later: House) -> None:
    name, _ = processed(house, mine)
    _all_done(later)
    assert _stands(house, name) == 2
    assert decisions.roll_back(house, MAINTAINER, name, REASON) == 1
    assert _stands(house, name) == 1
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    assert _public(house, name)["pipelineVersion"] == 1
    with pytest.raises(Conflict):
        decisions.roll_back(house, MAINTAINER, name, REASON)


def test_a_whole_order_goes_back_page_by_page(
    house: House, mine: int, later: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [_released(house, mine) for _ in range(3)]
    hidden, _ = processed(house, mine)
    _all_done(later)
    order = _order(house).id or 0
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)  # the group approved the new result: there is no older public one
    monkeypatch.setattr(going_back, "AT_ONCE", 2)
    decisions.roll_back_order(house, MAINTAINER, order, "a bug in version 2")
    with pytest.raises(Conflict, match="already"):
        decisions.roll_back_order(house, MAINTAINER, order, "a bug in version 2")
    assert going_back._page_back(house, order) == 2
    assert going_back.carry_on(house) == 1
    assert going_back.carry_on(house) == 0
    assert [_stands(house, name) for name in names] == [1, 1, 1]
    assert _stands(house, hidden) == 2
    assert _order(house).roll_back_done
    assert feeding.begin_again(later) == 0
    assert feeding.feed(later) == 0


def test_only_so_many_jobs_are_open_at_once_and_the_bookmark_goes_on(house: House, mine: int) -> None:
    for _ in range(5):
        _released(house, mine)
    worker = house.settings.worker.model_copy(update={"background_jobs": 2})
    later = of_next_pipeline(replace(house, settings=house.settings.model_copy(update={"worker": worker})))
    assert [feeding.feed(later), feeding.feed(later)] == [2, 0]
    _do(later, _queued(house)[0])
    assert feeding.feed(later) == 1
    found = orders.find(house, MAINTAINER, _order(house).id or 0)
    assert (found.jobs, found.results, found.row.queued) == ({"queued": 2}, {"switched": 1}, 3)
    assert _all_done(later) == 4
    assert _order(house).state == OrderState.DONE.value


def test_an_order_has_its_pace(house: House, mine: int) -> None:
    for _ in range(4):
        _released(house, mine)
    slow = of_next_pipeline(house, per_hour=60)
    assert feeding.feed(slow) == 0, "the first minute is not over"
    _set(house, pace_since=_order(house).pace_since - 125)
    assert feeding.feed(slow) == 2
    assert feeding.feed(slow) == 0
    _set(house, pace_since=_order(house).pace_since - 5000)
    assert feeding.feed(slow) == 1, "an hour that was slept through is not made up for"


def _set(house: House, **columns: Any) -> None:
    with house.sessions.begin() as session:
        row = session.exec(select(Reprocessing).order_by(col(Reprocessing.id).desc())).first()
        assert row is not None
        for name, value in columns.items():
            setattr(row, name, value)


def test_orders_are_asked_for_counted_confirmed_paused_and_called_off(house: House, mine: int) -> None:
    manual = of_next_pipeline(house, automatic=False)
    names = [_released(house, mine) for _ in range(3)]
    assert feeding.feed(manual) == 0
    choice = Choice.of_options(accession_versions=[str(name) for name in names[:2]])
    counted = planning.plan(manual, MAINTAINER, ORGANISM, choice)
    assert (counted.entries, counted.released, counted.bytes, counted.busy) == (2, 2, 10, 0)
    assert counted.cpu_seconds > 0
    row, plan = orders.request(manual, MAINTAINER, ORGANISM, choice, REASON)
    assert plan == counted
    assert feeding.feed(manual) == 0, "nothing happens before a yes"
    number = row.id or 0
    robot = Actor("maintainer", frozenset({MAINTAINER_ROLE}), scopes=frozenset({"maintain"}))
    with pytest.raises(Forbidden):
        orders.confirm(manual, robot, number)
    orders.confirm(manual, MAINTAINER, number)
    with pytest.raises(Conflict):
        orders.confirm(manual, MAINTAINER, number)
    orders.pause(manual, MAINTAINER, number)
    assert feeding.feed(manual) == 0
    orders.resume(manual, MAINTAINER, number)
    assert feeding.feed(manual) == 2
    held = claimed(manual, _queued(house)[0].id)
    orders.cancel(manual, MAINTAINER, number)
    assert _queued(house) == []
    with pytest.raises(LeaseLost):
        jobs.register(manual, held, result(house, held))
    with pytest.raises(Conflict, match="cancelled"):
        orders.resume(manual, MAINTAINER, number)
    assert [_stands(house, name) for name in names] == [1, 1, 1]
    assert [each.row.id for each in orders.page(manual, MAINTAINER)] == [number]


def test_what_can_not_be_ordered_is_refused(house: House, mine: int, later: House) -> None:
    _released(house, mine)
    with pytest.raises(Forbidden):
        orders.request(later, ALICE, ORGANISM, Choice(), REASON)
    with pytest.raises(Conflict, match="Nothing to do"):
        orders.request(house, MAINTAINER, ORGANISM, Choice(), REASON)
    with pytest.raises(BadRequest):
        orders.request(later, MAINTAINER, "nothing", Choice(), REASON)
    with pytest.raises(BadRequest):
        orders.request(later, MAINTAINER, ORGANISM, Choice(), "   ")
    with pytest.raises(BadRequest, match="toolVersion needs tool"):
        Choice.of_options(tool_version="2.31")
    with pytest.raises(BadRequest):
        Choice.of_options(accession_versions=["no name"])
    acts: tuple[Callable[[House, Actor, int], object], ...] = (
        orders.confirm,
        orders.pause,
        orders.resume,
        orders.cancel,
        orders.find,
    )
    for act in acts:
        with pytest.raises(NotFound):
            act(later, MAINTAINER, 99)
    with pytest.raises(NotFound):
        decisions.accept(later, MAINTAINER, 99, REASON)
    with pytest.raises(Forbidden):
        decisions.keep(later, BOB, 1, REASON)
    row, _ = orders.request(later, MAINTAINER, ORGANISM, Choice(), REASON)
    with pytest.raises(Conflict, match="never began"):
        decisions.roll_back_order(later, MAINTAINER, row.id or 0, REASON)
    with pytest.raises(Conflict, match="version 3"):
        orders.confirm(of_next_pipeline(house, 3), MAINTAINER, row.id or 0)


TODAY = datetime.now(UTC).date()
CHOICES: list[tuple[dict[str, Any], int]] = [
    ({}, 3),
    ({"released": "released"}, 2),
    ({"released": "unreleased"}, 1),
    ({"results": [ProcessingResult.HAS_ERRORS]}, 1),
    ({"results": [ProcessingResult.NO_ISSUES]}, 2),
    ({"submitted_from": TODAY - timedelta(days=1), "processed_until": TODAY + timedelta(days=1)}, 3),
    ({"submitted_until": TODAY - timedelta(days=2)}, 0),
    ({"processed_from": TODAY + timedelta(days=2)}, 0),
    ({"tool": "minimap2"}, 3),
    ({"tool": "minimap2", "tool_version": "2.31"}, 3),
    ({"tool": "minimap2", "tool_version": "2.30"}, 0),
    ({"tool": "bwa"}, 0),
    ({"platforms": [Platform.ILLUMINA]}, 0),
    ({"versions": "latest"}, 2),
    ({"group_ids": [999_999]}, 0),
]


def test_entries_are_chosen_by_what_is_known_of_them(house: House, mine: int, later: House) -> None:
    name = _released(house, mine)
    _released(house, mine, accession=name.accession, version=2)
    processed(house, mine, errors=(ERROR,))
    counted = []
    for options, _ in CHOICES:
        choice = Choice.of_options(**options)
        assert Choice.of_json(choice.as_json()) == choice
        counted.append((options, planning.plan(later, MAINTAINER, ORGANISM, choice).entries))
    assert counted == CHOICES


def test_what_is_busy_withdrawn_or_has_no_originals_keeps_its_result(house: House, mine: int, later: House) -> None:
    withdrawn, busy, bare = (_released(house, mine) for _ in range(3))
    intervene(house, MAINTAINER, withdrawn, Step.WITHDRAW, "it is somebody else's")
    process_again(later, busy, "a maintainer was faster", "m")
    _shred_originals(house, bare)
    plan = planning.plan(later, MAINTAINER, ORGANISM, Choice())
    assert (plan.entries, plan.without_originals, plan.busy) == (0, 1, 1)
    assert feeding.feed(later) == 0
    assert feeding.feed(later) == 0
    assert _order(house).state == OrderState.DONE.value
    with house.sessions.read() as session:
        (job,) = session.exec(
            select(Job).where(Job.state == "queued", Job.accession == busy.accession, Job.kind != "release")
        )
    change(house, job.id, state=JobState.DONE.value)  # it came to nothing
    assert feeding.begin_again(later) == 1
    assert _all_done(later) == 1
    assert _stands(house, busy) == 2


def _shred_originals(house: House, name: AccessionVersion) -> None:
    from readvault.db.tables import EntryFile, ErasedObject, Erasure, UploadedFile

    with house.sessions.begin() as session:
        file = session.exec(select(UploadedFile).join(EntryFile).where(EntryFile.accession == name.accession)).one()
        erasure = Erasure(accession_versions=[str(name)], scope="originals", reason="due", code="", objects=1, size=1,
                          requested_by="readvault", requested_at=1.0)  # fmt: skip
        session.add(erasure)
        session.flush()
        session.add(ErasedObject(key=file.key, version_id=file.version_id or "", place="bucket", kind="original",
                                 size=1, erasure_id=erasure.id or 0, erased_at=1.0))  # fmt: skip


def test_a_version_that_is_raised_again_ends_the_older_order(house: House, mine: int, later: House) -> None:
    names = [_released(house, mine) for _ in range(2)]
    assert feeding.feed(later) == 2
    held = claimed(later, _queued(house)[0].id)
    third = of_next_pipeline(house, 3)
    assert feeding.feed(third) == 1, "what somebody works on ends first"
    assert [order.row.state for order in orders.page(third, MAINTAINER)] == ["running", "cancelled"]
    assert jobs.claim(later, _queued(house)[0].id, "an old worker", {ORGANISM}) is None
    jobs.register(later, held, result(house, held))
    _all_done(third)
    assert feeding.begin_again(third) == 1
    _all_done(third)
    assert [_stands(house, name) for name in names] == [3, 3]


def test_the_form_counts_asks_and_picks_up(house: House, mine: int) -> None:
    manual = of_next_pipeline(house, automatic=False)
    _released(house, mine)
    counted = Reprocess(organism=ORGANISM).carry_out(manual, "prefect")
    assert counted is not None
    assert (counted.plan.entries, counted.order_id) == (1, None)
    asked = Reprocess(organism=ORGANISM, dry_run=False, reason=REASON, tool="minimap2").carry_out(manual, "prefect")
    assert asked is not None
    row = _order(house, asked.order_id)
    assert (row.requested_by, row.state, row.confirmed_by) == ("prefect", "requested", None)
    assert Choice.of_json(row.choice) == Choice(tool="minimap2")
    assert feeding.feed(manual) == 0
    assert Reprocess().carry_out(manual, "prefect") is None
    with pytest.raises(BadRequest):
        Reprocess(organism=ORGANISM, submitted_from="2024-13-41").carry_out(manual, "prefect")
    with pytest.raises(BadRequest):
        Reprocess(organism=ORGANISM, dry_run=False).carry_out(manual, "prefect")


def test_an_external_pipeline_is_not_ordered(house: House, mine: int) -> None:
    old = house.organisms[ORGANISM]
    pipeline = old.pipeline.model_copy(update={"version": 2, "external": External(mode="instead")})
    external = replace(house, organisms={ORGANISM: old.model_copy(update={"pipeline": pipeline})})
    with pytest.raises(Unprocessable):
        planning.plan(external, MAINTAINER, ORGANISM, Choice())
    assert feeding.feed(external) == 0


def test_readvaults_part_of_a_chain_is_made_anew_and_handed_on(house: House, mine: int) -> None:
    name = _released(house, mine)
    old = house.organisms[ORGANISM]
    pipeline = old.pipeline.model_copy(update={"version": 2, "external": External(mode="after")})
    chained = replace(house, organisms={ORGANISM: old.model_copy(update={"pipeline": pipeline})})
    assert feeding.feed(chained) == 1
    claim = claimed(chained, _queued(house)[0].id)
    chain.hand_on(chained, claim, result(house, claim))
    assert feeding.feed(chained) == 0
    assert _order(house).state == OrderState.DONE.value
    assert feeding.begin_again(chained) == 0
    assert _compared(house) == [], "which version counts is Loculus's rule"
    assert _stands(house, name) == 1


@pytest.fixture
def many(house: House, mine: int) -> list[AccessionVersion]:
    return [_released(house, mine) for _ in range(4)]


def test_two_feeders_make_each_job_once(house: House, later: House, many: list[AccessionVersion]) -> None:
    answers = at_once(*[lambda: feeding.feed(later)] * 4)
    assert all(isinstance(answer, int) for answer in answers), answers
    feeding.feed(later)
    assert sorted(job.accession for job in _queued(house)) == sorted(name.accession for name in many)
    assert len(orders.page(later, MAINTAINER)) == 1


def test_a_pause_during_a_feed_leaves_nothing_behind(house: House, later: House, many: list[AccessionVersion]) -> None:
    orders.follow_organisms(later)
    number = _order(house).id or 0
    fed, paused = at_once(lambda: feeding.feed(later), lambda: orders.pause(later, MAINTAINER, number))
    assert isinstance(fed, int), fed
    assert not isinstance(paused, Exception), paused
    assert _queued(house) == [], "nobody begins what only waited"
    assert feeding.feed(later) == 0
    orders.resume(later, MAINTAINER, number)
    _all_done(later)
    assert {_stands(house, name) for name in many} == {2}


@pytest.mark.parametrize("step", [Step.SUPPRESS, Step.WITHDRAW])
def test_a_result_that_registers_while_a_maintainer_intervenes(
    house: House, mine: int, later: House, step: Step
) -> None:
    name = _released(house, mine)
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    made = result(house, claim)
    answers = at_once(
        lambda: jobs.register(later, claim, made), lambda: intervene(house, MAINTAINER, name, step, "it is wrong")
    )
    assert not any(isinstance(answer, Exception) for answer in answers), answers
    (row,) = _compared(house)
    if step is Step.SUPPRESS:
        assert row.state == ResultState.SWITCHED.value
    else:  # whoever came first: what is withdrawn gets no new result by itself
        with house.sessions.read() as session:
            switched = session.exec(select(CurrentResult)).all()
        assert (row.state == ResultState.SWITCHED.value) == bool(switched)
        assert row.state == ResultState.SWITCHED.value or row.findings[-1]["figure"] == "visibility"


def test_a_roll_back_beside_a_registration_ends_in_one_of_both(house: House, mine: int, later: House) -> None:
    name = _released(house, mine)
    _all_done(later)
    third = of_next_pipeline(house, 3)
    feeding.feed(third)
    claim = claimed(third, _queued(house)[0].id)
    made = result(house, claim)
    back, registered = at_once(
        lambda: decisions.roll_back(house, MAINTAINER, name, REASON), lambda: jobs.register(third, claim, made)
    )
    assert not isinstance(registered, Exception), registered
    assert back in (1, 2), back
    states = [row.state for row in _compared(house)]
    # First the roll-back: version 3 took the place of version 1. First the result: it went back to version 2.
    assert (_stands(house, name), states) in [(3, ["rolled back", "switched"]), (2, ["accepted", "rolled back"])] or (
        _stands(house, name),
        states,
    ) == (2, ["switched", "rolled back"])


def test_an_approval_beside_a_registration_releases_what_was_seen_or_its_successor(
    house: House, mine: int, later: House
) -> None:
    name, digest = processed(house, mine)
    feeding.feed(later)
    claim = claimed(later, _queued(house)[0].id)
    made = result(house, claim)
    approved, registered = at_once(
        lambda: approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)]),
        lambda: jobs.register(later, claim, made),
    )
    assert not isinstance(registered, Exception), registered
    if isinstance(approved, Exception):  # the new result was there first: another digest is no yes
        assert isinstance(approved, Conflict)
        with house.sessions.read() as session:
            assert not session.get_one(EntryVersion, (name.accession, name.version)).released
    else:
        assert _public(house, name, 1)["pipelineVersion"] == 1
    assert _stands(house, name) == 2


def test_a_new_entry_is_nobody_s_older_result(house: House, mine: int, later: House) -> None:
    name, job_id = entry(house, mine)
    assert feeding.feed(later) == 0
    claim = claimed(later, job_id)
    jobs.register(later, claim, result(house, claim))
    assert _stands(house, name) == 2
    assert _compared(house) == []
