"""What the reads say at every position of the reference, counted in one pass over the BAM.

An observation is one fragment at one position: mates that overlap count once (the better quality
wins; mates that disagree with equal quality say nothing). Bases below the minimal base quality say nothing.
Deletions count for the positions they span, so depth does not drop in a deletion. Primary and
supplementary alignments count; unmapped, secondary, duplicate and failed ones don't. There is no depth cap.

How it is fast: almost all bases agree with the reference, so only the exceptions are looked at one
by one, and the rest follows from where alignments begin and end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads import bam_records, fragments
from readvault.reads.bam_records import BamReader, Batch, Integers, Operations, windows
from readvault.reads.indel_counts import Indel, IndelCounter
from readvault.reads.sample import Alignment, Segment

ALLELES = "ACGTN-"
A, C, G, T, N, GAP = range(6)
FORWARD, REVERSE = 0, 1

_TILE = 256
_NEVER = 255
_SKIPPED = bam_records.UNMAPPED | bam_records.SECONDARY | bam_records.FAILED | bam_records.DUPLICATE
_ALLELE_OF_NIBBLE = np.array([N, A, C, N, G, N, N, N, T, N, N, N, N, N, N, N], dtype=np.uint8)
_ALLELES_OF_BYTE = np.stack(
    [_ALLELE_OF_NIBBLE[np.arange(256) >> 4], _ALLELE_OF_NIBBLE[np.arange(256) & 15]], axis=1
).view(np.uint16)[:, 0]


@dataclass(frozen=True, slots=True)
class AlleleCounts:
    """Fragments per strand (forward, reverse), allele (`ACGTN-`) and position, all segments in a row.

    `origins[i]` is where segment `i` begins. `quality_sums` adds the base qualities of alleles A, C, G, T
    other than the reference's. `deletions` and `insertions` are whole events, for variants.
    """

    segments: tuple[Segment, ...]
    origins: tuple[int, ...]
    counts: NDArray[np.int64]
    quality_sums: NDArray[np.int64]
    insertions: tuple[Indel, ...]
    deletions: tuple[Indel, ...]

    def span(self, index: int) -> slice:
        """The positions of segment `index` in the arrays."""
        return slice(self.origins[index], self.origins[index] + len(self.segments[index].sequence))

    @property
    def depth(self) -> NDArray[np.int64]:
        """Fragments that say A, C, G, T or deletion at each position."""
        both = self.counts.sum(axis=0)
        return np.asarray(both[[A, C, G, T, GAP]].sum(axis=0), dtype=np.int64)

    @property
    def strand_depth(self) -> NDArray[np.int64]:
        """The depth of each position by strand (forward, reverse)."""
        return np.asarray(self.counts[:, [A, C, G, T, GAP]].sum(axis=1), dtype=np.int64)


def count(alignment: Alignment, segments: tuple[Segment, ...], *, min_base_quality: int) -> AlleleCounts:
    """Count what the reads say at every position, in one pass over the BAM and in flat memory.

    Bases without a quality count as good. Raises ProcessingFailure when the BAM is damaged or lies
    on another reference.
    """
    counter = _Counter(segments, min_base_quality)
    with BamReader(alignment.bam) as reader:
        counter.fits(reader.segments)
        held = b""
        while True:
            batch = reader.read(held)
            held = counter.add(batch, at_end=reader.at_end)
            if reader.at_end:
                return counter.result()


class _Counter:
    def __init__(self, segments: tuple[Segment, ...], min_base_quality: int) -> None:
        self._segments = segments
        self._minimum = min_base_quality
        lengths = [len(segment.sequence) for segment in segments]
        self._origins = np.cumsum([0, *lengths])[:-1]
        self._size = sum(lengths)
        self._reference = np.full(self._size + _TILE, _NEVER, dtype=np.uint8)
        sequence = np.frombuffer("".join(segment.sequence for segment in segments).encode(), dtype=np.uint8)
        for allele in (A, C, G, T):
            self._reference[: self._size][sequence == ord(ALLELES[allele])] = allele
        self._covered = np.zeros((2, self._size + 1), dtype=np.int64)
        self._gaps = np.zeros((2, self._size + 1), dtype=np.int64)
        self._exceptions = np.zeros((2, self._size), dtype=np.int64)
        self._alleles = np.zeros((2, 5, self._size), dtype=np.int64)
        self._quality_sums = np.zeros((4, self._size), dtype=np.int64)
        self._indels = IndelCounter(min_base_quality)

    def fits(self, found: tuple[tuple[str, int], ...]) -> None:
        """Refuse a BAM whose reference sequences are not the segments."""
        if found != tuple((segment.name, len(segment.sequence)) for segment in self._segments):
            raise ProcessingFailure("consensus", "the alignment lies on another reference")

    def add(self, batch: Batch, *, at_end: bool) -> bytes:
        """Count a batch; the bytes of the records that wait for their mates."""
        flag = batch.field("flag")
        usable = ((flag & _SKIPPED) == 0) & (batch.field("segment") >= 0) & (batch.field("length") > 0)
        batch = batch.select(np.flatnonzero(usable))
        operations = Operations.of(batch)
        pairs = fragments.find_pairs(batch, operations.reference_end, at_end=at_end)
        held = batch.raw(pairs.waiting)
        ready = np.ones(len(batch), dtype=bool)
        ready[pairs.waiting] = False
        operations = operations.of_records(ready)
        start = operations.start + self._origins[batch.field("segment")][operations.record]
        strand = (batch.field("flag") & bam_records.REVERSE) >> 4
        pieces = fragments.cut(operations, start, pairs, len(batch))
        self._indels.add(batch, operations, start, strand, pairs)
        self._add_intervals(self._gaps, pieces.gap, strand)
        self._add_intervals(self._covered, pieces.single, strand)
        self._add_intervals(self._covered, pieces.double, strand)
        self._add_single(_View(batch, self._reference), pieces.single, strand)
        self._add_double(_View(batch, self._reference), pieces.double, strand)
        return held

    def result(self) -> AlleleCounts:
        counts = np.zeros((2, 6, self._size), dtype=np.int64)
        counts[:, :5] = self._alleles
        counts[:, GAP] = self._gaps.cumsum(axis=1)[:, :-1]
        agreeing = self._covered.cumsum(axis=1)[:, :-1] - self._exceptions
        reference = self._reference[: self._size]
        places = np.flatnonzero(reference != _NEVER)
        for strand in (FORWARD, REVERSE):
            counts[strand, reference[places], places] += agreeing[strand, places]
        insertions, deletions = self._indels.results()
        origins = tuple(int(origin) for origin in self._origins)
        return AlleleCounts(self._segments, origins, counts, self._quality_sums, insertions, deletions)

    def _add_intervals(self, changes: Integers, pieces: Integers, strand: Integers) -> None:
        """Note where depth rises and falls; its running sum is the depth."""
        width = self._size + 1
        base = strand[pieces[:, 0]] * width + pieces[:, 1]
        flat = changes.reshape(-1)
        np.add.at(flat, base, 1)
        np.subtract.at(flat, base + pieces[:, 2], 1)

    def _add_single(self, view: _View, pieces: Integers, strand: Integers) -> None:
        """Count what one mate says where the other one is absent."""
        for tiles in _tiles(pieces):
            length = int(tiles[0, 2])
            alleles = view.alleles(tiles[:, 0], tiles[:, 3], length)
            qualities = view.qualities(tiles[:, 0], tiles[:, 3], length)
            bad = qualities < self._minimum
            row, column = np.nonzero((alleles != view.reference(tiles[:, 1], length)) | bad)
            side = strand[tiles[row, 0]]
            good = ~bad[row, column]
            self._note(tiles[row, 1] + column, side, side, alleles[row, column], qualities[row, column], good)

    def _add_double(self, view: _View, pieces: Integers, strand: Integers) -> None:
        """Count once what both mates say."""
        for tiles in _tiles(pieces):
            length = int(tiles[0, 2])
            one, other = (view.alleles(tiles[:, r], tiles[:, q], length) for r, q in ((0, 3), (4, 5)))
            quality_one, quality_other = (view.qualities(tiles[:, r], tiles[:, q], length) for r, q in ((0, 3), (4, 5)))
            reference = view.reference(tiles[:, 1], length)
            unclear = (one != reference) | (other != reference)
            unclear |= np.minimum(quality_one, quality_other) < self._minimum
            row, column = np.nonzero(unclear)
            one, other, quality_one, quality_other = (x[row, column] for x in (one, other, quality_one, quality_other))
            other_wins = quality_other > quality_one
            quality = np.where(other_wins, quality_other, quality_one)
            good = (quality >= self._minimum) & ((one == other) | (quality_one != quality_other))
            side = strand[tiles[row, 0]]
            winner = np.where(other_wins, strand[tiles[row, 4]], side)
            self._note(tiles[row, 1] + column, side, winner, np.where(other_wins, other, one), quality, good)

    def _note(
        self,
        place: Integers,
        side: Integers,
        winner: Integers,
        allele: NDArray[np.uint8],
        quality: NDArray[np.uint8],
        good: NDArray[np.bool_],
    ) -> None:
        """Take exceptions out of the reference's count, and put the good ones where they belong."""
        np.add.at(self._exceptions.reshape(-1), side * self._size + place, 1)
        place, winner = place[good], winner[good]
        alleles = allele[good].astype(np.int64)
        np.add.at(self._alleles.reshape(-1), (winner * 5 + alleles) * self._size + place, 1)
        variant = (alleles != self._reference[place]) & (alleles < N)
        at = alleles[variant] * self._size + place[variant]
        np.add.at(self._quality_sums.reshape(-1), at, quality[good][variant].astype(np.int64))


