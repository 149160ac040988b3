"""Who runs beside whom, and whose jobs are taken at all."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from readvault.config import Settings
from readvault.domain.errors import StoreUnavailable
from readvault.domain.organism import Dehumanize, Organism, Pipeline, Reference
from readvault.domain.status import JobKind, JobState
from readvault.places import Places
from readvault.ports import Delivery
from readvault.reads.dehumanize import host_index
from readvault.services.house import House
from readvault.worker_house import WorkerHouse
from tests.fakes import MemoryStore
from tests.integration.services.scenes import ORGANISM, change, entry, group, job


def _worker(directory: Path) -> WorkerHouse:
    """A worker, not started, of the organisms `screened` (index `pinned.idx`) and `unscreened`."""
    index = directory / "host-index" / "pinned.idx"
    index.parent.mkdir()
    index.write_bytes(b"an index")
    (directory / "x.fasta").write_text(">x\nACGT\n")
    rules = {
        "screened": Dehumanize(index="pinned", sha256=hashlib.sha256(b"an index").hexdigest()),
        "unscreened": Dehumanize(off="a test without any host"),
    }
    organisms = {
        name: Organism(name=name, reference=Reference(fasta=directory / "x.fasta"), pipeline=Pipeline(dehumanize=rule))
        for name, rule in rules.items()
    }
    nothing: Any = None
    return WorkerHouse(House(nothing, nothing, nothing, organisms, Settings(data_dir=directory)))


def test_jobs_of_an_organism_wait_while_its_index_is_gone_or_another(tmp_path: Path) -> None:
    worker = _worker(tmp_path)
    index = tmp_path / "host-index" / "pinned.idx"
    assert worker.ready == {"screened", "unscreened"}
    index.unlink()
    worker.look_at_indexes()
    assert worker.ready == {"unscreened"}
    index.write_bytes(b"another index")
    worker.look_at_indexes()
    assert worker.ready == {"unscreened"}
    index.write_bytes(b"an index")
    worker.look_at_indexes()
    assert worker.ready == {"screened", "unscreened"}


def test_an_index_that_cannot_be_read_stops_only_its_own_organism(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(host_index, "digest", refused)
    worker = _worker(tmp_path)
    assert worker.ready == {"unscreened"}
    assert worker.readiness["screened"] == "its host index pinned.idx can't be read (PermissionError)"


def test_a_job_that_must_run_alone_has_nobody_beside_it_and_is_not_overtaken() -> None:
    places, log, lock = Places(), [], threading.Lock()
    first_may_end = threading.Event()

    def job(name: str, *, alone: bool, until: threading.Event | None = None) -> None:
        with places.taken(alone=alone):
            with lock:
                log.append(f"+{name}")
            if until is not None:
                until.wait(30)
            with lock:
                log.append(f"-{name}")

    def started(name: str, *, waiting: int, **options: object) -> threading.Thread:
        thread = threading.Thread(target=job, args=(name,), kwargs=options)
        thread.start()
        deadline = time.monotonic() + 20
        while not log or len(places._changed._waiters) < waiting:  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return thread

    threads = [started("first", waiting=0, alone=False, until=first_may_end)]
    threads.append(started("alone", waiting=1, alone=True))
    threads.append(started("late", waiting=2, alone=False))
    assert log == ["+first"]
    first_may_end.set()
    for thread in threads:
        thread.join(30)
    assert log[1] == "-first"
    where = log.index("+alone")
    assert log[where + 1] == "-alone"
    assert sorted(log) == sorted(f"{sign}{name}" for sign in "+-" for name in ("first", "alone", "late"))


def test_ordinary_jobs_run_side_by_side() -> None:
    places, barrier = Places(), threading.Barrier(2, timeout=30)

    def job() -> None:
        with places.taken(alone=False):
            barrier.wait()

    threads = [threading.Thread(target=job) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not barrier.broken


def test_no_job_is_begun_while_s3_is_out_of_reach(house: House, store: MemoryStore, tmp_path: Path) -> None:
    """Otherwise an outage would burn the attempts of one job after the other."""
    worker = WorkerHouse(house)
    worker.ready = frozenset({ORGANISM})
    _, job_id = entry(house, group(house, "alice"))
    _, other_id = entry(house, group(house, "alice"))
    change(house, job_id, failures=2)
    delivery = Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION.value, "x")
    store.down = True
    with pytest.raises(StoreUnavailable):
        worker.run(delivery, lambda step, body: body())
    given_back = job(house, job_id)
    assert (given_back.state, given_back.failures, given_back.handbacks) == (JobState.QUEUED, 2, 1)
    assert given_back.not_before > time.time() + house.settings.worker.retry_after[0] - 10
    worker.run(Delivery(other_id, 1, JobKind.PROCESS_SUBMISSION.value, "y"))
    assert (job(house, other_id).attempt, worker.store_answers()) == (0, False)
    assert worker._dispatch() == 0
    store.down = False
    assert worker.store_answers()
    assert worker._dispatch() == 1
