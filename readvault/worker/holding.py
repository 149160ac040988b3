"""What a worker holds: it claims a job, keeps its lease, and gives it back when it can't go on."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from readvault.db.faults import patiently
from readvault.domain.errors import (
    BytesLost,
    LeaseLost,
    NurseryDied,
    ProcessingFailure,
    RunCancelled,
    StoreUnavailable,
    WorkerStops,
)
from readvault.domain.status import JobKind
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim
from readvault.services.queue.lease import Lease
from readvault.stopping import CANCELLED, Run, Stop, current_run
from readvault.worker.outages import outage_of

logger = logging.getLogger(__name__)

NOTHING_THERE = "doctor/nothing"
"""A prefix under which nobody stores anything: to list it asks S3 for next to nothing."""
DRAINED = "its worker was asked to end"


@dataclass(frozen=True, slots=True)
class Held:
    """A job that this worker holds, in the run that does it."""

    claim: Claim
    lease: Lease
    run: Run
    house: House
    """With the organisms as they were at the claim: the job is done under the rules whose version it took on."""


class Holding:
    """The jobs that a worker holds. Nothing is claimed once `stopping` is set."""

    def __init__(self, house: House, stopping: Stop) -> None:
        self._house = house
        self._stopping = stopping
        self._held: dict[int, Held] = {}
        self.store_is_gone = threading.Event()

    @contextmanager
    def claimed(self, job_id: str, kind: JobKind, worker: str, ready: Container[str]) -> Iterator[Held | None]:
        """Claim a job for the worker of this name and hold its lease; None when there is nothing to do here.

        Our failure hands the job back and counts. The death of the nursery or of this worker, and an S3
        that is out of reach, hand it back uncounted. If somebody cancels the run, the job needs attention.
        """
        run = current_run()
        begins = not (self.store_is_gone.is_set() or self._stopping.is_set() or run.cancelled.is_set())
        house = self._house.steady()
        claim = jobs.claim(house, job_id, worker, ready, lane=run.lane) if begins else None
        if claim is None or claim.kind != kind:
            if claim is not None:
                jobs.give_up(self._house, claim, "was delivered to another flow", counted=False)
            yield None
            return
        failpoint("worker-claimed")
        try:
            with Lease(self._house, claim, check=functools.partial(self.check, run)) as lease:
                held = self._held[id(claim)] = Held(claim, lease, run, house)
                yield held
        except LeaseLost:
            raise
        except BaseException as fault:
            self._give_back(claim, fault, run)
            if run.cancelled.is_set():
                raise RunCancelled(CANCELLED) from None
            raise
        finally:
            self._held.pop(id(claim), None)

    def check(self, run: Run) -> None:
        """Raise WorkerStops when this worker is to end, RunCancelled when this run is."""
        run.check()
        if self._stopping.is_set():
            raise WorkerStops("this worker stops")

    def give_all_back(self) -> int:
        """Hand back, uncounted, whatever is still held, though somebody may still be at work on it; how many.

        For the end of the process: what hangs there writes nothing any more.
        """
        given = 0
        for held in list(self._held.values()):
            held.lease.lost.set()
            try:
                jobs.give_up(self._house, held.claim, DRAINED, counted=False)
                given += 1
            except LeaseLost:
                continue
            except Exception as fault:  # its lease runs out by itself
                logger.warning("job %s could not be handed back: %s", held.claim.job_id, type(fault).__name__)
        return given

    def store_answers(self) -> bool:
        """Whether S3 is there. It is asked only after it wasn't: then no job is begun until it answers again.

        Otherwise an outage would be met by one job after the other, until each needs attention.
        """
        if self.store_is_gone.is_set():
            try:
                next(iter(self._house.store.list_versions(NOTHING_THERE)), None)
            except ProcessingFailure as failure:
                logger.warning("no job is begun, because S3 is out of reach: %s", failure.cause)
                return False
            self.store_is_gone.clear()
            logger.info("S3 answers again")
        return True

    def _give_back(self, claim: Claim, fault: BaseException, run: Run) -> None:
        give_up = functools.partial(jobs.give_up, self._house, claim)
        stops = self._stopping.is_set()
        give_back: Callable[[], None]
        if run.cancelled.is_set():
            give_back = functools.partial(jobs.set_aside, self._house, claim, CANCELLED)
        elif isinstance(fault, NurseryDied | WorkerStops):
            # What a drain ends is no suspect; a nursery that died by itself may have died of this very job.
            give_back = functools.partial(give_up, str(fault), counted=False, alone=not stops)
        elif isinstance(fault, StoreUnavailable):
            self.store_is_gone.set()
            give_back = functools.partial(give_up, str(fault), counted=False, waits=True)
        elif isinstance(fault, BytesLost):
            # No attempt can mend that; the repair queues the job again.
            give_back = functools.partial(jobs.set_aside, self._house, claim, str(fault))
        elif not isinstance(fault, Exception):
            # The process is being ended from outside: by whom and why, only its orchestrator knows.
            give_back = functools.partial(give_up, type(fault).__name__, counted=False, keeps_run=True)
        else:
            outage = outage_of(fault)
            # What breaks while a worker ends may have broken for that.
            counted = outage is None and not stops
            cause = outage or (str(fault) if isinstance(fault, ProcessingFailure) else type(fault).__name__)
            waits = True if outage else None
            give_back = functools.partial(give_up, cause, counted=counted, waits=waits)
        patiently(give_back, seconds=0.0 if stops else self._house.settings.worker.lease)
