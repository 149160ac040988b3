"""Reads whose truth is known: of a reference with planted variants, and of a host that never lived.

The error model is simple and honest about itself: each base has a quality, and is wrong with the
probability that its quality states. Illumina qualities come in the four bins of today's machines and
fall towards the end of a read; long reads have, beside substitutions, insertions and deletions.
The same seed gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.reads import Platform
from readvault.reads.fastq_stream import GzipFile
from readvault.reads.references import load_segments
from readvault.reads.simulated_genome import BASES, Genome, PlantedVariant, mutate
from readvault.reads.simulated_long_reads import long_read

_PAIRS_AT_ONCE = 20_000
_MEAN_FRAGMENT, _SD_FRAGMENT = 2.2, 0.35
"""Of a fragment's length, in read lengths."""
_BINS = np.array([37, 25, 11, 2], np.uint8)
_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[list(b"ACGT")] = list(b"TGCA")

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Simulated:
    """Simulated reads and what is true of them.

    `r2` is None for long reads. `truth` is each segment's sequence with its variants, by segment name;
    `host_read_names` are identifiers as they stand in the files.
    """

    r1: Path
    r2: Path | None
    truth: dict[str, str]
    variants: tuple[PlantedVariant, ...]
    host_read_names: tuple[str, ...]


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
    host: Path | None = None,
    host_pairs: int = 0,
    platform: Platform = Platform.ILLUMINA,
) -> Simulated:
    """Write gzip FASTQ of a sample that carries planted variants, with reads of a host mixed in.

    Illumina: `pairs` pairs of `length` bases (`simulated_R1.fastq.gz` and `_R2`). Nanopore and PacBio:
    `pairs` single reads of `length` bases on average (`simulated.fastq.gz`). `host_pairs` more come
    from `host`. Variants are spread over all segments, at least 40 bases apart and 150 from the ends;
    their positions are 1-based, indels as VCF writes them (left-aligned, with the base before).
    Raises ValueError when so many variants don't fit.
    """
    if bool(host_pairs) and host is None:
        raise ValueError("reads of a host need a host")
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    mutant = mutate(load_segments(reference), rng, substitutions, insertions, deletions)
    foreign = Genome.of(load_segments(host)) if host is not None else None
    from_host = np.zeros(pairs + host_pairs, bool)
    from_host[rng.choice(pairs + host_pairs, host_pairs, replace=False)] = True
    if platform is Platform.ILLUMINA:
        outputs = [directory / f"simulated_R{mate}.fastq.gz" for mate in (1, 2)]
        names = _write_pairs(outputs, mutant.genome, foreign, from_host, length, rng)
    else:
        outputs = [directory / "simulated.fastq.gz"]
        names = _write_long_reads(outputs[0], mutant.genome, foreign, from_host, length, rng, platform)
    return Simulated(
        outputs[0], outputs[1] if len(outputs) == 2 else None, mutant.sequences, mutant.variants, tuple(names)
    )


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


def _write_pairs(
    outputs: list[Path],
    genome: Genome,
    foreign: Genome | None,
    from_host: npt.NDArray[np.bool_],
    length: int,
    rng: np.random.Generator,
) -> Iterator[str]:
    host_names: list[str] = []
    with ExitStack() as files:
        writers = [files.enter_context(GzipFile(path)) for path in outputs]
        for start in range(0, from_host.size, _PAIRS_AT_ONCE):
            part = from_host[start : start + _PAIRS_AT_ONCE]
            mates = np.empty((2, part.size, length), np.uint8)
            for source, chosen in ((genome, ~part), (foreign, part)):
                if source is not None and chosen.any():
                    mates[:, chosen] = _fragments(source, int(chosen.sum()), length, rng)
            ordinals = np.arange(start, start + part.size)
            for mate, writer in enumerate(writers):
                bases, qualities = _with_errors(mates[mate], rng)
                writer.write(_records(ordinals, mate + 1, bases, qualities))
            host_names += [_illumina_name(int(ordinal)) for ordinal in ordinals[part]]
    return iter(host_names)


def _fragments(genome: Genome, count: int, length: int, rng: np.random.Generator) -> Bytes:
    """Both ends of random fragments, read inwards, from either strand: 2 × count × length bases."""
    sizes = np.maximum(rng.normal(_MEAN_FRAGMENT, _SD_FRAGMENT, count) * length, length).astype(np.int64)
    starts, sizes = genome.places(sizes, rng)
    steps = np.arange(length)
    left = genome.bases[starts[:, None] + steps]
    right = _COMPLEMENT[genome.bases[(starts + sizes - 1)[:, None] - steps]]
    flipped = rng.random(count) < 0.5
    first = np.where(flipped[:, None], right, left)
    second = np.where(flipped[:, None], left, right)
    return np.stack([first, second])


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
    titles = np.frombuffer("".join(f"@{_illumina_name(int(o))}" for o in ordinals).encode(), np.uint8)
    columns = [
        titles.reshape(count, -1),
        np.tile(np.frombuffer(f" {mate}:N:0:ATCACG\n".encode(), np.uint8), (count, 1)),
        bases,
        np.tile(np.frombuffer(b"\n+\n", np.uint8), (count, 1)),
        qualities + np.uint8(33),
        np.full((count, 1), ord("\n"), np.uint8),
    ]
    return np.hstack(columns).tobytes()


def _illumina_name(ordinal: int) -> str:
    """A name as Casava 1.8 writes it; all are equally long."""
    return (
        f"SIMULATED:1:NOBODY:1:{1101 + ordinal // 10**8}:{10000 + ordinal // 10**4 % 10**4}:{10000 + ordinal % 10**4}"
    )


def _write_long_reads(
    output: Path,
    genome: Genome,
    foreign: Genome | None,
    from_host: npt.NDArray[np.bool_],
    length: int,
    rng: np.random.Generator,
    platform: Platform,
) -> Iterator[str]:
    host_names: list[str] = []
    with GzipFile(output) as writer:
        for ordinal, alien in enumerate(from_host):
            source = foreign if alien and foreign is not None else genome
            name, record = long_read(source, length, ordinal, platform, rng)
            writer.write(record)
            if alien:
                host_names.append(name)
    return iter(host_names)
