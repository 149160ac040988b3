"""A worker that is asked to stop ends what is under way, uncounted; a bucket that hangs keeps it from nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault.db import records
from readvault.domain.errors import ProcessingFailure, WorkerStops
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, StoredVersion
from readvault.services.house import House
from readvault.services.storage.garbage import collection
from readvault.services.storage.integrity.choices import VerifyIntegrity
from readvault.worker.house import WorkerHouse
from tests.fakes import MemoryStore, RecordingOrchestrator
from tests.integration.services.scenes import ORGANISM, entry, group, job


class HangingStore(MemoryStore):
    """A store that takes every request and answers none until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked = threading.Event()

    def _call(self, name: str) -> None:
        self.asked.set()
        assert self.go.wait(20)


def _until(met: Any) -> None:
    end = time.monotonic() + 30
    while not met():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def worker(house: House, orchestrator: RecordingOrchestrator) -> Iterator[WorkerHouse]:
    """A worker without a nursery, whose bucket hangs."""
    limits = house.settings.worker.model_copy(update={"dispatch_every": 0.01})
    hanging = replace(house, store=HangingStore(), settings=house.settings.model_copy(update={"worker": limits}))
    made = WorkerHouse(hanging)
    made.ready = frozenset({ORGANISM})
    made.look_at_indexes = lambda: None  # type: ignore[method-assign]
    yield made
    assert isinstance(hanging.store, HangingStore)
    hanging.store.go.set()
    made.stop()


def test_a_bucket_that_hangs_keeps_nobody_from_signs_of_life_and_deliveries(
    worker: WorkerHouse, orchestrator: RecordingOrchestrator
) -> None:
    """Workers of other hosts would take this one for dead after five minutes, and sweep its scratch."""
    store = worker.house.store
    assert isinstance(store, HangingStore)
    _, job_id = entry(worker.house, group(worker.house, "alice"), files=())
    with worker.house.sessions.begin() as session:
        records.queue(session, "records/test", {"that": "waits"})
    worker.begin_rounds()
    assert store.asked.wait(30)  # a record is being written, and the answer doesn't come
    mark = worker.scratch.own / ".readvault-worker"
    _until(mark.exists)
    mark.unlink()
    _until(mark.exists)
    _until(lambda: orchestrator.deliveries)
    assert orchestrator.deliveries[0].job_id == job_id


def test_a_download_ends_when_the_worker_does_and_nothing_is_counted(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three restarts in the middle of large downloads would otherwise be three failures, or keep a worker for long."""
    worker = WorkerHouse(house)
    worker.ready = frozenset({ORGANISM})
    _, job_id = entry(house, group(house, "alice"))
    fetch, pieces = store.fetch, []

    def slow(stored: StoredVersion, target: Path, **options: Any) -> str:
        worker.drain()
        for _ in range(100):
            pieces.append(1)
            options["progress"](1)
        return fetch(stored, target, **options)

    monkeypatch.setattr(store, "fetch", slow)
    with pytest.raises(WorkerStops):
        worker.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x"), lambda step, body: body())
    given_back = job(house, job_id)
    assert (given_back.state, given_back.failures, given_back.runs_alone) == (JobState.QUEUED, 0, False)
    assert len(pieces) == 1
    worker.run(Delivery(job_id, 2, JobKind.PROCESS_SUBMISSION.value, "x"))
    assert job(house, job_id).attempt == 1  # a worker that stops begins nothing


def test_a_job_that_hangs_in_s3_is_handed_back_when_the_worker_ends_and_writes_nothing_any_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3's own time limits add up to four minutes; whoever restarts a worker doesn't wait that long."""
    hanging = replace(house, store=HangingStore())
    assert isinstance(hanging.store, HangingStore)
    worker = WorkerHouse(hanging)
    worker.ready = frozenset({ORGANISM})
    _, job_id = entry(house, group(house, "alice"))
    ended: list[type[BaseException]] = []

    def do() -> None:
        try:
            worker.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x"))
        except Exception as fault:
            ended.append(type(fault))

    thread = threading.Thread(target=do)
    thread.start()
    assert hanging.store.asked.wait(30)
    exits: list[int] = []
    monkeypatch.setattr("os._exit", exits.append)
    worker.end(at_once=True)
    given_back = job(house, job_id)
    assert (given_back.state, given_back.failures, given_back.handbacks) == (JobState.QUEUED, 0, 1)
    assert given_back.last_error == "its worker was asked to end"
    assert exits == [0]
    hanging.store.go.set()
    thread.join(30)
    assert len(ended) == 1
    assert job(house, job_id).model_dump() == given_back.model_dump()


def test_what_breaks_while_a_worker_ends_is_not_counted(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = WorkerHouse(house)
    worker.ready = frozenset({ORGANISM})
    _, job_id = entry(house, group(house, "alice"))

    def breaks(*_: object, **__: object) -> str:
        worker.drain()
        raise ProcessingFailure("fetch", "a tool crashed")

    monkeypatch.setattr(store, "fetch", breaks)
    with pytest.raises(ProcessingFailure):
        worker.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x"), lambda step, body: body())
    assert (job(house, job_id).state, job(house, job_id).failures) == (JobState.QUEUED, 0)


def test_a_verification_ends_in_the_middle_of_a_file(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after the file, the pause that its rate asks for, or the hour that it may take."""
    entry(house, group(house, "alice"))
    worker = WorkerHouse(house)
    read, given = store.sha256_of, []

    def slow(stored: StoredVersion, **options: Any) -> str:
        worker.drain()
        options["progress"](1)
        given.append(read(stored, **options))
        return given[-1]

    monkeypatch.setattr(store, "sha256_of", slow)
    done = worker.verify(VerifyIntegrity(days=0))
    assert (done.finished, done.checked, given) == (False, 0, [])


def test_a_collection_ends_between_two_pages(house: House, store: MemoryStore) -> None:
    store.write("vault/1/" + "a" * 64, b"nobody's")
    worker = WorkerHouse(house)
    worker.drain()
    with pytest.raises(WorkerStops):
        worker.collect_garbage(dry_run=True)
    assert collection.collect(house).counts()
