"""Every observation counts once, and exactly."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pysam
import pytest

from readvault.domain.errors import ProcessingFailure
from readvault.reads.align import bam_records
from readvault.reads.call.allele_counts import ALLELES, FORWARD, GAP, REVERSE, A, AlleleCounts, C, N, T, count
from readvault.reads.sample import Alignment, PrimerSite, Segment
from tests.unit.reads.bam_maker import Read, make_bam, pair

REFERENCE = "ACGTACGTACGTACGTACGT"
SEGMENT = (Segment("reference", REFERENCE),)


def counted(directory: Path, *reads: Read, segments: tuple[Segment, ...] = SEGMENT, quality: int = 20) -> AlleleCounts:
    return count(make_bam(directory, segments, reads), segments, min_base_quality=quality)


def test_a_read_counts_its_bases_on_its_strand(tmp_path: Path) -> None:
    counts = counted(tmp_path, Read("1", 2, "4M", "GTCC"), Read("2", 2, "2M", "GT", flag=0x10)).counts
    assert counts[FORWARD, :, 4].tolist() == [0, 1, 0, 0, 0, 0]  # reference A, read C
    assert counts[FORWARD, :, 5].tolist() == [0, 1, 0, 0, 0, 0]
    assert counts[REVERSE, :, 2].tolist() == [0, 0, 1, 0, 0, 0]
    assert counts.sum() == 6


def test_soft_clipped_bases_and_bases_of_low_quality_say_nothing(tmp_path: Path) -> None:
    counts = counted(tmp_path, Read("1", 0, "3S2M1S", "TTTACG", quality=(40, 40, 40, 40, 19, 40)))
    assert counts.depth.tolist() == [1] + [0] * 19


def test_depth_does_not_drop_in_a_deletion(tmp_path: Path) -> None:
    counts = counted(tmp_path, Read("1", 0, "3M2D3M", "ACGCGT"))
    assert counts.depth.tolist() == [1] * 8 + [0] * 12
    assert counts.counts[FORWARD, GAP].tolist() == [0, 0, 0, 1, 1] + [0] * 15
    assert [(d.place, d.length, d.forward, d.reverse) for d in counts.deletions] == [(3, 2, 1, 0)]


def test_a_deletion_between_bases_of_low_quality_says_nothing(tmp_path: Path) -> None:
    """Where a base of such a quality would not count, a missing one doesn't either."""
    for number, (before, behind) in enumerate(((40, 0), (39, 0), (12, 27))):
        (tmp_path / str(number)).mkdir()
        read = Read("r", 0, "3M2D4M", "ACGGTAC", quality=(40, 40, before, behind, 40, 40, 40))
        counts = counted(tmp_path / str(number), read)
        good = before + behind >= 40
        assert counts.counts[FORWARD, GAP, 3:5].tolist() == [int(good)] * 2
        assert len(counts.deletions) == int(good)


def test_insertions_are_counted_by_place_bases_and_strand(tmp_path: Path) -> None:
    counts = counted(
        tmp_path,
        Read("1", 0, "3M2I3M", "ACGTTTAC"),
        Read("2", 1, "2M2I3M", "CGTTTAC", flag=0x10),
        Read("3", 0, "3M2I3M", "ACGTATAC"),
        Read("4", 0, "3M2I3M", "ACGTTTAC", quality=(40, 40, 40, 19, 19, 40, 40, 40)),
        Read("5", 0, "3M40I3M", "ACG" + "ACGTN" * 8 + "TAC"),
    )
    found = [(i.place, i.bases, i.forward, i.reverse) for i in counts.insertions]
    assert found == [(2, "TA", 1, 0), (2, "TT", 1, 1), (2, "ACGTN" * 8, 1, 0)]
    assert counts.depth[:6].tolist() == [4, 5, 5, 5, 5, 5]


def test_mates_that_overlap_count_once(tmp_path: Path) -> None:
    counts = counted(tmp_path, *pair("1", (0, "6M", "ACGTAC"), (4, "6M", "ACGTAC")))
    assert counts.depth.tolist() == [1] * 10 + [0] * 10


def test_of_mates_that_disagree_the_better_quality_wins_and_a_tie_says_nothing(tmp_path: Path) -> None:
    better = pair("1", (0, "6M", "ACGTTC"), (4, "6M", "ACGTAC"), quality=30, mate_quality=40)
    tie = pair("2", (0, "6M", "ACGTTC"), (4, "6M", "ACGTAC"))
    counts = counted(tmp_path, *better, *tie).counts
    assert counts[REVERSE, :, 4].tolist() == [1, 0, 0, 0, 0, 0]
    assert counts[FORWARD, :, 4].sum() == 0


