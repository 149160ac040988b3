"""A job that looks for human reads in what is released already, with a newer host index.

Nothing is made or rewritten: the released files are fetched as they were pinned, their reads counted
in a child of the nursery, and what was found is written down.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import ProcessedCategory
from readvault.domain.reports import ScreeningReport
from readvault.failpoints import failpoint
from readvault.reads.sample import InputFile
from readvault.services.screening import findings
from readvault.services.screening.findings import Finding
from readvault.services.screening.unscreened import ReadFile, Unscreened, unscreened_of
from readvault.worker.held_job import HeldJob

STEP = "screen"
SCRATCH_FACTOR = {ProcessedCategory.DEHUMANIZED_READS.value: 1.1, ProcessedCategory.ALIGNMENT.value: 8.0}
"""How many times the size of its files a screening needs on the scratch disk: a BAM becomes plain FASTQ."""


class ScreenJob(HeldJob):
    """The published results of one accession version whose reads the host index of today has not seen."""

    def run(self) -> ScreeningReport:
        """Screen and register; all results together. Results with the very same files are read once.

        Raises BytesLost for a released file that is lost or altered (noted as damage), ProcessingFailure
        without the pinned index and when a read is not accounted for, LeaseLost.
        """
        index = self._organism.pipeline.dehumanize.sha256
        if index is None:
            raise ProcessingFailure(STEP, "no host index is pinned")
        alike: defaultdict[tuple[ReadFile, ...], list[Unscreened]] = defaultdict(list)
        found: list[Finding] = []
        for each in unscreened_of(self._house, self._claim.accession_version, index):
            if each.by_processing:
                found.append(Finding(each, 0, 0, 0))
            else:
                alike[each.files].append(each)
        for results in alike.values():
            report = self._screen(results[0], index)
            found += (Finding(each, report.reads, report.hits, report.reads_too_short) for each in results)
        failpoint("screen-before-commit")
        findings.register(self._house, self._claim, index, found)
        return ScreeningReport(
            index,
            sum(each.reads for each in found),
            sum(each.hits for each in found),
            sum(each.too_short for each in found),
        )

    def _screen(self, result: Unscreened, index: str) -> ScreeningReport:
        work = self._directory / str(result.manifest_id)
        work.mkdir()
        try:
            inputs = self._files_of(result, work)
            with self._child(work, inputs) as hands:
                report = hands.run(STEP)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._lease.check()
        if not isinstance(report, ScreeningReport) or report.index_sha256 != index:
            raise ProcessingFailure(STEP, "the host index was exchanged meanwhile")
        return report

    def _files_of(self, result: Unscreened, work: Path) -> tuple[InputFile, ...]:
        self._make_sure_of_room(STEP, SCRATCH_FACTOR[result.category], result.size)
        inputs = []
        for number, file in enumerate(result.files):
            path = work / f"{number:02}"
            self._fetched(file.stored, file.sha256, path, STEP)
            inputs.append(InputFile(path, file.name, result.category))
        failpoint("screen-fetched")
        return tuple(inputs)
