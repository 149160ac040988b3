"""Insertions and deletions that are too long for the reads' CIGARs, found where reads are clipped.

Where half of the reads break off at a place and others begin beside it, something is inserted: its
sequence is built from the clipped ends of both sides, and it counts like any other insertion. What can't be built
without doubt is told, and is `N`, rather than passed over. Where the clipped ends continue at another place of the
segment, what lies between is deleted. All places are 0-based in the row of all segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.reads.call.allele_counts import GAP, AlleleCounts
from readvault.reads.call.clipped_reads import LONGEST_CLIP, SHORTEST_CLIP, ClippedReads, Clips
from readvault.reads.call.indel_counts import Indel

MIN_SHARE = 0.5
"""The share of the fragments at a junction that must be clipped there."""

MIN_OVERLAP, MIN_IDENTITY = 15, 0.95
LONGEST_REPEAT = 400
"""An inserted copy of what stands beside it lets alignments of both sides overlap, by up to so many bases."""

UNKNOWN_LENGTH = 10**6
LONGEST_CHANCE = 30
"""What could not be resolved is an insertion only if the sides overlap no more than chance would make them."""

MAX_PLACES = 40
"""Reads that are clipped at more places than this don't come from something like the reference."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An insertion whose sequence could not be told: between `first` and `last`, 1-based on the segment."""

    segment: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Side:
    place: int
    clips: Clips


def resolve(
    counts: AlleleCounts, bam: Path, *, min_depth: int, min_base_quality: int
) -> tuple[AlleleCounts, tuple[Unresolved, ...]]:
    """Add the long insertions and deletions that clipped reads prove; also those that they don't spell out.

    A deletion's fragments count in the depth of what it takes out. Raises ProcessingFailure when the BAM can't be read.
    """
    found: list[Indel] = []
    unresolved: list[Unresolved] = []
    reads = ClippedReads(bam, min_base_quality)
    for index in range(len(counts.segments)):
        finder = _Finder(counts, index, reads, min_depth)
        found += finder.insertions_and_deletions()
        unresolved += finder.unresolved
    if not found:
        return counts, tuple(unresolved)
    alleles = counts.counts.copy()
    for event in found:
        if not event.bases:
            _take_out(alleles, counts, event)
    insertions = tuple(sorted([*counts.insertions, *(event for event in found if event.bases)]))
    deletions = tuple(sorted([*counts.deletions, *(event for event in found if not event.bases)]))
    return replace(counts, counts=alleles, insertions=insertions, deletions=deletions), tuple(unresolved)


def _take_out(alleles: NDArray[np.int64], counts: AlleleCounts, event: Indel) -> None:
    """Count a deletion's fragments as gaps where it is.

    Its first bases may be aligned before it as well as behind it, where they fit both sides: there they were
    counted as bases.
    """
    sequence = "".join(segment.sequence for segment in counts.segments)
    for strand, number in enumerate((event.forward, event.reverse)):
        alleles[strand, GAP, event.place : event.place + event.length] += number
        for place in range(event.place, event.place + LONGEST_CHANCE):
            if sequence[place] != sequence[place + event.length]:
                break
            allele = "ACGT".find(sequence[place])
            alleles[strand, allele, place] = max(int(alleles[strand, allele, place]) - number, 0)


