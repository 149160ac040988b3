"""The index of a BAM (BAI), made while the BAM is written: samtools would read and unpack it all once more.

The format is that of the SAM specification (SAMv1, section 5.2). Until the end, places in the BAM count
unpacked bytes; only then it is known where the compressed blocks begin.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    DELETION,
    DIFFERENT,
    EQUAL,
    FIXED_BYTES,
    MATCH,
    SKIP,
    Bytes,
    Integers,
    int32_at,
    uint16_at,
)
from readvault.reads.align.bam_writer import bin_of
from readvault.reads.bgzf import BLOCK
from readvault.reads.native import compiled
from readvault.reads.sample import Segment

_WINDOW_BITS = 14
_STATISTICS = 37450
"""The bin that exists in no tree: samtools keeps there where a segment's records lie and how many there are."""

_SMALLEST_RECORD = 37
_NEVER = -1


class BamIndex:
    """Takes the records of a BAM in their order. All of them must be mapped."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        windows = [(len(segment.sequence) >> _WINDOW_BITS) + 1 for segment in segments]
        self._first_window = np.cumsum([0, *windows]).astype(np.int64)
        self._linear = np.full(sum(windows), _NEVER, dtype=np.int64)
        self._totals = np.zeros(len(segments), dtype=np.int64)
        self._chunks: list[NDArray[np.int64]] = []

    def add(self, records: Bytes, at: int) -> None:
        """Note whole records, the first of which begins `at` bytes behind the unpacked BAM's begin."""
        chunks = np.empty((len(records) // _SMALLEST_RECORD + 1, 4), dtype=np.int64)
        count = _note(records, at, self._first_window, self._linear, self._totals, chunks)
        self._chunks.append(chunks[:count].copy())

    def write(self, path: Path, blocks: Integers) -> None:
        """Write the index; `blocks` tells where each block begins in the file, and where behind the last one."""
        chunks = np.concatenate(self._chunks) if self._chunks else np.empty((0, 4), dtype=np.int64)
        chunks[:, 2:] = _virtual(chunks[:, 2:], blocks)
        parts = [struct.pack("<4si", b"BAI\1", len(self._totals))]
        for segment, total in enumerate(self._totals.tolist()):
            own = chunks[chunks[:, 0] == segment]
            parts += _tree(own, total)
            begin, end = self._first_window[segment : segment + 2].tolist()
            parts += _windows(self._linear[begin:end], blocks)
        parts.append(struct.pack("<Q", 0))  # no record is without a place
        path.write_bytes(b"".join(parts))


def _virtual(places: Integers, blocks: Integers) -> Integers:
    """Where unpacked bytes are: the begin of their block in the file and, in the low 16 bits, their place in it."""
    return np.asarray(blocks[places // BLOCK] << 16 | places % BLOCK, dtype=np.int64)


def _tree(chunks: NDArray[np.int64], total: int) -> list[bytes]:
    """The bins of one segment. Chunks of a bin that meet in a block become one, as samtools does."""
    if not len(chunks):
        return [struct.pack("<i", 0)]
    ordered = chunks[np.argsort(chunks[:, 1], kind="stable")]
    bins = np.unique(ordered[:, 1])
    parts = [struct.pack("<i", len(bins) + 1)]
    for bin_ in bins.tolist():
        joined: list[list[int]] = []
        for begin, end in ordered[ordered[:, 1] == bin_][:, 2:].tolist():
            if joined and begin >> 16 <= joined[-1][1] >> 16:
                joined[-1][1] = end
            else:
                joined.append([begin, end])
        parts.append(struct.pack("<Ii", bin_, len(joined)))
        parts += [struct.pack("<QQ", *each) for each in joined]
    span = int(chunks[0, 2]), int(chunks[-1, 3])
    return [*parts, struct.pack("<IiQQQQ", _STATISTICS, 2, *span, total, 0)]


def _windows(linear: Integers, blocks: Integers) -> list[bytes]:
    """Where the first record begins that reaches into each 16,384 bases; an empty window has its neighbour's."""
    used = np.flatnonzero(linear != _NEVER)
    if not len(used):
        return [struct.pack("<i", 0)]
    source = np.maximum.accumulate(np.where(linear == _NEVER, 0, np.arange(len(linear))))[: used[-1] + 1]
    offsets = _virtual(linear[np.maximum(source, used[0])], blocks)
    return [struct.pack("<i", len(offsets)), offsets.astype("<u8").tobytes()]


@compiled("int64(uint8[::1], int64, int64[::1], int64[::1], int64[::1], int64[:,::1])")
def _note(
    records: Bytes, place: int, first_window: Integers, linear: Integers, totals: Integers, chunks: NDArray[np.int64]
) -> int:
    """Note each record's windows, and chunks (segment, bin, begin, end) of records in a row in one bin; how many."""
    at, count = 0, 0
    segment_before, bin_before = np.int64(-1), np.int64(-1)
    while at < len(records):
        size = 4 + int32_at(records, at)
        segment, start = int32_at(records, at + 4), int32_at(records, at + 8)
        end = start + max(_span(records, at), 1)
        bin_ = np.int64(bin_of(start, end))
        if segment != segment_before or bin_ != bin_before:
            chunks[count, 0], chunks[count, 1], chunks[count, 2] = segment, bin_, place + at
            segment_before, bin_before = segment, bin_
            count += 1
        chunks[count - 1, 3] = place + at + size
        totals[segment] += 1
        first = first_window[segment]
        for window in range(first + (start >> _WINDOW_BITS), first + ((end - 1) >> _WINDOW_BITS) + 1):
            if linear[window] == _NEVER:
                linear[window] = place + at
        at += size
    return count


@compiled("int64(uint8[::1], int64)")
def _span(records: Bytes, at: Any) -> int:
    """How many positions of the reference an alignment spans."""
    operation = at + FIXED_BYTES + np.int64(records[at + 12])
    span = np.int64(0)
    for _ in range(uint16_at(records, at + 16)):
        word = int32_at(records, operation) & 0xFFFFFFFF
        if word & 15 in (MATCH, EQUAL, DIFFERENT, SKIP, DELETION):
            span += word >> 4
        operation += 4
    return int(span)
