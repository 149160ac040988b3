"""Who waits where and goes first, by size and urgency; and what becomes of a job whose run is cancelled."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from sqlmodel import col, select

from readvault.adapters.inline_orchestrator import InlineOrchestrator
from readvault.db.tables import AuditEntry, Job
from readvault.domain.errors import RunCancelled
from readvault.domain.lanes import Lane, Queue
from readvault.domain.status import JobKind, JobState, Priority
from readvault.ports import Delivery, RunState
from readvault.services.house import House
from readvault.services.processing import jobs, reprocessing
from readvault.services.queue import deliveries, open_jobs
from readvault.services.submission.new_entries import submit
from readvault.stopping import Run, running
from readvault.worker.house import WorkerHouse
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.houses import ALICE, group_of, tsv, upload
from tests.integration.services.scenes import ORGANISM, change, entry, group, job

READY = frozenset({ORGANISM})


@pytest.fixture
def laned(house: House) -> House:
    """From 100 bytes on a job is large, from 1000 on huge, and there is somebody for the huge ones."""
    limits = house.settings.worker.model_copy(update={"large_bytes": 100, "huge_bytes": 1000})
    prefect = house.settings.prefect.model_copy(update={"huge_work_pool": "pods"})
    return replace(house, settings=house.settings.model_copy(update={"worker": limits, "prefect": prefect}))


def _queued(house: House, size: int, priority: Priority = Priority.SUBMISSION) -> str:
    _, job_id = entry(house, group(house, "alice"))
    change(house, job_id, input_bytes=size, priority=priority.value)
    return job_id


def test_the_urgent_go_first_of_those_the_oldest_and_each_to_its_queue(
    laned: House, orchestrator: RecordingOrchestrator
) -> None:
    wanted = [
        (99, Priority.BACKGROUND, Queue.BACKGROUND),
        (100, Priority.BACKGROUND, Queue.LARGE_BACKGROUND),
        (99, Priority.SUBMISSION, Queue.DEFAULT),
        (999, Priority.SUBMISSION, Queue.LARGE),
        (1000, Priority.SUBMISSION, Queue.HUGE),
    ]
    made = [_queued(laned, size, priority) for size, priority, _ in wanted]
    assert deliveries.dispatch(laned, READY) == 5
    assert [each.job_id for each in orchestrator.deliveries] == made[2:] + made[:2]
    queues = dict(zip(made, (queue for *_, queue in wanted), strict=True))
    assert {each.job_id: each.queue for each in orchestrator.deliveries} == queues


def test_without_somebody_for_huge_jobs_they_are_large(laned: House, orchestrator: RecordingOrchestrator) -> None:
    prefect = laned.settings.prefect.model_copy(update={"huge_work_pool": None})
    house = replace(laned, settings=laned.settings.model_copy(update={"prefect": prefect}))
    _queued(house, 5000)
    deliveries.dispatch(house, READY)
    assert [each.queue for each in orchestrator.deliveries] == [Queue.LARGE]


def test_more_jobs_than_a_page_go_in_their_order(
    laned: House, orchestrator: RecordingOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAGE", 2)
    background, soon = Priority.BACKGROUND, Priority.SUBMISSION
    made = [_queued(laned, 1, urgency) for urgency in (background, soon, background, soon, soon)]
    assert deliveries.dispatch(laned, READY) == 5
    assert [made.index(each.job_id) for each in orchestrator.deliveries] == [1, 3, 4, 0, 2]


def test_a_job_knows_how_much_it_reads(house: House) -> None:
    group_id = group_of(house, ALICE)
    one, two, three = upload(house, ALICE, group_id, b"12345", b"123", b"1")
    rows = [
        {"id": "a", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"f1:{one} f2:{two}"},
        {"id": "b", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"f3:{three}"},
    ]
    submit(house, ALICE, ORGANISM, group_id=group_id, metadata=tsv(*rows), metadata_name="metadata.tsv")
    with house.sessions.read() as session:
        assert sorted(session.exec(select(col(Job.input_bytes)))) == [1, 8]


def test_a_place_for_small_jobs_takes_no_large_one(laned: House) -> None:
    job_id = _queued(laned, 100)
    assert jobs.claim(laned, job_id, "worker", READY, lane=Lane.SMALL) is None
    claim = jobs.claim(laned, job_id, "worker", READY, lane=Lane.LARGE)
    assert claim is not None
    assert claim.input_bytes == 100


def test_a_job_whose_run_was_cancelled_in_the_queue_waits_for_a_maintainer(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    """Not delivered again for ever, and not lost: it can be retried, by its page or by the form in Prefect."""
    name, job_id = entry(house, group(house, "alice"))
    deliveries.dispatch(house, READY)
    run_id = job(house, job_id).run_id
    assert run_id is not None
    orchestrator.states[run_id] = RunState.CANCELLED
    change(house, job_id, delivered_at=1.0, run_checked_at=1.0)
    assert deliveries.dispatch(house, READY) == 0
    row = job(house, job_id)
    assert (row.state, row.last_error, row.failures) == (JobState.NEEDS_ATTENTION, "cancelled in Prefect", 0)
    assert row.run_id == run_id, "a maintainer may want to look at it"
    assert deliveries.dispatch(house, READY) == 0
    assert reprocessing.process_again(house, name, "it was a slip", "prefect") == job_id
    assert deliveries.dispatch(house, READY) == 1, "the old run is asked for no more"


def test_a_job_whose_run_is_cancelled_while_it_is_held_is_left_to_its_worker(
    house: House, orchestrator: RecordingOrchestrator
) -> None:
    _, job_id = entry(house, group(house, "alice"))
    deliveries.dispatch(house, READY)
    run_id = job(house, job_id).run_id
    assert run_id is not None
    orchestrator.states[run_id] = RunState.CANCELLED
    claim = jobs.claim(house, job_id, "worker", READY)
    assert claim is not None
    change(house, job_id, delivered_at=1.0, run_checked_at=1.0)
    assert deliveries.dispatch(house, READY) == 0
    assert job(house, job_id).state == JobState.RUNNING


def _worker(house: House) -> WorkerHouse:
    made = WorkerHouse(house)
    made.ready = READY
    return made


def test_who_cancels_a_run_sets_its_job_aside_uncounted(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job_id = entry(house, group(house, "alice"))
    run, worker = Run(), _worker(house)
    fetch = store.fetch

    def cancelled_meanwhile(*args: object, **options: object) -> str:
        run.cancelled.set()
        return fetch(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "fetch", cancelled_meanwhile)
    with running(run), pytest.raises(RunCancelled, match="cancelled in Prefect"):
        worker.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x"))
    row = job(house, job_id)
    assert (row.state, row.failures, row.handbacks) == (JobState.NEEDS_ATTENTION, 0, 0)
    assert (row.last_error, row.lease_owner) == ("cancelled in Prefect", None)
    with running(run):
        worker.run(Delivery(job_id, 2, JobKind.PROCESS_SUBMISSION.value, "x"))
    assert job(house, job_id).attempt == 1, "a run that is cancelled claims nothing"


def test_what_ends_a_process_from_outside_leaves_it_to_its_run_what_becomes_of_the_job(
    house: House, store: MemoryStore, orchestrator: RecordingOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock worker ends a run's process alike when somebody cancels the run and when it stops itself."""
    for state, ending in ((RunState.CANCELLED, JobState.NEEDS_ATTENTION), (RunState.ENDED, JobState.QUEUED)):
        _, job_id = entry(house, group(house, "alice"))
        deliveries.dispatch(house, READY)
        run_id = job(house, job_id).run_id
        assert run_id is not None

        def ended(*_: object, **__: object) -> str:
            raise KeyboardInterrupt

        delivery = Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x")
        with monkeypatch.context() as patch:
            patch.setattr(store, "fetch", ended)
            with pytest.raises(KeyboardInterrupt):
                _worker(house).run(delivery)
        assert (job(house, job_id).state, job(house, job_id).run_id) == (JobState.QUEUED, run_id)
        orchestrator.states[run_id] = state
        change(house, job_id, delivered_at=1.0, run_checked_at=1.0)
        deliveries.dispatch(house, READY)
        assert job(house, job_id).state == ending
        assert (job(house, job_id).run_id == run_id) is (ending == JobState.NEEDS_ATTENTION)


