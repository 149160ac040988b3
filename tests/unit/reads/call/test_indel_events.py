"""Indels that are the same event are counted as one, and what no fragment has is not called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from readvault.reads.call.allele_counts import GAP, AlleleCounts, count
from readvault.reads.call.homopolymers import Homopolymers
from readvault.reads.call.indel_counts import Indel
from readvault.reads.call.indel_events import tidy
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam
from tests.unit.reads.call.test_consensus import REFERENCE, called, copies

REPEAT = "CATGCAGAGAGTTCA"


def counted(directory: Path, *reads: Read, reference: str = REPEAT) -> AlleleCounts:
    segments = (Segment("reference", reference),)
    return tidy(count(make_bam(directory, segments, reads), segments, min_base_quality=20))


def test_a_deletion_in_a_repeat_counts_once_wherever_it_was_put(tmp_path: Path) -> None:
    left, right = copies(6, 0, "4M2D9M", "CATGGAGAGTTCA"), copies(4, 0, "9M2D4M", "CATGCAGAGTTCA")
    counts = counted(tmp_path, *left, *right)
    assert counts.deletions == (Indel(4, 2, "", 3, 3), Indel(5, 2, "", 2, 2))
    shifted = counted(tmp_path, *copies(6, 0, "5M2D8M", "CATGCGAGTTCAA"[:13]), *right)
    assert shifted.deletions == (Indel(5, 2, "", 5, 5),)
    assert shifted.counts[:, GAP].sum(axis=0).tolist() == [0] * 5 + [10, 10] + [0] * 8
    assert shifted.depth.tolist() == [10] * 15


def test_an_insertion_in_a_repeat_counts_once_wherever_it_was_put(tmp_path: Path) -> None:
    bases = "CATGCAGAGAGAGTTCA"
    first, last = copies(6, 0, "5M2I10M", bases), copies(4, 0, "11M2I4M", bases)
    assert counted(tmp_path, *first, *last).insertions == (Indel(4, 2, "AG", 5, 5),)


def test_misread_bases_of_a_long_insertion_are_counted_with_the_insertion(tmp_path: Path) -> None:
    true, misread, other = "ACCTGTCA", "ACCTGTCT", "GGTTGGTT"
    reads = [
        read
        for bases, n in ((true, 16), (misread, 2), (other, 2))
        for read in copies(n, 0, "4M8I4M", f"CATG{bases}CAGA")
    ]
    assert [(event.bases, event.fragments) for event in counted(tmp_path, *reads).insertions] == [
        (true, 18),
        (other, 2),
    ]
    half = [read for bases in (true, misread) for read in copies(8, 0, "4M8I4M", f"CATG{bases}CAGA")]
    assert [event.fragments for event in counted(tmp_path, *half).insertions] == [8, 8]


def test_an_insertion_that_no_two_reads_spell_alike_is_called_base_by_base(tmp_path: Path) -> None:
    true = "ACCTGTCAACCA"
    spelled = [true[:i] + "G" + true[i + 1 :] for i in range(12) if true[i] != "G"]
    reads = [read for bases in spelled for read in copies(2, 0, "4M12I4M", f"ACGT{bases}ACGT")]
    assert called(tmp_path, *reads)[0].segments[0].insertions == (f"4:{true}",)


def test_insertions_that_differ_at_a_base_in_equal_numbers_get_its_iupac_code(tmp_path: Path) -> None:
    reads = [*copies(8, 0, "3M2I3M", "ACGGATAC"), *copies(8, 0, "3M2I3M", "ACGGTTAC")]
    assert called(tmp_path, *reads)[0].segments[0].insertions == ("3:GW",)


def test_what_two_deletions_have_in_common_is_no_deletion(tmp_path: Path) -> None:
    """Each of them takes a codon out; the one base in which they overlap would be a frameshift that no read has."""
    sequence = REFERENCE[:16]
    one, two = (
        copies(8, 0, "10M3D3M", sequence[:10] + sequence[13:]),
        copies(8, 0, "12M3D1M", sequence[:12] + sequence[15:]),
    )
    calls, _ = called(tmp_path, *one, *two, *copies(4, 0, "16M", sequence))
    assert calls.segments[0].aligned[:16] == sequence[:12] + "N" + sequence[13:]
    assert "-" not in calls.segments[0].aligned


def test_the_shorter_of_two_nested_deletions_is_called(tmp_path: Path) -> None:
    long, short = copies(8, 0, "4M6D6M", "ACGTTACGCA"), copies(8, 0, "4M3D9M", "ACGTTTTACGCA"[:13] + "T")
    calls, _ = called(tmp_path, *long, *short)
    assert calls.segments[0].aligned[4:7] == "---"


@pytest.mark.parametrize(
    ("event", "depth", "doubted"),
    [
        (Indel(7, 1, "", 20, 20), (20, 20), True),  # one base is what nanopores lose
        (Indel(7, 3, "", 16, 16), (20, 20), False),  # three of five in 80 % of either strand are real
        (Indel(7, 3, "", 20, 10), (20, 20), True),  # but not on one strand
        (Indel(7, 3, "", 20, 0), (20, 0), True),
        (Indel(6, 3, "", 5, 5), (20, 20), False),  # more than the homopolymer is no miscount of it
        (Indel(6, 3, "TTT", 18, 18), (20, 20), False),
        (Indel(6, 2, "TT", 18, 18), (20, 20), True),
        (Indel(6, 2, "TG", 5, 5), (20, 20), False),
    ],
)
def test_what_a_nanopore_may_have_made_up(event: Indel, depth: tuple[int, int], doubted: bool) -> None:
    homopolymers = Homopolymers((Segment("reference", REFERENCE),))
    depths = np.repeat(np.array([depth]).T, len(REFERENCE), axis=1)
    assert homopolymers.doubt(event, depths) is doubted


def test_half_of_a_long_homopolymer_must_be_gone_to_be_believed() -> None:
    homopolymers = Homopolymers((Segment("reference", "ACG" + "T" * 9 + "ACG"),))
    depths = np.full((2, 15), 20)
    assert homopolymers.doubt(Indel(3, 4, "", 20, 20), depths)
    assert not homopolymers.doubt(Indel(3, 5, "", 20, 20), depths)


def test_a_codon_out_of_a_homopolymer_is_called_from_nanopore_reads_too(tmp_path: Path) -> None:
    real, whole = copies(18, 3, "4M3D6M", "TACGTTACGC"), copies(2, 3, "13M", "TACGTTTTTACGC")
    miscounted = copies(4, 3, "4M1D8M", "TACGTTTTACGC")
    calls, _ = called(tmp_path, *real, *whole, homopolymers="ignore")
    assert calls.segments[0].aligned[3:16] == "TACG---TTACGC"
    calls, _ = called(tmp_path, *real[:10], *whole, *miscounted, homopolymers="ignore")
    assert calls.segments[0].aligned[3:16] == "TACGTTTTTACGC"
