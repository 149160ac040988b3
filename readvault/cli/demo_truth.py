"""What the demo must come out with: what was planted, and what was promised."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readvault.client import Client, ClientError

HOST_SHARE = 20
"""One pair in so many comes from the invented host."""
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True, slots=True)
class Truth:
    """Simulated reads and what is true of them."""

    files: list[Path]
    sequence: str
    host_reads: frozenset[str]
    host_names: frozenset[str]

    @classmethod
    def simulate(cls, reference: Path, host: Path, place: Path, pairs: int) -> Truth:
        """Simulate pairs with planted substitutions, insertions, deletions and host reads."""
        from readvault.reads.simulate import simulation

        host_pairs = pairs // HOST_SHARE
        simulated = simulation.simulate(
            reference,
            place,
            pairs=pairs - host_pairs,
            length=150,
            seed=20260102,
            substitutions=25,
            insertions=3,
            deletions=3,
            host=host,
            host_pairs=host_pairs,
        )
        files = [path for path in (simulated.r1, simulated.r2) if path is not None]
        names = frozenset(simulated.host_read_names)
        reads = frozenset(sequence for path in files for name, sequence in _fastq(path) if name in names)
        return cls(files, next(iter(simulated.truth.values())), reads, names)

    def differences(self, public: Path) -> list[str]:
        """What differs between the public files and the truth, in words; empty when nothing does."""
        consensus = "".join((public / "consensus.fasta").read_text(encoding="ascii").split("\n")[1:]).upper()
        faults = []
        if not _equal_outside_n(consensus, self.sequence):
            faults.append("the consensus is not the planted sequence")
        known = consensus.strip("N")
        if known.count("N") > len(known) / 100 or len(known) < 0.98 * len(self.sequence):
            faults.append("the consensus has many unknown bases")
        leaked = [
            path.name
            for path in sorted(public.glob("dehumanized*.fastq.gz"))
            for name, sequence in _fastq(path)
            if name in self.host_names or sequence in self.host_reads
        ]
        if leaked:
            faults.append(f"{len(leaked)} host reads are in public files")
        return faults


def private_before_approval(anyone: Client, accession: str, version: int, review: dict[str, Any]) -> list[str]:
    """See that nobody can download anything yet."""
    faults = []
    for category, files in review["processedData"]["files"].items():
        for file in files:
            try:
                anyone.download(accession, version, category, file["name"], Path("/dev/null"))
            except ClientError as refusal:
                if refusal.status == 401:
                    continue
            faults.append(f"{file['name']} could be downloaded before approval")
    return faults


def downloads_equal_the_manifest(
    anyone: Client, accession: str, version: int, review: dict[str, Any], target: Path
) -> list[str]:
    """Download every released file as anonymous and compare its SHA-256."""
    target.mkdir()
    faults = []
    for category, files in review["processedData"]["files"].items():
        for file in files:
            try:
                anyone.download(
                    accession, version, category, file["name"], target / file["name"], sha256=file["sha256"]
                )
            except ClientError as fault:
                faults.append(str(fault))
    return faults


def _equal_outside_n(consensus: str, truth: str) -> bool:
    """Whether the consensus is the truth but for N; a run of N may stand for as many bases."""
    return len(consensus) == len(truth) and re.fullmatch(consensus.replace("N", "[ACGT]"), truth) is not None


def _fastq(path: Path) -> list[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="ascii") as lines:
        rows = lines.read().split("\n")
    return [
        (name[1:].split()[0].removesuffix("/1").removesuffix("/2"), sequence)
        for name, sequence in zip(rows[0::4], rows[1::4], strict=False)
        if name
    ]