class _View:
    """Rows of bases, qualities and reference of equal length, out of a batch's buffer."""

    def __init__(self, batch: Batch, reference: NDArray[np.uint8]) -> None:
        self._buffer = batch.buffer
        self._sequence = batch.sequence_offset
        self._quality = batch.quality_offset
        self._reference = reference

    def alleles(self, record: Integers, query: Integers, length: int) -> NDArray[np.uint8]:
        """The alleles (0-4) of `length` bases from offset `query` of each record."""
        packed = windows(self._buffer, length // 2 + 1)[self._sequence[record] + query // 2]
        alleles = _ALLELES_OF_BYTE[packed].view(np.uint8)
        odd = (query & 1).astype(bool)[:, None]
        if not odd.any():
            return np.asarray(alleles[:, :length])
        return np.asarray(np.where(odd, alleles[:, 1 : length + 1], alleles[:, :length]), dtype=np.uint8)

    def qualities(self, record: Integers, query: Integers, length: int) -> NDArray[np.uint8]:
        """Their Phred qualities; 255 where the file has none."""
        return np.asarray(windows(self._buffer, length)[self._quality[record] + query])

    def reference(self, place: Integers, length: int) -> NDArray[np.uint8]:
        """The reference's alleles from `place`; 255 where it has none of A, C, G, T."""
        return np.asarray(windows(self._reference, length)[place])


def _tiles(pieces: Integers) -> Iterator[Integers]:
    """Cut pieces into tiles of at most `_TILE` positions; all tiles of one length at a time."""
    count = -(-pieces[:, 2] // _TILE)
    tiles = np.repeat(pieces, count, axis=0)
    shift = _TILE * (np.arange(len(tiles)) - np.repeat(np.cumsum(count) - count, count))
    tiles[:, 2] = np.minimum(tiles[:, 2] - shift, _TILE)
    for column in (1, 3, 5)[: 2 if tiles.shape[1] < 6 else 3]:
        tiles[:, column] += shift
    order = np.argsort(tiles[:, 2].astype(np.uint16), kind="stable")
    tiles = tiles[order]
    borders = np.flatnonzero(np.diff(tiles[:, 2], prepend=-1))
    for start, end in pairwise([*borders, len(tiles)]):
        yield tiles[start:end]
