"""Who runs beside whom."""

from __future__ import annotations

import threading
import time

from readvault.worker_house import Places


def test_a_job_that_must_run_alone_has_nobody_beside_it_and_is_not_overtaken() -> None:
    places, log, lock = Places(), [], threading.Lock()
    first_may_end = threading.Event()

    def job(name: str, *, alone: bool, until: threading.Event | None = None) -> None:
        with places.taken(alone=alone):
            with lock:
                log.append(f"+{name}")
            if until is not None:
                until.wait(5)
            with lock:
                log.append(f"-{name}")

    def started(name: str, **options: object) -> threading.Thread:
        thread = threading.Thread(target=job, args=(name,), kwargs=options)
        thread.start()
        time.sleep(0.05)
        return thread

    threads = [started("first", alone=False, until=first_may_end)]
    threads.append(started("alone", alone=True))
    threads.append(started("late", alone=False))
    assert log == ["+first"]
    first_may_end.set()
    for thread in threads:
        thread.join(5)
    assert log[1] == "-first"
    where = log.index("+alone")
    assert log[where + 1] == "-alone"
    assert sorted(log) == sorted(f"{sign}{name}" for sign in "+-" for name in ("first", "alone", "late"))


def test_ordinary_jobs_run_side_by_side() -> None:
    places, barrier = Places(), threading.Barrier(2, timeout=5)

    def job() -> None:
        with places.taken(alone=False):
            barrier.wait()

    threads = [threading.Thread(target=job) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not barrier.broken
