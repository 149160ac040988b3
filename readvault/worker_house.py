"""A worker: claims jobs, holds their leases, gives them hands, and gives them back when it can't go on."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from readvault import recovery
from readvault.db.faults import patiently
from readvault.domain.errors import BytesLost, LeaseLost, NurseryDied, ProcessingFailure, StoreUnavailable, WorkerStops
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind
from readvault.failpoints import failpoint
from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.nursery import Nursery
from readvault.outages import outage_of
from readvault.pipeline import Around, directly, run
from readvault.places import Places
from readvault.ports import Delivery
from readvault.repair_job import RepairJob
from readvault.rounds import Rounds
from readvault.scratch import Scratch
from readvault.server_job import ServerJob
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs, reprocessing
from readvault.services.processing.external_registration import register_external
from readvault.services.processing.jobs import Claim
from readvault.services.queue import deliveries
from readvault.services.queue.lease import Lease
from readvault.services.release import publication
from readvault.services.storage import garbage, integrity, records
from readvault.services.storage.choices import VerifyIntegrity
from readvault.services.storage.garbage import Collection

logger = logging.getLogger(__name__)

EXPORTS_FOR = 2.0
"""Seconds of one export of records at least: less, and a slow database would use them up before the first record."""
STOPS_WITHIN = 10.0
"""Seconds that a worker waits for its own threads; what they do can be broken off at any point."""
NOTHING_THERE = "doctor/nothing"
"""A prefix under which nobody stores anything: to list it asks S3 for next to nothing."""


class WorkerHouse:
    """One worker process: a house, a nursery, and the jobs that it holds."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.scratch = Scratch(house.settings.scratch, lease=house.settings.worker.lease)
        self.name = self.scratch.name
        self.readiness = organism_readiness(house.settings, house.organisms)
        self.ready = frozenset(organism for organism, reason in self.readiness.items() if reason is None)
        self._loaded = {organism: house.organisms[organism] for organism in self.ready}
        indexes = {organism: house.settings.host_index(rules) for organism, rules in self._loaded.items()}
        self.nursery = Nursery(house.settings.worker, {n: path for n, path in indexes.items() if path is not None})
        self._stopping = threading.Event()
        self._store_is_gone = threading.Event()
        self._places = Places()
        self._rounds: tuple[Rounds, ...] = ()

    def start(self) -> None:
        """Start the nursery and the dispatcher; take back what an earlier worker of this place left."""
        for organism, reason in sorted(self.readiness.items()):
            if reason == EXTERNAL:
                logger.info("organism %s: %s", organism, reason)
            elif reason is not None:
                logger.error("nothing of organism %s is processed here: %s", organism, reason)
        self.scratch.take_over(functools.partial(housekeeping.hand_back_worker, self.house))
        self.nursery.start()
        self.begin_rounds()

    def begin_rounds(self) -> None:
        """Start what is done again and again: on threads of their own, so that S3 keeps nobody waiting but itself."""
        self._rounds = self._all_rounds()
        for each in self._rounds:
            each.start()

    def drain(self) -> None:
        """Begin nothing more and end what is under way, soon: running jobs are handed back uncounted."""
        self._stopping.set()
        self.nursery.stop()

    def stop(self) -> None:
        """Drain, and remove the scratch. Call it when no job is running here any more."""
        self.drain()
        for each in self._rounds:
            each.join(STOPS_WITHIN / len(self._rounds))
        self.scratch.remove()

    def check(self) -> None:
        """Raise WorkerStops when this worker is to end."""
        if self._stopping.is_set():
            raise WorkerStops("this worker stops")

    @contextmanager
    def open_job(self, job_id: str) -> Iterator[ServerJob | None]:
        """Claim a job and hold its lease; None when there is nothing to do.

        Our failure hands the job back and counts; the death of the nursery or of this worker, and an
        S3 that is out of reach, hand it back uncounted.
        """
        with self._claimed(job_id, JobKind.PROCESS_SUBMISSION) as held:
            if held is None:
                yield None
                return
            claim, lease = held
            with self._directory_for(claim) as directory, self._places.taken(alone=claim.runs_alone):
                yield ServerJob(self.house, claim, lease, directory, self.nursery.child)

    @contextmanager
    def open_release(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        """Claim a release job; calling what comes does its side effects."""
        with self._claimed(job_id, JobKind.RELEASE) as held:
            yield None if held is None else functools.partial(publication.publish, self.house, held[0])

    @contextmanager
    def open_external_registration(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        """Claim what an external pipeline sent and whose files nobody has hashed; calling what comes registers it."""
        with self._claimed(job_id, JobKind.REGISTER_EXTERNAL) as held:
            if held is None:
                yield None
                return
            claim, lease = held
            with self._directory_for(claim) as directory:
                yield functools.partial(register_external, self.house, claim, lease, directory)

    @contextmanager
    def open_repair(self, job_id: str) -> Iterator[RepairJob | None]:
        """Claim a job that makes lost processed files again; None when there is nothing to do."""
        with self._claimed(job_id, JobKind.REPAIR) as held:
            if held is None:
                yield None
                return
            claim, lease = held
            with self._directory_for(claim) as directory, self._places.taken(alone=claim.runs_alone):
                job = RepairJob(self.house, claim, lease, directory, self.nursery.child)
                yield job if job.is_needed() else None

    def verify(
        self, chosen: VerifyIntegrity, progress: Callable[[integrity.Verification], None] = lambda _: None
    ) -> integrity.Verification:
        """Look at what is stored, and repair what is damaged; a worker that stops leaves the rest for the next time."""
        return chosen.verify(self.house, progress, stopping=self._stopping)

    def run(self, delivery: Delivery, around: Around = directly) -> None:
        """Do one delivered job from its claim to its end, as the inline orchestrator does."""
        if delivery.kind == JobKind.REPAIR:
            with self.open_repair(delivery.job_id) as repairing:
                if repairing is not None:
                    run(repairing, around)
            return
        if delivery.kind != JobKind.PROCESS_SUBMISSION:
            is_release = delivery.kind == JobKind.RELEASE
            opened = self.open_release if is_release else self.open_external_registration
            with opened(delivery.job_id) as finish:
                if finish is not None:
                    finish()
            return
        with self.open_job(delivery.job_id) as job:
            if job is not None:
                run(job, around)

    def job_for(self, accession_version: str, reason: str, actor: str) -> str:
        """The job that processes an accession version, made anew when none is open."""
        return reprocessing.process_again(self.house, AccessionVersion.parse(accession_version), reason, actor)

    def look_at_indexes(self) -> None:
        """Leave the jobs of an organism alone while its host index is gone or isn't the pinned one any more.

        They would fail one by one until each needs attention. What wasn't ready at the start waits
        for the next start: only then the nursery loads indexes.
        """
        reasons = organism_readiness(self.house.settings, self._loaded)
        ready = frozenset(organism for organism, reason in reasons.items() if reason is None)
        for organism in sorted(self.ready - ready):
            logger.error("nothing of organism %s is processed here any more: %s", organism, reasons[organism])
        for organism in sorted(ready - self.ready):
            logger.info("organism %s is processed here again", organism)
        self.ready = ready

    def store_answers(self) -> bool:
        """Whether S3 is there. It is asked only after it wasn't: then no job is begun until it answers again.

        Otherwise an outage would be met by one job after the other, until each needs attention.
        """
        if self._store_is_gone.is_set():
            try:
                next(iter(self.house.store.list_versions(NOTHING_THERE)), None)
            except ProcessingFailure as failure:
                logger.warning("no job is begun, because S3 is out of reach: %s", failure.cause)
                return False
            self._store_is_gone.clear()
            logger.info("S3 answers again")
        return True

    def _dispatch(self) -> int:
        return 0 if self._store_is_gone.is_set() else deliveries.dispatch(self.house, self.ready)

    def recover(self) -> dict[str, int]:
        """Do what the dispatcher does, once, and all that was broken off elsewhere; how many rows each step changed."""
        self.look_at_indexes()
        return recovery.recover(self.house, self._dispatch, self.check)

    def collect_garbage(self, *, dry_run: bool) -> Collection:
        """Delete from the bucket what nothing has referred to for long, and condemn what nothing refers to now."""
        return garbage.collect(self.house, dry_run=dry_run, check=self.check)

    def _directory_for(self, claim: Claim) -> AbstractContextManager[Path]:
        """Scratch of one attempt, gone when it ends."""
        return self.scratch.directory(f"{claim.job_id}-{claim.attempt}")

    @contextmanager
    def _claimed(self, job_id: str, kind: JobKind) -> Iterator[tuple[Claim, Lease] | None]:
        begins = not (self._store_is_gone.is_set() or self._stopping.is_set())
        claim = jobs.claim(self.house, job_id, self.name, self.ready) if begins else None
        if claim is None or claim.kind != kind:
            if claim is not None:
                jobs.give_up(self.house, claim, "was delivered to another flow", counted=False)
            yield None
            return
        failpoint("worker-claimed")
        try:
            with Lease(self.house, claim, check=self.check) as lease:
                yield claim, lease
        except LeaseLost:
            raise
        except (NurseryDied, WorkerStops) as end:
            # What a drain ends is no suspect; a nursery that died by itself may have died of this very job.
            jobs.give_up(self.house, claim, str(end), counted=False, alone=not self._stopping.is_set())
            raise
        except StoreUnavailable as failure:
            self._store_is_gone.set()
            jobs.give_up(self.house, claim, str(failure), counted=False, waits=True)
            raise
        except BytesLost as loss:
            # No attempt can mend that; the repair queues the job again.
            jobs.set_aside(self.house, claim, str(loss))
            raise
        except BaseException as fault:
            self._after(claim, fault)
            raise

    def _after(self, claim: Claim, fault: BaseException) -> None:
        """Hand a job back after this fault. It counts only if it may be the job's own."""
        outage = outage_of(fault)
        # A drain raises what is no Exception (KeyboardInterrupt, CancelledError): not the job's fault.
        # Nor is what breaks while a worker ends: it may have broken for that.
        counted = outage is None and isinstance(fault, Exception) and not self._stopping.is_set()
        cause = outage or (str(fault) if isinstance(fault, ProcessingFailure) else type(fault).__name__)
        give_up = functools.partial(jobs.give_up, self.house, claim, cause, counted=counted)
        patience = 0.0 if self._stopping.is_set() else self.house.settings.worker.lease
        patiently(functools.partial(give_up, waits=True) if outage else give_up, seconds=patience)

    def _all_rounds(self) -> tuple[Rounds, ...]:
        """Each thread waits for one thing only: the database, S3, a record on its way to S3, the scratch disk."""
        every = self.house.settings.worker.dispatch_every
        export = functools.partial(records.export, self.house, seconds=max(every, EXPORTS_FOR))
        chores: dict[str, tuple[tuple[float, Callable[[], object]], ...]] = {
            "dispatcher": (
                (every, self.look_at_indexes),
                (every, functools.partial(housekeeping.reap, self.house)),
                (every, self._dispatch),
            ),
            "watch on S3": ((every, self.store_answers),),
            "export of records": (
                (every, export),
                (records.HEAD_EVERY, functools.partial(records.queue_head, self.house)),
            ),
            "sweeper of scratch": ((every, self.scratch.sweep),),
        }
        return tuple(Rounds(name, self._stopping, steps) for name, steps in chores.items())
