"""Simulated Illumina pairs: what the machine makes of both ends of a fragment.

Each base has a quality in one of the four bins of today's machines, falling towards the end of a
read, and is wrong with the probability that its quality states.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from readvault.reads.bgzf import BgzfWriter
from readvault.reads.simulate.simulated_genome import BASES, Genome
from readvault.reads.simulate.simulated_strains import Strain, Tally

PAIRS_AT_ONCE = 20_000
_MEAN_FRAGMENT, _SD_FRAGMENT = 2.2, 0.35
"""Of a fragment's length, in read lengths."""
_BINS = np.array([37, 25, 11, 2], np.uint8)
_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[list(b"ACGT")] = list(b"TGCA")

Bytes = npt.NDArray[np.uint8]


class Library(Protocol):
    """Fragments to be sequenced from both ends."""

    def draw(self, count: int, rng: np.random.Generator) -> Bytes:
        """Both ends of `count` fragments, read inwards: 2 × count × length letters."""


class HostFragments:
    """Random fragments of a host."""

    def __init__(self, genome: Genome, length: int) -> None:
        self._genome, self._length = genome, length

    def draw(self, count: int, rng: np.random.Generator) -> Bytes:
        """Both ends of random fragments, from either strand of the DNA."""
        starts, ends = _fragments(self._genome, count, self._length, rng)
        return ends_of(self._genome.bases, starts, ends, self._length, rng)


class Shotgun:
    """Random fragments of strains in their shares, from either strand of the DNA."""

    def __init__(self, strains: Sequence[Strain], length: int, tally: Tally) -> None:
        self._strains, self._length, self._tally = strains, length, tally

    def draw(self, count: int, rng: np.random.Generator) -> Bytes:
        """Both ends of random fragments."""
        mates = np.empty((2, count, self._length), np.uint8)
        chosen = rng.choice(len(self._strains), count, p=[strain.share for strain in self._strains])
        for number, strain in enumerate(self._strains):
            own = chosen == number
            starts, ends = _fragments(strain.genome, int(own.sum()), self._length, rng)
            self._tally.add(strain, starts, ends, self._length)
            mates[:, own] = ends_of(strain.genome.bases, starts, ends, self._length, rng)
        return mates


def write_pairs(
    outputs: Sequence[Path],
    library: Library,
    host: Library | None,
    from_host: npt.NDArray[np.bool_],
    length: int,
    rng: np.random.Generator,
) -> list[str]:
    """Write two gzip FASTQ files; gives the names of the host's pairs."""
    host_names: list[str] = []
    with ExitStack() as files:
        writers = [files.enter_context(BgzfWriter(path)) for path in outputs]
        for start in range(0, from_host.size, PAIRS_AT_ONCE):
            part = from_host[start : start + PAIRS_AT_ONCE]
            mates = np.empty((2, part.size, length), np.uint8)
            for source, chosen in ((library, ~part), (host, part)):
                if source is not None and chosen.any():
                    mates[:, chosen] = source.draw(int(chosen.sum()), rng)
            ordinals = np.arange(start, start + part.size)
            for mate, writer in enumerate(writers):
                bases, qualities = _with_errors(mates[mate], rng)
                writer.write(_records(ordinals, mate + 1, bases, qualities))
            host_names += [_name(int(ordinal)) for ordinal in ordinals[part]]
    return host_names


def ends_of(
    bases: Bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    length: int,
    rng: np.random.Generator,
) -> Bytes:
    """Both ends of fragments `[start, end)`, read inwards, the one or the other first."""
    steps = np.arange(length)
    left = bases[starts[:, None] + steps]
    right = _COMPLEMENT[bases[(ends - 1)[:, None] - steps]]
    flipped = (rng.random(starts.size) < 0.5)[:, None]
    return np.stack([np.where(flipped, right, left), np.where(flipped, left, right)])


def _fragments(
    genome: Genome, count: int, length: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    sizes = np.maximum(rng.normal(_MEAN_FRAGMENT, _SD_FRAGMENT, count) * length, length).astype(np.int64)
    starts, sizes = genome.places(sizes, rng)
    return starts, starts + sizes


def _with_errors(bases: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """The bases as a machine reads them, and their qualities as Phred scores."""
    count, length = bases.shape
    cycle = np.linspace(0, 1, length, dtype=np.float32) ** 3
    draw = rng.random((count, length), np.float32)
    qualities = _BINS[
        (draw < 0.05 + 0.15 * cycle).astype(np.uint8) + (draw < 0.01 + 0.04 * cycle) + (draw < 0.0004 + 0.002 * cycle)
    ]
    chance = (10.0 ** (-np.arange(64) / 10)).astype(np.float32)[qualities]
    wrong = rng.random((count, length), np.float32) < chance
    read = bases.copy()
    read[wrong] = BASES[(np.searchsorted(BASES, bases[wrong]) + rng.integers(1, 4, int(wrong.sum()))) % 4]
    return read, qualities


def _records(ordinals: npt.NDArray[np.int64], mate: int, bases: Bytes, qualities: Bytes) -> bytes:
    """FASTQ text of reads of one length: rows of one matrix."""
    count = ordinals.size
    titles = np.frombuffer("".join(f"@{_name(int(o))}" for o in ordinals).encode(), np.uint8)
    columns = [
        titles.reshape(count, -1),
        np.tile(np.frombuffer(f" {mate}:N:0:ATCACG\n".encode(), np.uint8), (count, 1)),
        bases,
        np.tile(np.frombuffer(b"\n+\n", np.uint8), (count, 1)),
        qualities + np.uint8(33),
        np.full((count, 1), ord("\n"), np.uint8),
    ]
    return np.hstack(columns).tobytes()


def _name(ordinal: int) -> str:
    """A name as Casava 1.8 writes it; all are equally long."""
    return (
        f"SIMULATED:1:NOBODY:1:{1101 + ordinal // 10**8}:{10000 + ordinal // 10**4 % 10**4}:{10000 + ordinal % 10**4}"
    )
