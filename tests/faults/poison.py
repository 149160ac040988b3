"""Local steps that a poison file brings down, each time: it ends its process, or takes all memory that there is."""

from __future__ import annotations

import gzip
import os

from readvault.domain.reports import Report
from readvault.reads import local_run
from readvault.reads.sample import Sample

ABORTS, DEVOURS = b"@poison_aborts", b"@poison_devours"
"""How the first read of a poison file is named."""
load_ahead = local_run.load_ahead


class LocalRun(local_run.LocalRun):
    """readvault's own steps, for files that are no poison."""

    def __init__(self, sample: Sample) -> None:
        super().__init__(sample)
        self._first = b""
        if sample.inputs:
            with gzip.open(sample.inputs[0].path) as reads:
                self._first = reads.readline()

    def run(self, step: str) -> Report:
        """Do one step, unless the file is poison."""
        if step == "align" and self._first.startswith(ABORTS):
            os.abort()
        if step == "align" and self._first.startswith(DEVOURS):
            devoured = []
            while True:
                devoured.append(bytearray(2**26))
        return super().run(step)
