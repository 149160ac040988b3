"""What the reads say at every position of the reference, counted in one pass over the BAM.

An observation is one fragment at one position: mates that overlap count once (the better quality
wins; mates that disagree with equal quality say nothing). Bases below the minimal base quality say nothing.
Deletions count for the positions they span, so depth does not drop in a
deletion; one says something when the bases beside it have the minimal quality on average. Primary and
supplementary alignments count; unmapped, secondary, duplicate and failed ones don't. There is no depth cap.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads.align.bam_records import BamReader, Batch
from readvault.reads.call import counting_kernel, fragments
from readvault.reads.call.counting_kernel import GAP, A, C, G, N, T
from readvault.reads.call.indel_counts import Indel, IndelCounter
from readvault.reads.sample import Alignment, Segment

__all__ = ["ALLELES", "FORWARD", "GAP", "REVERSE", "A", "AlleleCounts", "C", "G", "N", "T", "count"]

ALLELES = "ACGTN-"
FORWARD, REVERSE = 0, 1

_NEVER = 255
_FEW_RECORDS = 1000
_LARGEST_SHARED = 1_000_000
"""Bases of a reference: with a larger one, tables for each thread would take more memory than they save time."""


@dataclass(frozen=True)
class AlleleCounts:
    """Fragments per strand (forward, reverse), allele (`ACGTN-`) and position, all segments in a row.

    `origins[i]` is where segment `i` begins. `quality_sums` adds the base qualities of alleles A, C, G, T
    other than the reference's. `deletions` and `insertions` are whole events, for variants. `clips` counts
    alignments (not fragments) by where long soft clips (15 bases and more) stand: row 0 those whose
    left clip ends before this first aligned position, row 1 those whose right clip follows this last one; clips that
    were made where a primer ends are in neither.
    """

    segments: tuple[Segment, ...]
    origins: tuple[int, ...]
    counts: NDArray[np.int64]
    quality_sums: NDArray[np.int64]
    insertions: tuple[Indel, ...]
    deletions: tuple[Indel, ...]
    clips: NDArray[np.int64]

    def span(self, index: int) -> slice:
        """The positions of segment `index` in the arrays."""
        return slice(self.origins[index], self.origins[index] + len(self.segments[index].sequence))

    @cached_property
    def depth(self) -> NDArray[np.int64]:
        """Fragments that say A, C, G, T or deletion at each position."""
        return np.asarray(self.strand_depth.sum(axis=0), dtype=np.int64)

    @cached_property
    def strand_depth(self) -> NDArray[np.int64]:
        """The depth of each position by strand (forward, reverse)."""
        return np.asarray(self.counts[:, :4].sum(axis=1) + self.counts[:, GAP], dtype=np.int64)


def count(
    alignment: Alignment, segments: tuple[Segment, ...], *, min_base_quality: int, threads: int = 1
) -> AlleleCounts:
    """Count what the reads say at every position, in one pass over the BAM and in flat memory.

    Bases without a quality count as good. Raises ProcessingFailure when the BAM is damaged or lies
    on another reference.
    """
    counter = _Counter(segments, min_base_quality, threads)
    with counter, BamReader(alignment.bam) as reader:
        counter.fits(reader.segments)
        held = b""
        while True:
            batch = reader.read(held)
            held = counter.add(batch, at_end=reader.at_end)
            if reader.at_end:
                return counter.result(alignment)


class _Share:
    """What one thread has counted."""

    def __init__(self, size: int) -> None:
        self.counts = np.zeros((2, len(ALLELES), size), dtype=np.int64)
        self.quality_sums = np.zeros((4, size), dtype=np.int64)
        self.clips = np.zeros((2, size), dtype=np.int64)

    def add(self, other: _Share) -> None:
        self.counts += other.counts
        self.quality_sums += other.quality_sums
        self.clips += other.clips


class _Counter:
    """Each thread counts its part of every batch. Use it as a context manager."""

    def __init__(self, segments: tuple[Segment, ...], min_base_quality: int, threads: int) -> None:
        self._segments = segments
        self._minimum = min_base_quality
        lengths = [len(segment.sequence) for segment in segments]
        self._origins = np.cumsum([0, *lengths])[:-1].astype(np.int64)
        self._lengths = np.array(lengths, dtype=np.int64)
        size = sum(lengths)
        self._reference = np.full(size, _NEVER, dtype=np.uint8)
        sequence = np.frombuffer("".join(segment.sequence for segment in segments).encode(), dtype=np.uint8)
        for allele in (A, C, G, T):
            self._reference[sequence == ord(ALLELES[allele])] = allele
        self._shares = [_Share(size) for _ in range(threads if size <= _LARGEST_SHARED else 1)]
        self._pool = ThreadPoolExecutor(len(self._shares))
        self._indels = IndelCounter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def fits(self, found: tuple[tuple[str, int], ...]) -> None:
        """Refuse a BAM whose reference sequences are not the segments."""
        if found != tuple((segment.name, len(segment.sequence)) for segment in self._segments):
            raise ProcessingFailure("consensus", "the alignment lies on another reference")

    def add(self, batch: Batch, *, at_end: bool) -> bytes:
        """Count a batch; the bytes of the records that wait for their mates."""
        if not fragments.are_sound(batch, self._lengths):
            raise ProcessingFailure("consensus", "the BAM has a damaged record")
        found = fragments.find(batch, at_end=at_end)
        shares = self._shares if len(batch) >= _FEW_RECORDS else self._shares[:1]
        borders = np.linspace(0, len(batch), len(shares) + 1).astype(np.int64).tolist()
        parts = zip(shares, borders[:-1], borders[1:], strict=True)
        jobs = [self._pool.submit(self._count, batch, found, *part) for part in parts]
        for job in jobs:
            self._indels.add(batch.buffer, job.result())
        return batch.raw(found.waiting)

    def _count(
        self, batch: Batch, found: fragments.Fragments, share: _Share, begin: int, end: int
    ) -> NDArray[np.int64]:
        """Count some records (and the mates of the leads among them); their insertions and deletions."""
        mate = np.full_like(found.mate, fragments.IGNORED)
        mate[begin:end] = found.mate[begin:end]
        events = np.empty((found.indels + 1, counting_kernel.EVENT), dtype=np.int64)
        counted = counting_kernel.count_records(
            batch.buffer,
            batch.offset,
            mate,
            found.end,
            found.is_lead,
            self._origins,
            self._reference,
            self._minimum,
            share.counts,
            share.quality_sums,
            share.clips,
            events,
            np.empty((4, found.longest + 1), dtype=np.uint8),
        )
        return events[:counted]

    def result(self, alignment: Alignment) -> AlleleCounts:
        insertions, deletions = self._indels.results()
        total, *others = self._shares
        for other in others:
            total.add(other)
        origins = tuple(int(origin) for origin in self._origins)
        starts = {segment.name: origin for segment, origin in zip(self._segments, origins, strict=True)}
        for site in alignment.primers:
            begin, end = starts[site.segment] + site.start, starts[site.segment] + site.end
            total.clips[0, end : end + 1] = 0
            total.clips[1, max(begin - 1, 0) : begin] = 0
        return AlleleCounts(
            self._segments, origins, total.counts, total.quality_sums, insertions, deletions, total.clips
        )
