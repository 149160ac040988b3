"""An entry without reads: its submitted consensus gets alignment, insertions and proteins all the same."""

from __future__ import annotations

import random
from pathlib import Path

from readvault.domain.organism import Organism, Reference
from readvault.reads.local_run import LocalRun
from readvault.reads.sample import Sample


def test_a_submitted_consensus_without_reads_has_its_proteins_told(tmp_path: Path) -> None:
    chance = random.Random(2)
    gene = "ATG" + "".join(chance.choices(["GCT", "AAA", "GAT", "TTC", "CGT"], k=150)) + "TAA"
    genome = "".join(chance.choices("ACGT", k=300)) + gene + "".join(chance.choices("ACGT", k=300))
    fasta, genes, work = tmp_path / "reference.fasta", tmp_path / "genes.gff3", tmp_path / "work"
    work.mkdir()
    fasta.write_text(f">genome\n{genome}\n")
    genes.write_text(f"genome\t.\tCDS\t301\t{300 + len(gene)}\t.\t+\t0\tID=a;gene=P\n")
    submitted = genome[:330] + "CATCAT" + genome[330:]
    organism = Organism(name="tiny", reference=Reference(fasta=fasta, genes=genes))
    run = LocalRun(Sample("LOC_000001Y.1", organism, (), work, submitted={"mine": submitted}))
    run.run("check")
    found = run.result()
    assert found.aligned_sequences == {"main": genome}
    assert found.insertions == {"main": ["330:CATCAT"]}
    assert found.aligned_amino_acid_sequences["P"].endswith("*")
    assert len(found.aligned_amino_acid_sequences["P"]) == len(gene) // 3
    assert found.amino_acid_insertions == {"P": ["10:HH"]}
