"""The sequences of an entry in the reference's coordinates, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from readvault.reads.call.calls import Calls, GeneCall
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.call.genes import call_genes
from readvault.reads.check.projection import project
from readvault.reads.sample import ChosenReference


@dataclass(frozen=True, slots=True)
class OnReference:
    """Sequences by the reference's segments.

    `aligned` has one character per reference position, `insertions` are `position:BASES` after that 1-based position;
    `genes` are their proteins, where the organism has its genes annotated.
    """

    aligned: dict[str, str] = field(default_factory=dict)
    insertions: dict[str, list[str]] = field(default_factory=dict)
    genes: tuple[GeneCall, ...] = ()


def of_calls(calls: Calls) -> OnReference:
    """The consensus that was called from reads."""
    return OnReference(
        aligned={call.segment: call.aligned for call in calls.segments},
        insertions={call.segment: list(call.insertions) for call in calls.segments},
        genes=calls.genes,
    )


def of_submitted(submitted: Mapping[str, str], reference: ChosenReference) -> OnReference:
    """A submitted consensus, aligned to the reference. Raises ProcessingFailure when minimap2 or the GFF3 fails."""
    found = project(submitted, reference.fasta, reference.segments)
    genes = load_genes(reference.genes, reference.segments)
    return OnReference(
        aligned=found.aligned,
        insertions={name: list(inserted) for name, inserted in found.insertions.items()},
        genes=call_genes(genes, reference.segments, found.aligned, found.insertions),
    )
