"""Tables with one line per reference position: coverage and allele counts.

They are gzip without a date, so the same counts give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.domain.reports import SegmentCoverage
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.call.allele_counts import ALLELES, FORWARD, REVERSE, AlleleCounts
from readvault.reads.call.table_lines import lines
from readvault.reads.sample import Segment


def summarize(segment: Segment, depth: NDArray[np.int64], *, min_depth: int) -> SegmentCoverage:
    """The coverage of one segment; its breadth is the share of positions with at least `min_depth`."""
    return SegmentCoverage(
        segment=segment.name,
        length=len(segment.sequence),
        mean_depth=round(float(depth.mean()), 4),
        median_depth=float(np.median(depth)),
        breadth=round(float((depth >= min_depth).mean()), 6),
    )


def write_coverage(path: Path, counts: AlleleCounts) -> None:
    """Write `segment`, `position` (1-based) and `depth` (fragments) of every position, with a header line."""
    depth = counts.depth
    with BgzfWriter(path) as out:
        out.write(b"segment\tposition\tdepth\n")
        for index, segment in enumerate(counts.segments):
            numbers = np.stack([np.arange(1, len(segment.sequence) + 1), depth[counts.span(index)]], axis=1)
            out.write(lines(f"{segment.name}\t".encode(), numbers))


def write_allele_counts(path: Path, counts: AlleleCounts) -> None:
    """Write how many fragments say what at every position, by strand, without any cut but base quality.

    Columns: segment, position (1-based), reference, depth (A, C, G, T and deletion together), then
    A C G T N deletion insertion of the forward strand, then of the reverse strand. An insertion stands at the position
    before it and is not part of the depth.
    """
    inserted = np.zeros((2, counts.counts.shape[2]), dtype=np.int64)
    for insertion in counts.insertions:
        inserted[FORWARD, insertion.place] += insertion.forward
        inserted[REVERSE, insertion.place] += insertion.reverse
    depth = counts.depth
    names = [*ALLELES[:-1], "deletion", "insertion"]
    columns = [f"{name}_{strand}" for strand in ("forward", "reverse") for name in names]
    with BgzfWriter(path) as out:
        out.write("\t".join(["segment", "position", "reference", "depth", *columns]).encode() + b"\n")
        for index, segment in enumerate(counts.segments):
            span = counts.span(index)
            strands = [np.vstack([counts.counts[strand][:, span], inserted[strand, span]]) for strand in (0, 1)]
            numbers = np.vstack([np.arange(1, len(segment.sequence) + 1), depth[span], *strands]).T
            out.write(lines(f"{segment.name}\t".encode(), numbers, letters=segment.sequence))
