"""Reads whose truth is known: of a reference with planted variants, and of a host that never lived.

The error model is simple and honest about itself: each base has a quality, and is wrong with the
probability that its quality states. Long reads have, beside substitutions, insertions and
deletions, and nanopore's lose bases in homopolymers. The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.reads import Platform
from readvault.reads.references import load_segments
from readvault.reads.simulate.simulated_amplicons import AmpliconLibrary, SimulatedAmplicon, primer_places
from readvault.reads.simulate.simulated_genome import BASES, Genome, PlantedVariant, plant
from readvault.reads.simulate.simulated_long_reads import write_long_reads
from readvault.reads.simulate.simulated_pairs import HostFragments, Library, Shotgun, write_pairs
from readvault.reads.simulate.simulated_strains import Tally, strains_of


@dataclass(frozen=True, slots=True)
class Simulated:
    """Simulated reads and what is true of them.

    `r2` is None for long reads. `truth` is by segment name the sequence with all variants that most
    fragments carry. `frequencies` and `depths` are of the fragments that were really read at each
    variant, in the order of `variants`: chance makes a share of 5 % a little more or less.
    `host_read_names` are identifiers as they stand in the files.
    """

    r1: Path
    r2: Path | None
    truth: dict[str, str]
    variants: tuple[PlantedVariant, ...]
    host_read_names: tuple[str, ...]
    frequencies: tuple[float, ...]
    depths: tuple[int, ...]


def simulate(
    reference: Path,
    directory: Path,
    *,
    pairs: int,
    length: int,
    seed: int,
    substitutions: int = 0,
    insertions: int = 0,
    deletions: int = 0,
    longest_indel: int = 12,
    shares: Sequence[float] = (1.0,),
    amplicons: Sequence[SimulatedAmplicon] = (),
    host: Path | None = None,
    host_pairs: int = 0,
    platform: Platform = Platform.ILLUMINA,
) -> Simulated:
    """Write gzip FASTQ of a sample that carries planted variants, with reads of a host mixed in.

    Illumina: `pairs` pairs of `length` bases (`simulated_R1.fastq.gz` and `_R2`), random fragments or,
    when given, whole `amplicons`. Nanopore and PacBio: `pairs` single reads of `length` bases on average
    (`simulated.fastq.gz`). `host_pairs` more come from `host`. Variants are spread over all segments, at
    least 40 bases apart and 150 from the ends, each carried by one of `shares` of the fragments in turn;
    no indels where primers bind. Positions are 1-based, indels as VCF writes them (left-aligned, with the base
    before).
    Raises ValueError when so many variants don't fit, or what is asked for contradicts itself.
    """
    if bool(host_pairs) and host is None:
        raise ValueError("reads of a host need a host")
    if amplicons and platform is not Platform.ILLUMINA:
        raise ValueError("amplicons are simulated as Illumina pairs")
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    segments = load_segments(reference)
    variants = plant(
        segments, rng, substitutions, insertions, deletions,
        longest_indel=longest_indel, shares=shares, no_indels=primer_places(amplicons),
    )  # fmt: skip
    strains = strains_of(segments, variants)
    tally = Tally(len(variants))
    foreign = Genome.of(load_segments(host)) if host is not None else None
    from_host = np.zeros(pairs + host_pairs, bool)
    from_host[rng.choice(pairs + host_pairs, host_pairs, replace=False)] = True
    if platform is Platform.ILLUMINA:
        library: Library = Shotgun(strains, length, tally)
        if amplicons:
            library = AmpliconLibrary(segments, amplicons, strains, variants, length, tally)
        outputs = [directory / f"simulated_R{mate}.fastq.gz" for mate in (1, 2)]
        alien = HostFragments(foreign, length) if foreign is not None else None
        names = write_pairs(outputs, library, alien, from_host, length, rng)
    else:
        outputs = [directory / "simulated.fastq.gz"]
        names = write_long_reads(outputs[0], strains, tally, foreign, from_host, length, rng, platform)
    return Simulated(
        r1=outputs[0],
        r2=outputs[1] if len(outputs) == 2 else None,
        truth=next(strain.sequences for strain in strains if _is_majority(strain.carries, variants)),
        variants=variants,
        host_read_names=tuple(names),
        frequencies=tally.frequencies(),
        depths=tally.depths(),
    )


def _is_majority(carries: npt.NDArray[np.bool_], variants: Sequence[PlantedVariant]) -> bool:
    """Whether a strain carries exactly the variants of more than half of the fragments."""
    return all(carried == (variant.share > 0.5) for carried, variant in zip(carries, variants, strict=True))


def synthetic_host(target: Path, *, length: int, seed: int) -> None:
    """Write the FASTA of a genome that never lived: `length` random bases in one record."""
    rng = np.random.default_rng((seed, 1))  # of its own: an equal seed never gives host and reference alike
    bases = BASES[rng.integers(0, 4, length)].tobytes().decode()
    _write_fasta(target, {"invented-host random bases, simulated: no person's and no organism's": bases})


SEGMENT_LENGTHS = (2341, 2341, 2233, 1778, 1565, 1413, 1027, 890)
"""Of influenza A, in bases."""


def synthetic_reference(target: Path, segments: int = 8, seed: int = 8) -> None:
    """Write the FASTA of a segmented reference that never lived, with segments as long as influenza A's."""
    rng = np.random.default_rng((seed, 2))
    records = {}
    for number in range(segments):
        length = SEGMENT_LENGTHS[number % len(SEGMENT_LENGTHS)]
        origin = f"simulated random bases, of no virus; as long as segment {number % 8 + 1} of influenza A"
        records[f"segment{number + 1} {origin}"] = BASES[rng.integers(0, 4, length)].tobytes().decode()
    _write_fasta(target, records)


def _write_fasta(target: Path, records: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="ascii") as file:
        for name, sequence in records.items():
            file.write(f">{name}\n")
            file.writelines(f"{sequence[start : start + 70]}\n" for start in range(0, len(sequence), 70))
