"""The files that an organism names: whether its references, genes and primer schemes can be used together.

Found out before a job is claimed; within a job the same fault would be a failure of each attempt.
"""

from __future__ import annotations

import functools
from pathlib import Path

from readvault.domain import silo_lines
from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Organism
from readvault.domain.processed_data import MAIN
from readvault.domain.reads import ProcessedCategory
from readvault.reads import references
from readvault.reads.align import primers
from readvault.reads.call.gene_annotation import load_genes
from readvault.reads.sample import Segment

_Dated = tuple[Path, int]
_Genomes = tuple[tuple[_Dated, _Dated | None], ...]


def fault_of(organism: Organism) -> str | None:
    """What is wrong with the files that an organism names, or None. Files are read again only when they change."""
    try:
        genomes = tuple(
            (_dated(each.fasta), _dated(each.genes) if each.genes else None) for each in organism.candidates
        )
        schemes = tuple(_dated(bed) for bed in organism.pipeline.align.schemes.values())
    except OSError as fault:
        return f"{Path(fault.filename).name} can't be read"
    pipeline = organism.pipeline
    has_lines = ProcessedCategory.SILO_READS in pipeline.outputs
    return _fault_of(genomes, schemes) or (_fault_of_lines(genomes, pipeline.silo.amino_acids) if has_lines else None)


def _dated(path: Path) -> _Dated:
    return path, path.stat().st_mtime_ns


@functools.lru_cache(maxsize=128)
def _fault_of_lines(genomes: _Genomes, amino_acids: bool) -> str | None:
    """Why the lines of `siloReads` can't name all segments and genes; the files are known to be good."""
    for (fasta, _), annotation in genomes:
        segments = references.load_segments(fasta)
        genes = load_genes([annotation[0]], segments) if annotation and amino_acids else ()
        names = [MAIN] if len(segments) == 1 else [segment.name for segment in segments]
        if (taken := silo_lines.clash([*names, *(gene.name for gene in genes)])) is not None:
            return f"siloReads can't name both or it is a word of theirs: {taken} (see silo.aminoAcids and outputs)"
    return None


@functools.lru_cache(maxsize=128)
def _fault_of(genomes: _Genomes, schemes: tuple[_Dated, ...]) -> str | None:
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
