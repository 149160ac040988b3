"""Every job is delivered until somebody claims it, and taken back when its worker dies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.config import WorkerSettings
from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, RunState
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.queue import deliveries
from readvault.services.storage.garbage import unfinished
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.integration.services.scenes import (
    READY,
    change,
    claimed,
    entry,
    group,
    job,
    let_lease_run_out,
    make_due,
)

LONG_AGO = 1_000_000.0


@pytest.fixture
def job_id(house: House) -> str:
    return entry(house, group(house, "alice"), files=())[1]


def _jobs(house: House, number: int) -> list[str]:
    group_id = group(house, "alice")
    return [entry(house, group_id, files=())[1] for _ in range(number)]


def _delivered_long_ago(house: House, job_id: str, seconds: float = LONG_AGO, **changes: Any) -> None:
    delivered_at = job(house, job_id).delivered_at
    assert delivered_at is not None
    then = delivered_at - seconds
    change(house, job_id, **{"delivered_at": then, "run_checked_at": then, **changes})


def test_new_jobs_are_delivered_with_identifiers_only(
    house: House, orchestrator: RecordingOrchestrator, job_id: str
) -> None:
    assert deliveries.deliver_now(house, [job_id, "no such job"]) == 1
    row = job(house, job_id)
    label = f"{row.accession}.{row.version}"
    assert orchestrator.deliveries == [Delivery(job_id, 1, "process-submission", label)]
    assert (row.deliveries, row.run_id, row.state) == (1, f"run-{job_id}-1", "queued")
    assert row.delivered_at is not None
    assert deliveries.deliver_now(house, [job_id]) == 0
    assert deliveries.dispatch(house, READY) == 0


def test_what_no_longer_fits_the_budget_is_left_to_the_dispatcher(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    jobs = _jobs(house, 3)
    assert deliveries.deliver_now(house, jobs, budget_seconds=0) == 0
    assert deliveries.dispatch(house, READY) == 3
    assert [delivery.job_id for delivery in orchestrator.deliveries] == jobs


def test_a_long_queue_does_not_keep_the_dispatcher(house: House, orchestrator: RecordingOrchestrator) -> None:
    """A pass ends with its budget; runs that came to nothing are still looked after."""
    first, second = _jobs(house, 2)
    deliveries.deliver_now(house, [first])
    orchestrator.states[f"run-{first}-1"] = RunState.ENDED
    _delivered_long_ago(house, first)
    assert deliveries.dispatch(house, READY, budget_seconds=0) == 1
    assert orchestrator.deliveries[-1].job_id == first
    assert deliveries.dispatch(house, READY) == 1
    assert orchestrator.deliveries[-1].job_id == second


def test_an_orchestrator_that_cannot_be_reached_costs_nothing(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    """One attempt a pass, and the first pass that reaches it delivers everything."""
    jobs = _jobs(house, 2)
    orchestrator.down = True
    assert deliveries.deliver_now(house, jobs) == 0
    assert deliveries.dispatch(house, READY) == 0
    assert [job(house, each).run_id for each in jobs] == [None, None]
    assert job(house, jobs[1]).deliveries == 0
    orchestrator.down = False
    assert deliveries.dispatch(house, READY) == 2


def test_only_organisms_that_can_be_screened_are_delivered_but_releases_always(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    process, release = _jobs(house, 2)
    change(house, release, kind=JobKind.RELEASE.value)
    assert deliveries.dispatch(house, frozenset()) == 1
    assert [delivery.job_id for delivery in orchestrator.deliveries] == [release]
    assert deliveries.dispatch(house, READY) == 1
    assert orchestrator.deliveries[-1].job_id == process


def test_jobs_that_are_not_due_wait(house: House, job_id: str) -> None:
    change(house, job_id, not_before=job(house, job_id).not_before + 1000)
    assert deliveries.dispatch(house, READY) == 0
    assert deliveries.deliver_now(house, [job_id]) == 0
    make_due(house, job_id)
    assert deliveries.dispatch(house, READY) == 1


@pytest.mark.parametrize("state", [RunState.ENDED, RunState.MISSING])
def test_a_run_that_is_over_without_a_claim_is_delivered_again(
    house: House, orchestrator: RecordingOrchestrator, job_id: str, state: RunState
) -> None:
    deliveries.dispatch(house, READY)
    orchestrator.states[f"run-{job_id}-1"] = state
    _delivered_long_ago(house, job_id)
    assert deliveries.dispatch(house, READY) == 1
    assert [delivery.number for delivery in orchestrator.deliveries] == [1, 2]


def test_a_run_that_waits_for_a_worker_is_left_alone(
    house: House, orchestrator: RecordingOrchestrator, job_id: str
) -> None:
    deliveries.dispatch(house, READY)
    for _ in range(3):
        _delivered_long_ago(house, job_id, run_checked_at=None)
        assert deliveries.dispatch(house, READY) == 0
    assert len(orchestrator.deliveries) == 1


@pytest.mark.parametrize("state", [RunState.PENDING, RunState.RUNNING])
def test_a_run_that_started_and_claims_nothing_is_delivered_again(
    house: House, orchestrator: RecordingOrchestrator, job_id: str, state: RunState
) -> None:
    limit = house.settings.worker.pending_limit
    deliveries.dispatch(house, READY)
    orchestrator.states[f"run-{job_id}-1"] = state
    _delivered_long_ago(house, job_id, limit / 2)
    assert deliveries.dispatch(house, READY) == 0
    idle_since = job(house, job_id).run_idle_since
    assert idle_since is not None
    change(house, job_id, run_checked_at=idle_since, run_idle_since=idle_since - limit)
    assert deliveries.dispatch(house, READY) == 1


def test_a_long_wait_before_the_start_does_not_count(
    house: House, orchestrator: RecordingOrchestrator, job_id: str
) -> None:
    deliveries.dispatch(house, READY)
    _delivered_long_ago(house, job_id)
    assert deliveries.dispatch(house, READY) == 0
    orchestrator.states[f"run-{job_id}-1"] = RunState.PENDING
    seen_waiting = job(house, job_id).run_checked_at
    assert seen_waiting is not None
    change(house, job_id, run_checked_at=seen_waiting - house.settings.worker.pending_limit / 2)
    assert deliveries.dispatch(house, READY) == 0
    assert len(orchestrator.deliveries) == 1


def test_the_orchestrator_is_not_asked_about_the_same_run_again_and_again(house: House, job_id: str) -> None:
    class Counting(RecordingOrchestrator):
        asked = 0

        def state_of(self, run_id: str) -> RunState | None:
            Counting.asked += 1
            return super().state_of(run_id)

    counting = replace(house, orchestrator=Counting())
    deliveries.dispatch(counting, READY)
    deliveries.dispatch(counting, READY)
    assert Counting.asked == 0
    _delivered_long_ago(house, job_id)
    deliveries.dispatch(counting, READY)
    deliveries.dispatch(counting, READY)
    assert Counting.asked == 1


def test_runs_that_wait_are_asked_for_together(house: House) -> None:
    class Telling(RecordingOrchestrator):
        singly = 0

        def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
            return frozenset(run_id for run_id in run_ids if self.states.get(run_id) is RunState.WAITING)

        def state_of(self, run_id: str) -> RunState | None:
            self.singly += 1
            return super().state_of(run_id)

    telling = Telling()
    asking = replace(house, orchestrator=telling)
    jobs = _jobs(house, 5)
    assert deliveries.dispatch(asking, READY) == 5
    for each in jobs:
        _delivered_long_ago(house, each)
    del telling.states[f"run-{jobs[0]}-1"]
    assert deliveries.dispatch(asking, READY) == 1
    assert telling.singly == 1
    assert deliveries.dispatch(asking, READY) == 0
    assert telling.singly == 1, "what waits was asked for just now"


def test_nothing_is_delivered_on_the_word_of_an_orchestrator_that_cannot_be_reached(
    house: House, orchestrator: RecordingOrchestrator, job_id: str
) -> None:
    deliveries.dispatch(house, READY)
    _delivered_long_ago(house, job_id)
    orchestrator.down = True
    assert deliveries.dispatch(house, READY) == 0
    assert job(house, job_id).deliveries == 1


def test_a_delivery_that_nobody_answered_is_made_again_as_the_same_one(house: House, job_id: str) -> None:
    """An answer that came too late may still have made a run: a busy Prefect must not get another one for each try."""

    class Busy(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            run_id = super().deliver(delivery)
            return None if len(self.deliveries) == 1 else run_id

    busy = Busy()
    assert deliveries.dispatch(replace(house, orchestrator=busy), READY) == 0
    assert deliveries.dispatch(replace(house, orchestrator=busy), READY) == 1
    assert [delivery.number for delivery in busy.deliveries] == [1, 1]
    assert (job(house, job_id).deliveries, job(house, job_id).run_id) == (1, f"run-{job_id}-1")


def test_a_busy_orchestrator_that_refuses_one_delivery_gets_the_others(house: House) -> None:
    class Busy(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            run_id = super().deliver(delivery)
            return None if len(self.deliveries) == 1 else run_id

    _jobs(house, 3)
    assert deliveries.dispatch(replace(house, orchestrator=Busy()), READY) == 2


@pytest.mark.parametrize("silent_to", ["questions", "deliveries"])
def test_one_run_that_gets_no_answer_stops_nobody_else(
    house: House, orchestrator: RecordingOrchestrator, silent_to: str
) -> None:
    """A busy Prefect answers 503 to some; a run that it can't show at all would end each pass for ever."""
    odd, lost = _jobs(house, 2)
    assert deliveries.dispatch(house, READY) == 2
    change(house, odd, delivered_at=1.0, run_checked_at=1.0)
    change(house, lost, delivered_at=1.0, run_checked_at=2.0)
    orchestrator.states.clear()

    class Silent(RecordingOrchestrator):
        def state_of(self, run_id: str) -> RunState | None:
            return None if silent_to == "questions" and odd in run_id else RunState.MISSING

        def deliver(self, delivery: Delivery) -> str | None:
            return None if silent_to == "deliveries" and odd == delivery.job_id else super().deliver(delivery)

    [new] = _jobs(house, 1)
    busy = Silent()
    assert deliveries.dispatch(replace(house, orchestrator=busy), READY, at_once=4) == 2
    assert {each.job_id for each in busy.deliveries} == {lost, new}


