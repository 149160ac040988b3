"""The wire shape of what differs between two results of one entry."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from readvault.api.schemas.wire import Wire, when
from readvault.domain.result_difference import Messages, ResultDifference
from readvault.domain.sequence_difference import SegmentDifference
from readvault.domain.variant_difference import Called, VariantChange, VariantDifference
from readvault.services.reprocessing.difference import Compared, ResultFacts


class ResultInfo(Wire):
    """One of the two results."""

    pipeline_version: int
    manifest_digest: str
    processing_result: str
    created_at: str

    @classmethod
    def of(cls, facts: ResultFacts) -> ResultInfo:
        """As it goes over the wire."""
        return cls(
            pipeline_version=facts.pipeline_version,
            manifest_digest=facts.digest,
            processing_result=facts.processing_result,
            created_at=when(facts.created_at),
        )


class ChangeInfo(Wire):
    """A stretch of the consensus that changed. Positions count from 1 and are inclusive."""

    kind: str
    start: int
    end: int
    old: str = Field(description="The bases, shortened; `oldLength` counts them all.")
    new: str
    old_length: int
    new_length: int


class SegmentInfo(Wire):
    """How one segment of the consensus changed. A length is null where that result has no such segment."""

    segment: str
    old_length: int | None
    new_length: int | None
    positions: str = Field(description="Whose positions: `reference`, or `old` for the older consensus.")
    same: bool
    counts: dict[str, int]
    bases: dict[str, int]
    changes: list[ChangeInfo]
    left_out: int = Field(description="How many changes are counted and not listed.")

    @classmethod
    def of(cls, found: SegmentDifference) -> SegmentInfo:
        """As it goes over the wire."""
        return cls(
            segment=found.segment,
            old_length=found.old_length,
            new_length=found.new_length,
            positions="reference" if found.on_reference else "old",
            same=found.is_same,
            counts={str(kind): number for kind, number in (found.counts or {}).items()},
            bases={str(kind): number for kind, number in (found.bases or {}).items()},
            changes=[
                ChangeInfo(
                    kind=each.kind,
                    start=each.start,
                    end=each.end,
                    old=each.old,
                    new=each.new,
                    old_length=each.old_length,
                    new_length=each.new_length,
                )
                for each in found.changes
            ],
            left_out=found.left_out,
        )


class CalledInfo(Wire):
    """What a result says of a variant. The frequency is 0..1."""

    frequency: float | None
    depth: int | None
    filter: str

    @classmethod
    def of(cls, called: Called | None) -> CalledInfo | None:
        """As it goes over the wire."""
        if called is None:
            return None
        return cls(frequency=called.frequency, depth=called.depth, filter=called.filters)


class VariantInfo(Wire):
    """A variant in both results; null where that result has it not."""

    segment: str
    position: int
    reference: str
    alternative: str
    old: CalledInfo | None
    new: CalledInfo | None

    @classmethod
    def of(cls, each: VariantChange) -> VariantInfo:
        """As it goes over the wire."""
        return cls(
            segment=each.segment,
            position=each.position,
            reference=each.reference,
            alternative=each.alternative,
            old=CalledInfo.of(each.old),
            new=CalledInfo.of(each.new),
        )


class VariantsInfo(Wire):
    """What became of the variants. The lists end somewhere; the counts don't."""

    old: int
    new: int
    added_in_all: int
    lost_in_all: int
    changed_in_all: int
    added: list[VariantInfo]
    lost: list[VariantInfo]
    changed: list[VariantInfo]

    @classmethod
    def of(cls, found: VariantDifference) -> VariantsInfo:
        """As it goes over the wire."""
        return cls(
            old=found.old,
            new=found.new,
            added_in_all=found.added_in_all,
            lost_in_all=found.lost_in_all,
            changed_in_all=found.changed_in_all,
            added=[VariantInfo.of(each) for each in found.added],
            lost=[VariantInfo.of(each) for each in found.lost],
            changed=[VariantInfo.of(each) for each in found.changed],
        )


class FigureInfo(Wire):
    """One figure or field of the metadata in both results."""

    name: str
    old: Any
    new: Any


class MessagesInfo(Wire):
    """Annotations of one kind that only one of the results has, and how many both have."""

    added: list[dict[str, Any]]
    gone: list[dict[str, Any]]
    same: int

    @classmethod
    def of(cls, found: Messages) -> MessagesInfo:
        """As it goes over the wire."""
        return cls(
            added=[dict(each) for each in found.added], gone=[dict(each) for each in found.gone], same=found.same
        )


class FileChangeInfo(Wire):
    """A processed file in both results. Sizes are bytes, null where that result has it not."""

    category: str
    name: str
    old_size: int | None
    new_size: int | None
    same: bool


class DifferenceInfo(Wire):
    """A compared result with all that differs from the one that stood before it.

    `consensus` and `variants` are null where a file could not be compared; `…Problem` says why.
    """

    id: int
    accession: str
    version: int
    organism: str
    reprocessing_id: int | None
    state: str
    findings: list[dict[str, Any]]
    old: ResultInfo
    new: ResultInfo
    consensus: list[SegmentInfo] | None
    consensus_problem: str | None
    segments_left_out: int
    variants: VariantsInfo | None
    variants_problem: str | None
    figures: list[FigureInfo]
    errors: MessagesInfo
    warnings: MessagesInfo
    files: list[FileChangeInfo]

    @classmethod
    def of(cls, compared: Compared) -> DifferenceInfo:
        """As it goes over the wire."""
        found: ResultDifference = compared.difference
        return cls(
            id=compared.id,
            accession=compared.name.accession,
            version=compared.name.version,
            organism=compared.organism,
            reprocessing_id=compared.reprocessing_id,
            state=compared.state,
            findings=list(compared.findings),
            old=ResultInfo.of(compared.old),
            new=ResultInfo.of(compared.new),
            consensus=None if found.segments is None else [SegmentInfo.of(each) for each in found.segments],
            consensus_problem=found.segments_problem,
            segments_left_out=found.segments_left_out,
            variants=None if found.variants is None else VariantsInfo.of(found.variants),
            variants_problem=found.variants_problem,
            figures=[FigureInfo(name=each.name, old=each.old, new=each.new) for each in found.figures],
            errors=MessagesInfo.of(found.errors),
            warnings=MessagesInfo.of(found.warnings),
            files=[
                FileChangeInfo(
                    category=each.category,
                    name=each.name,
                    old_size=each.old_size,
                    new_size=each.new_size,
                    same=each.is_same,
                )
                for each in found.files
            ],
        )