class _Finder:
    """Looks at the clipped reads of one segment."""

    def __init__(self, counts: AlleleCounts, index: int, reads: ClippedReads, min_depth: int) -> None:
        self._segment = counts.segments[index]
        self._origin = counts.origins[index]
        self._reads = reads
        self._min_depth = min_depth
        self._depth, clips = counts.depth[counts.span(index)], counts.clips[:, counts.span(index)]
        enough = (clips >= min_depth / 2) & (clips >= MIN_SHARE / 4 * self._depth)
        starts, ends = (np.flatnonzero(side).tolist() for side in enough)
        if max(len(starts), len(ends)) > MAX_PLACES:
            starts, ends = [], []
        pairs = [(end, start) for end in ends for start in starts if start > end - LONGEST_REPEAT]
        self._ends = {end: _Side(end, reads.after(self._segment.name, end)) for end in {end for end, _ in pairs}}
        self._starts = {
            start: _Side(start, reads.before(self._segment.name, start)) for start in {start for _, start in pairs}
        }
        self._pairs = sorted(pairs, key=lambda pair: (abs(pair[1] - pair[0] - 1), pair))
        self.unresolved: list[Unresolved] = []

    def insertions_and_deletions(self) -> list[Indel]:
        """The events that are proven, the sides of each used once; nearest sides are tried first."""
        found: list[Indel] = []
        used: set[tuple[str, int]] = set()
        doubtful: list[tuple[int, int]] = []
        for end, start in self._pairs:
            if {("end", end), ("start", start)} & used:
                continue
            left, right = self._ends[end], self._starts[start]
            event = self._deletion(left, right) if start > end + 1 else self._insertion(left, right)
            if event is not None:
                found.append(event)
                used |= {("end", end), ("start", start)}
            elif end + 1 - LONGEST_CHANCE <= start <= end + 1:
                doubtful.append((end, start))
        for end, start in doubtful:
            share = self._share(self._ends[end], self._starts[start], UNKNOWN_LENGTH)
            if share >= MIN_SHARE and not {("end", end), ("start", start)} & used:
                self.unresolved.append(Unresolved(self._segment.name, start, end + 2))
                used |= {("end", end), ("start", start)}
        return found

    def _share(self, left: _Side, right: _Side, inserted: int) -> float:
        """The share of the fragments that have the junction, of those that have it or span its place; 0 for too few.

        Reads break off on either side of what is inserted. There are as many more of them than of reads that span a
        place of the reference as the insertion is long beside a read.
        """
        clipped = left.clips.fragments.keys() | right.clips.fragments.keys()
        if len(clipped) < self._min_depth or not left.clips.fragments or not right.clips.fragments:
            return 0.0
        sides = ((left.place, left.place + 1), (right.place - 1, right.place))
        spanning: float = max(len(self._reads.spanning(self._segment.name, *side) - clipped) for side in sides)
        length = max(left.clips.read_length, right.clips.read_length)
        if left.place - right.place + 1 >= SHORTEST_CLIP:  # a copy: its other end is joined as in the reference
            have = float(len(clipped))
            spanning = max(spanning - have, 0.0)
        else:
            have = len(clipped) * length / (length + min(inserted, length))
        return have / (have + spanning)

    def _deletion(self, left: _Side, right: _Side) -> Indel | None:
        """The deletion between two sides, at its leftmost place, if the clipped ends of each continue at the other."""
        sequence = self._segment.sequence
        for shared in range(LONGEST_CHANCE + 1):  # bases that fit both sides of it are aligned on either
            end = max(left.place + 1 - shared, 0)
            after = sequence[right.place + shared : right.place + shared + LONGEST_CLIP]
            before = sequence[max(end - LONGEST_CLIP, 0) : end]
            if _continues(left.clips.bases, after) and _continues(right.clips.bases[::-1], before[::-1]):
                if self._share(left, right, 0) < MIN_SHARE:
                    return None
                strands = list({**left.clips.fragments, **right.clips.fragments}.values())
                length = right.place - left.place - 1 + shared
                return Indel(self._origin + end, length, "", strands.count(False), strands.count(True))
        return None

    def _insertion(self, left: _Side, right: _Side) -> Indel | None:
        """The one insertion after `left.place` that the clipped ends of both sides spell.

        Reads that break off before it and reads that begin behind it are different ones, so it counts as its share of
        the depth, at most as often as it was seen.
        """
        sequence = self._segment.sequence
        preceding = right.clips.bases + sequence[right.place : left.place + 1]
        before = sequence[max(left.place + 1 - LONGEST_CLIP, 0) : left.place + 1]
        after = sequence[left.place + 1 : left.place + 1 + LONGEST_CLIP]
        bases = _only(sorted(_joined(left.clips.bases, preceding, before, after), key=len))
        if bases is None:
            return None
        share = self._share(left, right, len(bases))
        if share < MIN_SHARE:
            return None
        strands = list({**left.clips.fragments, **right.clips.fragments}.values())
        seen = min(round(share * int(self._depth[left.place])), len(strands))
        reverse = round(seen * strands.count(True) / len(strands))
        return Indel(self._origin + left.place, len(bases), bases, seen - reverse, reverse)


def _joined(following: str, preceding: str, before: str, after: str) -> Iterator[str]:
    """All insertions that fit what follows the left side and what precedes the right side.

    The two must overlap within the insertion, or one of them must hold it whole and go on with the reference.
    """
    for length in range(SHORTEST_CLIP, len(following) + len(preceding) - MIN_OVERLAP + 1):
        start = len(preceding) - length  # where the insertion begins in `preceding`, if it is in it
        low, high = max(0, -start), min(len(following), length)
        if high - low < MIN_OVERLAP or not _alike(following[low:high], preceding[start + low : start + high]):
            continue
        beyond, ahead = following[length:], preceding[: max(start, 0)]
        if _fits(beyond, after) and _fits(ahead[::-1], before[::-1]):
            yield following[:low] + preceding[max(start, 0) :]


def _only(spelled: list[str]) -> str | None:
    """The one insertion that is meant; of more and more copies of one thing, which reads can't count, the fewest."""
    if not spelled:
        return None
    bases = spelled[0]
    repeated = all(other == bases * (len(other) // len(bases)) for other in spelled)
    return bases if repeated else None


def _continues(clipped: str, reference: str) -> bool:
    """Whether a clipped end goes on as the reference does, for long enough to be no chance."""
    start = clipped[:SHORTEST_CLIP]
    return len(start) == SHORTEST_CLIP and reference.startswith(start) and _fits(clipped, reference)


def _fits(bases: str, reference: str) -> bool:
    common = min(len(bases), len(reference))
    return _alike(bases[:common], reference[:common])


def _alike(one: str, other: str) -> bool:
    return sum(a == b for a, b in zip(one, other, strict=True)) >= MIN_IDENTITY * len(one)
