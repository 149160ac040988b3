"""How many human reads the screen finds, by read length and error rate, and how many others it takes with them.

Reads are drawn from a host and from a virus at random places and strands, wrong bases are put in at
random, and they go through `dehumanize` itself, singly and in pairs. The same seed gives the same
figures. Errors stand also for how much a person differs from the host's sequence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads import kmers
from readvault.reads.dehumanize.dehumanization import dehumanize
from readvault.reads.sample import ReadFiles

LENGTHS = (20, 30, 40, 45, 50, 60, 75, 90, 100, 125, 150)
ERRORS = (0.0, 0.01, 0.03)
FRAGMENT = 300
"""Bases from the first base of a pair to its last."""
SYNTHETIC_LENGTH = 1_000_000
_CONTROL_LENGTH = 400

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recall:
    """What became of `templates` reads or pairs of one kind: each is in one of the three counts."""

    human: bool
    paired: bool
    length: int
    error: float
    templates: int
    removed: int
    unscreenable: int
    published: int


def measure(
    host: Path, virus: Path, index: Path, *, templates: int, seed: int, lengths: Iterable[int] = LENGTHS
) -> Iterator[Recall]:
    """Screen reads of a host and of a virus (FASTA) with an index, for each length and error rate.

    Raises ValueError for a FASTA without a stretch as long as a fragment.
    """
    sources = {True: _stretches(host), False: _stretches(virus)}
    for human, stretches in sources.items():
        for paired in (False, True):
            for length in lengths:
                for error in ERRORS:
                    chance = np.random.default_rng([seed, human, paired, length, int(error * 1000)])
                    mates = _reads(stretches, templates, length, error, paired, chance)
                    yield _screened(mates, index, human, error)


def synthetic(target: Path, seed: int) -> Path:
    """A genome that never lived: random bases, as a FASTA."""
    target.write_bytes(b">synthetic\n" + _random(SYNTHETIC_LENGTH, np.random.default_rng(seed)).tobytes() + b"\n")
    return target


def _random(length: int, chance: np.random.Generator) -> Bytes:
    return np.frombuffer(b"ACGT", np.uint8)[chance.integers(0, 4, length)]


def _stretches(fasta: Path) -> list[Bytes]:
    """Both strands of what is known of each record."""
    pieces = [piece.upper() for piece in kmers.pieces(fasta, FRAGMENT - 1)]
    known = [part for piece in pieces for part in piece.replace(b"U", b"T").split(b"N") if len(part) >= FRAGMENT]
    if not known:
        raise ValueError(f"{fasta.name} has no stretch of {FRAGMENT} bases")
    return [np.frombuffer(part, np.uint8) for part in known]


def _reads(
    stretches: list[Bytes], templates: int, length: int, error: float, paired: bool, chance: np.random.Generator
) -> list[Bytes]:
    """A matrix of bases for each mate, one read a row."""
    weights = np.array([stretch.size - FRAGMENT + 1 for stretch in stretches], float)
    chosen = chance.choice(len(stretches), templates, p=weights / weights.sum())
    places = (chance.random(templates) * weights[chosen]).astype(np.int64)
    fragments = np.stack([stretches[n][at : at + FRAGMENT] for n, at in zip(chosen, places, strict=True)])
    turned = chance.random(templates) < 0.5
    fragments[turned] = _reverse_complement(fragments[turned])
    mates = [fragments[:, :length]] + ([_reverse_complement(fragments)[:, :length]] if paired else [])
    return [_with_errors(mate, error, chance) for mate in mates]


def _reverse_complement(rows: Bytes) -> Bytes:
    complement = np.arange(256, dtype=np.uint8)
    complement[list(b"ACGT")] = list(b"TGCA")
    return complement[rows[:, ::-1]]


def _with_errors(rows: Bytes, error: float, chance: np.random.Generator) -> Bytes:
    """Each base is another one with the probability `error`."""
    code = np.zeros(256, np.uint8)
    code[list(b"ACGT")] = range(4)
    wrong = (chance.random(rows.shape) < error) * chance.integers(1, 4, rows.shape)
    found: Bytes = np.frombuffer(b"ACGT", np.uint8)[(code[rows] + wrong) % 4]
    return found


def _screened(mates: list[Bytes], index: Path, human: bool, error: float) -> Recall:
    """What the pipeline's own step does with reads of one kind, and with one more that nothing finds."""
    templates, length = mates[0].shape
    control = _random(_CONTROL_LENGTH, np.random.default_rng(_CONTROL_LENGTH))
    layout = LibraryLayout.PAIRED if len(mates) == 2 else LibraryLayout.SINGLE
    with tempfile.TemporaryDirectory() as name:
        paths = []
        for number, rows in enumerate(mates):
            paths.append(Path(name) / f"{number}.fastq")
            paths[-1].write_bytes(_fastq(rows) + _fastq(control[None, :]))
        reads = ReadFiles(Platform.ILLUMINA, layout, tuple(paths[:1]), tuple(paths[1:]))
        _, report = dehumanize(
            reads,
            index,
            rules=Dehumanize(max_human_fraction=1),
            publish_unscreened=False,
            directory=Path(name),
            threads=1,
        )
    found = (report.reads_removed, report.reads_too_short, report.reads_kept)
    removed, unscreenable, kept = (count // len(mates) for count in found)
    return Recall(human, len(mates) == 2, length, error, templates, removed, unscreenable, kept - 1)


def _fastq(rows: Bytes) -> bytes:
    """Records of equal lengths, made as one matrix."""
    count, length = rows.shape
    parts = [b"@r\n", rows, b"\n+\n" + b"I" * length + b"\n"]
    columns = [p if isinstance(p, np.ndarray) else np.tile(np.frombuffer(p, np.uint8), (count, 1)) for p in parts]
    return np.hstack(columns).tobytes()


def as_markdown(measured: Iterable[Recall]) -> str:
    """Two tables by read length, one column an error rate: human reads that are found, viral reads that are lost."""
    cells = {(each.human, each.paired, each.length, each.error): each for each in measured}
    lengths = sorted({length for _, _, length, _ in cells})
    columns = [(paired, error) for paired in (False, True) for error in ERRORS]
    heads = " | ".join(f"{'pairs' if paired else 'single'}, {error:.0%}" for paired, error in columns)
    lines: list[str] = []
    for human, title in ((True, "Human reads that are found, percent"), (False, "Viral reads that are lost, percent")):
        lines += [f"**{title}**", "", f"| bases | {heads} |", "|---:|" + "---:|" * len(columns)]
        for length in lengths:
            found = [_percent(cells[human, paired, length, error]) for paired, error in columns]
            lines.append(f"| {length} | {' | '.join(found)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _percent(of: Recall) -> str:
    """Reads that are too short to be looked up are left out, whosever they are: no figure tells of them."""
    if of.unscreenable == of.templates:
        return "left out"
    percent = 100 * of.removed / of.templates
    return f"{percent:.0f}" if percent in (0, 100) else f"{percent:.1f}" if percent < 99.95 else f"{percent:.2f}"
