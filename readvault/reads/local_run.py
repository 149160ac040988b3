"""One sample's way through the local steps, on local files, in one process.

It runs wherever user files may meet native code: in a child of the nursery on a server, in the
process itself for `readvault process` on a laptop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import FileCategory
from readvault.domain.reads import READ_LEVEL, ProcessedCategory
from readvault.domain.reports import (
    AlignmentReport,
    CheckReport,
    ConsensusReport,
    HostDepletionReport,
    OutputFile,
    Report,
    ValidationReport,
)
from readvault.failpoints import failpoint
from readvault.reads import (
    alignment,
    consensus,
    dehumanization,
    host_index,
    published_reads,
    qc,
    references,
    report,
    tools,
    validation,
)
from readvault.reads.calls import Calls
from readvault.reads.sample import Alignment, ChosenReference, ReadFiles, Sample


@dataclass(frozen=True, slots=True)
class LocalResult:
    """What the local steps made: figures, files with their SHA-256, sequences, provenance.

    Sequences are by segment; a genome of one segment calls it `main`. `insertions` are `pos:BASES`
    after the 1-based reference position.
    """

    reports: dict[str, Report]
    outputs: tuple[tuple[OutputFile, Path], ...]
    screened: bool
    consensus_source: str | None
    sequences: dict[str, str]
    aligned_sequences: dict[str, str]
    insertions: dict[str, list[str]]
    provenance: dict[str, Any]

    @property
    def check(self) -> CheckReport:
        found = self.reports["check"]
        assert isinstance(found, CheckReport)
        return found

    @property
    def errors(self) -> tuple[Annotation, ...]:
        return self.check.errors

    @property
    def warnings(self) -> tuple[Annotation, ...]:
        return tuple(warning for found in self.reports.values() for warning in getattr(found, "warnings", ()))


FILES: dict[ProcessedCategory, tuple[str, ...]] = {
    ProcessedCategory.DEHUMANIZED_READS: ("dehumanized_R1.fastq.gz", "dehumanized_R2.fastq.gz", "dehumanized.fastq.gz"),
    ProcessedCategory.ALIGNMENT: ("alignment.bam", "alignment.bam.bai"),
    ProcessedCategory.CONSENSUS: ("consensus.fasta",),
    ProcessedCategory.VARIANTS: ("variants.vcf.gz", "variants.vcf.gz.tbi"),
    ProcessedCategory.ALLELE_COUNTS: ("allele_counts.tsv.gz",),
    ProcessedCategory.COVERAGE: ("coverage.tsv.gz",),
    ProcessedCategory.REPORT: ("report.html",),
}
"""The files of each category, as readers see them."""


class LocalRun:
    """Runs the local steps of one sample, in the order in which they are asked for."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._reference: ChosenReference | None = references.only(sample.organism)
        self._reports: dict[str, Report] = {}
        self._reads: ReadFiles | None = None
        self._alignment: Alignment | None = None
        self._calls: Calls | None = None
        self._steps: dict[str, Callable[[], Report]] = {
            "validate": self._validate,
            "dehumanize": self._dehumanize,
            "align": self._align,
            "consensus": self._call_consensus,
            "check": self._check,
        }

    def run(self, step: str) -> Report:
        """Do one step; raises InvalidSubmission for the submitter's faults, else ProcessingFailure."""
        failpoint(f"child-{step}")
        try:
            self._reports[step] = self._steps[step]()
        except (InvalidSubmission, ProcessingFailure):
            raise
        except Exception as fault:
            raise ProcessingFailure(step, type(fault).__name__) from fault
        return self._reports[step]

    def result(self) -> LocalResult:
        """What has been made so far."""
        called = {call.segment: call for call in self._calls.segments} if self._calls else {}
        source, sequences = self._sequences_of_record()
        from_reads = source == "reads"
        return LocalResult(
            reports=dict(self._reports),
            outputs=tuple(self._outputs()),
            screened=self._screened,
            consensus_source=source,
            sequences=sequences,
            aligned_sequences={self._name(s): c.aligned for s, c in called.items()} if from_reads else {},
            insertions={self._name(s): list(c.insertions) for s, c in called.items()} if from_reads else {},
            provenance=self._provenance(),
        )

    def _validate(self) -> Report:
        sample = self._sample
        self._reads, found = validation.validate(
            sample.inputs, rules=self._rules(), platform=sample.platform, directory=self._directory("validated")
        )
        return found

    def _rules(self) -> FileCategory:
        """What the sample's file categories allow together: whatever they are called, these are reads of one sample."""
        names = sorted({file.category for file in self._sample.inputs})
        rules = [self._sample.organism.submission.files.get(name, FileCategory()) for name in names]
        return FileCategory(
            formats=tuple(dict.fromkeys(each for rule in rules for each in rule.formats)),
            max_files=sum(rule.max_files for rule in rules),
            max_bytes_per_file=max(rule.max_bytes_per_file for rule in rules),
        )

    def _dehumanize(self) -> Report:
        sample = self._sample
        assert self._reads is not None
        self._reads, found = dehumanization.dehumanize(
            self._reads,
            sample.host_index,
            rules=sample.organism.pipeline.dehumanize,
            publish_unscreened=sample.publish_unscreened,
            directory=self._outputs_directory,
            threads=sample.threads,
        )
        return found

    def _align(self) -> Report:
        sample = self._sample
        assert self._reads is not None
        align = sample.organism.pipeline.align
        self._alignment, found = alignment.align(
            self._reads,
            self._chosen.fasta,
            preset=align.preset,
            primers=sample.primers or align.primers,
            sample_name=sample.name,
            directory=self._outputs_directory,
            threads=sample.threads,
        )
        if sample.organism.pipeline.dehumanize.publish == "mappedOnly":
            return self._publish_mapped_only(self._alignment, found)
        return found

    def _publish_mapped_only(self, aligned: Alignment, found: AlignmentReport) -> Report:
        depletion = self._found("dehumanize", HostDepletionReport)
        assert depletion is not None
        names = FILES[ProcessedCategory.DEHUMANIZED_READS]
        files = tuple(path for path in (self._outputs_directory / name for name in names) if path.is_file())
        templates = published_reads.keep_mapped(files, aligned.bam, depletion.reads_kept // len(files))
        return replace(found, published_reads=templates * len(files))

    def _call_consensus(self) -> Report:
        sample = self._sample
        assert self._alignment is not None
        self._calls, found = consensus.call(
            self._alignment,
            self._chosen.segments,
            thresholds=sample.organism.pipeline.thresholds(self._alignment.platform),
            rules=sample.organism.pipeline.consensus,
            sample_name=sample.name,
            directory=self._outputs_directory,
        )
        return found

    def _check(self) -> Report:
        sample = self._sample
        found = qc.check(
            organism=sample.organism,
            reference=self._chosen,
            validation=self._found("validate", ValidationReport),
            depletion=self._found("dehumanize", HostDepletionReport),
            alignment=self._found("align", AlignmentReport),
            consensus=self._found("consensus", ConsensusReport),
            calls=self._calls,
            submitted=sample.submitted,
        )
        if sample.inputs:
            report.write_report(
                self._outputs_directory / "report.html",
                sample_name=sample.name,
                organism=sample.organism,
                validation=self._found("validate", ValidationReport),
                depletion=self._found("dehumanize", HostDepletionReport),
                alignment=self._found("align", AlignmentReport),
                consensus=self._found("consensus", ConsensusReport),
                calls=self._calls,
                check=found,
                provenance=self._provenance(),
            )
        return found

    @property
    def _screened(self) -> bool:
        depletion = self._found("dehumanize", HostDepletionReport)
        return depletion is not None and depletion.screened

    def _sequences_of_record(self) -> tuple[str | None, dict[str, str]]:
        """A submitted consensus stays the entry's sequence; only an entry without one takes ours."""
        submitted = self._sample.submitted
        if submitted:
            if len(submitted) == 1 and len(self._chosen.segments) == 1:
                return "submitted", {"main": next(iter(submitted.values()))}
            return "submitted", dict(submitted)
        if self._calls is None:
            return None, {}
        return "reads", {self._name(call.segment): call.sequence for call in self._calls.segments}

    def _outputs(self) -> list[tuple[OutputFile, Path]]:
        """The files to publish. Reads that were not screened are none of them."""
        wanted = set(self._sample.organism.pipeline.outputs)
        if not (self._screened or self._sample.publish_unscreened):
            wanted -= READ_LEVEL
        found = []
        for category, names in FILES.items():
            paths = [self._outputs_directory / name for name in names] if category in wanted else []
            found += [(_described(category, path), path) for path in paths if path.is_file()]
        return found

    def _provenance(self) -> dict[str, Any]:
        sample = self._sample
        pipeline = sample.organism.pipeline
        return {
            "tools": tools.versions(),
            "parameters": pipeline.model_dump(
                mode="json",
                by_alias=True,
                exclude={"version": True, "outputs": True, "align": {"primers"}, "dehumanize": {"originals"}},
            ),
            "referenceSha256": references.digest_of(self._chosen.segments) if self._reference else None,
            "hostIndexSha256": host_index.digest(sample.host_index) if sample.host_index else None,
        }

    @property
    def _chosen(self) -> ChosenReference:
        """The reference that the results lie on. An organism with several has none before its reads chose."""
        assert self._reference is not None
        return self._reference

    @property
    def _outputs_directory(self) -> Path:
        return self._directory("outputs")

    def _directory(self, name: str) -> Path:
        directory = self._sample.directory / name
        directory.mkdir(exist_ok=True)
        return directory

    def _name(self, segment: str) -> str:
        return "main" if len(self._chosen.segments) == 1 else segment

    def _found[R: Report](self, step: str, kind: type[R]) -> R | None:
        found = self._reports.get(step)
        return found if isinstance(found, kind) else None


def _described(category: ProcessedCategory, path: Path) -> OutputFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return OutputFile(category=category.value, name=path.name, size=path.stat().st_size, sha256=digest)
