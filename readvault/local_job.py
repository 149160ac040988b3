"""A job on local files: the same steps as on a server, for laptops, tests and benchmarks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.errors import NotReady
from readvault.domain.reports import FetchReport, RegisterReport, StageReport
from readvault.domain.status import ProcessingResult
from readvault.pipeline import Hands
from readvault.reads.local_run import LocalResult, LocalRun
from readvault.reads.sample import Sample

RESULT = "result.json"


class LocalJob:
    """Takes a sample's local files through the steps and leaves the outputs in a directory."""

    def __init__(self, sample: Sample, out: Path) -> None:
        self.has_reads = bool(sample.inputs)
        self._sample = sample
        self._out = out
        self._run: LocalRun | None = None

    def fetch(self) -> FetchReport:
        """See that the files are there; locally nothing needs to be fetched."""
        missing = [file.label for file in self._sample.inputs if not file.path.is_file()]
        if missing:
            raise NotReady(f"there is no such file: {', '.join(missing)}")
        return FetchReport(
            files=len(self._sample.inputs), bytes=sum(file.path.stat().st_size for file in self._sample.inputs)
        )

    @contextmanager
    def hands(self) -> Iterator[Hands]:
        """Do the steps in this process."""
        self._run = LocalRun(self._sample)
        yield self._run

    def stage(self, result: LocalResult) -> StageReport:
        """Move the outputs to where they were asked for."""
        for output, path in result.outputs:
            shutil.move(path, self._out / output.name)
        return StageReport(files=len(result.outputs), bytes=sum(output.size for output, _ in result.outputs))

    def register(self, result: LocalResult | None, refusals: Iterable[Annotation]) -> RegisterReport:
        """Write `result.json`."""
        refusals = tuple(refusals)
        if result is None and self._run is not None:
            result = self._run.result()
        errors = refusals + (result.errors if result and "check" in result.reports else ())
        warnings = result.warnings if result else ()
        outcome = ProcessingResult.of(errors=bool(errors), warnings=bool(warnings))
        content = {
            "sample": self._sample.name,
            "organism": self._sample.organism.name,
            "processingResult": outcome.value,
            "errors": [annotation.as_json() for annotation in errors],
            "warnings": [annotation.as_json() for annotation in warnings],
            "screened": bool(result and result.screened),
            **(_described(result, with_files=not refusals) if result else {}),
        }
        (self._out / RESULT).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return RegisterReport(accession_version=self._sample.name, processing_result=outcome.value, manifest_digest="")


def _described(result: LocalResult, *, with_files: bool) -> dict[str, Any]:
    checked = "check" in result.reports
    return {
        "metadata": result.check.processed_metadata if checked else {},
        "consensusSource": result.consensus_source,
        "sequences": result.sequences,
        "insertions": result.insertions,
        "metrics": {step: report.counts() for step, report in result.reports.items()},
        "files": [asdict(output) for output, _ in result.outputs] if with_files else [],
        "provenance": result.provenance,
    }
