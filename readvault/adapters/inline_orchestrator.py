"""Starters of jobs without Prefect: threads of this process, or none at all."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from readvault.domain.lanes import QUEUES_OF, Lane, Queue
from readvault.ports import Delivery, RunState
from readvault.stopping import Run, running

logger = logging.getLogger(__name__)

REMEMBERED = 10_000
"""How many ended runs are remembered. A forgotten one is MISSING, which only means: deliver again."""
_URGENCY = {queue: place for queues in QUEUES_OF.values() for place, queue in enumerate(queues)}


class NoOrchestrator:
    """Wakes nobody: the workers' own dispatchers find the jobs in the database."""

    def deliver(self, delivery: Delivery) -> str | None:
        """None: nobody can be reached from here."""
        return None

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        """None of them: nobody can be asked."""
        return frozenset()

    def state_of(self, run_id: str) -> RunState | None:
        """None: nobody can be asked."""
        return None


@dataclass(order=True, slots=True)
class _Waiting:
    urgency: int
    number: int
    run_id: str = field(compare=False)
    delivery: Delivery = field(compare=False)


class InlineOrchestrator:
    """Runs jobs in threads of this process, with no Prefect anywhere.

    `concurrency` small ones side by side, the urgent first, and `large_concurrency` large ones beside
    them. A job that fails has given itself back to the database before its error arrives here, so the
    error is only logged, by its type.
    """

    def __init__(self, run_job: Callable[[Delivery], None], concurrency: int, *, large_concurrency: int = 1) -> None:
        self._run_job = run_job
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._waiting: dict[Lane, list[_Waiting]] = {Lane.SMALL: [], Lane.LARGE: []}
        self._states: OrderedDict[str, RunState] = OrderedDict()
        self._queued: dict[str, Queue] = {}
        """The jobs that wait here, by their IDs."""
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"{lane}-job_{number}", daemon=True)
            for lane, count in ((Lane.SMALL, concurrency), (Lane.LARGE, large_concurrency))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def deliver(self, delivery: Delivery) -> str | None:
        """Queue the job; the same delivery again is the same run. None after `stop`.

        A job waits here once, however often it is delivered: a worker in another process, which can't know
        that it does, delivers it to itself, and it becomes the one's who is free first.
        """
        run_id = f"inline-{delivery.job_id}-{delivery.number}"
        queue = Queue(delivery.queue)
        with self._changed:
            if self._stopped:
                return None
            if run_id not in self._states and self._queued.get(delivery.job_id) != queue:
                self._queued[delivery.job_id] = queue
                self._states[run_id] = RunState.WAITING
                lane = Lane.SMALL if queue in QUEUES_OF[Lane.SMALL] else Lane.LARGE
                waiting = _Waiting(_URGENCY.get(queue, 0), next(self._numbers), run_id, delivery)
                heapq.heappush(self._waiting[lane], waiting)
                self._forget()
                self._changed.notify_all()
        return run_id

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Those that wait for a thread, and those of other processes whose jobs wait here too."""
        with self._changed:
            return frozenset(run_id for run_id in run_ids if self._state_of(run_id) is RunState.WAITING)

    def state_of(self, run_id: str) -> RunState | None:
        """WAITING for a thread, RUNNING, ENDED, or MISSING for a run of another process whose job doesn't wait here."""
        with self._changed:
            return self._state_of(run_id)

    def stop(self, within: float | None = None) -> bool:
        """Start nothing more and wait for what runs, not longer than so many seconds; whether all has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        end = None if within is None else time.monotonic() + within
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, lane: Lane) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._waiting[lane])
                if self._stopped:
                    return
                chosen = heapq.heappop(self._waiting[lane])
                self._queued.pop(chosen.delivery.job_id, None)
                self._states[chosen.run_id] = RunState.RUNNING
            try:
                with running(Run(lane)):
                    self._run_job(chosen.delivery)
            except Exception as fault:  # one job's end must not be the thread's
                delivery = chosen.delivery
                logger.warning("%s of %s ended with %s", delivery.kind, delivery.label, type(fault).__name__)
            finally:
                with self._changed:
                    self._states[chosen.run_id] = RunState.ENDED

    def _state_of(self, run_id: str) -> RunState:
        job_id = run_id.removeprefix("inline-").rpartition("-")[0]
        waits = job_id in self._queued
        return self._states.get(run_id, RunState.WAITING if waits else RunState.MISSING)

    def _forget(self) -> None:
        while len(self._states) > REMEMBERED:
            oldest = next(iter(self._states))
            if self._states[oldest] is not RunState.ENDED:
                return
            del self._states[oldest]
