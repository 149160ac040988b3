"""Who runs beside whom, and whose jobs are taken at all."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from readvault.config import Settings
from readvault.domain.errors import NotReady, NurseryDied, StoreUnavailable, WorkerStops
from readvault.domain.organism import Dehumanize, Organism, Pipeline, Reference
from readvault.domain.status import JobKind, JobState
from readvault.places import Places
from readvault.ports import Delivery
from readvault.reads.dehumanize import host_index
from readvault.services.house import House
from readvault.worker.house import WorkerHouse
from tests.fakes import MemoryStore
from tests.integration.services.scenes import ORGANISM, change, entry, group, job


def _worker(directory: Path, *, index_is_there: bool = True) -> WorkerHouse:
    """A worker, not started, of the organisms `screened` (index `pinned.idx`) and `unscreened`."""
    index = directory / "host-index" / "pinned.idx"
    index.parent.mkdir()
    if index_is_there:
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


class _Nursery:
    """A nursery that loads nothing; `refuses` one lets none start."""

    refuses = False

    def __init__(self, _: object, indexes: dict[str, Path]) -> None:
        self.indexes, self.said = indexes, [] if indexes else ["empty"]

    def start(self) -> None:
        if self.refuses:
            raise NotReady("the nursery doesn't start")
        self.said.append("started")

    def retire(self) -> None:
        self.said.append("retired")

    def stop(self) -> None:
        self.said.append("stopped")

    @contextmanager
    def child(self, sample: object) -> Iterator[object]:
        if "retired" in self.said:
            raise NurseryDied("another nursery has taken the place of this one")
        yield SimpleNamespace(nursery=self, cancel=lambda: None)


def test_changed_host_indexes_get_another_nursery_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readvault.worker.equipment.Nursery", _Nursery)
    worker = _worker(tmp_path)
    first: Any = worker.nursery
    organisms = dict(worker.house.organisms)
    worker.reload(organisms)
    assert worker.nursery is first
    index = tmp_path / "host-index" / "newer.idx"
    index.write_bytes(b"a newer index")
    newer = Dehumanize(index="newer", sha256=hashlib.sha256(b"a newer index").hexdigest())
    pipeline = organisms["screened"].pipeline.model_copy(update={"dehumanize": newer})
    changed = {**organisms, "screened": organisms["screened"].model_copy(update={"pipeline": pipeline})}
    assert worker.ready_now(changed) == {"unscreened"}, "nobody has that index loaded yet"

    monkeypatch.setattr(_Nursery, "refuses", True)
    worker.reload(changed)
    assert (worker.nursery, first.said) == (first, [])
    assert (worker.ready, worker.ready_now(changed)) == ({"screened", "unscreened"}, {"unscreened"})

    monkeypatch.setattr(_Nursery, "refuses", False)
    worker.reload(changed)
    second: Any = worker.nursery
    assert (first.said, second.said) == (["retired"], ["started"])
    assert second.indexes == {"screened": index}
    assert worker.ready_now(changed) == {"screened", "unscreened"}

    worker.drain()
    assert (first.said, second.said) == (["retired", "stopped"], ["started", "stopped"]), "jobs may be in both"


def test_a_job_that_meets_a_retired_nursery_gets_its_child_from_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readvault.worker.equipment.Nursery", _Nursery)
    worker = _worker(tmp_path)
    first, second = worker.nursery, _Nursery(None, {"x": tmp_path})

    def child(sample: object) -> Any:
        worker.nursery = second  # type: ignore[assignment]
        raise NurseryDied("another nursery has taken the place of this one")

    monkeypatch.setattr(first, "child", child)
    nothing: Any = None
    with worker._child(nothing) as got:
        assert got.nursery is second  # type: ignore[attr-defined]


def test_an_index_that_comes_later_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.worker.equipment.Nursery", _Nursery)
    worker = _worker(tmp_path, index_is_there=False)
    assert worker.ready == {"unscreened"}
    index = tmp_path / "host-index" / "pinned.idx"
    index.write_bytes(b"an index")
    worker.look_at_indexes()
    assert worker.ready == {"screened", "unscreened"}
    loaded: Any = worker.nursery
    assert (loaded.indexes, loaded.said) == ({"screened": index}, ["started"])


def test_a_job_that_must_run_alone_has_nobody_beside_it_and_is_not_overtaken() -> None:
    places, log, lock = Places(10**9), [], threading.Lock()
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
    places, barrier = Places(10**9), threading.Barrier(2, timeout=30)

    def job() -> None:
        with places.taken(alone=False):
            barrier.wait()

    threads = [threading.Thread(target=job) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not barrier.broken


def test_memory_decides_who_runs_beside_whom() -> None:
    """Small ones pass a big one that doesn't fit; one that fits nowhere runs alone."""
    places, order, may_end = Places(10), [], {name: threading.Event() for name in "abcd"}
    entered = {name: threading.Event() for name in "abcd"}

    def job(name: str, need: int) -> None:
        with places.taken(need=need):
            order.append(name)
            entered[name].set()
            may_end[name].wait(30)

    threads = {}
    for name, need, runs in (("a", 6, True), ("b", 6, False), ("c", 4, True), ("d", 50, False)):
        threads[name] = threading.Thread(target=job, args=(name, need))
        threads[name].start()
        assert entered[name].wait(10 if runs else 0.05) is runs
    may_end["a"].set()
    assert entered["b"].wait(10)
    may_end["c"].set()
    assert not entered["d"].wait(0.05)
    may_end["b"].set()
    assert entered["d"].wait(10)
    may_end["d"].set()
    for thread in threads.values():
        thread.join(10)
    assert order == list("acbd")


def test_a_big_job_is_not_passed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.places.PATIENCE", 0.0)
    places, order, entered = Places(10), [], threading.Event()

    def job(name: str, need: int) -> None:
        with places.taken(need=need):
            order.append(name)
            entered.set()

    with places.taken(need=6):
        big = threading.Thread(target=job, args=("big", 8))
        big.start()
        while not places._waiting:
            time.sleep(0.001)
        small = threading.Thread(target=job, args=("small", 1))
        small.start()
        assert not entered.wait(0.1)
    big.join(10)
    small.join(10)
    assert order == ["big", "small"]


def test_small_jobs_go_on_while_a_large_one_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that only the end of a large job gives isn't kept from small ones: it may come in hours."""
    monkeypatch.setattr("readvault.places.PATIENCE", 0.0)
    places, order = Places(10), []

    def job(name: str, need: int) -> None:
        with places.taken(need=need, large=True):
            order.append(name)

    with places.taken(need=6, large=True):
        waiting = [threading.Thread(target=job, args=each) for each in (("second", 8), ("third", 1))]
        for number, thread in enumerate(waiting, 1):
            thread.start()
            while len(places._waiting) < number:
                time.sleep(0.001)
        small = threading.Thread(target=lambda: order.append("small") if _enters(places) else None)
        small.start()
        small.join(5)
        assert order == ["small"], "and large ones keep their order"
    for thread in waiting:
        thread.join(10)
    assert order == ["small", "second", "third"]


def _enters(places: Places) -> bool:
    end = time.monotonic() + 3

    def check() -> None:
        assert time.monotonic() < end

    with places.taken(need=1, check=check):
        return True


def test_who_waits_for_a_place_hears_that_it_is_pointless() -> None:
    places, asked = Places(10), []

    def check() -> None:
        asked.append(1)
        raise WorkerStops("this worker stops")

    with places.taken(need=10), pytest.raises(WorkerStops), places.taken(need=1, check=check):
        raise AssertionError("it has no place")
    with places.taken(need=10):
        assert asked == [1]


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
