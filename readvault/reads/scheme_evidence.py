"""At whose primers the reads begin: the evidence for or against a primer scheme.

A read of an amplicon begins where a primer begins. Reads of libraries that were cut at random begin
anywhere and say nothing. Clipping moves a read's first aligned base behind the primer and leaves a
soft clip; both are looked at, so that the BAM may be clipped already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.reads.bam_records import (
    REVERSE,
    SECONDARY,
    SOFT_CLIP,
    SUPPLEMENTARY,
    UNMAPPED,
    BamReader,
    Batch,
    windows,
)
from readvault.reads.primers import PrimerSite

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
            parts.append(_of_batch(reader.read()))
        segments = reader.segments
    segment, reverse, aligned, clipped, other = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Beginnings(segments, segment, reverse.astype(bool), aligned, clipped, other)


def _of_batch(batch: Batch) -> tuple[Integers, ...]:
    unwanted = UNMAPPED | SECONDARY | SUPPLEMENTARY
    batch = batch.select((batch.field("flag") & unwanted == 0) & (batch.field("operations") > 0))
    reverse = batch.field("flag") & REVERSE != 0
    first = batch.offset + 36 + batch.field("name_length")
    left = _soft_clip(batch, first)
    right = _soft_clip(batch, first + 4 * (batch.field("operations") - 1))
    start = batch.field("start")
    end = _ends(batch, first)
    return (
        batch.field("segment"),
        reverse.astype(np.int64),
        np.where(reverse, end, start),
        np.where(reverse, right, left),
        np.where(reverse, start, end),
    )


def _operations(batch: Batch, at: Integers) -> Integers:
    return windows(batch.buffer, 4)[at].copy().view("<u4").ravel().astype(np.int64)


def _soft_clip(batch: Batch, at: Integers) -> Integers:
    packed = _operations(batch, at)
    return np.where(packed & 15 == SOFT_CLIP, packed >> 4, 0)


def _ends(batch: Batch, first: Integers) -> Integers:
    """Where each alignment ends (exclusive): its CIGAR's operations on the reference, added up."""
    counts = batch.field("operations")
    before = np.cumsum(counts) - counts
    record = np.repeat(np.arange(len(batch)), counts)
    packed = _operations(batch, first[record] + 4 * (np.arange(len(record)) - before[record]))
    on_reference = np.isin(packed & 15, (0, 2, 3, 7, 8))
    spans = np.bincount(record, weights=(packed >> 4) * on_reference, minlength=len(batch))
    return batch.field("start") + spans.astype(np.int64)


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


def shares(found: Beginnings, schemes: Mapping[str, tuple[PrimerSite, ...]]) -> dict[str, float]:
    """For each scheme the share of reads that begin at its primers."""
    return {name: share_at_primers(found, sites)[0] for name, sites in schemes.items()}
