"""One sample's way through the local steps, on local files, in one process.

It runs wherever user files may meet native code: in a child of the nursery on a server, in the
process itself for `readvault process` on a laptop.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import SampleType
from readvault.domain.reads import READ_LEVEL, ProcessedCategory
from readvault.domain.reports import (
    AlignmentReport,
    ConsensusReport,
    HostDepletionReport,
    OutputFile,
    Report,
    ValidationReport,
)
from readvault.failpoints import failpoint
from readvault.reads import native, references, tools
from readvault.reads.align import alignment, reference_choice, scheme_choice
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.check import metrics, on_reference, provenance, qc, report, submitted_consensus
from readvault.reads.check.on_reference import OnReference
from readvault.reads.dehumanize import dehumanization, published_reads, rescreening
from readvault.reads.local_result import FILES, LocalResult, described
from readvault.reads.sample import Alignment, ChosenReference, ReadFiles, Sample
from readvault.reads.silo import conversion
from readvault.reads.validate import validation

_NEEDED_LATER = ("readvault.reads.validate.aligned_files", "readvault.reads.validate.cram", "numpy.ma")


def load_ahead() -> None:
    """Load what a process otherwise loads when its sample first needs it; the nursery does so once, before it forks.

    Starts no thread: a process with threads can't be forked safely.
    """
    for module in _NEEDED_LATER:
        importlib.import_module(module)
    native.load_ahead()
    report.load_ahead()
    tools.versions_of_packages()


class LocalRun:
    """Runs the local steps of one sample, in the order in which they are asked for."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._reference: ChosenReference | None = references.only(sample.organism)
        self._reports: dict[str, Report] = {}
        self._reads: ReadFiles | None = None
        self._alignment: Alignment | None = None
        self._calls: Calls | None = None
        self._scheme = scheme_choice.ChosenScheme()
        self._submitted = OnReference()
        self._steps: dict[str, Callable[[], Report]] = {
            "validate": self._validate,
            "dehumanize": self._dehumanize,
            "align": self._align,
            "consensus": self._call_consensus,
            "check": self._check,
            "silo": self._write_silo,
            "screen": self._screen_again,
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
        source, found = self._of_record()
        sequences, calls = found.sequences or self._sample.submitted or {}, self._calls
        return LocalResult(
            reports=dict(self._reports),
            outputs=tuple(self._outputs()),
            screened=self._screened,
            consensus_source=source,
            sequences={self._name(segment): sequence for segment, sequence in sequences.items()},
            called_sequences={self._name(c.segment): c.sequence for c in calls.segments} if calls else {},
            aligned_sequences={self._name(segment): aligned for segment, aligned in found.aligned.items()},
            insertions={self._name(segment): inserted for segment, inserted in found.insertions.items()},
            aligned_amino_acid_sequences={gene.name: gene.amino_acids for gene in found.genes},
            amino_acid_insertions={gene.name: list(gene.insertions) for gene in found.genes},
            provenance=self._provenance(),
        )

    def _validate(self) -> Report:
        sample = self._sample
        self._reads, found = validation.validate(
            sample.inputs,
            rules=sample.rules,
            platform=sample.platform,
            directory=self._directory("validated"),
            references=tuple(candidate.fasta for candidate in sample.organism.candidates),
        )
        return found

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

    def _screen_again(self) -> Report:
        return rescreening.rescreen(self._sample, self._directory("screened"))

    def _align(self) -> Report:
        sample = self._sample
        assert self._reads is not None
        chosen = self._choose_by_reads(self._reads)
        self._scheme = scheme_choice.choose(sample, self._chosen, self._directory("reference"))
        self._alignment, found = alignment.align(
            self._reads,
            self._chosen.fasta,
            preset=sample.organism.pipeline.align.preset,
            primers=self._scheme.bed,
            sample_name=sample.name,
            directory=self._outputs_directory,
            threads=sample.threads,
        )
        doubts = scheme_choice.doubts(self._alignment.bam, self._scheme, sample.organism, self._chosen)
        found = replace(
            found,
            primer_scheme=self._scheme.name,
            references=chosen.segments if chosen else (),
            warnings=(*(chosen.warnings if chosen else ()), *self._scheme.warnings, *found.warnings, *doubts),
        )
        if sample.organism.pipeline.dehumanize.publish == "mappedOnly":
            return self._publish_mapped_only(self._alignment, found)
        return found

    def _choose_by_reads(self, reads: ReadFiles) -> reference_choice.Choice | None:
        """Let the reads choose among several references; None when there is only one."""
        if self._reference is not None:
            return None
        sample, depletion = self._sample, self._found("dehumanize", HostDepletionReport)
        preset = sample.organism.pipeline.align.preset
        chosen = reference_choice.by_reads(
            sample.organism,
            reads,
            templates=(depletion.reads_kept if depletion else 0) // (1 + bool(reads.r2)),
            preset=alignment.PRESETS[reads.platform] if preset == "auto" else preset,
            directory=self._directory("reference"),
            threads=sample.threads,
        )
        self._reference = chosen.reference
        return chosen

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
            genes=load_genes(self._chosen.genes, self._chosen.segments),
            sample_name=sample.name,
            directory=self._outputs_directory,
            threads=sample.threads,
        )
        return found

    def _check(self) -> Report:
        sample = self._sample
        if self._reference is None:
            choice = reference_choice.by_sequences(
                sample.organism, sample.submitted or {}, directory=self._directory("reference")
            )
            self._reference = choice.reference
        if sample.submitted and not submitted_consensus.faults(sample.submitted, self._chosen.segments)[0]:
            self._submitted = on_reference.of_submitted(sample.submitted, self._chosen)
        findings = qc.Findings(
            validation=self._found("validate", ValidationReport),
            depletion=self._found("dehumanize", HostDepletionReport),
            alignment=self._found("align", AlignmentReport),
            consensus=self._found("consensus", ConsensusReport),
            calls=self._calls,
            sites=self._scheme.sites,
            submitted=self._submitted,
        )
        found = qc.check(sample, self._chosen, findings)
        if sample.inputs:
            report.write_report(
                self._outputs_directory / "report.html",
                sample=sample,
                reference=self._chosen,
                found=findings,
                check=found,
                provenance=self._provenance(),
            )
            metrics.write_metrics(self._outputs_directory / metrics.FILE_NAME, metrics.collect(sample, findings, found))
        return found

    def _write_silo(self) -> Report:
        sample = self._sample
        assert self._alignment is not None
        return conversion.convert(
            self._alignment,
            self._chosen,
            names=tuple(self._name(segment.name) for segment in self._chosen.segments),
            pipeline=sample.organism.pipeline,
            wanted=ProcessedCategory.SILO_READS in self._wanted,
            directory=self._outputs_directory,
        )

    @property
    def _screened(self) -> bool:
        depletion = self._found("dehumanize", HostDepletionReport)
        return depletion is not None and depletion.screened

    def _of_record(self) -> tuple[str | None, OnReference]:
        """A submitted consensus stays the entry's sequence; only an entry without one takes ours, if it says a base."""
        if self._sample.submitted:
            return "submitted", self._submitted
        if self._calls is None or self._sample.sample_type is SampleType.WASTEWATER:
            return None, OnReference()
        found = on_reference.of_calls(self._calls)
        return ("reads", found) if found.sequences else (None, OnReference())

    @property
    def _wanted(self) -> set[ProcessedCategory]:
        """The categories to keep. Reads that were not screened are in none of them."""
        wanted = set(self._sample.organism.pipeline.outputs)
        if not (self._screened or self._sample.publish_unscreened):
            wanted -= READ_LEVEL
        if self._sample.sample_type is SampleType.WASTEWATER:
            wanted.discard(ProcessedCategory.CONSENSUS)  # of a mixture of infections it is the sequence of none
        return wanted

    def _outputs(self) -> list[tuple[OutputFile, Path]]:
        found = []
        for category, names in FILES.items():
            paths = [self._outputs_directory / name for name in names] if category in self._wanted else []
            found += [(described(category, path), path) for path in paths if path.is_file()]
        return found

    def _provenance(self) -> dict[str, Any]:
        found = provenance.describe(self._sample, self._reference, self._scheme.sites)
        return {**found, "screen": provenance.screen(self._sample, self._found("dehumanize", HostDepletionReport))}

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
        return "main" if self._is_unsegmented else segment

    @property
    def _is_unsegmented(self) -> bool:
        return self._reference is not None and len(self._reference.segments) == 1

    def _found[R: Report](self, step: str, kind: type[R]) -> R | None:
        found = self._reports.get(step)
        return found if isinstance(found, kind) else None
