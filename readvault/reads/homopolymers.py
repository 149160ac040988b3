"""Homopolymers of the reference: stretches of one base, where nanopores miscount."""

from __future__ import annotations

import numpy as np

from readvault.reads.indel_counts import Indel
from readvault.reads.sample import Segment

MIN_LENGTH = 4


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
        self._run = np.repeat(np.arange(len(borders)), lengths)
        self.inside = np.repeat(lengths >= MIN_LENGTH, lengths) & np.isin(bases, list(b"ACGT"))
        """For each position whether it lies in a homopolymer."""

    def span(self, start: int, end: int) -> bool:
        """Whether the positions `start` to `end` (0-based, half-open) lie in one homopolymer."""
        return bool(self.inside[start] and self._run[start] == self._run[end - 1])

    def hold(self, event: Indel) -> bool:
        """Whether an indel only makes one homopolymer shorter or longer."""
        if not event.bases:
            return self.span(event.place, event.place + event.length)
        if len(set(event.bases)) > 1:
            return False
        neighbours = [at for at in (event.place, event.place + 1) if at < len(self._sequence)]
        return any(self.inside[at] and self._sequence[at] == event.bases[0] for at in neighbours)
