"""A job that makes lost processed files again: the way of a submission, but only what is lost is put back."""

from __future__ import annotations

from collections.abc import Iterable

from readvault.domain.annotations import Annotation
from readvault.domain.errors import BytesLost
from readvault.domain.reports import FetchReport, RegisterReport, StageReport
from readvault.domain.status import ProcessingResult
from readvault.reads.local_result import LocalResult
from readvault.services.entries.damage import IS_DAMAGED
from readvault.services.processing import jobs
from readvault.services.storage.integrity import making_again
from readvault.worker.server_job import ServerJob


class RepairJob(ServerJob):
    """One accession version, from its sealed originals to those of its processed files that are lost.

    No result is registered and no manifest written: an output counts only if it has the SHA-256 of
    something that the group's vault has lost.
    """

    _restored = 0

    def is_needed(self) -> bool:
        """Whether something is still lost; otherwise the job is done without any step."""
        if self._lost():
            return True
        jobs.complete(self._house, self._claim)
        return False

    def _lost(self) -> int:
        name = self._claim.accession_version
        return making_again.still_lost(self._house, name.accession, name.version, self._claim.pipeline_version)

    def fetch(self) -> FetchReport:
        """Download the sealed originals.

        Raises BytesLost when the organism's pipeline has moved on: it makes other bytes.
        """
        if self._organism.pipeline.version != self._claim.pipeline_version:
            raise BytesLost("repair", f"{IS_DAMAGED}, and the pipeline that made them has moved on to another version")
        return super().fetch()

    def stage(self, result: LocalResult) -> StageReport:
        """Put back what is lost, each object read back and hashed before its pin moves."""
        outputs = []
        for output, path in result.outputs:
            self._lease.check()
            outputs.append((output.sha256, path))
        self._restored = making_again.put_back_made(self._house, self._claim.group_id, outputs)
        return StageReport(files=self._restored, bytes=0, already_there=len(outputs) - self._restored)

    def register(self, result: LocalResult | None, refusals: Iterable[Annotation]) -> RegisterReport:
        """End the job; raises BytesLost, which needs attention, when something of the version is still lost."""
        lost = self._lost()
        if lost and result is None:
            told = ", ".join(sorted({refusal.reason.value for refusal in refusals}))
            raise BytesLost("repair", f"{IS_DAMAGED}, and the pipeline refuses the originals of {self.name}: {told}")
        if lost:
            cause = f"{lost} files of {self.name} were made with other bytes than before, or not by readvault's steps"
            raise BytesLost("repair", f"{IS_DAMAGED}: {cause}")
        jobs.complete(self._house, self._claim)
        return RegisterReport(
            accession_version=self.name, processing_result=ProcessingResult.NO_ISSUES, manifest_digest=""
        )
