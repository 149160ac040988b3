"""What is done once more: entries processed again, released reads screened anew, sets for SILO put together."""

from __future__ import annotations

import logging
from collections.abc import Callable

from readvault.domain.errors import ProcessingFailure, RuleViolation, WorkerStops
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind
from readvault.reads.silo.genome import genome_of
from readvault.scratch import temporary
from readvault.services.exports import exporting, retention
from readvault.services.exports.exporting import Exported
from readvault.services.exports.form import ExportSilo
from readvault.services.house import House
from readvault.services.processing import reprocessing
from readvault.services.queue import open_jobs
from readvault.services.reprocessing import feeding, going_back
from readvault.services.reprocessing.form import Asked, Reprocess
from readvault.services.screening import feeding as screening
from readvault.stopping import current_run
from readvault.worker.equipment import Equipment

logger = logging.getLogger(__name__)


class Background(Equipment):
    """Queues jobs for what was done before: by hand at once, in the background a few at a time."""

    def job_for(self, accession_version: str, reason: str, actor: str) -> str:
        """The job that processes an accession version, made anew when none is open."""
        return reprocessing.process_again(self.house, AccessionVersion.parse(accession_version), reason, actor)

    def reprocess(self, chosen: Reprocess, asker: str) -> Asked | None:
        """Count what a form of nobody's chooses, or ask a maintainer for it; None where it chose no organism."""
        return chosen.carry_out(self.house, asker)

    def feed_reprocessing(self) -> int:
        """Queue a few more entries of the reprocessings that are under way, go on with roll-backs; how many entries."""
        return feeding.feed(self.house) + going_back.carry_on(self.house)

    def screen_anew(self) -> int:
        """Look from the beginning for released reads that the index of today has not seen; how many jobs now."""
        screening.begin_anew(self.house)
        return self.feed_screening()

    def feed_screening(self) -> int:
        """Queue a few more jobs for released reads that the index of today has not seen; how many."""
        return screening.feed(self.house, self.ready)

    def make_due(self, job_id: str, actor: str) -> None:
        """Let an open job be claimed at once, also one that needs attention."""
        open_jobs.make_due(self.house, job_id, actor)

    def job_of(self, accession_version: str, kind: JobKind) -> str | None:
        """The job of this kind that an accession version has and that is not done, if any."""
        return open_jobs.open_job_of(self.house, AccessionVersion.parse(accession_version), kind)

    def needs_attention(self, job_id: str, *, last_run: str | None = None) -> bool:
        """Whether nobody tries this job again until a maintainer has looked after it.

        With `last_run` only if that is the run that it was given to last.
        """
        return open_jobs.needs_attention(self.house, job_id, last_run=last_run)

    def export_silo(self, chosen: ExportSilo) -> dict[str, Exported]:
        """Export the released reads of an organism, or of all, for SILO; what came of it by organism.

        A worker that stops, or a cancelled run, leaves what was made to the next run.
        """
        run = current_run()

        def check() -> None:
            run.check()
            if self._stopping.is_set():
                raise WorkerStops("The worker stops.")

        return export_silo(self.house.steady(), chosen, check)


def export_silo(
    house: House, chosen: ExportSilo, check: Callable[[], None], progress: Callable[[int], object] = lambda _: None
) -> dict[str, Exported]:
    """Do it in any house: the command's too. One organism's failure, the first of which is raised, stops no other."""
    made: dict[str, Exported] = {}
    failures: list[ProcessingFailure | RuleViolation] = []
    for organism in chosen.organisms(house):
        try:
            with temporary(house.settings.scratch, "export") as folder:
                made[organism.name] = exporting.export(
                    house, organism.name, genome_of(organism), folder, anew=chosen.anew, check=check, progress=progress
                )
        except (ProcessingFailure, RuleViolation) as fault:
            logger.error("the reads of %s are not exported: %s", organism.name, fault)
            failures.append(fault)
    if not chosen.organism:
        retention.tidy(house)  # of organisms that are no more, too
    if failures:
        raise failures[0]
    return made
