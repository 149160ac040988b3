"""At whose primers the reads begin: the evidence for or against a primer scheme.

A read of an amplicon begins where a primer begins. Reads of libraries that were cut at random begin
anywhere and say nothing. Clipping moves a read's first aligned base behind the primer and leaves a
soft clip; both are looked at, so that the BAM may be clipped already.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    FIXED_BYTES,
    REVERSE,
    SECONDARY,
    SOFT_CLIP,
    SUPPLEMENTARY,
    UNMAPPED,
    BamReader,
    Bytes,
    int32_at,
    uint16_at,
)
from readvault.reads.native import compiled
from readvault.reads.sample import PrimerSite

TOLERANCE = 2
"""How far from a primer's first base a read may begin, in bases."""

BIN = 5
PILE = 10
"""How many times its expected number of beginnings a stretch of five bases has in a pile."""

PILE_AT_LEAST = 5
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Where reads begin (5' ends of primary alignments), segment by segment.

    For a forward read `aligned` is its first aligned base, for a reverse read the place after its
    last one (0-based); `clipped` is the length of the soft clip before its 5' end. `other` is the
    other end of the alignment.
    """

    segments: tuple[tuple[str, int], ...]
    segment: Integers
    reverse: NDArray[np.bool_]
    aligned: Integers
    clipped: Integers
    other: Integers

    def __len__(self) -> int:
        return len(self.segment)


def beginnings(bam: Path) -> Beginnings:
    """Read the 5' ends of all primary alignments of a BAM."""
    parts = []
    with BamReader(bam) as reader:
        while not reader.at_end:
            batch = reader.read()
            table = np.empty((5, len(batch)), dtype=np.int64)
            parts.append(table[:, : _five_prime_ends(batch.buffer, batch.offset, table)])
        segments = reader.segments
    segment, reverse, aligned, clipped, other = np.concatenate(parts, axis=1)
    return Beginnings(segments, segment, reverse.astype(bool), aligned, clipped, other)


@compiled("int64(uint8[::1], int64[::1], int64[:, ::1])")
def _five_prime_ends(buffer: Bytes, offsets: Integers, table: Integers) -> int:
    """Fill the table's columns with segment, strand, 5' end, its soft clip and the 3' end; how many columns."""
    count = 0
    for at in offsets:
        flag = uint16_at(buffer, at + 18)
        operations = uint16_at(buffer, at + 16)
        if flag & (UNMAPPED | SECONDARY | SUPPLEMENTARY) or operations == 0:
            continue
        start = int32_at(buffer, at + 8)
        end = start
        left = right = 0
        for number in range(operations):
            packed = int32_at(buffer, at + FIXED_BYTES + buffer[at + 12] + 4 * number)
            code, length = packed & 15, packed >> 4
            if code == SOFT_CLIP:
                if end == start:
                    left = length
                else:
                    right = length
            elif code in (0, 2, 3, 7, 8):
                end += length
        reverse = flag & REVERSE != 0
        table[0, count] = int32_at(buffer, at + 4)
        table[1, count] = reverse
        table[2, count] = end if reverse else start
        table[3, count] = right if reverse else left
        table[4, count] = start if reverse else end
        count += 1
    return count


def share_at_primers(found: Beginnings, sites: tuple[PrimerSite, ...]) -> tuple[float, float]:
    """The share of reads that begin at a primer of the scheme, and of those that begin right behind one.

    The latter are reads whose primers somebody removed before.
    """
    if not len(found):
        return 0.0, 0.0
    order = {name: place for place, (name, _) in enumerate(found.segments)}
    lengths = np.array([length for _, length in found.segments])
    offsets = np.cumsum(lengths + 2 * TOLERANCE + 2) - (lengths + 2 * TOLERANCE + 2) + TOLERANCE
    at = np.zeros((2, int(offsets[-1] + lengths[-1] + TOLERANCE + 2)), dtype=bool)
    behind = np.zeros(at.shape, dtype=np.int64)
    for site in sites:
        reverse = int(site.strand == "-")
        begin, inner = (site.end, site.start) if reverse else (site.start, site.end)
        place = int(offsets[order[site.segment]])
        at[reverse, place + begin - TOLERANCE : place + begin + TOLERANCE + 1] = True
        behind[reverse, place + inner] = site.end - site.start
    strand = found.reverse.astype(np.int64)
    aligned = found.aligned + offsets[found.segment]
    unclipped = found.aligned + np.where(found.reverse, found.clipped, -found.clipped)
    unclipped = np.clip(unclipped, 0, lengths[found.segment]) + offsets[found.segment]
    primer = behind[strand, aligned]
    begins = at[strand, aligned] | at[strand, unclipped] | ((primer > 0) & (found.clipped >= primer - TOLERANCE))
    return float(begins.mean()), float(((primer > 0) & ~begins).mean())


def share_in_piles(found: Beginnings) -> float:
    """The share of reads that begin where far more reads begin than anywhere else: those of amplicons do."""
    piled = 0
    for place, (_, length) in enumerate(found.segments):
        here = found.segment == place
        if not here.any():
            continue
        reverse, aligned, other = found.reverse[here], found.aligned[here], found.other[here]
        edges = np.bincount(np.minimum(aligned, other), minlength=length + 1)
        edges = edges - np.bincount(np.maximum(aligned, other), minlength=length + 1)
        covered = int((np.cumsum(edges) > 0).sum())
        expected = len(aligned) * BIN / (2 * max(covered, 1))
        for strand in (False, True):
            counts = np.bincount(aligned[reverse == strand] // BIN)
            piled += int(counts[counts >= max(PILE_AT_LEAST, PILE * expected)].sum())
    return piled / len(found) if len(found) else 0.0
