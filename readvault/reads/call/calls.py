"""What has been called from the reads: sequences, insertions, variants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readvault.domain.reports import SegmentCoverage


@dataclass(frozen=True, slots=True)
class Variant:
    """One difference from the reference, as in the VCF. `position` is 1-based.

    `frequency` is the share of the depth, 0..1, and `interval` its 95 % Wilson interval. The strand
    counts are fragments: reference forward and reverse, alternative forward and reverse. `quality`
    is the Phred-scaled probability that sequencing errors alone made this. No `filters` means that
    the evidence suffices.
    """

    segment: str
    position: int
    reference: str
    alternative: str
    depth: int
    strands: tuple[int, int, int, int]
    frequency: float
    interval: tuple[float, float]
    quality: float
    filters: tuple[str, ...]

    @property
    def count(self) -> int:
        """Fragments with the alternative."""
        return self.strands[2] + self.strands[3]


@dataclass(frozen=True, slots=True)
class SegmentCall:
    """The consensus of one segment.

    `aligned` has one character per reference position: a base, an IUPAC code, `N` for unknown, `-`
    for deleted. `insertions` are `position:BASES`, after that 1-based position, in Loculus's shape.
    `sequence` is the consensus itself: without the deletions, with the insertions.
    `depth` is fragments per reference position.
    """

    segment: str
    sequence: str
    aligned: str
    insertions: tuple[str, ...]
    depth: NDArray[np.int32]
    coverage: SegmentCoverage

    def depth_profile(self, bins: int) -> list[float]:
        """The mean depth in at most `bins` stretches of equal length, for a plot."""
        borders = np.linspace(0, len(self.depth), min(bins, len(self.depth)) + 1).astype(np.int64)
        return [float(value) for value in np.add.reduceat(self.depth, borders[:-1]) / np.diff(borders)]


@dataclass(frozen=True, slots=True)
class GeneCall:
    """The protein of one gene as the consensus has it.

    `amino_acids` has one character per codon of the reference: an amino acid, `X` for unknown, `-` for
    deleted, `*` for a stop. `insertions` are `position:AMINO_ACIDS`, after that 1-based position, in
    Loculus's shape. `frameshifts` are like `ORF7a:E62fs` (the first codon read out of frame), `stops` like `ORF8:Q27*`
    (the reference has an amino acid there).
    """

    name: str
    segment: str
    amino_acids: str
    insertions: tuple[str, ...]
    frameshifts: tuple[str, ...]
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calls:
    """All that has been called for a sample, segment by segment in the reference's order.

    `genes` is empty when the organism has no annotation of its genes.
    """

    segments: tuple[SegmentCall, ...]
    variants: tuple[Variant, ...]
    genes: tuple[GeneCall, ...] = ()
