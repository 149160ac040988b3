"""Insertions and deletions that are too long for the reads, found where reads are clipped."""

from __future__ import annotations

import random
from pathlib import Path

import pysam
import pytest
from pysam import bcftools

from readvault.domain.annotations import Reason
from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.domain.reports import ConsensusReport
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam

READ = 100
_RANDOM = random.Random(11)
REFERENCE = "".join(_RANDOM.choices("ACGT", k=900))
INSERTED = "".join(_RANDOM.choices("ACGT", k=300))
PLACE = 400  # bases of the reference before the junction


def aligned(sample: str, before: int, after: int, name: str) -> list[Read]:
    """Reads from all over a sample that is the reference up to `before` and from `after` on, and other bases between:
    each lies where most of it fits, the rest is clipped, as aligners do."""
    shift = len(sample) - len(REFERENCE)
    rejoined = after + shift  # where the sample is the reference again
    reads = []
    for number, start in enumerate(range(0, len(sample) - READ + 1, 3)):
        bases, flag = sample[start : start + READ], 0x10 * (number % 2)
        left = max(min(before - start, READ), 0)
        right = max(min(start + READ - rejoined, READ), 0)
        if left == READ:
            reads.append(Read(f"{name}{number}", start, f"{READ}M", bases, flag=flag))
        elif right == READ:
            reads.append(Read(f"{name}{number}", start - shift, f"{READ}M", bases, flag=flag))
        elif left >= right and left >= 30:
            reads.append(Read(f"{name}{number}", start, f"{left}M{READ - left}S", bases, flag=flag))
        elif right >= 30:
            at = after if start < rejoined else start - shift
            reads.append(Read(f"{name}{number}", at, f"{READ - right}S{right}M", bases, flag=flag))
    return reads


def called(directory: Path, *reads: Read) -> tuple[Calls, ConsensusReport]:
    segments = (Segment("reference", REFERENCE),)
    return consensus.call(
        make_bam(directory, segments, reads),
        segments,
        thresholds=PlatformThresholds(min_depth=5),
        rules=Consensus(),
        sample_name="S.1",
        directory=directory,
    )


def inserted(length: int, name: str = "i") -> list[Read]:
    sample = REFERENCE[:PLACE] + INSERTED[:length] + REFERENCE[PLACE:]
    return aligned(sample, PLACE, PLACE, name)


@pytest.mark.parametrize("length", [40, 60, 90])
def test_an_insertion_that_both_sides_spell_is_called(tmp_path: Path, length: int) -> None:
    calls, report = called(tmp_path, *inserted(length))
    (segment,) = calls.segments
    assert segment.insertions == (f"{PLACE}:{INSERTED[:length]}",)
    assert REFERENCE[50:PLACE] + INSERTED[:length] + REFERENCE[PLACE:850] in segment.sequence
    assert report.warnings == ()
    (variant,) = calls.variants
    assert variant.frequency > 0.9
    assert (variant.position, variant.alternative) == (PLACE, REFERENCE[PLACE - 1] + INSERTED[:length])
    assert variant.filters == ()
    assert len(bcftools.view("-H", str(tmp_path / "variants.vcf.gz")).splitlines()) == 1


def test_an_insertion_that_no_read_reaches_through_is_told_and_n(tmp_path: Path) -> None:
    calls, report = called(tmp_path, *inserted(250))
    (segment,) = calls.segments
    assert segment.insertions == ()
    assert segment.aligned[PLACE - 1 : PLACE + 1] == "NN"
    assert segment.aligned[PLACE - 50 : PLACE - 1] == REFERENCE[PLACE - 50 : PLACE - 1]
    assert [warning.reason for warning in report.warnings] == [Reason.UNRESOLVED_INSERTION]


def test_an_insertion_of_a_minority_is_not_called(tmp_path: Path) -> None:
    starts = range(0, len(REFERENCE) - READ + 1)
    whole = [Read(f"w{n}", n, f"{READ}M", REFERENCE[n : n + READ], flag=0x10 * (n % 2)) for n in starts]
    calls, report = called(tmp_path, *inserted(60), *whole)
    assert calls.segments[0].aligned[50:850] == REFERENCE[50:850]
    assert (calls.segments[0].insertions, report.warnings) == ((), ())


def test_a_copy_of_what_stands_beside_it_is_an_insertion(tmp_path: Path) -> None:
    """Alignments of both sides go on through the copy: they overlap by its length."""
    copy = REFERENCE[PLACE - 60 : PLACE]
    sample = REFERENCE[:PLACE] + copy + REFERENCE[PLACE:]
    reads = []
    for number, start in enumerate(range(0, len(sample) - READ + 1, 3)):
        bases, end, flag = sample[start : start + READ], start + READ, 0x10 * (number % 2)
        if end <= PLACE:
            reads.append(Read(f"c{number}", start, f"{READ}M", bases, flag=flag))
        elif start >= PLACE:
            reads.append(Read(f"c{number}", start - 60, f"{READ}M", bases, flag=flag))
        elif PLACE - start >= end - PLACE:
            reads.append(Read(f"c{number}", start, f"{PLACE - start}M{end - PLACE}S", bases, flag=flag))
        else:
            reads.append(Read(f"c{number}", PLACE - 60, f"{PLACE - start}S{end - PLACE}M", bases, flag=flag))
    calls, _ = called(tmp_path, *reads)
    assert sample[50:880] in calls.segments[0].sequence


@pytest.mark.parametrize("length", [50, 300])
def test_a_deletion_whose_reads_are_split_is_called(tmp_path: Path, length: int) -> None:
    sample = REFERENCE[:PLACE] + REFERENCE[PLACE + length :]
    calls, report = called(tmp_path, *aligned(sample, PLACE, PLACE + length, "d"))
    (segment,) = calls.segments
    assert segment.aligned.count("-") == length
    assert sample[50:550] in segment.sequence
    assert report.deletions == 1
    assert segment.depth[PLACE : PLACE + length].min() >= 10
    (variant,) = calls.variants
    assert len(variant.reference) - len(variant.alternative) == length
    assert variant.filters == ()


def test_reads_that_are_clipped_on_one_side_only_say_nothing(tmp_path: Path) -> None:
    reads = [read for read in inserted(60) if not read.cigar.endswith("S")]
    calls, report = called(tmp_path, *reads)
    assert (calls.segments[0].insertions, report.warnings) == ((), ())


def test_the_bam_of_these_tests_is_what_an_aligner_makes(tmp_path: Path) -> None:
    make_bam(tmp_path, (Segment("reference", REFERENCE),), inserted(60))
    with pysam.AlignmentFile(str(tmp_path / "alignment.bam")) as file:
        for record in file:
            assert record.query_alignment_sequence == REFERENCE[record.reference_start : record.reference_end]
