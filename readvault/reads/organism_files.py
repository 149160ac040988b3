"""The files that an organism names: whether its references, genes and primer schemes can be used together.

Found out before a job is claimed; within a job the same fault would be a failure of each attempt.
"""

from __future__ import annotations

import functools
from pathlib import Path

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Organism
from readvault.reads import references
from readvault.reads.align import primers
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.sample import Segment

_Dated = tuple[Path, int]


def fault_of(organism: Organism) -> str | None:
    """What is wrong with the files that an organism names, or None. Files are read again only when they change."""
    try:
        genomes = tuple(
            (_dated(each.fasta), _dated(each.genes) if each.genes else None) for each in organism.candidates
        )
        schemes = tuple(_dated(bed) for bed in organism.pipeline.align.schemes.values())
    except OSError as fault:
        return f"{Path(fault.filename).name} can't be read"
    return _fault_of(genomes, schemes)


def _dated(path: Path) -> _Dated:
    return path, path.stat().st_mtime_ns


@functools.lru_cache(maxsize=128)
def _fault_of(genomes: tuple[tuple[_Dated, _Dated | None], ...], schemes: tuple[_Dated, ...]) -> str | None:
    try:
        everything: list[Segment] = []
        for (fasta, _), genes in genomes:
            segments = references.load_segments(fasta)
            load_genes([genes[0]] if genes else [], segments)
            everything += segments
        for bed, _ in schemes:
            primers.load_primers(bed, tuple(everything))
    except ProcessingFailure as fault:
        return str(fault)
    return None
