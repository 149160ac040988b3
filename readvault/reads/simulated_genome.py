"""Genomes for simulation: segments laid end to end, and variants planted into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from readvault.reads.sample import Segment

BASES = np.frombuffer(b"ACGT", np.uint8)
_APART = 40
_FROM_ENDS = 150
LONGEST_INDEL = 30


@dataclass(frozen=True, slots=True)
class PlantedVariant:
    """A variant as VCF writes it: 1-based position, reference and alternative bases.

    `share` is the share of the fragments that shall carry it, 0..1.
    """

    segment: str
    position: int
    reference: str
    alternative: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Genome:
    """All segments as one array of letters, with where each begins and how long it is."""

    bases: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Self:
        """Lay segments end to end."""
        lengths = np.array([len(segment.sequence) for segment in segments], np.int64)
        bases = np.frombuffer("".join(segment.sequence for segment in segments).encode(), np.uint8)
        return cls(bases, np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)

    def places(
        self, sizes: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where fragments of such sizes begin (0-based), evenly over all segments; sizes cut to the segments'."""
        segment = rng.choice(self.lengths.size, sizes.size, p=self.lengths / self.lengths.sum())
        sizes = np.minimum(sizes, self.lengths[segment])
        room = self.lengths[segment] - sizes + 1
        return self.starts[segment] + (rng.random(sizes.size) * room).astype(np.int64), sizes


def plant(
    segments: Sequence[Segment],
    rng: np.random.Generator,
    substitutions: int,
    insertions: int,
    deletions: int,
    *,
    longest_indel: int = 12,
    shares: Sequence[float] = (1.0,),
) -> tuple[PlantedVariant, ...]:
    """Choose variants along the genome, indels of 1 to `longest_indel` bases, `shares` taken in turn.

    Raises ValueError when so many don't fit or an indel could be longer than 30 bases.
    """
    if not 1 <= longest_indel <= LONGEST_INDEL:
        raise ValueError(f"indels of at most {LONGEST_INDEL} bases can be planted")
    kinds = np.array(["substitution"] * substitutions + ["insertion"] * insertions + ["deletion"] * deletions)
    rng.shuffle(kinds)
    spots = _spots(segments, kinds.size, rng)
    return tuple(
        _variant(str(kind), segment, spot, longest_indel, shares[number % len(shares)], rng)
        for number, (kind, (segment, spot)) in enumerate(zip(kinds, spots, strict=True))
    )


def _spots(segments: Sequence[Segment], count: int, rng: np.random.Generator) -> list[tuple[Segment, int]]:
    """Where variants go (0-based), in the order of the genome: one cell of the grid each."""
    cells = [
        (segment, start)
        for segment in segments
        for start in range(_FROM_ENDS, len(segment.sequence) - _FROM_ENDS - _APART, 2 * _APART)
    ]
    if count > len(cells):
        raise ValueError(f"{count} variants don't fit; at most {len(cells)} do")
    chosen = sorted(rng.choice(len(cells), count, replace=False))
    return [(cells[cell][0], cells[cell][1] + int(rng.integers(0, _APART - LONGEST_INDEL))) for cell in chosen]


def _variant(
    kind: str, segment: Segment, spot: int, longest: int, share: float, rng: np.random.Generator
) -> PlantedVariant:
    """A variant at `spot` or, where an indel would not be left-aligned, a little after."""
    sequence = segment.sequence
    base = sequence[spot]
    if kind == "substitution":
        others = [other for other in "ACGT" if other != base]
        return PlantedVariant(segment.name, spot + 1, base, others[int(rng.integers(0, 3))], share)
    size = int(rng.integers(1, longest + 1))
    if kind == "insertion":
        inserted = BASES[rng.integers(0, 4, size - 1)].tobytes().decode()
        last = [other for other in "ACGT" if other != base][int(rng.integers(0, 3))]
        return PlantedVariant(segment.name, spot + 1, base, base + inserted + last, share)
    while sequence[spot] == sequence[spot + size]:
        spot += 1
    return PlantedVariant(segment.name, spot + 1, sequence[spot : spot + size + 1], sequence[spot], share)


def apply_variants(sequence: str, variants: Sequence[PlantedVariant]) -> str:
    """A segment's sequence with its variants, which must be in the order of their positions."""
    pieces, done = [], 0
    for variant in variants:
        start = variant.position - 1
        pieces += [sequence[done:start], variant.alternative]
        done = start + len(variant.reference)
    return "".join([*pieces, sequence[done:]])
