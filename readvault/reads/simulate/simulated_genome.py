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
    no_indels: Sequence[tuple[str, int, int]] = (),
) -> tuple[PlantedVariant, ...]:
    """Choose variants along the genome, indels of 1 to `longest_indel` bases, `shares` taken in turn.

    In `no_indels` (segment, start, end; 0-based half-open) there are substitutions only.
    Raises ValueError when so many don't fit or an indel could be longer than 30 bases.
    """
    if not 1 <= longest_indel <= LONGEST_INDEL:
        raise ValueError(f"indels of at most {LONGEST_INDEL} bases can be planted")
    kinds = np.array(["insertion"] * insertions + ["deletion"] * deletions)
    rng.shuffle(kinds)
    places = _spots(segments, substitutions, kinds.size, no_indels, rng)
    chosen = sorted([*zip(places[kinds.size :], ["substitution"] * substitutions, strict=True),
                     *zip(places[: kinds.size], kinds.tolist(), strict=True)])  # fmt: skip
    turns = rng.permutation(len(chosen)) % len(shares)
    return tuple(
        _variant(kind, segments[index], spot, longest_indel, shares[turn], rng)
        for turn, ((index, spot), kind) in zip(turns, chosen, strict=True)
    )


def _spots(
    segments: Sequence[Segment],
    substitutions: int,
    indels: int,
    no_indels: Sequence[tuple[str, int, int]],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Where variants go (segment, 0-based position), indels first: one cell of the grid each."""
    cells = [
        (index, start)
        for index, segment in enumerate(segments)
        for start in range(_FROM_ENDS, len(segment.sequence) - _FROM_ENDS - _APART, 2 * _APART)
    ]
    free = [
        number
        for number, (index, start) in enumerate(cells)
        if not any(
            name == segments[index].name and begin < start + 2 * _APART and start < end
            for name, begin, end in no_indels
        )
    ]
    if substitutions + indels > len(cells) or indels > len(free):
        raise ValueError(f"{substitutions + indels} variants don't fit; at most {len(cells)} do")
    for_indels = rng.choice(free, indels, replace=False).tolist() if indels else []
    left = [number for number in range(len(cells)) if number not in set(for_indels)]
    chosen = [*for_indels, *rng.choice(left, substitutions, replace=False).tolist()] if left else for_indels
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
