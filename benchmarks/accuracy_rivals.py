"""What iVar and samtools make of the same BAM."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy_judge import Call
from readvault.reads.sample import Segment

NEEDED = ("ivar", "samtools")
SIMPLE = ("-m", "simple", "-q", "-c", "0.5", "-H", "0.25", "-A")
"""Votes weighted by quality, decided as ours are."""


@dataclass(frozen=True, slots=True)
class Rival:
    """What another program called: consensus by segment; variants with their frequencies, None if it calls none."""

    consensus: dict[str, str]
    variants: dict[Call, float] | None


def versions() -> dict[str, str]:
    """The versions of the other programs."""
    ivar, samtools = (
        subprocess.run(command, capture_output=True, check=True).stdout.split()
        for command in (["ivar", "version"], ["samtools", "--version"])
    )
    return {"iVar": ivar[2].decode(), "samtools": samtools[1].decode()}


def call_all(
    bam: Path, reference: Path, segments: Sequence[Segment], directory: Path, *, min_depth: int, min_quality: int
) -> dict[str, Rival]:
    """Run iVar and samtools consensus (both of its modes) on a BAM with the same thresholds as ours."""
    directory.mkdir()
    return {
        "iVar": _ivar(bam, reference, segments, directory, min_depth, min_quality),
        "samtools": Rival(_samtools(bam, directory / "bayesian.fa", "-d", str(min_depth)), None),
        "samtools simple": Rival(_samtools(bam, directory / "simple.fa", *SIMPLE, "-d", str(min_depth)), None),
    }


def _ivar(
    bam: Path, reference: Path, segments: Sequence[Segment], directory: Path, min_depth: int, min_quality: int
) -> Rival:
    """iVar knows no segments, so it sees one after the other."""
    consensus, variants = {}, {}
    for number, segment in enumerate(segments):
        prefix = directory / f"ivar{number}"
        one = directory / f"segment{number}.fa"
        one.write_text(f">{segment.name}\n{segment.sequence}\n", encoding="ascii")
        pileup = ["samtools", "mpileup", "-aa", "-A", "-B", "-d", "0", "-Q", "0", "-r", segment.name]
        _pipe(
            [*pileup, str(bam)],
            ["ivar", "consensus", "-p", str(prefix), "-q", str(min_quality), "-t", "0.5", "-m", str(min_depth)],
        )
        _pipe(
            [*pileup, "--reference", str(reference), str(bam)],
            ["ivar", "variants", "-p", str(prefix), "-q", str(min_quality), "-t", "0.03", "-r", str(one)],
        )
        consensus[segment.name] = next(iter(_records(Path(f"{prefix}.fa")).values()), "")
        variants.update(_table(Path(f"{prefix}.tsv"), segment.name))
    return Rival(consensus, variants)


def _samtools(bam: Path, output: Path, *options: str) -> dict[str, str]:
    command = ["samtools", "consensus", "-a", "--show-ins", "yes", *options, "-o", str(output), str(bam)]
    subprocess.run(command, check=True, capture_output=True)
    return _records(output)


def _pipe(first: list[str], second: list[str]) -> None:
    with subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as pileup:
        subprocess.run(second, stdin=pileup.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _records(fasta: Path) -> dict[str, str]:
    """Sequences by name; FASTA as these programs write it."""
    records = (record.partition("\n") for record in fasta.read_text(encoding="ascii").split(">")[1:])
    return {name.split()[0]: text.replace("\n", "").upper() for name, _, text in records}


def _table(table: Path, segment: str) -> dict[Call, float]:
    """The variants that iVar itself holds for real (`PASS`)."""
    calls = {}
    with table.open(encoding="ascii") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if row["PASS"] != "TRUE":  # noqa: S105 - a column's name
                continue
            reference, alternative = row["REF"], row["ALT"]
            if alternative.startswith("+"):
                alternative = reference + alternative[1:]
            elif alternative.startswith("-"):
                reference, alternative = reference + alternative[1:], reference
            calls[Call(segment, int(row["POS"]), reference, alternative)] = float(row["ALT_FREQ"])
    return calls
