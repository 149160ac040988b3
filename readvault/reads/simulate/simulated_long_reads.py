"""Long reads for simulation: one at a time, with insertions and deletions.

A nanopore's homopolymers lose or gain a base beyond what the qualities say, the longer they are the more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.reads import Platform
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.simulate.simulated_genome import BASES, Genome
from readvault.reads.simulate.simulated_strains import Strain, Tally

_SHORTEST = 100
_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


@dataclass(frozen=True, slots=True)
class _Machine:
    """Qualities (mean and spread, Phred), and which share of the errors are insertions and deletions.

    `homopolymer` is how likely a run of four equal bases is read one too short, twice that a run of five, and so on up
    to 40 %; a quarter as often it is read one too long.
    """

    quality: float
    spread: float
    insertions: float
    deletions: float
    homopolymer: float = 0


_MACHINES = {
    Platform.OXFORD_NANOPORE: _Machine(quality=19, spread=4, insertions=0.2, deletions=0.35, homopolymer=0.04),
    Platform.PACBIO_SMRT: _Machine(quality=33, spread=4, insertions=0.3, deletions=0.3),
}


def write_long_reads(
    output: Path,
    strains: Sequence[Strain],
    tally: Tally,
    foreign: Genome | None,
    from_host: npt.NDArray[np.bool_],
    length: int,
    rng: np.random.Generator,
    platform: Platform,
) -> list[str]:
    """Write one gzip FASTQ file of strains in their shares; gives the names of the host's reads."""
    host_names: list[str] = []
    chosen = rng.choice(len(strains), from_host.size, p=[strain.share for strain in strains])
    sizes = np.maximum(_SHORTEST, rng.lognormal(np.log(length), 0.3, from_host.size)).astype(np.int64)
    starts = np.zeros(from_host.size, np.int64)
    for number, strain in enumerate(strains):
        own = (chosen == number) & ~from_host
        starts[own], sizes[own] = strain.genome.places(sizes[own], rng)
        tally.add(strain, starts[own], starts[own] + sizes[own], int(sizes[own].max(initial=0)))
    if foreign is not None:
        starts[from_host], sizes[from_host] = foreign.places(sizes[from_host], rng)
    with BgzfWriter(output) as writer:
        for ordinal, alien in enumerate(from_host):
            source = foreign if alien and foreign is not None else strains[chosen[ordinal]].genome
            template = source.bases[starts[ordinal] : starts[ordinal] + sizes[ordinal]]
            name, record = _read(template, ordinal, platform, rng)
            writer.write(record)
            if alien:
                host_names.append(name)
    return host_names


def _read(
    template: npt.NDArray[np.uint8], ordinal: int, platform: Platform, rng: np.random.Generator
) -> tuple[str, bytes]:
    """The identifier and the FASTQ record of one read, from either strand."""
    machine = _MACHINES[platform]
    if rng.random() < 0.5:
        template = np.frombuffer(template.tobytes().translate(_COMPLEMENT)[::-1], np.uint8)
    template = _miscounted(template, machine.homopolymer, rng)
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


def _miscounted(template: npt.NDArray[np.uint8], likely: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The template with some homopolymers of four and more bases one base too short or too long."""
    if likely == 0 or template.size == 0:
        return template
    borders = np.flatnonzero(np.diff(template, prepend=0))
    lengths = np.diff(borders, append=template.size)
    chance = np.minimum(likely * np.maximum(lengths - 3, 0), 0.4)
    draw = rng.random(borders.size)
    copies = np.ones(template.size, np.int64)
    copies[borders[draw < chance]] = 0
    copies[borders[(draw >= chance) & (draw < 1.25 * chance)]] = 2
    return np.repeat(template, copies)


def _name(ordinal: int, platform: Platform, rng: np.random.Generator) -> str:
    if platform is Platform.PACBIO_SMRT:
        return f"m00000_200101_000000/{ordinal + 1}/ccs"
    digits = rng.bytes(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