def test_new_jobs_are_offered_although_no_question_is_answered(house: House) -> None:
    class Forgetful(RecordingOrchestrator):
        def state_of(self, run_id: str) -> RunState | None:
            return None

    [old] = _jobs(house, 1)
    assert deliveries.dispatch(house, READY) == 1
    change(house, old, delivered_at=1.0, run_checked_at=1.0)
    _jobs(house, 1)
    assert deliveries.dispatch(replace(house, orchestrator=Forgetful()), READY, at_once=4) == 1


def test_a_run_that_claims_before_the_late_answer_counts_as_a_delivery(house: House, job_id: str) -> None:
    """Otherwise the next delivery, after that claim, would be a run that has ended."""

    class Late(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            claimed(house, delivery.job_id)
            return None

    assert deliveries.dispatch(replace(house, orchestrator=Late()), READY) == 0
    assert job(house, job_id).deliveries == 1


def test_jobs_in_hand_or_at_their_end_are_not_delivered(house: House, orchestrator: RecordingOrchestrator) -> None:
    running, done, stuck = _jobs(house, 3)
    claimed(house, running)
    jobs.complete(house, claimed(house, done))
    change(house, stuck, state=JobState.NEEDS_ATTENTION.value)
    assert deliveries.dispatch(house, READY) == 0
    assert orchestrator.deliveries == []


def test_two_dispatchers_deliver_once(house: House, orchestrator: RecordingOrchestrator) -> None:
    jobs = _jobs(house, 8)
    start = threading.Barrier(2)
    counts: list[int] = []

    def run() -> None:
        start.wait()
        counts.append(deliveries.dispatch(house, READY))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(jobs)
    assert sorted(delivery.job_id for delivery in orchestrator.deliveries) == sorted(jobs)


def test_a_dispatcher_that_died_in_the_middle_of_a_delivery_loses_nothing(house: House, job_id: str) -> None:
    class Dies(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliveries.dispatch(replace(house, orchestrator=Dies()), READY)
    assert deliveries.dispatch(house, READY) == 0
    _delivered_long_ago(house, job_id, deliveries.IN_FLIGHT + 1)
    assert deliveries.dispatch(house, READY) == 1


def test_a_job_that_was_done_during_its_delivery_stays_done(house: House, job_id: str) -> None:
    """The inline orchestrator runs the job before `deliver` returns."""

    class Inline(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            jobs.give_up(house, claimed(house, delivery.job_id), "fetch: broken", counted=True)
            return super().deliver(delivery)

    assert deliveries.dispatch(replace(house, orchestrator=Inline()), READY) == 1
    assert job(house, job_id).run_id is None
    make_due(house, job_id)
    assert deliveries.dispatch(house, READY) == 1


def test_a_failed_job_is_delivered_again_when_it_is_due_whatever_its_run_looks_like(
    house: House, orchestrator: RecordingOrchestrator, job_id: str
) -> None:
    deliveries.dispatch(house, READY)
    orchestrator.states[f"run-{job_id}-1"] = RunState.RUNNING
    jobs.give_up(house, claimed(house, job_id), "fetch: the store can't be reached", counted=True)
    assert deliveries.dispatch(house, READY) == 0
    make_due(house, job_id)
    assert deliveries.dispatch(house, READY) == 1
    assert orchestrator.deliveries[-1].number == 2


def test_the_reaper_takes_only_what_ran_out_and_it_is_delivered_again(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    """The dead worker's run is still RUNNING for the orchestrator; that counts for nothing."""
    dead, alive = _jobs(house, 2)
    deliveries.dispatch(house, READY)
    for each in (dead, alive):
        claimed(house, each)
        orchestrator.states[f"run-{each}-1"] = RunState.RUNNING
    assert housekeeping.reap(house) == 0
    let_lease_run_out(house, dead)
    assert housekeeping.reap(house) == 1
    row = job(house, dead)
    assert (row.state, row.runs_alone, row.handbacks, row.failures, row.lease_owner) == ("queued", True, 1, 0, None)
    assert job(house, alive).state == "running"
    assert deliveries.dispatch(house, READY) == 1
    assert orchestrator.deliveries[-1].job_id == dead


def test_the_reaper_gives_up_on_a_job_that_outlives_too_many_workers(house: House, job_id: str) -> None:
    change(house, job_id, handbacks=house.settings.worker.max_handbacks)
    claimed(house, job_id)
    let_lease_run_out(house, job_id)
    assert housekeeping.reap(house) == 1
    assert job(house, job_id).state == "needs attention"


def test_a_restarted_worker_gets_its_jobs_back_at_once(house: House) -> None:
    mine, other = _jobs(house, 2)
    claimed(house, mine, "host")
    claimed(house, other, "host-2")
    assert housekeeping.hand_back_worker(house, "host") == 1
    assert (job(house, mine).state, job(house, other).state) == ("queued", "running")
    assert claimed(house, mine, "host").runs_alone


def _upload(house: House, store: MemoryStore, file_id: str, **changes: Any) -> UploadedFile:
    key = f"incoming/batch/{file_id}"
    upload_id = store.start_multipart(key)
    with house.sessions.begin() as session:
        at = clock.read(session)
        columns: dict[str, Any] = {
            "multipart_upload_id": upload_id,
            "requested_at": at - 100,
            "expires_at": at - 1,
        }
        row = UploadedFile(id=file_id, batch_id="batch", group_id=1, uploader="alice", key=key, **(columns | changes))
        session.add(row)
        return row


def test_expired_multipart_uploads_are_aborted_once_and_all_others_stay(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "PAGE", 2)
    group(house, "alice")
    for number in range(5):
        _upload(house, store, f"expired-{number}")
    kept = [
        _upload(house, store, "open", expires_at=9e9),
        _upload(house, store, "completed", multipart_completed=True),
        _upload(house, store, "sealed", sealed_at=1.0, version_id="v", size=1),
    ]
    assert unfinished.expire_uploads(house) == 5
    assert set(store.uploads) == {row.multipart_upload_id for row in kept}
    assert unfinished.expire_uploads(house) == 0
    assert store.calls.count("abort_multipart") == 5


def test_a_store_that_is_down_leaves_expired_uploads_for_the_next_pass(house: House, store: MemoryStore) -> None:
    group(house, "alice")
    _upload(house, store, "expired")
    store.down = True
    assert unfinished.expire_uploads(house) == 0
    store.down = False
    assert unfinished.expire_uploads(house) == 1
    with house.sessions.read() as session:
        assert session.exec(select(UploadedFile.multipart_upload_id)).one() is None


def test_everything_is_paged(
    house: House, orchestrator: RecordingOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (housekeeping, deliveries):
        monkeypatch.setattr(room, "PAGE", 2)
    jobs = _jobs(house, 5)
    assert deliveries.deliver_now(house, jobs) == 5
    for each in jobs:
        claimed(house, each)
        let_lease_run_out(house, each)
    assert housekeeping.reap(house) == 5
    assert deliveries.dispatch(house, READY) == 5
    assert len(orchestrator.deliveries) == 10


def test_defaults_are_the_designs() -> None:
    worker = WorkerSettings()
    assert (worker.lease, worker.renew_every, worker.pending_limit) == (60, 15, 60)
    assert (worker.max_attempts, worker.max_handbacks) == (3, 10)
