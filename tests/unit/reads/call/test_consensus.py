"""What the consensus says where the reads say this or that."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.domain.reports import ConsensusReport
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam

REFERENCE = "ACGTACGTTTTTACGCATGCAGTC"


def called(
    directory: Path,
    *reads: Read,
    segments: tuple[Segment, ...] = (Segment("reference", REFERENCE),),
    min_frequency: float = 0.5,
    homopolymers: str = "call",
    min_depth: int = 10,
) -> tuple[Calls, ConsensusReport]:
    return consensus.call(
        make_bam(directory, segments, reads),
        segments,
        thresholds=PlatformThresholds(min_depth=min_depth, homopolymer_indels=homopolymers),
        rules=Consensus(min_frequency=min_frequency),
        sample_name="LOC_000001Y.1",
        directory=directory,
    )


def copies(number: int, start: int, cigar: str, sequence: str, *, segment: int = 0) -> list[Read]:
    """That many fragments, on alternating strands."""
    return [
        Read(f"{start}{cigar}{sequence}{i}", start, cigar, sequence, flag=0x10 * (i % 2), segment=segment)
        for i in range(number)
    ]


def test_too_few_fragments_give_n_and_enough_give_the_base(tmp_path: Path) -> None:
    calls, report = called(tmp_path, *copies(10, 2, "4M", "GTAC"), *copies(9, 10, "4M", "TTAC"))
    assert calls.segments[0].aligned == "NNGTAC" + "N" * 18
    assert (report.unknown_bases, report.substitutions) == (20, 0)
    assert report.breadth_of_coverage == pytest.approx(4 / 24, abs=1e-6)


def test_a_substitution_is_called_from_the_consensus_frequency_on(tmp_path: Path) -> None:
    reads = [*copies(8, 0, "4M", "ATGT"), *copies(4, 0, "4M", "ACGT")]
    assert called(tmp_path, *reads)[0].segments[0].sequence.startswith("ATGT")
    assert called(tmp_path, *reads, min_frequency=0.75)[0].segments[0].sequence.startswith("AYGT")


def test_a_tie_gives_the_iupac_code_of_the_frequent_bases(tmp_path: Path) -> None:
    reads = [*copies(10, 0, "4M", "AAGT"), *copies(10, 0, "4M", "ATGT"), *copies(2, 0, "4M", "AGGT")]
    calls, report = called(tmp_path, *reads)
    assert calls.segments[0].aligned[:4] == "AWGT"
    assert (report.ambiguous_bases, report.mixed_sites) == (1, 1)


def test_a_deletion_leaves_the_sequence_and_is_never_filled(tmp_path: Path) -> None:
    calls, report = called(tmp_path, *copies(12, 0, "5M4D6M", "ACGTATTTACG"))
    assert calls.segments[0].aligned == "ACGTA----TTTACG" + "N" * 9
    assert calls.segments[0].sequence == "ACGTATTTACG" + "N" * 9
    assert (report.deletions, report.unknown_bases) == (1, 9)


def test_a_deletion_and_a_base_in_equal_numbers_give_n(tmp_path: Path) -> None:
    calls, _ = called(tmp_path, *copies(10, 0, "2M1D3M", "ACTAC"), *copies(10, 0, "6M", "ACGTAC"))
    assert calls.segments[0].aligned[:6] == "ACNTAC"


def test_an_insertion_of_the_majority_is_called_and_one_of_the_minority_is_not(tmp_path: Path) -> None:
    with_insertion, without = copies(8, 0, "3M2I3M", "ACGGATAC"), copies(5, 0, "6M", "ACGTAC")
    calls, report = called(tmp_path, *with_insertion, *without)
    assert calls.segments[0].insertions == ("3:GA",)
    assert calls.segments[0].sequence.startswith("ACGGATAC")
    assert calls.segments[0].aligned.startswith("ACGTAC")
    assert report.insertions == 1
    assert called(tmp_path, *with_insertion[:5], *without)[0].segments[0].insertions == ()


def test_a_tie_about_an_insertion_gives_n_before_it(tmp_path: Path) -> None:
    reads = [*copies(5, 0, "3M2I3M", "ACGGATAC"), *copies(5, 0, "6M", "ACGTAC")]
    (segment,) = called(tmp_path, *reads)[0].segments
    assert (segment.aligned[:6], segment.insertions) == ("ACNTAC", ())


def test_an_insertion_and_none_that_both_miss_the_frequency_give_n_before_it(tmp_path: Path) -> None:
    reads = [*copies(8, 0, "3M2I3M", "ACGGATAC"), *copies(5, 0, "6M", "ACGTAC")]
    (segment,) = called(tmp_path, *reads, min_frequency=0.75)[0].segments
    assert (segment.aligned[:6], segment.insertions) == ("ACNTAC", ())
    rare = [*copies(3, 0, "3M2I3M", "ACGGATAC"), *copies(10, 0, "6M", "ACGTAC")]
    assert called(tmp_path, *rare, min_frequency=0.8)[0].segments[0].aligned[:6] == "ACGTAC"


def test_nanopore_indels_within_a_homopolymer_are_ignored(tmp_path: Path) -> None:
    """TTTTT shorter by one, and longer by one, is an error of the platform; a longer deletion is not."""
    shorter = [*copies(15, 3, "4M1D8M", "TACGTTTTACGC"), *copies(3, 3, "13M", "TACGTTTTTACGC")]
    calls, _ = called(tmp_path, *shorter, homopolymers="ignore")
    assert calls.segments[0].aligned == "NNNTACGTTTTTACGC" + "N" * 8
    assert called(tmp_path, *shorter)[0].segments[0].aligned == "NNNTACG-TTTTACGC" + "N" * 8
    longer = copies(15, 3, "4M1I9M", "TACGTTTTTTACGC")
    assert called(tmp_path, *longer, homopolymers="ignore")[0].segments[0].insertions == ()
    assert called(tmp_path, *longer)[0].segments[0].insertions == ("7:T",)
    real = copies(15, 3, "3M3D7M", "TACTTTACGC")
    assert called(tmp_path, *real, homopolymers="ignore")[0].segments[0].aligned[3:16] == "TAC---TTTACGC"


def test_every_segment_gets_its_record_named_after_sample_and_segment(tmp_path: Path) -> None:
    segments = (Segment("HA", "ACGTACGT"), Segment("NA", "TTTTACGT"))
    calls, report = called(tmp_path, *copies(10, 0, "4M", "TTTA", segment=1), segments=segments)
    assert (tmp_path / "consensus.fasta").read_text() == (">LOC_000001Y.1|HA\nNNNNNNNN\n>LOC_000001Y.1|NA\nTTTANNNN\n")
    assert [segment.breadth for segment in report.segments] == [0, 0.5]
    assert calls.segments[1].depth_profile(4) == [10, 10, 0, 0]


def test_one_segment_is_named_after_the_sample_alone(tmp_path: Path) -> None:
    called(tmp_path, *copies(10, 0, "4M", "ACGT"))
    assert (tmp_path / "consensus.fasta").read_text() == f">LOC_000001Y.1\nACGT{'N' * 20}\n"


def test_a_bam_without_reads_gives_n_only(tmp_path: Path) -> None:
    calls, report = called(tmp_path)
    assert calls.segments[0].sequence == "N" * 24
    assert (report.depth_of_coverage, report.variants) == (0, 0)
