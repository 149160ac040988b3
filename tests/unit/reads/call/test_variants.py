"""Variants are listed with their evidence, and the VCF is one that the field's tools read."""

from __future__ import annotations

import math
from pathlib import Path

import pysam
import pytest
from pysam import bcftools

from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.reads.call import variants
from readvault.reads.call.allele_counts import count
from readvault.reads.call.calls import Variant
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam
from tests.unit.reads.call.test_consensus import REFERENCE, copies

SEGMENT = (Segment("reference", REFERENCE),)


def found(directory: Path, *reads: Read, min_frequency: float = 0.03, homopolymers: str = "call") -> list[Variant]:
    thresholds = PlatformThresholds(min_frequency=min_frequency, homopolymer_indels=homopolymers)
    counts = count(make_bam(directory, SEGMENT, reads), SEGMENT, min_base_quality=20)
    listed = variants.find(counts, thresholds=thresholds, rules=Consensus())
    variants.write_vcf(directory / "variants.vcf.gz", counts, listed)
    return list(listed)


def test_a_minority_with_evidence_on_both_strands_passes(tmp_path: Path) -> None:
    (variant,) = found(tmp_path, *copies(190, 0, "4M", "ACGT"), *copies(10, 0, "4M", "ACTT"))
    assert (variant.position, variant.reference, variant.alternative) == (3, "G", "T")
    assert (variant.depth, variant.frequency, variant.strands) == (200, 0.05, (95, 95, 5, 5))
    assert variant.filters == ()
    low, high = variant.interval
    assert (low, high) == (pytest.approx(0.0274, abs=1e-4), pytest.approx(0.0896, abs=1e-4))


def test_too_few_fragments_are_listed_as_low_depth(tmp_path: Path) -> None:
    (variant,) = found(tmp_path, *copies(91, 0, "4M", "ACGT"), *copies(9, 0, "4M", "ACTT"))
    assert variant.filters == ("LowDepth",)


def test_a_minority_on_one_strand_is_listed_as_strand_bias(tmp_path: Path) -> None:
    one_sided = [Read(f"x{i}", 0, "4M", "ACTT") for i in range(12)]
    (variant,) = found(tmp_path, *copies(188, 0, "4M", "ACGT"), *one_sided)
    assert variant.filters == ("StrandBias",)


@pytest.mark.parametrize(("number", "filters"), [(12, ("StrandBias",)), (9, ("LowDepth", "StrandBias"))])
def test_a_single_read_of_the_other_strand_without_the_minority_is_strand_bias(
    tmp_path: Path, number: int, filters: tuple[str, ...]
) -> None:
    forward = [Read(f"f{i}", 0, "4M", "ACTT" if i < number else "ACGT") for i in range(120)]
    (variant,) = found(tmp_path, *forward, Read("r", 0, "4M", "ACGT", flag=0x10))
    assert variant.filters == filters


def test_where_only_one_strand_was_read_a_minority_is_no_strand_bias(tmp_path: Path) -> None:
    (variant,) = found(tmp_path, *[Read(f"f{i}", 0, "4M", "ACTT" if i < 12 else "ACGT") for i in range(120)])
    assert variant.filters == ()


def test_a_majority_that_was_read_from_one_side_only_passes(tmp_path: Path) -> None:
    (variant,) = found(tmp_path, *(Read(f"x{i}", 0, "4M", "ACTT") for i in range(30)))
    assert (variant.frequency, variant.filters) == (1.0, ())


def test_what_base_errors_alone_would_make_is_listed_as_low_quality(tmp_path: Path) -> None:
    doubtful = [Read(f"x{i}", 0, "4M", "ACTT", flag=0x10 * (i % 2), quality=20) for i in range(12)]
    (variant,) = found(tmp_path, *copies(388, 0, "4M", "ACGT"), *doubtful)
    assert variant.filters == ("LowQuality",)


