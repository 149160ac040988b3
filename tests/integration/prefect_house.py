"""A worker process for tests: the real Prefect worker, flows and nursery; jobs that exist only here.

A job's ID says what becomes of it. What happens to jobs is written into the journal, a line each.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from readvault import bootstrap, logs
from readvault.adapters.prefect_worker_process import run_worker
from readvault.config import Settings
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, NotFound, ProcessingFailure
from readvault.domain.organism import Organism, Reference
from readvault.domain.reports import FetchReport, RegisterReport, Report, StageReport
from readvault.domain.status import JobKind
from readvault.nursery import Nursery
from readvault.pipeline import Hands
from readvault.reads.sample import Sample
from readvault.services.exports.exporting import Exported
from readvault.services.exports.form import ExportSilo
from readvault.services.housekeeping.day import Day
from readvault.services.housekeeping.standing import Queue
from readvault.services.pulls.pulling import Pulled
from readvault.services.reprocessing.form import Reprocess
from readvault.services.storage.garbage.collection import Collection
from readvault.services.storage.garbage.unreferenced import Category
from readvault.services.storage.integrity.choices import VerifyIntegrity
from readvault.services.storage.integrity.verification import Verification
from readvault.stopping import current_run
from tasks import counting

SECRET = "SECRET-label.fastq"
ACCESSION_VERSION = "LOC_000001Y.1"
DONE_VERSION = "LOC_000002W.1"


class Journal:
    """Lines that a test reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text + "\n")

    def has(self, text: str) -> bool:
        """Whether this line is there."""
        return self._path.exists() and text in self._path.read_text().splitlines()


class FakeJob:
    """A job that goes wrong in the way that its ID says."""

    has_reads = True

    def __init__(self, job_id: str, house: FakeHouse) -> None:
        self._job_id = job_id
        self._house = house
        self._fetches = 0

    def fetch(self) -> Report:
        self._fetches += 1
        if self._job_id.startswith("hanging"):
            time.sleep(600)  # as a request to S3 that nobody answers
        if self._job_id.startswith("flaky") and self._fetches == 1:
            raise ProcessingFailure("fetch", "S3 answered 503")
        return FetchReport(files=2, bytes=1000)

    def hands(self) -> AbstractContextManager[Hands]:
        if self._job_id.startswith("slow"):
            return _renamed(self._house.child(), "sleep")
        return _renamed(self._house.child(), "work", self._trouble)

    def _trouble(self, step: str) -> None:
        if step == "validate" and self._job_id.startswith("refused"):
            raise InvalidSubmission([Annotation(Reason.NO_READS, f"{SECRET} has no reads", file=SECRET)])
        if step == "align" and self._job_id.startswith("ours"):
            raise ProcessingFailure("align", "a tool crashed")
        if step == "align" and self._job_id.startswith("slip"):
            raise ValueError(f"{SECRET}: ACGTACGT")

    def stage(self, result: Any) -> Report:
        return StageReport(files=8, bytes=4000)

    def register(self, result: Any, refusals: Iterable[Annotation]) -> Report:
        outcome = "HAS_ERRORS" if tuple(refusals) else "NO_ISSUES"
        self._house.journal.note(f"{self._job_id} registered {outcome}")
        return RegisterReport(ACCESSION_VERSION, outcome, "0" * 64, "tiny")


