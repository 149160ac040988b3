"""Several dispatchers on a long queue: each takes a few, none walks over all of it, and one bad job stops nobody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from readvault.adapters.inline_orchestrator import InlineOrchestrator
from readvault.domain.lanes import Queue
from readvault.domain.status import JobKind
from readvault.ports import Delivery, RunState
from readvault.services.house import House
from readvault.services.queue import deliveries
from tests.fakes import RecordingOrchestrator
from tests.integration.services.scenes import READY, change, entry, group, job


def _jobs(house: House, number: int) -> list[str]:
    group_id = group(house, "alice")
    return [entry(house, group_id, files=())[1] for _ in range(number)]


class Slow(RecordingOrchestrator):
    """Takes a moment for each delivery, and notes how many it had at once."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def deliver(self, delivery: Delivery) -> str | None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
            return super().deliver(delivery)


def test_several_are_handed_over_at_once_and_never_more(house: House) -> None:
    slow = Slow()
    ids = _jobs(house, 20)
    assert deliveries.dispatch(replace(house, orchestrator=slow), READY, at_once=4) == 20
    assert sorted(delivery.job_id for delivery in slow.deliveries) == sorted(ids)
    assert 1 < slow.most <= 4


def test_dispatchers_share_a_queue_and_deliver_each_job_once(house: House) -> None:
    slow = Slow()
    ids = _jobs(house, 40)
    shared = replace(house, orchestrator=slow)
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: deliveries.dispatch(shared, READY, at_once=2), range(4)))
    assert sum(counts) == len(ids)
    assert sorted(delivery.job_id for delivery in slow.deliveries) == sorted(ids)
    assert {job(house, each).deliveries for each in ids} == {1}


def test_a_job_that_is_refused_again_and_again_keeps_no_other_from_its_delivery(house: House) -> None:
    """Prefect may not know the deployment of one kind: the oldest of the queue must not stand in the way of all."""

    class Choosy(RecordingOrchestrator):
        def deliver(self, delivery: Delivery) -> str | None:
            run_id = super().deliver(delivery)
            return None if delivery.kind == JobKind.REPAIR else run_id

    ids = _jobs(house, 12)
    for each in ids[:3]:
        change(house, each, kind=JobKind.REPAIR.value)
    choosy = Choosy()
    assert deliveries.dispatch(replace(house, orchestrator=choosy), READY) == 9
    tried = [delivery.job_id for delivery in choosy.deliveries]
    assert sorted(tried) == sorted(ids), "each once in a pass"
    assert [job(house, each).deliveries for each in ids[:3]] == [0, 0, 0]


def test_a_pass_asks_about_a_bounded_number_of_jobs(house: House) -> None:
    """However long the queue is: a dispatcher looks every two seconds, and there are many."""
    _jobs(house, 30)
    deliveries.dispatch(house, READY)
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: Any) -> None:
        asked.append((statement, parameters))

    event.listen(house.sessions.engine, "before_cursor_execute", note)
    try:
        assert deliveries.dispatch(house, READY) == 0
    finally:
        event.remove(house.sessions.engine, "before_cursor_execute", note)
    of_jobs = [each for each in asked if "FROM job" in each[0]]
    assert 0 < len(of_jobs) <= 3
    if house.sessions.dialect != "sqlite":
        pytest.skip("how PostgreSQL walks depends on how many jobs there are: `make bench-claims` looks at it")
    with house.sessions.read() as session:
        plans = [
            " ".join(str(row) for row in session.connection().exec_driver_sql("EXPLAIN QUERY PLAN " + s, p).all())
            for s, p in of_jobs
        ]
    assert all("ix_job_undelivered" in plan or "ix_job_delivered" in plan for plan in plans), plans


def test_two_workers_without_prefect_do_not_deliver_what_waits_to_each_other_for_ever(house: House) -> None:
    """Neither can ask the other; each has every job once, and it becomes the one's who is free first."""
    go_on = threading.Event()
    done: list[str] = []

    def work(delivery: Delivery) -> None:
        go_on.wait(30)
        done.append(delivery.job_id)

    workers = [InlineOrchestrator(work, 1) for _ in range(2)]
    busy = Delivery("busy", 1, "x", "x", Queue.DEFAULT)
    ids = _jobs(house, 5)
    try:
        for worker in workers:
            worker.deliver(busy)
        delivered = []
        for _ in range(4):
            for worker in workers:
                delivered.append(deliveries.dispatch(replace(house, orchestrator=worker), READY))
                for each in ids:
                    change(house, each, run_checked_at=1.0, delivered_at=1.0)
        assert delivered == [5, 5, 0, 0, 0, 0, 0, 0]
        assert {job(house, each).deliveries for each in ids} == {2}
    finally:
        go_on.set()
        assert all(worker.stop(within=30) for worker in workers)
    assert len(done) <= 2 * (len(ids) + 1), "each job once in each worker"


def test_a_job_that_a_worker_has_ended_is_queued_again_when_it_is_delivered_again() -> None:
    done: list[int] = []
    worker = InlineOrchestrator(lambda delivery: done.append(delivery.number), 1)
    try:
        for number in (1, 2):
            run_id = worker.deliver(Delivery("again", number, "x", "x", Queue.DEFAULT)) or ""
            deadline = time.monotonic() + 10
            while worker.state_of(run_id) is not RunState.ENDED and time.monotonic() < deadline:
                time.sleep(0.005)
    finally:
        worker.stop(within=10)
    assert done == [1, 2]
    assert worker.state_of("inline-never-heard-of-1") is RunState.MISSING
