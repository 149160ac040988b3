"""Ends of reads that were clipped or laid over the reference beside an indel count with the indel."""

from __future__ import annotations

from pathlib import Path

import pytest

from readvault.domain.organism import Consensus, PlatformThresholds
from readvault.reads.call import consensus
from readvault.reads.call.calls import Calls
from readvault.reads.sample import Segment
from tests.unit.reads.bam_maker import Read, make_bam
from tests.unit.reads.call.test_junctions import INSERTED, PLACE, READ, REFERENCE

NEEDED = 30
"""Bases that the aligner of these tests wants on either side of a long indel."""


def whole(step: int, sequence: str = REFERENCE, name: str = "w") -> list[Read]:
    starts = range(0, len(sequence) - READ + 1, step)
    return [
        Read(f"{name}{n}", n, f"{READ}M", sequence[n : n + READ], flag=0x10 * (i % 2)) for i, n in enumerate(starts)
    ]


def with_insertion(bases: str, step: int) -> list[Read]:
    sample = REFERENCE[:PLACE] + bases + REFERENCE[PLACE:]
    reads = []
    for number, start in enumerate(range(0, len(sample) - READ + 1, step)):
        said, flag = sample[start : start + READ], 0x10 * (number % 2)
        left, right = PLACE - start, start + READ - PLACE - len(bases)
        if right <= 0:
            right = 0 if left < READ else -1
        if left >= READ:
            place, cigar = start, f"{READ}M"
        elif left <= -len(bases):
            place, cigar = start - len(bases), f"{READ}M"
        elif min(left, right) >= NEEDED:
            place, cigar = start, f"{left}M{len(bases)}I{right}M"
        elif left >= right:
            place, cigar = start, f"{left}M{READ - left}S"
        else:
            place, cigar = PLACE, f"{READ - right}S{right}M"
        reads.append(Read(f"i{number}", place, cigar, said, flag=flag))
    return reads


def with_deletion(length: int, step: int) -> list[Read]:
    """Where fewer than ten bases stand on one side of the deletion they are laid over the reference."""
    sample = REFERENCE[:PLACE] + REFERENCE[PLACE + length :]
    reads = []
    for number, start in enumerate(range(0, len(sample) - READ + 1, step)):
        said, flag = sample[start : start + READ], 0x10 * (number % 2)
        left = PLACE - start
        if left >= READ - 9:
            place, cigar = start, f"{READ}M"
        elif left < 10:
            place, cigar = start + length, f"{READ}M"
        else:
            place, cigar = start, f"{left}M{length}D{READ - left}M"
        reads.append(Read(f"d{number}", place, cigar, said, flag=flag))
    return reads


def called(directory: Path, *reads: Read) -> Calls:
    segments = (Segment("reference", REFERENCE),)
    return consensus.call(
        make_bam(directory, segments, reads),
        segments,
        thresholds=PlatformThresholds(min_depth=10),
        rules=Consensus(),
        sample_name="S.1",
        directory=directory,
    )[0]


@pytest.mark.parametrize("length", [13, 27])
def test_a_minor_insertion_has_the_frequency_of_all_its_fragments(tmp_path: Path, length: int) -> None:
    reads = [*whole(1), *whole(1, name="v"), *with_insertion(INSERTED[:length], 5)]
    (variant,) = called(tmp_path, *reads).variants
    assert (variant.position, variant.alternative) == (PLACE, REFERENCE[PLACE - 1] + INSERTED[:length])
    covering = sum(PLACE - READ < start < PLACE for start in range(0, 900, 5))
    assert covering - 2 <= variant.count <= covering
    assert variant.filters == ()


def test_an_insertion_of_all_fragments_is_called_though_most_are_clipped(tmp_path: Path) -> None:
    calls = called(tmp_path, *with_insertion(INSERTED[:27], 2))
    assert calls.segments[0].insertions == (f"{PLACE}:{INSERTED[:27]}",)
    assert [variant.frequency > 0.9 for variant in calls.variants] == [True]


def test_ends_that_were_laid_over_a_deletion_are_no_substitutions(tmp_path: Path) -> None:
    (variant,) = called(tmp_path, *whole(2), *with_deletion(20, 2)).variants
    assert len(variant.reference) - len(variant.alternative) == 20
    assert variant.frequency == pytest.approx(0.5, abs=0.03)


def test_a_substitution_within_a_deletion_of_others_stays(tmp_path: Path) -> None:
    """Its base is the one that a read would show there whose end was laid over the deletion."""
    place = next(at for at in range(PLACE, PLACE + 20) if REFERENCE[at] != REFERENCE[at + 20])
    changed = REFERENCE[:place] + REFERENCE[place + 20] + REFERENCE[place + 1 :]
    found = called(tmp_path, *whole(1), *whole(2, changed, "s"), *with_deletion(20, 2)).variants
    (substitution,) = [variant for variant in found if len(variant.reference) == len(variant.alternative)]
    assert substitution.position == place + 1
    assert substitution.frequency == pytest.approx(0.25, abs=0.02)
