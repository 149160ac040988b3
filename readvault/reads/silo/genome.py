"""What the lines of an organism's exported reads lie on, as SILO's `reference_genomes.json` names it."""

from __future__ import annotations

from readvault.domain.errors import BadRequest
from readvault.domain.exports import Genome
from readvault.domain.organism import Organism
from readvault.domain.processed_data import MAIN
from readvault.reads import references
from readvault.reads.call import genes as called_genes
from readvault.reads.call.gene_annotation import load_genes


def genome_of(organism: Organism) -> Genome:
    """The segments in the reference's order and, where the organism writes amino acids, its genes' proteins.

    The only segment of a genome is called `main`. Raises BadRequest for an organism with several
    genomes, as a set of SILO's has one; ProcessingFailure for files that can't be read.
    """
    reference = references.only(organism)
    if reference is None:
        raise BadRequest(f"{organism.name} has several reference genomes; a set for SILO has one.")
    segments = reference.segments
    alone = len(segments) == 1
    sequences = {segment.name: segment.sequence for segment in segments}
    genes = load_genes(reference.genes, segments) if organism.pipeline.silo.amino_acids else ()
    return Genome(
        segments=tuple((MAIN if alone else segment.name, segment.sequence) for segment in segments),
        genes=tuple((gene.name, called_genes.protein(gene, sequences[gene.segment])) for gene in genes),
        sha256=references.digest_of(segments),
    )
