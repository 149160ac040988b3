"""What is done once more: entries processed again, released reads looked up in a newer host index."""

from __future__ import annotations

from readvault.domain.identifiers import AccessionVersion
from readvault.services.processing import reprocessing
from readvault.services.reprocessing import feeding, going_back
from readvault.services.reprocessing.form import Asked, Reprocess
from readvault.services.screening import feeding as screening
from readvault.worker.equipment import Equipment


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
