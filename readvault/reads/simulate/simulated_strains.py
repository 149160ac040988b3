"""Strains that share a sample, and how often each planted variant is among its fragments.

Variants of a share of 1 are in every strain. The others are nested: a fragment carries all variants
whose share is above one number drawn for it, so a variant of 5 % is in 5 % of the fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from readvault.reads.sample import Segment
from readvault.reads.simulate.simulated_genome import Genome, PlantedVariant, apply_variants

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strain:
    """One strain: its share of the fragments, its genome, which of the planted variants it carries.

    `places` is where in `genome` each planted variant (or the reference base instead of it) begins.
    """

    share: float
    genome: Genome
    sequences: dict[str, str]
    carries: npt.NDArray[np.bool_]
    places: Places

    def place(self, variants: Sequence[PlantedVariant], segment: int, name: str, position: int) -> int:
        """Where in the genome the strain has what follows the first `position` bases of a reference segment.

        A position within one of its deletions is where the deletion ends.
        """
        shift = 0
        for index, variant in enumerate(variants):
            if variant.segment != name or not self.carries[index] or variant.position > position:
                continue
            start, end = variant.position - 1, variant.position - 1 + len(variant.reference)
            if position >= end:
                shift += len(variant.alternative) - len(variant.reference)
            else:
                shift += len(variant.alternative) - (position - start)
        return int(self.genome.starts[segment]) + position + shift


def strains_of(segments: Sequence[Segment], variants: Sequence[PlantedVariant]) -> tuple[Strain, ...]:
    """The strains that give every variant its share, the ones with most variants first."""
    borders = [*sorted({variant.share for variant in variants if variant.share < 1}), 1.0]
    found = []
    for below, border in zip([0.0, *borders], borders, strict=False):
        carries = np.array([variant.share >= border for variant in variants], bool)
        own = [variant for variant, carried in zip(variants, carries, strict=True) if carried]
        sequences = {s.name: apply_variants(s.sequence, [v for v in own if v.segment == s.name]) for s in segments}
        genome = Genome.of([Segment(name, sequence) for name, sequence in sequences.items()])
        found.append(Strain(border - below, genome, sequences, carries, _places(segments, variants, carries, genome)))
    return tuple(found)


def _places(
    segments: Sequence[Segment], variants: Sequence[PlantedVariant], carries: npt.NDArray[np.bool_], genome: Genome
) -> Places:
    starts = {segment.name: int(start) for segment, start in zip(segments, genome.starts, strict=True)}
    shifts = dict.fromkeys(starts, 0)
    places = np.zeros(len(variants), np.int64)
    for index, variant in enumerate(variants):
        places[index] = starts[variant.segment] + variant.position - 1 + shifts[variant.segment]
        if carries[index]:
            shifts[variant.segment] += len(variant.alternative) - len(variant.reference)
    return places


class Tally:
    """Counts the fragments that were read at each planted variant, and those of them that carry it."""

    def __init__(self, variants: int) -> None:
        self._read = np.zeros(variants, np.int64)
        self._carrying = np.zeros(variants, np.int64)

    def add(self, strain: Strain, starts: Places, ends: Places, length: int) -> None:
        """Count a strain's fragments from `starts` to `ends` of its genome, both ends read `length` bases far."""
        for index, place in enumerate(strain.places.tolist()):
            inside = (starts <= place) & (place < ends)
            read = inside & ((place < starts + length) | (place >= ends - length))
            self.count(strain, index, int(read.sum()))

    def count(self, strain: Strain, variant: int, fragments: int) -> None:
        """Count fragments of a strain that were read at one variant."""
        self._read[variant] += fragments
        self._carrying[variant] += fragments if strain.carries[variant] else 0

    def frequencies(self) -> tuple[float, ...]:
        """The share of the fragments read at each variant that carry it; 0 where none was read."""
        return tuple((self._carrying / np.maximum(self._read, 1)).tolist())

    def depths(self) -> tuple[int, ...]:
        """The fragments that were read at each variant."""
        return tuple(self._read.tolist())
