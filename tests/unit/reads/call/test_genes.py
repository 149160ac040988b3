"""What a consensus means for the proteins."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.reads import references
from readvault.reads.call import genes
from readvault.reads.call.calls import GeneCall, Variant
from readvault.reads.call.gene_annotation import Gene, load_genes
from readvault.reads.sample import Segment

SHIPPED = Path(__file__).parents[4] / "deployments" / "references"
GENE = "ATGATACATGTCTCTGGGACCAATGGTACTAAGAGGTTTTAA"  # MIHVSGTNGTKRF*, as in the spike of SARS-CoV-2
SEGMENT = Segment("main", f"CC{GENE}GG")


def gff(directory: Path, *rows: str) -> Path:
    path = directory / "genes.gff3"
    path.write_text("##gff-version 3\n" + "".join(row.replace(" ", "\t") + "\n" for row in rows))
    return path


@pytest.fixture
def gene(tmp_path: Path) -> Gene:
    return load_genes([gff(tmp_path, "main . CDS 3 44 . + 0 ID=cds1;gene=S")], (SEGMENT,))[0]


def called(gene: Gene, aligned: str, *insertions: str) -> GeneCall:
    return genes.call_genes([gene], (SEGMENT,), {"main": aligned}, {"main": insertions})[0]


def deleted(start: int, length: int) -> str:
    """The segment without these bases (1-based in the gene)."""
    at = start + 1
    return SEGMENT.sequence[:at] + "-" * length + SEGMENT.sequence[at + length :]


def test_the_reference_gives_its_own_protein(gene: Gene) -> None:
    found = called(gene, SEGMENT.sequence)
    assert found == GeneCall("S", "main", "MIHVSGTNGTKRF*", (), (), ())


def test_unknown_bases_give_x_unless_every_meaning_is_the_same_amino_acid(gene: Gene) -> None:
    changed = SEGMENT.sequence[:8] + "NATGTNTCNNNN" + SEGMENT.sequence[20:]
    assert called(gene, changed).amino_acids == "MIXVSXTNGTKRF*"


def test_a_deletion_across_codons_is_laid_where_most_stays_the_same(gene: Gene) -> None:
    """Spike's 69-70 deletion takes TACATG out of ATA CAT GTC, which leaves ATC: still an isoleucine."""
    assert called(gene, deleted(6, 6)).amino_acids == "MI--SGTNGTKRF*"
    assert called(gene, deleted(7, 3)).amino_acids == "MI-VSGTNGTKRF*"


def test_an_insertion_of_whole_codons_stands_after_its_amino_acid(gene: Gene) -> None:
    found = called(gene, SEGMENT.sequence, "8:GAGCCAGAA")
    assert (found.amino_acids, found.insertions, found.frameshifts) == ("MIHVSGTNGTKRF*", ("2:EPE",), ())
    within = called(gene, SEGMENT.sequence, "9:AAAAAC")  # C AAAAAC AT: QKH
    assert (within.amino_acids, within.insertions) == ("MIHVSGTNGTKRF*", ("2:QK",))


def test_a_lost_base_is_a_frameshift_to_the_end_and_says_nothing_of_the_amino_acids(gene: Gene) -> None:
    found = called(gene, deleted(10, 1))
    assert (found.amino_acids, found.frameshifts) == ("MIH" + "X" * 11, ("S:V4fs",))
    assert found.stops == ()


def test_a_frameshift_that_is_made_good_later_ends_there(gene: Gene) -> None:
    found = called(gene, deleted(10, 1), "31:A")
    assert (found.amino_acids, found.frameshifts) == ("MIH" + "X" * 7 + "KRF*", ("S:V4fs",))


def test_an_indel_that_an_aligner_split_is_no_frameshift(gene: Gene) -> None:
    split = deleted(10, 1)[:14] + "--" + deleted(10, 1)[16:]
    assert called(gene, split).frameshifts == ()
    assert called(gene, split).amino_acids == "MIH-SGTNGTKRF*"


def test_a_premature_stop_is_named_by_what_was_there(gene: Gene) -> None:
    changed = SEGMENT.sequence.replace("AAGAGG", "TAGAGG")
    found = called(gene, changed)
    assert (found.amino_acids, found.stops) == ("MIHVSGTNGT*RF*", ("S:K11*",))