def test_a_low_quality_mate_leaves_the_word_to_the_other(tmp_path: Path) -> None:
    counts = counted(tmp_path, *pair("1", (0, "6M", "ACGTTC"), (4, "6M", "TCGTAC"), quality=10, mate_quality=40)).counts
    assert counts.sum() == 6
    assert counts[REVERSE, T, 4] == 1


def test_an_indel_in_both_mates_counts_once(tmp_path: Path) -> None:
    counts = counted(
        tmp_path,
        *pair("1", (0, "5M2D3M", "ACGTAGTA"), (3, "2M2D4M1I2M", "TAGTACTGT")),
        *pair("2", (0, "4M1I4M", "ACGTGACGT"), (2, "2M1I4M", "GTGACGT")),
    )
    assert [(d.place, d.length, d.forward + d.reverse) for d in counts.deletions] == [(5, 2, 1)]
    assert [(i.place, i.bases, i.forward + i.reverse) for i in counts.insertions] == [(3, "G", 1), (10, "T", 1)]
    assert counts.depth.tolist() == [2] * 8 + [1] * 5 + [0] * 7


def test_a_deletion_in_one_mate_wins_over_bases_in_the_other(tmp_path: Path) -> None:
    counts = counted(tmp_path, *pair("1", (0, "5M2D3M", "ACGTAGTA"), (3, "4M", "TACG")))
    assert counts.counts[:, GAP].sum(axis=0)[4:8].tolist() == [0, 1, 1, 0]
    assert counts.depth.tolist() == [1] * 10 + [0] * 10


def test_supplementary_alignments_count_and_secondary_duplicate_failed_ones_do_not(tmp_path: Path) -> None:
    reads = [Read(str(flag), 0, "4M", "ACGT", flag=flag) for flag in (0x800, 0x100, 0x200, 0x400, 0x0)]
    assert counted(tmp_path, *reads).depth[:4].tolist() == [2, 2, 2, 2]


def test_segments_are_kept_apart(tmp_path: Path) -> None:
    segments = (Segment("one", "ACGT"), Segment("two", "TTTT"))
    counts = counted(tmp_path, Read("1", 0, "4M", "ACGT"), Read("2", 0, "4M", "TATT", segment=1), segments=segments)
    assert counts.counts[FORWARD, :, counts.span(1)].sum(axis=0).tolist() == [1, 1, 1, 1]
    assert counts.counts[FORWARD, A, counts.span(1)].tolist() == [0, 1, 0, 0]


def test_positions_where_the_reference_is_ambiguous_are_counted(tmp_path: Path) -> None:
    counts = counted(tmp_path, Read("1", 0, "4M", "ACNT"), segments=(Segment("reference", "ANNT"),)).counts
    assert (counts[FORWARD, C, 1], counts[FORWARD, N, 2], counts.sum()) == (1, 1, 4)


def test_a_bam_on_another_reference_and_a_damaged_one_are_our_failure(tmp_path: Path) -> None:
    alignment = make_bam(tmp_path, SEGMENT, [Read("1", 0, "4M", "ACGT")])
    with pytest.raises(ProcessingFailure, match="another reference"):
        count(alignment, (Segment("reference", "ACGT"),), min_base_quality=20)
    alignment.bam.write_bytes(alignment.bam.read_bytes()[:-40])
    with pytest.raises(ProcessingFailure):
        count(alignment, SEGMENT, min_base_quality=20)


@pytest.mark.parametrize("batch_bytes", [900, 5000, 32 << 20])
def test_random_alignments_agree_with_a_slow_and_simple_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    """Against an independent count, one fragment and position at a time, however the file is cut into batches."""
    dice = random.Random(7)
    segments = (
        Segment("one", "".join(dice.choices("ACGT", k=700))),
        Segment("two", "".join(dice.choices("ACGTN", k=300))),
    )
    alignment = make_bam(tmp_path, segments, _random_reads(dice, segments, fragments=150))
    reader = bam_records.BamReader
    monkeypatch.setattr(
        "readvault.reads.call.allele_counts.BamReader", lambda bam: reader(bam, batch_bytes=batch_bytes)
    )
    found = count(alignment, segments, min_base_quality=20)
    assert _slow_count(alignment, found) == Counter(
        {
            (place, ALLELES[allele]): int(found.counts[:, allele, place].sum())
            for allele in range(6)
            for place in range(1000)
            if found.counts[:, allele, place].any()
        }
    )
    assert found.counts[FORWARD].sum() > 0
    assert found.counts[REVERSE].sum() > 0


