"""A worker: one process with a nursery beside it, in which jobs are opened and done."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

from readvault.domain.lanes import Lane
from readvault.domain.reports import ScreeningReport
from readvault.domain.status import JobKind
from readvault.pipeline import Around, directly, run
from readvault.places import Places, need_of, usual_budget
from readvault.ports import Delivery
from readvault.rounds import Rounds
from readvault.scratch import Scratch
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.housekeeping import standing
from readvault.services.housekeeping.day import Day, in_figures
from readvault.services.processing.external_registration import register_external
from readvault.services.pulls import pulling
from readvault.services.queue import deliveries
from readvault.services.queue.sizes import lane_of
from readvault.services.release import publication
from readvault.services.screening import feeding as screening
from readvault.services.storage.garbage import collection
from readvault.services.storage.garbage.collection import Collection
from readvault.services.storage.integrity import verification
from readvault.services.storage.integrity.choices import VerifyIntegrity
from readvault.services.storage.rebuilding import records
from readvault.stopping import current_run, either
from readvault.worker import recovery
from readvault.worker.background import Background
from readvault.worker.held_job import HeldJob
from readvault.worker.holding import Held, Holding
from readvault.worker.repair_job import RepairJob
from readvault.worker.screen_job import ScreenJob
from readvault.worker.server_job import ServerJob

logger = logging.getLogger(__name__)

EXPORTS_FOR = 2.0
"""Seconds of one export of records at least: less, and a slow database would use them up before the first record."""
DELIVERIES_AT_ONCE = 4
"""Requests to Prefect side by side: after an outage everything that waited is delivered anew."""
STOPS_WITHIN = 10.0
"""Seconds that a worker waits for its own threads; what they do can be broken off at any point."""


class WorkerHouse(Background):
    """One worker process: a house, a nursery, and the jobs that it holds.

    Without `look_first` it works once it is started. With it, it may also begin by itself with its first
    job, after it has called `look_first`: in a process that is there for one run only.
    """

    def __init__(self, house: House, *, look_first: Callable[[], None] | None = None) -> None:
        super().__init__(house)
        self._look_first = look_first
        self._beginning = threading.Lock()
        self.scratch = Scratch(house.settings.scratch, lease=house.settings.worker.lease)
        self.name = self.scratch.name
        self._holding = Holding(house, self._stopping)
        self._places = Places(house.settings.worker.memory_budget or usual_budget())
        self._rounds: tuple[Rounds, ...] = ()

    def start(self) -> None:
        """Start the nursery and the dispatcher; take back what an earlier worker of this place left."""
        self._look_first = None
        for organism, reason in sorted(self.readiness.items()):
            self._tell(organism, reason)
        self._begin()
        self.begin_rounds()

    def _begin(self) -> None:
        self.scratch.take_over(functools.partial(housekeeping.hand_back_worker, self.house))
        self.nursery.start()

    def _begin_for_one_run(self) -> None:
        """Begin in a process that nobody has started as a worker, for example one of a stock Prefect worker."""
        with self._beginning:
            if self._look_first is None:
                return
            self._look_first()
            self._begin()
            self._rounds = (self._sweeper(),)
            self._rounds[0].start()
            atexit.register(self.stop)
            self._look_first = None

    def begin_rounds(self) -> None:
        """Start what is done again and again: on threads of their own, so that S3 keeps nobody waiting but itself."""
        self._rounds = self._all_rounds()
        for each in self._rounds:
            each.start()

    def drain(self) -> None:
        """Begin nothing more and end what is under way, soon: running jobs are handed back uncounted."""
        self._stopping.set()
        self._end_children()

    def stop(self) -> None:
        """Drain, and remove the scratch. Call it when no job is running here any more."""
        self.drain()
        for each in self._rounds:
            each.join(STOPS_WITHIN / len(self._rounds))
        self.scratch.remove()

    def end(self, *, at_once: bool) -> None:
        """Stop. `at_once`: something hangs in jobs, S3 for example, so they are handed back and the process ends.

        Whatever those jobs still do until then, they write nothing.
        """
        if at_once:
            self.drain()
            logger.warning("%d jobs hang and are handed back", self._holding.give_all_back())
        self.stop()
        if at_once:
            logging.shutdown()
            os._exit(0)  # else Python would wait for the threads that hang

    def check(self) -> None:
        """Raise WorkerStops when this worker is to end, RunCancelled when the run of this thread is."""
        self._holding.check(current_run())

    @contextmanager
    def open_job(self, job_id: str) -> Iterator[ServerJob | None]:
        """Claim a job and hold its lease; None when there is nothing to do.

        Our failure hands the job back and counts; the death of the nursery or of this worker, and an
        S3 that is out of reach, hand it back uncounted.
        """
        with self._at_work(job_id, JobKind.PROCESS_SUBMISSION, ServerJob) as job:
            yield job

    @contextmanager
    def open_release(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        """Claim a release job; calling what comes does its side effects."""
        with self._claimed(job_id, JobKind.RELEASE) as held:
            if held is not None:
                screening.after_release(held.house, held.claim.accession_version)
            yield None if held is None else functools.partial(publication.publish, held.house, held.claim)

    @contextmanager
    def open_external_registration(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        """Claim what an external pipeline sent and whose files nobody has hashed; calling what comes registers it."""
        with self._claimed(job_id, JobKind.REGISTER_EXTERNAL) as held:
            if held is None:
                yield None
                return
            with self._directory_for(held) as directory:
                yield functools.partial(register_external, held.house, held.claim, held.lease, directory)

    @contextmanager
    def open_repair(self, job_id: str) -> Iterator[RepairJob | None]:
        """Claim a job that makes lost processed files again; None when there is nothing to do."""
        with self._at_work(job_id, JobKind.REPAIR, RepairJob) as job:
            yield job if job is not None and job.is_needed() else None

    @contextmanager
    def open_screening(self, job_id: str) -> Iterator[Callable[[], ScreeningReport] | None]:
        """Claim a job that looks for human reads in what is released; calling what comes screens and registers."""
        with self._at_work(job_id, JobKind.SCREEN, ScreenJob) as job:
            yield None if job is None else job.run

    @contextmanager
    def open_import(self, job_id: str) -> Iterator[Callable[[], pulling.Pulled] | None]:
        """Claim a job that pulls files from a submitter's own S3; calling what comes pulls them."""
        with self._claimed(job_id, JobKind.IMPORT) as held:
            yield None if held is None else functools.partial(pulling.pull, held.house, held.claim, held.lease)

    def verify(
        self, chosen: VerifyIntegrity, progress: Callable[[verification.Verification], None] = lambda _: None
    ) -> verification.Verification:
        """Look at what is stored, and repair what is damaged; a worker that stops leaves the rest for the next time.

        Raises RunCancelled when somebody cancelled the run: what was done until then is kept.
        """
        run = current_run()
        with either(self._stopping, run.cancelled) as end:
            done = chosen.verify(self.house, progress, stopping=end)
        run.check()
        return done

    def run(self, delivery: Delivery, around: Around = directly) -> None:
        """Do one delivered job from its claim to its end, as the inline orchestrator does."""
        if delivery.kind == JobKind.REPAIR:
            with self.open_repair(delivery.job_id) as repairing:
                if repairing is not None:
                    run(repairing, around)
            return
        if delivery.kind != JobKind.PROCESS_SUBMISSION:
            opened: dict[str, Callable[[str], AbstractContextManager[Callable[[], object] | None]]] = {
                JobKind.IMPORT: self.open_import,
                JobKind.RELEASE: self.open_release,
                JobKind.SCREEN: self.open_screening,
            }
            with opened.get(delivery.kind, self.open_external_registration)(delivery.job_id) as finish:
                if finish is not None:
                    finish()
            return
        with self.open_job(delivery.job_id) as job:
            if job is not None:
                run(job, around)

    def queue(self) -> dict[str, int]:
        """How many jobs wait, and for how long the oldest (`readvault.services.housekeeping.standing.Queue`)."""
        return asdict(standing.queue(self.house))

    def day_in_figures(self, days_ago: int) -> Day:
        """What happened on a day, and how the instance stands now."""
        return in_figures(self.house, days_ago=days_ago)

    def store_answers(self) -> bool:
        """Whether S3 is there. It is asked only after it wasn't: then no job is begun until it answers again."""
        return self._holding.store_answers()

    def _dispatch(self) -> int:
        if self._holding.store_is_gone.is_set():
            return 0
        at_once = DELIVERIES_AT_ONCE if self.house.settings.orchestrator == "prefect" else 1
        return deliveries.dispatch(self.house, self.ready, at_once=at_once)

    def recover(self) -> dict[str, int]:
        """Do what the dispatcher does, once, and all that was broken off elsewhere; how many rows each step changed."""
        self.look_at_indexes()
        return recovery.recover(self.house, self._dispatch, self.check)

    def collect_garbage(self, *, dry_run: bool) -> Collection:
        """Delete from the bucket what nothing has referred to for long, and condemn what nothing refers to now."""
        return collection.collect(self.house, dry_run=dry_run, check=self.check)

    def _claimed(self, job_id: str, kind: JobKind) -> AbstractContextManager[Held | None]:
        self._begin_for_one_run()
        return self._holding.claimed(job_id, kind, self.name, self.ready_now(self.house.organisms))

    @contextmanager
    def _at_work[J: HeldJob](self, job_id: str, kind: JobKind, job: type[J]) -> Iterator[J | None]:
        """Claim a job that reads stored files, and give it a place to work in; None when there is nothing to do."""
        with self._claimed(job_id, kind) as held:
            if held is None:
                yield None
                return
            with self._workplace(held) as directory:
                yield job(held.house, held.claim, held.lease, directory, self._child)

    def _directory_for(self, held: Held) -> AbstractContextManager[Path]:
        """Scratch of one attempt, gone when it ends."""
        return self.scratch.directory(f"{held.claim.job_id}-{held.claim.attempt}")

    @contextmanager
    def _workplace(self, held: Held) -> Iterator[Path]:
        """Scratch of one attempt, as soon as it may begin beside what runs."""
        claim = held.claim
        need, lane = need_of(claim.input_bytes), lane_of(self.house.settings.worker, claim.input_bytes)
        options = {"alone": claim.runs_alone, "large": lane is not Lane.SMALL}
        with self._directory_for(held) as directory, self._places.taken(need=need, check=held.lease.check, **options):
            yield directory

    def _sweeper(self) -> Rounds:
        step = (self.house.settings.worker.dispatch_every, self.scratch.sweep)
        return Rounds("sweeper of scratch", self._stopping, (step,))

    def _all_rounds(self) -> tuple[Rounds, ...]:
        """Each thread waits for one thing only: the database, S3, a record on its way to S3, the scratch disk."""
        every = self.house.settings.worker.dispatch_every
        export = functools.partial(records.export, self.house, seconds=max(every, EXPORTS_FOR))
        chores: dict[str, tuple[tuple[float, Callable[[], object]], ...]] = {
            "dispatcher": (
                (every, self.look_at_indexes),
                (every, functools.partial(housekeeping.reap, self.house)),
                (every, self._dispatch),
                (screening.FEED_EVERY, self.feed_screening),
            ),
            "feeder of reprocessings": ((every, self.feed_reprocessing),),
            "watch on S3": ((every, self.store_answers),),
            "export of records": (
                (every, export),
                (records.HEAD_EVERY, functools.partial(records.queue_head, self.house)),
            ),
        }
        rounds = tuple(Rounds(name, self._stopping, steps) for name, steps in chores.items())
        return (*rounds, self._sweeper())
