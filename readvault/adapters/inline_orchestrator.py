"""Starters of jobs without Prefect: a pool of threads in this process, or none at all."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from readvault.ports import Delivery, RunState

logger = logging.getLogger(__name__)

REMEMBERED = 10_000
"""How many ended runs are remembered. A forgotten one is MISSING, which only means: deliver again."""


class NoOrchestrator:
    """Wakes nobody: the workers' own dispatchers find the jobs in the database."""

    def deliver(self, delivery: Delivery) -> str | None:
        """None: nobody can be reached from here."""
        return None

    def state_of(self, run_id: str) -> RunState | None:
        """None: nobody can be asked."""
        return None


class InlineOrchestrator:
    """Runs jobs in threads of this process, `concurrency` at a time, with no Prefect anywhere.

    A job that fails has given itself back to the database before its error arrives here, so the
    error is only logged, by its type.
    """

    def __init__(self, run_job: Callable[[Delivery], None], concurrency: int) -> None:
        self._run_job = run_job
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="job")
        self._runs: OrderedDict[str, Future[None]] = OrderedDict()
        self._lock = threading.Lock()
        self._stopped = False

    def deliver(self, delivery: Delivery) -> str | None:
        """Queue the job; the same delivery again is the same run. None after `stop`."""
        run_id = f"inline-{delivery.job_id}-{delivery.number}"
        with self._lock:
            if self._stopped:
                return None
            if run_id not in self._runs:
                self._runs[run_id] = self._pool.submit(self._run, delivery)
                self._forget()
        return run_id

    def state_of(self, run_id: str) -> RunState | None:
        """WAITING for a thread, RUNNING, ENDED, or MISSING for a run of another process."""
        with self._lock:
            run = self._runs.get(run_id)
        if run is None:
            return RunState.MISSING
        if run.done():
            return RunState.ENDED
        return RunState.RUNNING if run.running() else RunState.WAITING

    def stop(self) -> None:
        """Start nothing more and wait for what runs."""
        with self._lock:
            self._stopped = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, delivery: Delivery) -> None:
        try:
            self._run_job(delivery)
        except Exception as fault:  # one job's end must not be the thread's
            logger.warning("%s of %s ended with %s", delivery.kind, delivery.label, type(fault).__name__)

    def _forget(self) -> None:
        while len(self._runs) > REMEMBERED:
            oldest = next(iter(self._runs))
            if not self._runs[oldest].done():
                return
            del self._runs[oldest]
