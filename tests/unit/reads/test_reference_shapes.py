"""How long aligned sequences from elsewhere must be."""

from __future__ import annotations

from pathlib import Path

from readvault.domain.organism import CandidateReference, Organism, Reference
from readvault.reads import reference_shapes

GENES = (
    "##gff-version 3\n"
    "x\t.\tCDS\t1\t12\t.\t+\t0\tgene=S\n"
    "x\t.\tCDS\t4\t6\t.\t+\t0\tgene=N;ID=n\n"
    "x\t.\tCDS\t10\t15\t.\t+\t0\tgene=N;ID=n\n"
)


def _fasta(folder: Path, name: str, **records: str) -> Path:
    path = folder / f"{name}.fasta"
    path.write_text("".join(f">{record}\n{sequence}\n" for record, sequence in records.items()))
    return path


def test_the_only_segment_is_main_and_genes_end_with_their_stop_or_before_it(tmp_path: Path) -> None:
    (tmp_path / "genes.gff3").write_text(GENES)
    one = Reference(fasta=_fasta(tmp_path, "one", x="ACGTACGTACGTACGTACGT"), genes=tmp_path / "genes.gff3")
    shape = reference_shapes.of(Organism(name="one", reference=one))
    assert shape.segments == {"main": {20}}
    assert shape.genes == {"S": {3, 4}, "N": {2, 3}}


def test_segments_are_called_as_their_records(tmp_path: Path) -> None:
    organism = Organism(name="flu", reference=Reference(fasta=_fasta(tmp_path, "flu", HA="ACGT", NA="ACGTA")))
    assert reference_shapes.of(organism).segments == {"HA": {4}, "NA": {5}}
    assert reference_shapes.of(organism).genes == {}


def test_any_genome_of_several_fits(tmp_path: Path) -> None:
    genomes = (
        CandidateReference(name="A", fasta=_fasta(tmp_path, "a", a="ACGT")),
        CandidateReference(name="B", fasta=_fasta(tmp_path, "b", b="ACGTACGT")),
    )
    assert reference_shapes.of(Organism(name="rsv", references=genomes)).segments == {"main": {4, 8}}
