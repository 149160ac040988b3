"""Simulated tiled amplicons: fragments that begin and end with primers, whatever the virus has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from readvault.reads.sample import Segment
from readvault.reads.simulate.simulated_genome import PlantedVariant
from readvault.reads.simulate.simulated_pairs import Bytes, ends_of
from readvault.reads.simulate.simulated_strains import Strain, Tally

PRIMER = 24


@dataclass(frozen=True, slots=True)
class SimulatedAmplicon:
    """One amplicon: 0-based half-open on its segment, primers of 24 bases included.

    `weight` is how well it amplifies, relative to others; 0 is a dropout.
    """

    name: str
    segment: str
    start: int
    end: int
    weight: float = 1.0


def tile(
    segments: Sequence[Segment], *, size: int = 400, overlap: int = 60, dropouts: Sequence[int] = (), seed: int = 0
) -> tuple[SimulatedAmplicon, ...]:
    """Amplicons of one size all along each segment, unequally strong.

    `dropouts` are the ordinals (from 1) of those that did not amplify.
    """
    rng = np.random.default_rng((seed, 3))
    tiles: list[SimulatedAmplicon] = []
    for segment in segments:
        last = len(segment.sequence) - size
        for start in [*range(0, last, size - overlap), last]:
            number = len(tiles) + 1
            weight = 0.0 if number in dropouts else float(rng.lognormal(0, 0.3))
            tiles.append(SimulatedAmplicon(f"tiled_{number}", segment.name, start, start + size, weight))
    return tuple(tiles)


def primer_places(amplicons: Sequence[SimulatedAmplicon]) -> list[tuple[str, int, int]]:
    """Where primers bind: segment, start, end."""
    lefts = [(a.segment, a.start, a.start + PRIMER) for a in amplicons]
    return [*lefts, *((a.segment, a.end - PRIMER, a.end) for a in amplicons)]


def write_scheme(target: Path, amplicons: Sequence[SimulatedAmplicon]) -> None:
    """Write the primers as a BED file with six columns, named and pooled in ARTIC's manner."""
    lines = []
    for number, amplicon in enumerate(amplicons):
        place = f"{amplicon.segment}\t"
        pool = number % 2 + 1
        lines.append(f"{place}{amplicon.start}\t{amplicon.start + PRIMER}\t{amplicon.name}_LEFT\t{pool}\t+\n")
        lines.append(f"{place}{amplicon.end - PRIMER}\t{amplicon.end}\t{amplicon.name}_RIGHT\t{pool}\t-\n")
    target.write_text("".join(lines), encoding="ascii")


class AmpliconLibrary:
    """Whole amplicons of strains in their shares, read from both ends."""

    def __init__(
        self,
        segments: Sequence[Segment],
        amplicons: Sequence[SimulatedAmplicon],
        strains: Sequence[Strain],
        variants: Sequence[PlantedVariant],
        length: int,
        tally: Tally,
    ) -> None:
        self._strains, self._variants, self._length, self._tally = strains, variants, length, tally
        weights = np.array([amplicon.weight for amplicon in amplicons])
        shares = np.array([strain.share for strain in strains])
        self._chances = np.outer(shares, weights / weights.sum()).ravel()
        templates = []
        self._read: list[list[int]] = []
        for strain in strains:
            for amplicon in amplicons:
                template, read = self._template(segments, strain, amplicon)
                templates.append(template)
                self._read.append(read)
        self._bases = np.frombuffer(b"".join(templates), np.uint8)
        self._ends = np.cumsum([len(template) for template in templates])
        self._starts = np.concatenate(([0], self._ends[:-1]))

    def _template(
        self, segments: Sequence[Segment], strain: Strain, amplicon: SimulatedAmplicon
    ) -> tuple[bytes, list[int]]:
        """The bases of one strain's amplicon, and the variants that are read in its insert."""
        index = next(i for i, segment in enumerate(segments) if segment.name == amplicon.segment)
        reference = segments[index].sequence
        inner, outer = amplicon.start + PRIMER, amplicon.end - PRIMER
        first, last = (strain.place(self._variants, index, amplicon.segment, at) for at in (inner, outer))
        insert = strain.genome.bases[first:last].tobytes()
        template = reference[amplicon.start : inner].encode() + insert + reference[outer : amplicon.end].encode()
        if len(template) < self._length:
            raise ValueError(f"reads of {self._length} bases are longer than amplicon {amplicon.name}")
        read = []
        for number, place in enumerate(strain.places.tolist()):
            if self._variants[number].segment == amplicon.segment and first <= place < last:
                at = place - first + PRIMER
                if at < self._length or at >= len(template) - self._length:
                    read.append(number)
        return template, read

    def draw(self, count: int, rng: np.random.Generator) -> Bytes:
        """Both ends of amplicons."""
        chosen = rng.choice(self._chances.size, count, p=self._chances)
        for number, fragments in enumerate(np.bincount(chosen, minlength=self._chances.size).tolist()):
            strain = self._strains[number * len(self._strains) // self._chances.size]
            for variant in self._read[number]:
                self._tally.count(strain, variant, fragments)
        return ends_of(self._bases, self._starts[chosen], self._ends[chosen], self._length, rng)