class FakeHouse:
    """What flows ask of `readvault.worker.house.WorkerHouse`, without a database."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self.directory = directory
        self.journal = journal
        self.nursery = Nursery(Settings().worker, {}, local_run="tests.integration.nursery.steps:Steps")

    @contextmanager
    def open_job(self, job_id: str) -> Iterator[FakeJob | None]:
        if job_id == "done" or (job_id.startswith("ours") and self.journal.has(f"{job_id} claimed")):
            yield None
            return
        self.journal.note(f"{job_id} claimed")
        try:
            yield FakeJob(job_id, self)
        except BaseException as fault:
            if current_run().cancelled.is_set():
                self.journal.note(f"{job_id} set aside: {fault}")
                current_run().check()
            self.journal.note(f"{job_id} given back: {type(fault).__name__}")
            raise

    @contextmanager
    def child(self) -> Iterator[Hands]:
        """As the real one: who cancels the run kills it."""
        with self.nursery.child(_sample(self.directory)) as child, current_run().cancelled.calls(child.cancel):
            yield child

    @contextmanager
    def open_release(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        yield (lambda: self.journal.note(f"{job_id} published")) if job_id else None

    @contextmanager
    def open_external_registration(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        yield lambda: self.journal.note(f"{job_id} hashed")

    @contextmanager
    def open_repair(self, job_id: str) -> Iterator[FakeJob | None]:
        yield FakeJob(job_id, self)

    @contextmanager
    def open_import(self, job_id: str) -> Iterator[Callable[[], Pulled] | None]:
        def pull() -> Pulled:
            self.journal.note(f"{job_id} pulled")
            return Pulled(files=2, failed=1, size=3)

        yield pull

    @contextmanager
    def open_screening(self, job_id: str) -> Iterator[Callable[[], Report] | None]:
        def screen() -> Report:
            self.journal.note(f"{job_id} screened")
            return FetchReport(files=1, bytes=1)

        yield screen

    def screen_anew(self) -> int:
        self.journal.note("screened anew")
        return 3

    def reprocess(self, chosen: Reprocess, actor: str) -> None:
        """By the schedule's parameters nothing is asked for."""
        self.journal.note(f"reprocess ({actor})")

    def verify(self, chosen: VerifyIntegrity, progress: Callable[[Verification], None]) -> Verification:
        """Two damaged objects; one of them stays damaged unless all shall be repaired."""
        self.journal.note(f"verify {chosen.days} {chosen.minutes} {chosen.repair}")
        if chosen.days:
            current_run().cancelled.wait(60)
            current_run().check()
        done = Verification()
        for done.checked in range(1, 4):
            progress(done)
        done.damaged, done.repaired, done.finished = 2, 2 if chosen.repair else 1, True
        progress(done)
        return done

    def export_silo(self, chosen: ExportSilo) -> dict[str, Exported]:
        self.journal.note(f"export {chosen.organism!r} {chosen.anew}")
        return {}

    def collect_garbage(self, *, dry_run: bool) -> Collection:
        self.journal.note(f"collect {dry_run}")
        return Collection(found={Category.STRAY: (3, 300)})

    def job_for(self, accession_version: str, reason: str, actor: str) -> str:
        if accession_version != ACCESSION_VERSION:
            raise NotFound(f"There is no {accession_version}.")
        self.journal.note(f"{accession_version} again: {reason} ({actor})")
        return "by-hand"

    def make_due(self, job_id: str, actor: str) -> None:
        self.journal.note(f"{job_id} is due ({actor})")

    def job_of(self, accession_version: str, kind: JobKind) -> str | None:
        """The last entry has no job that is not done."""
        return None if accession_version == DONE_VERSION else f"{kind}-by-hand"

    def needs_attention(self, job_id: str, *, last_run: str | None = None) -> bool:
        return job_id.startswith("ours-last")

    def recover(self) -> dict[str, int]:
        return {"reaped": 0, "delivered": 2, "expired uploads": 1}

    def queue(self) -> dict[str, int]:
        return asdict(Queue(queued=7, due=5, oldest_minutes=90))

    def day_in_figures(self, days_ago: int) -> Day:
        self.journal.note(f"day {days_ago}")
        return Day("2026-11-22", is_over=True, received={"tiny": 3}, errors={"noReads": 1})


@contextmanager
def _renamed(
    child: AbstractContextManager[Hands], step: str, trouble: Callable[[str], None] = lambda _: None
) -> Iterator[Hands]:
    """Hands that do the one step that the tests have, whatever they are asked for."""

    class Renamed:
        def run(self, asked: str) -> Report:
            trouble(asked)
            return hands.run(step)

        def result(self) -> Any:
            return hands.result()

    with child as hands:
        yield Renamed()


def _sample(directory: Path) -> Sample:
    organism = Organism(name="tiny", reference=Reference(fasta=Path("tiny.fasta")))
    return Sample(name=ACCESSION_VERSION, organism=organism, inputs=(), directory=directory)


def main() -> None:
    """Work until SIGTERM; the journal is the first argument."""
    logs.to_stderr()
    journal = Path(sys.argv[1])
    house = FakeHouse(journal.parent, Journal(journal))
    counting.EVERY = 0.0
    bootstrap.worker_house = lambda: house  # type: ignore[assignment]
    house.nursery.start()
    ended = run_worker(Settings(), on_drain=house.nursery.stop)
    house.nursery.stop()
    house.journal.note("the worker ended")
    if not ended:
        os._exit(0)


if __name__ == "__main__":
    main()
