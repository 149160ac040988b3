"""What each step of the pipeline found: typed, counts only, safe to show to maintainers.

Reports hold no file name of the submitter, no read and no path. Fractions are 0..1, depths are
fragments per reference position, lengths are bases.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from readvault.domain.annotations import Annotation
from readvault.domain.reads import LibraryLayout, Platform


@dataclass(frozen=True, slots=True)
class Report:
    """The base of all reports."""

    def counts(self) -> dict[str, Any]:
        """The figures of the report as plain values, without annotations."""
        return {key: value for key, value in asdict(self).items() if key != "warnings"}


@dataclass(frozen=True, slots=True)
class FetchReport(Report):
    """The originals are on local disk and their SHA-256 are known."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ValidationReport(Report):
    """The reads are well formed."""

    platform: Platform
    layout: LibraryLayout
    reads: int
    bases: int
    min_length: int
    max_length: int
    mean_length: float
    mean_quality: float
    warnings: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class HostDepletionReport(Report):
    """How many reads were removed as human, and how many were too short to be screened."""

    screened: bool
    index_sha256: str | None
    reads_in: int
    reads_kept: int
    reads_removed: int
    bases_removed: int
    reads_too_short: int
    human_fraction: float
    warnings: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class ScreeningReport(Report):
    """How many reads of a released file hit another host index than the one that they were screened with.

    A pair is two reads. `reads_too_short`: this index can't see anything in them.
    """

    index_sha256: str
    reads: int
    hits: int
    reads_too_short: int


@dataclass(frozen=True, slots=True)
class ReferenceChoice:
    """The genome that was chosen for a segment, of several.

    `contig` is its record's name, `reads` how many of the sampled reads lie on it, `share` its part of those
    that clearly prefer one genome; None where nothing decided.
    """

    segment: str
    contig: str
    name: str
    reads: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Amplicon:
    """One amplicon of a primer scheme, between its primers: 0-based half-open on its segment.

    `median_depth` counts fragments where no other amplicon helps.
    """

    name: str
    segment: str
    start: int
    end: int
    median_depth: float
    dropped: bool


@dataclass(frozen=True, slots=True)
class ConsensusAgreement:
    """A submitted consensus against the reads, in reference positions: same base, another base or indel, no say."""

    agree: int
    disagree: int
    no_evidence: int


@dataclass(frozen=True, slots=True)
class AlignmentReport(Report):
    """How many reads lie on the reference; `published_reads` only where not all dehumanized ones are published."""

    reads: int
    mapped_reads: int
    mapped_fraction: float
    reference_sha256: str
    preset: str
    primer_sites: int = 0
    primers_sha256: str | None = None
    primer_scheme: str | None = None
    references: tuple[ReferenceChoice, ...] = ()
    published_reads: int | None = None
    warnings: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentCoverage:
    """Coverage of one segment. Breadth is the share of positions with at least `min_depth`."""

    segment: str
    length: int
    mean_depth: float
    median_depth: float
    breadth: float


@dataclass(frozen=True, slots=True)
class ConsensusReport(Report):
    """The consensus, the variants and the coverage, from one pass of allele counts."""

    segments: tuple[SegmentCoverage, ...]
    min_depth: int
    depth_of_coverage: float
    breadth_of_coverage: float
    ambiguous_bases: int
    unknown_bases: int
    substitutions: int
    insertions: int
    deletions: int
    variants: int
    mixed_sites: int
    warnings: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class QcVerdict:
    """One rule with the value it saw: `pass`, `warn` or `error`."""

    metric: str
    value: float
    limit: str
    verdict: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport(Report):
    """The rules, judged; and the processed metadata that is searchable."""

    verdicts: tuple[QcVerdict, ...]
    processed_metadata: dict[str, Any]
    amplicons: tuple[Amplicon, ...] = ()
    agreement: ConsensusAgreement | None = None
    errors: tuple[Annotation, ...] = ()
    warnings: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class SiloReport(Report):
    """The reads as lines for SILO; `left_out` are alignments without a line, `merged_pairs` lines of two mates.

    Nothing is written where reads are not published.
    """

    written: bool
    min_base_quality: int
    reads: int = 0
    left_out: int = 0
    lines: int = 0
    merged_pairs: int = 0
    genes: int = 0


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file that the pipeline made, under the name that readers will see."""

    category: str
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StageReport(Report):
    """The processed files are in the vault."""

    files: int
    bytes: int
    already_there: int = 0


@dataclass(frozen=True, slots=True)
class RegisterReport(Report):
    """The version is registered."""

    accession_version: str
    processing_result: str
    manifest_digest: str
    organism: str = ""


@dataclass(slots=True)
class Findings:
    """Everything that the steps have reported so far, by step name."""

    reports: dict[str, Report] = field(default_factory=dict)
    outputs: list[OutputFile] = field(default_factory=list)
    errors: tuple[Annotation, ...] = ()

    @property
    def warnings(self) -> tuple[Annotation, ...]:
        return tuple(w for report in self.reports.values() for w in getattr(report, "warnings", ()))
