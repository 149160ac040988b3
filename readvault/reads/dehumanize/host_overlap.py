"""What a host index and a reference have in common: reads of those places would leave as human.

The index file is streamed block by block past the reference's k-mers, so that an index of 3.3 GB
needs neither its memory nor the minutes of loading it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.errors import ProcessingFailure
from readvault.reads import kmers
from readvault.reads.dehumanize import host_index
from readvault.reads.native import compiled
from readvault.reads.sample import Segment

READ_LENGTH = 150
"""Bases of the reads of which it is told how many would be lost."""
_BITS = 22
_LONGEST_KMER = 32

Kmers = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a segment shares with a host index.

    `kmers` counts positions at which a shared k-mer begins, `positions` those that one covers.
    `places` are covered stretches, 1-based, both ends included. `reads_lost` is the share of error-free
    reads of READ_LENGTH bases that hold a shared k-mer: at most as many would be removed.
    """

    segment: str
    length: int
    kmers: int
    positions: int
    places: tuple[tuple[int, int], ...]
    reads_lost: float


def overlaps(index: Path, segments: Sequence[Segment]) -> tuple[Overlap, ...]:
    """What each segment shares with the index; raises ProcessingFailure for an index that can't be read."""
    about = host_index.info(index)
    if about.k > _LONGEST_KMER:
        raise ProcessingFailure(host_index.STEP, f"k-mers of {about.k} bases can't be compared with a reference")
    found = [kmers.canonical(segment.sequence.encode(), about.k) for segment in segments]
    ours = np.sort(np.concatenate([values[known] for values, known in found]) if found else np.empty(0, np.uint64))
    theirs = _shared(index, ours)
    return tuple(
        _overlap(segment, known & _among(values, theirs), about.k)
        for segment, (values, known) in zip(segments, found, strict=True)
    )


def _shared(index: Path, ours: Kmers) -> Kmers:
    """The k-mers of the index that are among ours; a small table lets few others through to the exact look."""
    table = np.zeros(1 << _BITS, np.uint8)
    _enter(ours, table)
    shared = [np.empty(0, np.uint64)]
    for block in kmers.blocks(index, header=host_index.HEADER_SIZE):
        likely = np.empty(block.size, np.uint64)
        likely = likely[: _select(block, table, likely)]
        shared.append(likely[_among(likely, ours)])
    return np.sort(np.concatenate(shared))


def _among(values: Kmers, ordered: Kmers) -> Flags:
    """Which values are in an ordered array."""
    if not ordered.size:
        return np.zeros(values.size, bool)
    found: Flags = ordered[np.minimum(np.searchsorted(ordered, values), ordered.size - 1)] == values
    return found


@compiled("void(uint64[::1], uint8[::1])")
def _enter(ours: Kmers, table: npt.NDArray[np.uint8]) -> None:
    shift = np.uint64(64 - _BITS)
    for kmer in ours:
        table[(kmer * np.uint64(0x9E3779B97F4A7C15)) >> shift] = 1


@compiled("int64(Array(uint64, 1, 'C', readonly=True), uint8[::1], uint64[::1])")
def _select(block: Kmers, table: npt.NDArray[np.uint8], likely: Kmers) -> int:
    """Copy the k-mers that the table knows; how many those are."""
    shift = np.uint64(64 - _BITS)
    count = 0
    for kmer in block:
        if table[(kmer * np.uint64(0x9E3779B97F4A7C15)) >> shift]:
            likely[count] = kmer
            count += 1
    return count


def _overlap(segment: Segment, shared: Flags, k: int) -> Overlap:
    length = len(segment.sequence)
    starts = np.flatnonzero(shared)
    covered = np.zeros(length, bool)
    for place in range(k):
        covered[starts + place] = True
    edges = np.flatnonzero(np.diff(np.concatenate(([0], covered.astype(np.int8), [0]))))
    places = tuple((int(start) + 1, int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True))
    return Overlap(segment.name, length, starts.size, int(covered.sum()), places, _reads_lost(shared, length, k))


def _reads_lost(shared: Flags, length: int, k: int) -> float:
    read = min(READ_LENGTH, length)
    before = np.concatenate(([0], np.cumsum(shared)))
    held = read - k + 1
    if held < 1 or before.size <= held:
        return float(shared.any())
    return float((before[held:] > before[:-held]).mean())
