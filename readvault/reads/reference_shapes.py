"""How long the segments and genes of an organism are: what aligned sequences from elsewhere must fit."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path

from readvault.domain.organism import Organism
from readvault.domain.processed_data import MAIN, Shape
from readvault.reads import references

GENOMES_KEPT = 256


def of(organism: Organism) -> Shape:
    """The lengths of all genomes that the organism has. Raises ProcessingFailure for files that can't be read.

    A gene may end with its stop codon or before it. The only segment of a genome is called `main`,
    whatever its record's name.
    """
    found = [_of_genome(genome.fasta, genome.genes) for genome in organism.candidates]
    unsegmented = all(len(genome.segments) == 1 for genome in found)
    segments: defaultdict[str, set[int]] = defaultdict(set)
    genes: defaultdict[str, set[int]] = defaultdict(set)
    for one in found:
        for name, lengths in one.segments.items():
            segments[MAIN if unsegmented else name] |= lengths
        for name, lengths in one.genes.items():
            genes[name] |= lengths
    return Shape(
        {name: frozenset(lengths) for name, lengths in segments.items()},
        {name: frozenset(lengths) for name, lengths in genes.items()},
    )


@functools.lru_cache(GENOMES_KEPT)
def _of_genome(fasta: Path, annotation: Path | None) -> Shape:
    from readvault.reads.call import gene_annotation  # here, so that the API starts without numpy

    segments = references.load_segments(fasta)
    genes = () if annotation is None else gene_annotation.load_genes((annotation,), segments)
    return Shape(
        {segment.name: frozenset({len(segment.sequence)}) for segment in segments},
        {gene.name: frozenset({gene.codons, gene.codons - 1}) for gene in genes},
    )
