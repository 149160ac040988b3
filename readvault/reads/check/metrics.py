"""The metrics of one sample for machines: one JSON file, which MultiQC shows as it is.

Its first part is MultiQC's custom content: a row of the general statistics. Everything that the steps
found is under `readvault`; `docs/metrics.md` explains each name. Like the report, it is public after
release: figures only, no file name, read, date or host, and the same bytes every time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from readvault.domain.annotations import Annotation
from readvault.domain.organism import SampleType
from readvault.domain.reads import LibraryLayout, Platform
from readvault.domain.reports import CheckReport
from readvault.reads.call.calls import Calls
from readvault.reads.check.qc import Findings
from readvault.reads.sample import Sample

FILE_NAME = "metrics_mqc.json"
"""MultiQC takes files that end in `_mqc.json`."""

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, from_attributes=True
    )


class Validated(_Part):
    """The submitted reads, before anything was removed."""

    platform: Platform
    layout: LibraryLayout
    reads: int
    bases: int
    min_length: int
    max_length: int
    mean_length: float
    mean_quality: float


class Dehumanized(_Part):
    """What the screen for human reads did."""

    screened: bool
    reads_in: int
    reads_kept: int
    reads_removed: int
    bases_removed: int
    reads_too_short: int
    human_fraction: float


class Aligned(_Part):
    """How many of the remaining reads lie on the reference."""

    reads: int
    mapped_reads: int
    mapped_fraction: float
    preset: str
    primer_sites: int
    primer_scheme: str | None
    reference: str | None


class SegmentMetrics(_Part):
    """The coverage of one segment."""

    segment: str
    length: int
    mean_depth: float
    median_depth: float
    breadth: float


class Called(_Part):
    """The consensus and the variants."""

    min_depth: int
    depth_of_coverage: float
    breadth_of_coverage: float
    ambiguous_bases: int
    unknown_bases: int
    substitutions: int
    insertions: int
    deletions: int
    mixed_sites: int
    variants: int
    passed_variants: int


class AmpliconMetrics(_Part):
    """One amplicon between its primers, 0-based half-open."""

    name: str
    segment: str
    start: int
    end: int
    median_depth: float
    dropped: bool


class GeneMetrics(_Part):
    """What became of one gene's protein."""

    name: str
    segment: str
    frameshifts: tuple[str, ...]
    stops: tuple[str, ...]
    insertions: tuple[str, ...]


class Verdict(_Part):
    """One rule of quality: what it saw, its limit, and `pass`, `warn` or `error`."""

    metric: str
    value: float
    limit: str
    verdict: Literal["pass", "warn", "error"]


class Told(_Part):
    """What the submitter is told: the reason's name and the sentence."""

    reason: str
    message: str


class QualityControl(_Part):
    """The verdict, the rules it rests on, and everything that the submitter is told."""

    determination: Literal["PASS", "WARN", "FAIL"]
    rules: tuple[Verdict, ...]
    errors: tuple[Told, ...]
    warnings: tuple[Told, ...]


class Metrics(_Part):
    """All metrics of a sample. Fractions and breadths are 0..1, depths fragments per position."""

    schema_version: int
    sample: str
    organism: str
    sample_type: SampleType
    validation: Validated | None
    dehumanization: Dehumanized | None
    alignment: Aligned | None
    consensus: Called | None
    segments: tuple[SegmentMetrics, ...]
    amplicons: tuple[AmpliconMetrics, ...]
    genes: tuple[GeneMetrics, ...]
    quality_control: QualityControl