def _random_reads(dice: random.Random, segments: tuple[Segment, ...], fragments: int) -> list[Read]:
    reads: list[Read] = []
    for number in range(fragments):
        index = dice.randrange(len(segments))
        start = dice.randrange(60)
        other = start + dice.randrange(60)
        one, two = (_random_read(dice, segments[index].sequence, at) for at in (start, other))
        shared = {"segment": index}
        if number % 5 == 0:
            reads.append(Read(f"read/{number}", start, one[0], one[1], 0x10 * (number % 2), one[2], **shared))
            continue
        reads.append(Read(f"read/{number}", start, one[0], one[1], 0x63, one[2], mate_start=other, **shared))
        reads.append(Read(f"read/{number}", other, two[0], two[1], 0x93, two[2], mate_start=start, **shared))
    return reads


def _random_read(dice: random.Random, reference: str, start: int) -> tuple[str, str, tuple[int, ...]]:
    cigar, bases, at = "", "", start
    for place in range(dice.randrange(1, 5)):
        length = dice.randrange(1, 40)
        cigar += f"{length}M"
        bases += "".join(b if dice.random() < 0.9 else dice.choice("ACGTN") for b in reference[at : at + length])
        at += length
        if place < 3 and (kind := dice.choice("ID")):
            length = dice.randrange(1, 6)
            cigar += f"{length}{kind}"
            bases += "".join(dice.choices("ACGT", k=length)) if kind == "I" else ""
            at += length if kind == "D" else 0
    cigar += "1M"
    bases += reference[at]
    bases = re.sub("[^ACGT]", "N", bases)
    return cigar, bases, tuple(dice.choice((2, 12, 23, 37)) for _ in bases)


def _slow_count(alignment: Alignment, found: AlleleCounts) -> Counter[tuple[int, str]]:
    said: dict[tuple[str, int], list[tuple[str, int]]] = {}
    with pysam.AlignmentFile(str(alignment.bam)) as bam:
        for read in bam:
            query, qualities = read.query_sequence, read.query_qualities
            before = 0
            for offset, place in read.get_aligned_pairs():
                before = before if offset is None else offset
                if place is None:
                    continue
                beside = sum(qualities[before : before + 2])
                word = ("-", 99 if beside >= 40 else 0) if offset is None else (query[offset], qualities[offset])
                said.setdefault((read.query_name, found.origins[read.reference_id] + place), []).append(word)
    counts: Counter[tuple[int, str]] = Counter()
    for (_, place), words in said.items():
        best = max(quality for _, quality in words)
        alleles = {allele for allele, quality in words if quality == best}
        if len(alleles) == 1 and best >= 20:
            counts[place, alleles.pop()] += 1
    return counts


def test_names_that_are_no_numbers_pair_as_well(tmp_path: Path) -> None:
    reads = [
        *pair("M01761:444:000000000-J7FJ5:1:1101:13336:15989", (0, "4M", "ACGT"), (2, "4M", "GTAC")),
        *pair("M01761:444:000000000-J7FJ5:1:1101:13336:15988", (0, "4M", "ACGT"), (2, "4M", "GTAC")),
    ]
    assert counted(tmp_path, *reads).depth.tolist() == [2] * 6 + [0] * 14


def test_long_soft_clips_are_counted_where_the_alignment_begins_and_ends(tmp_path: Path) -> None:
    reads = [
        Read("1", 3, "15S4M", "A" * 15 + "TACG"),
        Read("2", 3, "14S4M", "A" * 14 + "TACG"),
        Read("3", 2, "5M15S", "GTACG" + "T" * 15),
        Read("4", 3, "2H15S4M3I15S", "A" * 15 + "TACGTTT" + "C" * 15),
    ]
    found = counted(tmp_path, *reads).clips
    assert {place: count for place, count in enumerate(found[0].tolist()) if count} == {3: 2}
    assert {place: count for place, count in enumerate(found[1].tolist()) if count} == {6: 2}


def test_clips_that_primers_made_are_not_counted(tmp_path: Path) -> None:
    reads = [Read("1", 3, "15S4M15S", "A" * 15 + "TACG" + "C" * 15), Read("2", 4, "15S4M", "A" * 15 + "ACGT")]
    sites = (PrimerSite("reference", 0, 3, "a_LEFT", "+"), PrimerSite("reference", 7, 20, "a_RIGHT", "-"))
    alignment = replace(make_bam(tmp_path, SEGMENT, reads), primers=sites)
    found = count(alignment, SEGMENT, min_base_quality=20).clips
    assert (found[0].sum(), found[0, 4], found[1].sum()) == (1, 1, 0)


def test_a_record_that_leaves_its_segment_is_our_failure(tmp_path: Path) -> None:
    with pytest.raises(ProcessingFailure, match="damaged"):
        counted(tmp_path, Read("1", 18, "4M", "ACGT"))
