"""Homopolymers of the reference: stretches of one base, where nanopores miscount."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from readvault.reads.call.indel_counts import Indel
from readvault.reads.sample import Segment

MIN_LENGTH = 4
SURE_LENGTH, SURE_PART, SURE_SHARE = 3, 0.5, 0.75
"""What nanopores don't make up: 3 bases and half of the homopolymer, in three quarters of either strand's fragments."""


class Homopolymers:
    """All stretches of at least four equal bases in a reference, its segments in a row."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self._sequence = "".join(segment.sequence for segment in segments)
        bases = np.frombuffer(self._sequence.encode(), dtype=np.uint8)
        origins = np.cumsum([0, *(len(segment.sequence) for segment in segments)])[:-1]
        starts = np.ones(len(bases), dtype=bool)
        starts[1:] = bases[1:] != bases[:-1]
        starts[origins] = True
        borders = np.flatnonzero(starts)
        lengths = np.diff(borders, append=len(bases))
        self._lengths = lengths
        self._run = np.repeat(np.arange(len(borders)), lengths)
        self.inside = np.repeat(lengths >= MIN_LENGTH, lengths) & np.isin(bases, list(b"ACGT"))
        """For each position whether it lies in a homopolymer."""

    def span(self, start: int, end: int) -> bool:
        """Whether the positions `start` to `end` (0-based, half-open) lie in one homopolymer."""
        return bool(self.inside[start] and self._run[start] == self._run[end - 1])

    def doubt(self, event: Indel, strand_depth: NDArray[np.int64]) -> bool:
        """Whether a nanopore may have made an indel up: it changes the length of one homopolymer, and not by so much
        in so many fragments of both strands that it must be real. `strand_depth` is (forward, reverse) per position."""
        length = self._length_changed(event)
        if length == 0:
            return False
        if event.length < max(SURE_LENGTH, SURE_PART * length):
            return True
        supports = zip((event.forward, event.reverse), strand_depth[:, event.place].tolist(), strict=True)
        return not all(support > 0 and support >= SURE_SHARE * depth for support, depth in supports)

    def _length_changed(self, event: Indel) -> int:
        """The length of the homopolymer that an indel only makes shorter or longer; 0 when it does more."""
        if not event.bases:
            return self._length(event.place) if self.span(event.place, event.place + event.length) else 0
        if len(set(event.bases)) > 1:
            return 0
        neighbours = [at for at in (event.place, event.place + 1) if at < len(self._sequence)]
        fitting = [at for at in neighbours if self.inside[at] and self._sequence[at] == event.bases[0]]
        return max((self._length(at) for at in fitting), default=0)

    def _length(self, place: int) -> int:
        return int(self._lengths[self._run[place]])