def collect(sample: Sample, found: Findings, check: CheckReport) -> Metrics:
    """Everything that the steps found of a sample, as figures."""
    metadata = check.processed_metadata
    aligned, consensus = found.alignment, found.consensus
    return Metrics(
        schema_version=SCHEMA_VERSION,
        sample=sample.name,
        organism=sample.organism.name,
        sample_type=sample.sample_type,
        validation=Validated.model_validate(found.validation) if found.validation else None,
        dehumanization=Dehumanized.model_validate(found.depletion) if found.depletion else None,
        alignment=Aligned(
            reads=aligned.reads,
            mapped_reads=aligned.mapped_reads,
            mapped_fraction=aligned.mapped_fraction,
            preset=aligned.preset,
            primer_sites=aligned.primer_sites,
            primer_scheme=metadata["primerScheme"],
            reference=metadata["reference"],
        )
        if aligned
        else None,
        consensus=_called(found.calls, found) if consensus else None,
        segments=tuple(SegmentMetrics.model_validate(each) for each in (consensus.segments if consensus else ())),
        amplicons=tuple(AmpliconMetrics.model_validate(each) for each in check.amplicons),
        genes=tuple(GeneMetrics.model_validate(each) for each in (found.calls.genes if found.calls else ())),
        quality_control=QualityControl(
            determination=metadata["qualityControlDetermination"],
            rules=tuple(Verdict.model_validate(each) for each in check.verdicts),
            errors=_told(check.errors),
            warnings=_told((*found.warnings, *check.warnings)),
        ),
    )


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write the metrics as JSON that MultiQC shows and any script can read."""
    content = {
        "id": "readvault",
        "plot_type": "generalstats",
        "pconfig": [{name: {**shown, "namespace": "readvault"}} for name, shown in _COLUMNS.items()],
        "data": {metrics.sample: _row(metrics)},
        "readvault": metrics.model_dump(mode="json", by_alias=True),
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


_PERCENT: dict[str, Any] = {"min": 0, "max": 100, "suffix": "%"}
_COLUMNS: dict[str, dict[str, Any]] = {
    "reads": {"title": "Reads", "description": "Submitted reads", "format": "{:,.0f}", "min": 0},
    "humanPercent": {"title": "Human", "description": "Reads removed as human", "scale": "Reds", **_PERCENT},
    "mappedPercent": {"title": "Mapped", "description": "Remaining reads on the reference", **_PERCENT},
    "medianDepth": {"title": "Median depth", "description": "Median over all segments' medians", "min": 0},
    "breadthPercent": {"title": "Breadth", "description": "Positions at the minimal depth or more", **_PERCENT},
    "unknownBases": {"title": "N", "description": "Unknown bases of the consensus", "format": "{:,.0f}", "min": 0},
    "passedVariants": {"title": "Variants", "description": "Variants with enough evidence", "format": "{:,.0f}"},
    "verdict": {"title": "Verdict", "description": "PASS, WARN or FAIL by the rules of quality"},
}


def _row(metrics: Metrics) -> dict[str, Any]:
    row: dict[str, Any] = {"verdict": metrics.quality_control.determination}
    if metrics.validation:
        row["reads"] = metrics.validation.reads
    if metrics.dehumanization and metrics.dehumanization.screened:
        row["humanPercent"] = round(100 * metrics.dehumanization.human_fraction, 4)
    if metrics.alignment:
        row["mappedPercent"] = round(100 * metrics.alignment.mapped_fraction, 4)
    if metrics.consensus:
        depths = sorted(segment.median_depth for segment in metrics.segments)
        row["medianDepth"] = depths[len(depths) // 2]
        row["breadthPercent"] = round(100 * metrics.consensus.breadth_of_coverage, 4)
        row["unknownBases"] = metrics.consensus.unknown_bases
        row["passedVariants"] = metrics.consensus.passed_variants
    return row


def _called(calls: Calls | None, found: Findings) -> Called:
    assert found.consensus is not None
    names = Called.model_fields.keys() - {"passed_variants"}
    figures = {name: getattr(found.consensus, name) for name in names}
    passed = sum(not variant.filters for variant in calls.variants) if calls else 0
    return Called(**figures, passed_variants=passed)


def _told(annotations: tuple[Annotation, ...] | list[Annotation]) -> tuple[Told, ...]:
    """Each reason and sentence once, without file names."""
    told = dict.fromkeys((str(annotation.reason), annotation.public_message) for annotation in annotations)
    return tuple(Told(reason=reason, message=message) for reason, message in told)
