"""A worker whose local steps are made up: everything about its jobs is real, but for the science."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from readvault.domain.reports import CheckReport, FetchReport, OutputFile, Report
from readvault.reads.local_result import LocalResult
from readvault.reads.sample import Sample
from readvault.services.house import House
from readvault.worker.house import WorkerHouse
from tests.integration.services.scenes import READY


class FakeNursery:
    """Children that make a consensus and reads from the bytes of what was submitted, and from a word of their own."""

    def __init__(self, word: str = "") -> None:
        self.word = word

    @contextmanager
    def child(self, sample: Sample) -> Iterator[_Hands]:
        """A child for one sample."""
        yield _Hands(sample, self.word)


class _Hands:
    def __init__(self, sample: Sample, word: str) -> None:
        self._sample, self._word = sample, word

    def run(self, step: str) -> Report:
        return FetchReport(files=0, bytes=0)

    def cancel(self) -> None:
        """Nothing hangs here."""

    def result(self) -> LocalResult:
        read = b"".join(each.path.read_bytes() for each in self._sample.inputs)
        text = hashlib.sha256(read + self._word.encode()).hexdigest()
        made = {
            ("consensus", "consensus.fasta"): f">main\n{text}\n".encode(),
            ("dehumanizedReads", "dehumanized.fastq.gz"): f"reads of {text}".encode(),
        }
        left_out = ("called_sequences", "aligned_sequences", "insertions", "provenance")
        left_out += ("aligned_amino_acid_sequences", "amino_acid_insertions")
        nothing: dict[str, Any] = {name: {} for name in left_out}
        return LocalResult(
            reports={"check": CheckReport((), {})},
            outputs=tuple(_written(self._sample.directory, *place, body) for place, body in made.items()),
            screened=True,
            consensus_source="reads",
            sequences={"main": "ACGT"},
            **nothing,
        )


def _written(directory: Path, category: str, name: str, body: bytes) -> tuple[OutputFile, Path]:
    path = directory / name
    path.write_bytes(body)
    return OutputFile(category, name, len(body), hashlib.sha256(body).hexdigest()), path


def worker(house: House, name: str, word: str = "") -> WorkerHouse:
    """A worker of this name that is never started: it does what it is given with `run`."""
    made = WorkerHouse(house)
    made.name, made.ready = name, READY
    made.nursery = FakeNursery(word)  # type: ignore[assignment]
    return made