def test_retry_makes_an_open_job_due_and_leaves_every_other_alone(house: House) -> None:
    name, job_id = entry(house, group(house, "alice"))
    change(house, job_id, not_before=time.time() + 900, failures=1)
    open_jobs.make_due(house, job_id, "prefect")
    assert (job(house, job_id).failures, job(house, job_id).not_before < time.time() + 60) == (1, True)
    change(house, job_id, state=JobState.NEEDS_ATTENTION.value, failures=3)
    open_jobs.make_due(house, job_id, "prefect")
    assert (job(house, job_id).state, job(house, job_id).failures) == (JobState.QUEUED, 0)
    with house.sessions.read() as session:
        told = session.exec(select(AuditEntry).where(AuditEntry.action == "retry job")).all()
    assert [(row.actor, row.subject) for row in told] == [("prefect", str(name))]
    claim = jobs.claim(house, job_id, "worker", READY)
    assert claim is not None
    open_jobs.make_due(house, job_id, "prefect")
    assert job(house, job_id).state == JobState.RUNNING
    jobs.complete(house, claim)
    open_jobs.make_due(house, job_id, "prefect")
    open_jobs.make_due(house, "no such job", "prefect")
    assert job(house, job_id).state == JobState.DONE


def test_inline_a_small_job_never_waits_for_a_large_one_and_background_waits_for_all() -> None:
    begun: list[str] = []
    entered, may_end = threading.Event(), threading.Event()

    def work(delivery: Delivery) -> None:
        begun.append(delivery.job_id)
        if delivery.job_id in ("large", "first"):
            entered.set()
            may_end.wait(30)

    inline = InlineOrchestrator(work, 1, large_concurrency=1)
    inline.deliver(Delivery("large", 1, "x", "x", Queue.LARGE))
    next_large = inline.deliver(Delivery("next large", 1, "x", "x", Queue.LARGE)) or ""
    assert entered.wait(10)
    small = inline.deliver(Delivery("small", 1, "x", "x")) or ""
    while inline.state_of(small) is not RunState.ENDED:
        time.sleep(0.001)
    assert inline.state_of(next_large) is RunState.WAITING
    entered.clear()
    inline.deliver(Delivery("first", 1, "x", "x"))
    assert entered.wait(10)
    background = inline.deliver(Delivery("background", 1, "x", "x", Queue.BACKGROUND)) or ""
    inline.deliver(Delivery("urgent", 1, "x", "x"))
    may_end.set()
    while inline.state_of(background) is not RunState.ENDED:
        time.sleep(0.001)
    assert inline.stop(10)
    assert [each for each in begun if "large" not in each] == ["small", "first", "urgent", "background"]


def test_inline_a_job_that_hangs_keeps_the_end_for_a_while_only() -> None:
    entered, may_end = threading.Event(), threading.Event()

    def hang(_: Delivery) -> None:
        entered.set()
        may_end.wait(30)

    inline = InlineOrchestrator(hang, 1)
    inline.deliver(Delivery("hangs", 1, "x", "x"))
    assert entered.wait(10)
    assert not inline.stop(0.05)
    assert inline.deliver(Delivery("late", 1, "x", "x")) is None
    may_end.set()
    assert inline.stop(10)
