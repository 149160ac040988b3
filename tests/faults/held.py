"""Local steps that wait in a job's first attempt: its worker can be killed or stopped while it holds the job."""

from __future__ import annotations

import time
from pathlib import Path

from readvault.domain.reports import Report
from readvault.reads import local_run
from readvault.reads.sample import Sample

GO_ON = "go-on"
"""The file on the scratch disk that lets first attempts go on."""
load_ahead = local_run.load_ahead


class LocalRun(local_run.LocalRun):
    """readvault's own steps, with a long wait before the alignment of a first attempt."""

    def __init__(self, sample: Sample) -> None:
        super().__init__(sample)
        job = sample.directory.parent  # <scratch disk>/<worker>/<job>-<attempt>/work
        is_first = job.name.rpartition("-")[2] == "1"
        self._go_on: Path | None = job.parent.parent / GO_ON if is_first else None

    def run(self, step: str) -> Report:
        """Do one step."""
        while step == "align" and self._go_on is not None and not self._go_on.exists():
            time.sleep(0.1)
        return super().run(step)