def test_below_the_minimal_frequency_nothing_is_listed(tmp_path: Path) -> None:
    assert found(tmp_path, *copies(190, 0, "4M", "ACGT"), *copies(10, 0, "4M", "ACTT"), min_frequency=0.06) == []


def test_indels_stand_after_the_base_before_them(tmp_path: Path) -> None:
    reads = [*copies(60, 0, "6M", "ACGTAC"), *copies(20, 0, "3M2I3M", "ACGGATAC"), *copies(20, 0, "2M2D2M", "ACAC")]
    deletion, insertion = found(tmp_path, *reads)
    assert (deletion.position, deletion.reference, deletion.alternative) == (2, "CGT", "C")
    assert (insertion.position, insertion.reference, insertion.alternative) == (3, "G", "GGA")
    assert deletion.frequency == insertion.frequency == 0.2
    assert deletion.filters == insertion.filters == ()


def test_nanopore_indels_within_a_homopolymer_are_marked(tmp_path: Path) -> None:
    reads = copies(15, 3, "4M1D8M", "TACGTTTTACGC")
    assert found(tmp_path, *reads, homopolymers="ignore")[0].filters == ("Homopolymer",)
    assert found(tmp_path, *reads)[0].filters == ()


def test_a_substitution_that_makes_a_homopolymer_is_not_diluted_by_nanopore_gaps(tmp_path: Path) -> None:
    """TTTTTA becomes TTTTTT, of which a nanopore loses one: the gap stands where the substitution is."""
    reads = [*copies(40, 3, "13M", "TACGTTTTTTCGC"), *copies(10, 3, "9M1D3M", "TACGTTTTTCGC")]
    deletion, substitution = found(tmp_path, *reads, homopolymers="ignore")
    assert (substitution.position, substitution.alternative) == (13, "T")
    assert (substitution.depth, substitution.frequency) == (40, 1.0)
    assert deletion.filters == ("Homopolymer",)
    deletion, substitution = found(tmp_path, *reads)
    assert (substitution.frequency, deletion.filters) == (0.8, ())


def test_the_vcf_is_indexed_and_agrees_with_the_calls(tmp_path: Path) -> None:
    reads = [*copies(60, 0, "6M", "ACGTAC"), *copies(20, 0, "3M2I3M", "ACGGATAC"), *copies(20, 0, "2M2D2M", "ACAC")]
    listed = found(tmp_path, *reads)
    with pysam.VariantFile(str(tmp_path / "variants.vcf.gz")) as vcf:
        records = list(vcf.fetch("reference", 0, 24))
    assert [(r.pos, r.ref, r.alts, r.info["DP"]) for r in records] == [
        (v.position, v.reference, (v.alternative,), v.depth) for v in listed
    ]
    assert records[0].info["AF"] == (pytest.approx(0.2),)
    assert records[0].info["DP4"] == (40, 40, 10, 10)
    assert list(records[0].filter) == ["PASS"]
    assert len(bcftools.view("-H", str(tmp_path / "variants.vcf.gz")).splitlines()) == len(listed)


def test_the_same_reads_give_the_same_bytes(tmp_path: Path) -> None:
    def made(name: str) -> list[bytes]:
        folder = tmp_path / name
        folder.mkdir()
        found(folder, *copies(20, 0, "4M", "ATGT"))
        return [(folder / f"variants.vcf.gz{end}").read_bytes() for end in ("", ".tbi")]

    assert made("one") == made("two")


@pytest.mark.parametrize(
    ("trials", "successes", "probability"), [(10, 3, 0.1), (200, 12, 0.01), (50, 50, 0.9), (7, 1, 0.5)]
)
def test_the_tail_of_the_binomial_is_exact(trials: int, successes: int, probability: float) -> None:
    exact = sum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes, trials + 1)
    )
    found = math.exp(variants._log_tail(trials, successes, probability))
    assert found == pytest.approx(1.0 if successes <= trials * probability else exact)
