"""Reads that are placed without minimap2 get the very records that minimap2 gives.

READVAULT_LONG=1 takes more lengths, more error rates and more reads of each; it takes two minutes.
"""

from __future__ import annotations

import gzip
import os
import random
from itertools import islice
from pathlib import Path

import pytest

from readvault.domain.reads import LibraryLayout, Platform
from readvault.reads.align import alignment, mapping
from readvault.reads.sample import ReadFiles

LONG = "READVAULT_LONG" in os.environ
TEMPLATES = 6000 if LONG else 2000
RATES = [(150, 0.002), (150, 0.02), (100, 0.005), (251, 0.004), (75, 0.001)]
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


@pytest.fixture
def to_minimap2(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many templates each alignment left to minimap2."""
    counts: list[int] = []
    place = mapping._place

    def counting(*arguments: object) -> object:
        templates = place(*arguments)  # type: ignore[arg-type]
        counts.append(len(templates))
        return templates

    monkeypatch.setattr(mapping, "_place", counting)
    return counts


def _both_ways(reads: ReadFiles, reference: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Align with the short cut and without; the BAMs must have the same bytes. How many reads are mapped."""
    quick, thorough = directory / "quick", directory / "thorough"
    reports = []
    for target in (quick, thorough):
        target.mkdir()
        reports.append(
            alignment.align(reads, reference, preset="sr", primers=None, sample_name="s", directory=target, threads=2)[
                1
            ]
        )
        monkeypatch.setattr(mapping, "LARGEST_REFERENCE", -1)
    assert reports[0] == reports[1]
    one, other = (gzip.decompress((target / "alignment.bam").read_bytes()) for target in (quick, thorough))
    assert one == other
    return reports[0].mapped_reads


def _genome(dice: random.Random) -> tuple[str, str]:
    """Two segments with repeats, a stretch of Ns and a tail of As."""
    long = "".join(dice.choices("ACGT", k=5000))
    turned = long[700:900].translate(_COMPLEMENT)[::-1]
    long = long[:2500] + long[300:520] + long[2500:3600] + turned + long[3600:4200] + "N" * 30 + long[4200:] + "A" * 33
    return long, "".join(dice.choices("ACGT", k=900)) + long[1000:1040]


def _with_errors(read: str, dice: random.Random, rate: float) -> str:
    bases = []
    for base in read:
        chance = dice.random()
        if chance < rate:
            bases.append(dice.choice("ACGTN" if chance < rate / 50 else "ACGT"))
        elif chance < rate * 1.03:
            bases.append(base + "".join(dice.choices("ACGT", k=dice.randrange(1, 4))))
        elif chance > rate * 0.03:
            bases.append(base)
    if dice.random() < 0.05:  # an error close to an end
        place = dice.choice([0, 1, 2, 3, 4, 5, 7, 9, 12, 20, -1, -2, -3, -4, -5, -6, -8, -10, -25])
        bases[place] = dice.choice("ACGT")
    return "".join(bases)


def _fragment(segments: tuple[str, ...], dice: random.Random, length: int) -> str:
    kind = dice.random()
    segment = dice.choice(segments)
    insert = max(length // 2, min(int(dice.gauss(1.9 * length, length / 2)), len(segment)))
    start = dice.randrange(len(segment) - insert + 1) if kind > 0.05 else dice.choice([0, len(segment) - insert])
    fragment = segment[start : start + insert]
    if 0.05 < kind < 0.08:  # a chimera
        other = dice.randrange(len(segments[0]) - insert)
        fragment = fragment[: insert // 2] + segments[0][other : other + insert // 2]
    elif 0.08 < kind < 0.11:  # a deletion
        fragment = fragment[: insert // 3] + fragment[insert // 3 + dice.randrange(1, 40) :]
    elif kind > 0.99:
        fragment = "".join(dice.choices("ACGT", k=insert))
    return fragment if dice.random() < 0.5 else fragment.translate(_COMPLEMENT)[::-1]


def _write(path: Path, reads: list[str], dice: random.Random) -> Path:
    records = (f"@{i}\n{r}\n+\n{''.join(dice.choices('#:FI', k=len(r)))}\n" for i, r in enumerate(reads, start=1))
    path.write_text("".join(records))
    return path


@pytest.mark.parametrize(
    ("length", "rate", "layout"),
    [(*case, layout) for case in RATES for layout in LibraryLayout]
    if LONG
    else [(*RATES[0], LibraryLayout.PAIRED), (*RATES[1], LibraryLayout.PAIRED), (*RATES[3], LibraryLayout.SINGLE)],
)
def test_simulated_reads_get_the_same_records(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to_minimap2: list[int],
    length: int,
    rate: float,
    layout: LibraryLayout,
) -> None:
    dice = random.Random(f"{length} {rate}")
    segments = _genome(dice)
    reference = tmp_path / "reference.fasta"
    reference.write_text("".join(f">s{number}\n{segment}\n" for number, segment in enumerate(segments)))
    first, second = [], []
    for _ in range(TEMPLATES):
        fragment = _fragment(segments, dice, length)
        cut = length - dice.randrange(40) if dice.random() < 0.1 else length
        first.append(_with_errors(fragment[:cut], dice, rate))
        second.append(_with_errors(fragment.translate(_COMPLEMENT)[::-1][:length], dice, rate))
    r1, r2 = _write(tmp_path / "r1.fastq", first, dice), _write(tmp_path / "r2.fastq", second, dice)
    paired = layout is LibraryLayout.PAIRED
    reads = ReadFiles(Platform.ILLUMINA, layout, (r1,), (r2,) if paired else ())
    assert _both_ways(reads, reference, tmp_path, monkeypatch) > TEMPLATES * 5 / 6
    if length == 150 and rate < 0.01:
        assert to_minimap2[0] < TEMPLATES * (3 / 4 if paired else 1 / 2), "the short cut should take many"


def _head(path: Path, directory: Path) -> Path:
    """The file, or its first reads."""
    if LONG:
        return path
    head = directory / path.name.removesuffix(".gz")
    with gzip.open(path) as source:
        head.write_bytes(b"".join(islice(source, 4 * 2 * TEMPLATES)))
    return head


@pytest.mark.parametrize(
    ("sample", "reference"),
    [
        ("sc2_twist_wuhan/sc2_twist_wuhan", "refs/NC_045512.2.fasta"),
        ("rsvb_illumina/rsvb", "refs/RSVB_MT107528.1.fasta"),
    ],
)
@pytest.mark.parametrize("layout", list(LibraryLayout))
def test_real_reads_get_the_same_records(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sample: str,
    reference: str,
    layout: LibraryLayout,
) -> None:
    files = [(_head(shared_data / "dev" / f"{sample}_R{mate}.fastq.gz", tmp_path),) for mate in (1, 2)]
    paired = layout is LibraryLayout.PAIRED
    reads = ReadFiles(Platform.ILLUMINA, layout, files[0], files[1] if paired else ())
    assert _both_ways(reads, shared_data / "dev" / reference, tmp_path, monkeypatch) > 2000
