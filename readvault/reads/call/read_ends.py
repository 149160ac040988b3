"""Read ends that belong to an indel, although they were not aligned as such.

Where a read ends soon behind an insertion or a deletion, it costs an aligner less to clip the end, or to lay it over
the reference with a mismatch. Half of the fragments of an insertion of 30 bases are lost to its count so, and
the mismatches look like a substitution. Here the ends of reads beside each indel that other reads spell out are
compared with it and with the reference; what fits the indel only is counted as the indel.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pysam
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads.call.allele_counts import GAP, AlleleCounts
from readvault.reads.call.counting_kernel import LONG_CLIP
from readvault.reads.call.homopolymers import Homopolymers
from readvault.reads.call.indel_counts import Indel

MIN_FRAGMENTS = 3
LONG, MIN_PART = 10, 0.25
"""Insertions of so many bases are looked at from this part of the frequency on from which variants are listed."""

MAX_RECORDS = 4_000_000
"""Records that are passed over in all, for long insertions first: a BAM's index leads to within 16,384 bases only."""

_WINDOW, _READ = 1 << 14, 150

ANCHORED = 12
"""A read must be aligned with so many bases up to the indel."""

LONGEST_END = 1000
SLACK = 6
"""Aligners end an alignment some bases before or behind an indel, where they fit both."""

LONGEST_LAID = 40
"""Bases beyond an indel over which an aligner lays what belongs elsewhere, at most: longer, it is cheaper clipped."""

MAX_WRONG = 0.06
"""The share of an end's bases that may differ from the indel's sequence by errors of reading."""

_SKIPPED = pysam.FUNMAP | pysam.FSECONDARY | pysam.FQCFAIL | pysam.FDUP
_MATCH = (pysam.CMATCH, pysam.CEQUAL, pysam.CDIFF)


@dataclass(frozen=True, slots=True)
class _End:
    """What a read says beyond a place, outwards. Its alignment ends `aligned` bases beyond, or before if negative."""

    name: str
    reverse: bool
    said: str
    qualities: NDArray[np.uint8]
    aligned: int
    clipped: int


def add_ends(
    counts: AlleleCounts, bam: Path, *, min_frequency: float, min_base_quality: int, homopolymers: Homopolymers | None
) -> AlleleCounts:
    """Count with every indel the fragments of which only an end shows it.

    Their votes for bases beside it are taken back. `homopolymers` are given where indels in them are doubtful, and
    then left alone. Raises ProcessingFailure when the BAM can't be read.
    """
    chosen = _chosen(counts, min_frequency, homopolymers)
    if not chosen:
        return counts
    try:
        with pysam.AlignmentFile(str(bam), "rb") as file:
            work = _Realigner(counts, file, min_base_quality)
            moved = work.supported(chosen)
    except (OSError, ValueError) as fault:
        raise ProcessingFailure("consensus", "the BAM can't be read") from fault
    return replace(
        counts,
        counts=work.alleles,
        quality_sums=work.quality_sums,
        clips=work.clips,
        insertions=tuple(sorted(moved.get(event, event) for event in counts.insertions)),
        deletions=tuple(sorted(moved.get(event, event) for event in counts.deletions)),
    )


