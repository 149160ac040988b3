"""A job on local files: the same steps as on a server, for laptops, tests and benchmarks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.errors import InvalidSubmission, NotReady
from readvault.domain.reports import FetchReport, RegisterReport, StageReport
from readvault.domain.status import ProcessingResult
from readvault.pipeline import Hands
from readvault.reads.local_result import FILES, LocalResult
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import Sample

RESULT = "result.json"


class LocalJob:
    """Takes a sample's local files through the steps and leaves the outputs in a directory."""

    def __init__(self, sample: Sample, out: Path, faults: Sequence[Annotation] = ()) -> None:
        """`faults` are what is wrong with the submission before any step looked at it."""
        self.has_reads = bool(sample.inputs)
        self._faults = tuple(faults)
        self._sample = sample
        self._out = out
        self._run: LocalRun | None = None

    def fetch(self) -> FetchReport:
        """See that the files are there, and remove what an earlier run left where the outputs go."""
        missing = [file.label for file in self._sample.inputs if not file.path.exists()]
        if missing:
            raise NotReady(f"there is no such file: {', '.join(missing)}")
        strange = [file.label for file in self._sample.inputs if not file.path.is_file()]
        if strange:
            raise NotReady(f"no regular file, so it can't be read twice: {', '.join(strange)}")
        self._make_room()
        if self._faults:
            raise InvalidSubmission(self._faults)
        return FetchReport(
            files=len(self._sample.inputs), bytes=sum(file.path.stat().st_size for file in self._sample.inputs)
        )

    def _make_room(self) -> None:
        """Remove an earlier run's outputs: old reads beside a new result that has none would look like its own."""
        places = [self._out / name for name in (RESULT, *(name for names in FILES.values() for name in names))]
        inputs = {file.path.resolve() for file in self._sample.inputs}
        if taken := [place.name for place in places if place.resolve() in inputs]:
            raise NotReady(f"the outputs would replace what is to be read: {', '.join(taken)}; choose another --out")
        for place in places:
            place.unlink(missing_ok=True)

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
        "alignedAminoAcidSequences": result.aligned_amino_acid_sequences,
        "aminoAcidInsertions": result.amino_acid_insertions,
        "metrics": {step: report.counts() for step, report in result.reports.items()},
        "files": [asdict(output) for output, _ in result.outputs] if with_files else [],
        "provenance": result.provenance,
    }
