"""A worker process for tests: the real Prefect worker, flows and nursery; jobs that exist only here.

A job's ID says what becomes of it. What happens to jobs is written into the journal, a line each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from readvault import bootstrap, logs
from readvault.adapters.prefect_worker_process import run_worker
from readvault.config import Settings
from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, NotFound, ProcessingFailure
from readvault.domain.organism import Organism, Reference
from readvault.domain.reports import FetchReport, RegisterReport, Report, StageReport
from readvault.nursery import Nursery
from readvault.pipeline import Hands
from readvault.reads.sample import Sample
from readvault.services.storage.garbage.collection import Collection
from readvault.services.storage.garbage.unreferenced import Category
from readvault.services.storage.integrity.choices import VerifyIntegrity
from readvault.services.storage.integrity.verification import Verification
from tasks import counting

SECRET = "SECRET-label.fastq"
ACCESSION_VERSION = "LOC_000001Y.1"


class Journal:
    """Lines that a test reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text + "\n")


class FakeJob:
    """A job that goes wrong in the way that its ID says."""

    has_reads = True

    def __init__(self, job_id: str, house: FakeHouse) -> None:
        self._job_id = job_id
        self._house = house
        self._fetches = 0

    def fetch(self) -> Report:
        self._fetches += 1
        if self._job_id.startswith("flaky") and self._fetches == 1:
            raise ProcessingFailure("fetch", "S3 answered 503")
        return FetchReport(files=2, bytes=1000)

    def hands(self) -> AbstractContextManager[Hands]:
        if self._job_id.startswith("slow"):
            return _renamed(self._house.nursery.child(_sample(self._house.directory)), "sleep")
        return _renamed(self._house.nursery.child(_sample(self._house.directory)), "work", self._trouble)

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
        return RegisterReport(ACCESSION_VERSION, outcome, "0" * 64)


class FakeHouse:
    """What flows ask of `readvault.worker_house.WorkerHouse`, without a database."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self.directory = directory
        self.journal = journal
        self.nursery = Nursery(Settings().worker, {}, local_run="tests.integration.nursery.steps:Steps")

    @contextmanager
    def open_job(self, job_id: str) -> Iterator[FakeJob | None]:
        if job_id == "done":
            yield None
            return
        self.journal.note(f"{job_id} claimed")
        try:
            yield FakeJob(job_id, self)
        except BaseException as fault:
            self.journal.note(f"{job_id} given back: {type(fault).__name__}")
            raise

    @contextmanager
    def open_release(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        yield lambda: self.journal.note(f"{job_id} published")

    @contextmanager
    def open_external_registration(self, job_id: str) -> Iterator[Callable[[], object] | None]:
        yield lambda: self.journal.note(f"{job_id} hashed")

    @contextmanager
    def open_repair(self, job_id: str) -> Iterator[FakeJob | None]:
        yield FakeJob(job_id, self)

    def verify(self, chosen: VerifyIntegrity, progress: Callable[[Verification], None]) -> Verification:
        """Two damaged objects; one of them stays damaged unless all shall be repaired."""
        self.journal.note(f"verify {chosen.days} {chosen.minutes} {chosen.repair}")
        done = Verification()
        for done.checked in range(1, 4):
            progress(done)
        done.damaged, done.repaired, done.finished = 2, 2 if chosen.repair else 1, True
        progress(done)
        return done

    def collect_garbage(self, *, dry_run: bool) -> Collection:
        self.journal.note(f"collect {dry_run}")
        return Collection(found={Category.STRAY: (3, 300)})

    def job_for(self, accession_version: str, reason: str, actor: str) -> str:
        if accession_version != ACCESSION_VERSION:
            raise NotFound(f"There is no {accession_version}.")
        self.journal.note(f"{accession_version} again: {reason} ({actor})")
        return "by-hand"

    def recover(self) -> dict[str, int]:
        return {"reaped": 0, "delivered": 2, "expired uploads": 1}


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
    run_worker(Settings(), kill_job=house.nursery.kill, on_drain=house.nursery.stop)
    house.nursery.stop()
    house.journal.note("the worker ended")


if __name__ == "__main__":
    main()