def _chosen(counts: AlleleCounts, min_frequency: float, homopolymers: Homopolymers | None) -> list[Indel]:
    """The indels to look at; of those at one place the most frequent, since ends can't tell them apart."""
    best: dict[tuple[int, bool], Indel] = {}
    for event in (*counts.deletions, *counts.insertions):
        part = MIN_PART if event.bases and event.length >= LONG else 1
        enough = max(MIN_FRAGMENTS, part * min_frequency * int(counts.depth[event.place]))
        if event.fragments < enough or (homopolymers and homopolymers.doubt(event, counts.strand_depth)):
            continue
        key = event.place, bool(event.bases)
        if key not in best or event.fragments > best[key].fragments:
            best[key] = event
    chosen: list[Indel] = []
    windows: set[tuple[int, int]] = set()
    records = 0
    for event in sorted(best.values(), key=lambda event: (-len(event.bases) // LONG, -event.fragments, event)):
        window = _window(counts, event)
        if window not in windows:
            begin = counts.origins[window[0]] + window[1] * _WINDOW
            records += int(counts.depth[begin : begin + _WINDOW].sum()) // _READ
            windows.add(window)
        if records > MAX_RECORDS:
            break
        chosen.append(event)
    return chosen


def _window(counts: AlleleCounts, event: Indel) -> tuple[int, int]:
    """The segment of an event, and the stretch of the BAM's index in which it lies."""
    index = int(np.searchsorted(counts.origins, event.place, side="right")) - 1
    return index, (event.place - counts.origins[index]) // _WINDOW


class _Realigner:
    """Holds the counts while ends are moved from bases to indels."""

    def __init__(self, counts: AlleleCounts, file: pysam.AlignmentFile, min_base_quality: int) -> None:
        self.alleles = counts.counts.copy()
        self.quality_sums = counts.quality_sums.copy()
        self.clips = counts.clips.copy()
        self._counts = counts
        self._sequence = "".join(segment.sequence for segment in counts.segments)
        self._file = file
        self._minimum = min_base_quality

    def supported(self, events: list[Indel]) -> dict[Indel, Indel]:
        """Each event with the fragments whose ends show it added; windows of the BAM are read once."""
        windows = sorted({_window(self._counts, event) for event in events})
        ends: dict[tuple[int, int, int], list[_End]] = {}
        for window in windows:
            ends |= self._ends(window[0], [event for event in events if _window(self._counts, event) == window])
        return {event: self._with(event, ends) for event in events}

    def _sides(self, event: Indel, index: int) -> tuple[int, int]:
        """The bases of a segment before and behind an event."""
        first = event.place + (1 if event.bases else 0) - self._counts.origins[index]
        return first - 1, first + (0 if event.bases else event.length)

    def _with(self, event: Indel, ends: dict[tuple[int, int, int], list[_End]]) -> Indel:
        index = _window(self._counts, event)[0]
        sequence, origin = self._counts.segments[index].sequence, self._counts.origins[index]
        before, behind = self._sides(event, index)
        first = before + 1
        extra: dict[str, bool] = {}
        right = event.bases + sequence[behind : behind + LONGEST_END]
        for end in ends[index, before, 1]:
            if self._is_of(end, right, sequence[first : first + len(end.said)]):
                extra[end.name] = end.reverse
                self._move(event, end, origin + first, 1)
        left = (sequence[max(first - LONGEST_END, 0) : first] + event.bases)[::-1]
        for end in ends[index, behind, -1]:
            fits = self._is_of(end, left, sequence[max(behind - len(end.said), 0) : behind][::-1])
            if fits and end.name not in extra:
                self._move(event, end, origin + behind - 1, -1)
                if len(end.said) > len(event.bases):  # it reaches the base before an insertion, where that is counted
                    extra[end.name] = end.reverse
        reverse = sum(extra.values())
        return replace(event, forward=event.forward + len(extra) - reverse, reverse=event.reverse + reverse)

    def _is_of(self, end: _End, indel: str, reference: str) -> bool:
        """Whether an end fits the indel and fits the reference less well, by bases of good quality."""
        if end.said == reference:
            return False
        good = np.flatnonzero(end.qualities >= self._minimum).tolist()
        if not good or good[-1] >= min(len(indel), len(reference)):
            return False
        wrong = sum(end.said[at] != indel[at] for at in good)
        return wrong <= MAX_WRONG * len(good) and wrong < sum(end.said[at] != reference[at] for at in good)

    def _move(self, event: Indel, end: _End, place: int, step: int) -> None:
        """Take back what an end said where it was aligned, and say it where it belongs."""
        strand = int(end.reverse)
        for at in range(max(end.aligned, 0)):
            self._vote(strand, end, at, place + step * at, -1)
        inserted = len(event.bases)
        skipped = 0 if event.bases else event.length
        if skipped:
            self.alleles[strand, GAP, event.place : event.place + event.length] += 1
        for at in range(inserted, len(end.said)):
            self._vote(strand, end, at, place + step * (at - inserted + skipped), 1)
        if end.clipped >= LONG_CLIP:
            row, last = (1, place + end.aligned - 1) if step > 0 else (0, place - end.aligned + 1)
            self.clips[row, last] = max(int(self.clips[row, last]) - 1, 0)

    def _vote(self, strand: int, end: _End, at: int, place: int, number: int) -> None:
        allele = "ACGT".find(end.said[at])
        if allele < 0 or end.qualities[at] < self._minimum or not 0 <= place < self.alleles.shape[2]:
            return
        if number < 0 and self.alleles[strand, allele, place] == 0:
            return
        self.alleles[strand, allele, place] += number
        if end.said[at] != self._sequence[place]:
            self.quality_sums[allele, place] += number * int(end.qualities[at])

    def _ends(self, index: int, events: list[Indel]) -> dict[tuple[int, int, int], list[_End]]:
        """By segment, place and direction, ends of reads that are aligned up to a place of one of the events.

        They are of fragments without another read there: what two mates say together was settled
        when they were counted.
        """
        sides = [self._sides(event, index) for event in events]
        marks = sorted({(before, 1) for before, _ in sides} | {(behind, -1) for _, behind in sides})
        found: dict[tuple[int, int], dict[str, _End | None]] = {mark: {} for mark in marks}
        first, last = max(marks[0][0] - SLACK, 0), marks[-1][0] + SLACK + 1
        for record in self._file.fetch(self._counts.segments[index].name, first, last):
            at = bisect_left(marks, (record.reference_start - SLACK, -1))
            if at == len(marks) or record.flag & _SKIPPED or not record.query_length or record.reference_end is None:
                continue
            while at < len(marks) and marks[at][0] < record.reference_end + SLACK:
                fragments, name = found[marks[at]], str(record.query_name)
                fragments[name] = None if name in fragments else _end(record, *marks[at])
                at += 1
        return {(index, *mark): [end for end in ends.values() if end] for mark, ends in found.items()}


def _end(record: pysam.AlignedSegment, place: int, outwards: int) -> _End | None:
    """What a read says beyond `place`, if its outermost aligned stretch leads up to it and ends near it."""
    operations = record.cigartuples or []
    if outwards < 0:
        operations = operations[::-1]
    clipped = operations[-1][1] if operations[-1][0] == pysam.CSOFT_CLIP else 0
    block = operations[-2] if operations[-1][0] == pysam.CSOFT_CLIP and len(operations) > 1 else operations[-1]
    if block[0] not in _MATCH:
        return None
    edge = record.reference_end - 1 if outwards > 0 else record.reference_start
    aligned = (edge - place) * outwards  # bases beyond the place
    if not -SLACK <= aligned <= LONGEST_LAID or block[1] - aligned < ANCHORED or aligned + clipped < 1:
        return None
    number = aligned + clipped
    bases, qualities = str(record.query_sequence), record.query_qualities
    scores = np.full(len(bases), 255, np.uint8) if qualities is None else np.frombuffer(qualities, dtype=np.uint8)
    said = bases[-number:] if outwards > 0 else bases[:number][::-1]
    heard = scores[-number:] if outwards > 0 else scores[:number][::-1]
    return _End(str(record.query_name), record.is_reverse, said, heard, aligned, clipped)