def test_the_minus_strand_is_read_backwards() -> None:
    complement = str.maketrans("ACGT", "TGCA")
    turned = Segment("main", SEGMENT.sequence.translate(complement)[::-1])
    gene = Gene("S", "main", True, np.arange(43, 1, -1))
    found = genes.call_genes([gene], (turned,), {"main": turned.sequence}, {})[0]
    assert found.amino_acids == "MIHVSGTNGTKRF*"
    # after base 8 of the forward strand is after base 46 - 8 of this one
    longer = genes.call_genes([gene], (turned,), {"main": turned.sequence}, {"main": ["38:TTCTGGCTC"]})[0]
    assert longer.insertions == ("2:EPE",)


def test_a_ribosome_that_slips_back_reads_a_base_twice(tmp_path: Path) -> None:
    segment = Segment("main", "ATGTTTAAACGGGTTTGCGGTGTAA")
    rows = ("main . CDS 1 14 . + 0 ID=a;gene=ab", "main . CDS 14 25 . + 1 ID=a;gene=ab")
    (gene,) = load_genes([gff(tmp_path, *rows)], (segment,))
    assert gene.codons == 8
    assert genes.call_genes([gene], (segment,), {"main": segment.sequence}, {})[0].amino_acids == "MFKRVLRC"


def test_a_substitution_is_named_by_its_amino_acid_change(gene: Gene) -> None:
    def variant(position: int, reference: str, alternative: str) -> Variant:
        return Variant("main", position, reference, alternative, 100, (25, 25, 25, 25), 0.5, (0.4, 0.6), 99, ())

    assert genes.change(gene, SEGMENT.sequence, variant(9, "C", "T")) == "S:H3Y"
    assert genes.change(gene, SEGMENT.sequence, variant(2, "C", "T")) is None
    assert genes.change(gene, SEGMENT.sequence, variant(9, "C", "CT")) is None


def test_the_shipped_genes_are_whole_proteins() -> None:
    segments = references.load_segments(SHIPPED / "NC_045512.2.fasta")
    found = genes.call_genes(
        load_genes([SHIPPED / "NC_045512.2.gff3"], segments),
        segments,
        {segments[0].name: segments[0].sequence},
        {},
    )
    assert [gene.name for gene in found] == (
        ["ORF1a", "ORF1ab", "S", "ORF3a", "E", "M", "ORF6", "ORF7a", "ORF7b", "ORF8", "N", "ORF10"]
    )
    for gene in found:
        assert gene.amino_acids.startswith("M")
        assert gene.amino_acids.index("*") == len(gene.amino_acids) - 1
    assert [len(gene.amino_acids) for gene in found][:3] == [4406, 7097, 1274]


def test_an_annotation_may_be_compressed(tmp_path: Path) -> None:
    plain = gff(tmp_path, "main . CDS 3 44 . + 0 ID=cds1;gene=S")
    packed = tmp_path / "genes.gff3.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [gene.name for gene in load_genes([packed], (SEGMENT,))] == ["S"]
    packed.write_bytes(packed.read_bytes()[:30])
    with pytest.raises(ProcessingFailure, match="can't be read"):
        load_genes([packed], (SEGMENT,))


def test_names_that_are_shared_are_passed_over(tmp_path: Path) -> None:
    rows = ("main . CDS 3 8 . + 0 ID=a;gene=ab;Name=one", "main . CDS 9 14 . + 0 ID=b;gene=ab;Name=two")
    assert [gene.name for gene in load_genes([gff(tmp_path, *rows)], (SEGMENT,))] == ["one", "two"]


def test_phase_and_loose_ends_are_left_out(tmp_path: Path) -> None:
    (gene,) = load_genes([gff(tmp_path, "main . CDS 2 45 . + 1 ID=a;gene=S")], (SEGMENT,))
    assert gene.places.tolist() == list(range(2, 44))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("main . CDS 3 47 . + 0 ID=a", "outside"),
        ("main . CDS 9 3 . + 0 ID=a", "coordinates"),
        ("main . CDS three 3 . + 0 ID=a", "columns"),
        ("main . CDS 3 4 . + 0 ID=a", "codon"),
        ("main.1 . CDS 3 44 . + 0 ID=a", "is about main.1, which the reference has not"),
    ],
)
def test_a_wrong_annotation_is_the_maintainers_fault(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(ProcessingFailure, match=words):
        load_genes([gff(tmp_path, row)], (SEGMENT,))


def test_rows_about_other_sequences_and_an_attached_fasta_are_left_out(tmp_path: Path) -> None:
    path = gff(
        tmp_path, "other . CDS 1 900 . + 0 ID=a", "main . CDS 3 44 . + 0 ID=b;gene=S", "##FASTA", ">main", "ACGT"
    )
    assert [gene.name for gene in load_genes([path], (SEGMENT,))] == ["S"]
