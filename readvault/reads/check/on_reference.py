"""The sequences of an entry in the reference's coordinates, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from readvault.domain.annotations import Annotation, Field, FieldType, Reason
from readvault.reads.call.calls import Calls, GeneCall
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.call.genes import call_genes
from readvault.reads.check.projection import Projection, project
from readvault.reads.sample import ChosenReference

MOSTLY = 0.6
"""However variable a virus is, this share of a sequence lies on its reference (RSV-A on RSV-B: 0.71)."""


@dataclass(frozen=True, slots=True)
class OnReference:
    """Sequences by the reference's segments.

    `sequences` are unaligned; of reads, only of segments of which a base is known. `aligned` has one character per
    reference position, `insertions` are `position:BASES` after that 1-based position; `genes` are their proteins, where
    the organism has its genes annotated. `errors` and `warnings` are about sequences that don't lie as they should.
    """

    sequences: dict[str, str] = field(default_factory=dict)
    aligned: dict[str, str] = field(default_factory=dict)
    insertions: dict[str, list[str]] = field(default_factory=dict)
    genes: tuple[GeneCall, ...] = ()
    errors: tuple[Annotation, ...] = ()
    warnings: tuple[Annotation, ...] = ()


def of_calls(calls: Calls) -> OnReference:
    """The consensus that was called from reads. A segment of nothing but N is none."""
    known = [call for call in calls.segments if call.sequence.strip("N")]
    names = {call.segment for call in known}
    return OnReference(
        sequences={call.segment: call.sequence for call in known},
        aligned={call.segment: call.aligned for call in known},
        insertions={call.segment: list(call.insertions) for call in known},
        genes=tuple(gene for gene in calls.genes if gene.segment in names),
    )


def of_submitted(submitted: Mapping[str, str], reference: ChosenReference) -> OnReference:
    """A submitted consensus, aligned to the reference, each sequence named after the segment on which it lies.

    FASTA IDs say nothing; where a sequence fits no segment, its ID may end with the name of a free one. Raises
    ProcessingFailure when minimap2 or the GFF3 fails.
    """
    found = project(submitted, reference.fasta, reference.segments)
    genes = load_genes(reference.genes, reference.segments)
    errors, warnings = _misfits(submitted, found, reference)
    return OnReference(
        sequences=_by_segment(submitted, found, reference),
        aligned=found.aligned,
        insertions={name: list(inserted) for name, inserted in found.insertions.items()},
        genes=call_genes(genes, reference.segments, found.aligned, found.insertions),
        errors=errors,
        warnings=warnings,
    )


def _by_segment(submitted: Mapping[str, str], found: Projection, reference: ChosenReference) -> dict[str, str]:
    named: dict[str, str] = {}
    for label, segment in found.segments.items():
        named.setdefault(segment, submitted[label])
    free = [segment.name for segment in reference.segments if segment.name not in named]
    for label, sequence in submitted.items():
        if label not in found.segments:
            fitting = [name for name in free if label == name or label.endswith(f"_{name}")]
            if len(reference.segments) == 1:
                fitting = free
            segment = fitting[0] if fitting and fitting[0] not in named else label
            named.setdefault(segment, sequence)
    order = {segment.name: place for place, segment in enumerate(reference.segments)}
    return {name: named[name] for name in sorted(named, key=lambda name: order.get(name, len(order)))}


def _misfits(
    submitted: Mapping[str, str], found: Projection, reference: ChosenReference
) -> tuple[tuple[Annotation, ...], tuple[Annotation, ...]]:
    errors, warnings = [], []
    taken: set[str] = set()
    for number, label in enumerate(submitted, start=1):
        segment = found.segments.get(label)
        where = (Field(FieldType.NUCLEOTIDE_SEQUENCE, label if len(reference.segments) > 1 else "main"),)
        if segment is None:
            message = f"Sequence {number} resembles no part of the reference: is this the right organism?"
            warnings.append(Annotation(Reason.INVALID_CONSENSUS, message, where, record=number))
        elif segment in taken:
            message = f"Sequence {number} is a second one of segment {segment}."
            errors.append(Annotation(Reason.INVALID_CONSENSUS, message, where, record=number))
        elif label in found.reversed:
            message = f"Sequence {number} is the reverse complement of the reference's strand."
            warnings.append(Annotation(Reason.INVALID_CONSENSUS, message, where, record=number))
        elif (share := _placed_share(submitted[label], found, segment)) < MOSTLY:
            message = f"Only {share:.0%} of sequence {number} resemble the reference: is the rest of something else?"
            warnings.append(Annotation(Reason.INVALID_CONSENSUS, message, where, record=number))
        taken |= {segment} if segment else set()
    return tuple(errors), tuple(warnings)


def _placed_share(sequence: str, found: Projection, segment: str) -> float:
    """The share of a sequence's known bases that lie on its segment, or are inserted there."""
    aligned = found.aligned[segment]
    inserted = sum(len(each.partition(":")[2].replace("N", "")) for each in found.insertions[segment])
    placed = len(aligned) - aligned.count("N") - aligned.count("-") + inserted
    return placed / max(len(sequence) - sequence.upper().count("N"), 1)
