"""Without Prefect a worker's own thread recovers, verifies, collects garbage and tells the day; of several one does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from readvault.rounds import Rounds
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.worker import upkeep
from readvault.worker.house import WorkerHouse
from readvault.worker.upkeep import Upkeep


def _recorded(worker: WorkerHouse, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []

    def of(name: str) -> Any:
        real = getattr(worker, name)

        def call(*given: Any, **named: Any) -> Any:
            result = real(*given, **named)
            done.append(name)
            return result

        return call

    for name in ("recover", "verify", "collect_garbage", "reprocess", "screen_anew", "export_silo", "day_in_figures"):
        monkeypatch.setattr(worker, name, of(name))
    return done


def _until(met: Any) -> None:
    end = time.monotonic() + 30
    while not met():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_all_that_prefect_schedules_is_done_and_by_one_worker(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = WorkerHouse(house), WorkerHouse(house)
    done, of_other = _recorded(first, monkeypatch), _recorded(second, monkeypatch)
    looks_after = Upkeep(first, first_after=0)
    looks_after.start()
    _until(lambda: len(done) == 7)
    also = Upkeep(second, first_after=0)
    also.start()
    _until(lambda: of_other)
    also.stop()
    looks_after.stop()
    assert done == ["recover", "verify", "collect_garbage", "reprocess", "screen_anew", "export_silo", "day_in_figures"]
    assert of_other == ["recover"]


def test_a_turn_comes_again_after_its_time(house: House) -> None:
    assert housekeeping.take_turn(house, "sweep", 60)
    assert not housekeeping.take_turn(house, "sweep", 60)
    assert housekeeping.take_turn(house, "dust", 60)
    time.sleep(0.02)
    assert housekeeping.take_turn(house, "sweep", 0.01)


def test_what_prefect_schedules_is_what_upkeep_does() -> None:
    """A flow that gets a schedule needs a place in the upkeep too, or instances without Prefect never do it."""
    pytest.importorskip("prefect")
    from readvault.adapters.prefect_deployments import described_deployments

    scheduled = {each.entrypoint.rpartition(".")[2] for each in described_deployments() if each.schedules}
    nightly = {"verify_integrity", "collect_garbage", "reprocess", "screen", "export_silo", "summarize"}
    assert scheduled == {"recover", *nightly}
    assert upkeep.COLLECT_EVERY > upkeep.VERIFY_EVERY > upkeep.RECOVER_EVERY


def test_a_step_that_fails_keeps_no_other_from_its_work_and_comes_again() -> None:
    stopping, calls = threading.Event(), []

    def fails() -> None:
        calls.append("fails")
        raise OSError

    rounds = Rounds("test", stopping, [(0.001, fails), (0.001, lambda: calls.append("works"))])
    rounds.start()
    _until(lambda: calls.count("fails") > 1 and calls.count("works") > 1)
    stopping.set()
    rounds.join(5)


def test_a_recovery_does_all_its_steps_and_then_says_what_failed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from readvault.services import idempotency
    from readvault.services.processing import pipeline_versions

    worker, forgot = WorkerHouse(house), []

    def fails(_: House) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline_versions, "upgrade_all", fails)
    monkeypatch.setattr(idempotency, "forget_old", lambda _: forgot.append(1) or 0)  # type: ignore[func-returns-value]
    with pytest.raises(ZeroDivisionError):
        worker.recover()
    assert forgot
