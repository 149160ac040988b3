"""Long reads for simulation: one at a time, with insertions and deletions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from readvault.domain.reads import Platform
from readvault.reads.simulated_genome import BASES, Genome

_SHORTEST = 100
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


@dataclass(frozen=True, slots=True)
class _Machine:
    """Qualities (mean and spread, Phred), and which share of the errors are insertions and deletions."""

    quality: float
    spread: float
    insertions: float
    deletions: float


_MACHINES = {
    Platform.OXFORD_NANOPORE: _Machine(quality=19, spread=4, insertions=0.2, deletions=0.35),
    Platform.PACBIO_SMRT: _Machine(quality=33, spread=4, insertions=0.3, deletions=0.3),
}


def long_read(
    genome: Genome, mean_length: int, ordinal: int, platform: Platform, rng: np.random.Generator
) -> tuple[str, bytes]:
    """The identifier and the FASTQ record of one read, from either strand."""
    machine = _MACHINES[platform]
    size = np.array([max(_SHORTEST, int(rng.lognormal(np.log(mean_length), 0.3)))])
    starts, sizes = genome.places(size, rng)
    template = genome.bases[starts[0] : starts[0] + sizes[0]]
    if rng.random() < 0.5:
        template = np.frombuffer(template.tobytes().translate(_COMPLEMENT)[::-1], np.uint8)
    qualities = np.clip(rng.normal(machine.quality, machine.spread, template.size), 3, 50).astype(np.uint8)
    wrong = np.flatnonzero(rng.random(template.size) < 10.0 ** (qualities / -10.0))  # unsigned: -qualities would wrap
    kind = rng.random(wrong.size)
    deleted = wrong[kind < machine.deletions]
    inserted = wrong[(kind >= machine.deletions) & (kind < machine.deletions + machine.insertions)]
    replaced = wrong[kind >= machine.deletions + machine.insertions]
    read = template.copy()
    read[replaced] = BASES[(np.searchsorted(BASES, template[replaced]) + rng.integers(1, 4, replaced.size)) % 4]
    copies = np.ones(template.size, np.int64)
    copies[deleted] = 0
    copies[inserted] = 2
    added = np.cumsum(copies)[inserted] - 1
    read, qualities = np.repeat(read, copies), np.repeat(qualities, copies)
    read[added] = BASES[rng.integers(0, 4, added.size)]
    name = _name(ordinal, platform, rng)
    return name, b"@%s\n%s\n+\n%s\n" % (name.encode(), read.tobytes(), (qualities + np.uint8(33)).tobytes())


def _name(ordinal: int, platform: Platform, rng: np.random.Generator) -> str:
    if platform is Platform.PACBIO_SMRT:
        return f"m00000_200101_000000/{ordinal + 1}/ccs"
    digits = rng.bytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
