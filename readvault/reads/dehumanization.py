"""Removing human reads. It fails closed: a read that was not screened enters no public file.

deacon looks up the minimizers of each read, of a pair together, in the host index. The way of a
read: deacon drops it when it hits the host; what deacon keeps arrives here through a pipe; reads that
hold no window of k-mers (45 bases for k=31, w=15), or whose unknown bases leave none, leave too,
because deacon could not have seen anything in them; the rest gets a new name and is written. Mates
leave together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import igzip_threaded

from readvault.domain.annotations import Annotation, Reason
from readvault.domain.errors import InvalidSubmission, ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout
from readvault.domain.reports import HostDepletionReport
from readvault.reads import host_index
from readvault.reads.fastq_stream import BLOCK, Batch, GzipFile, Readable, batches, in_step
from readvault.reads.host_screen import STEP, HostScreen
from readvault.reads.sample import ReadFiles

MANY_TOO_SHORT = 0.05
_UNKNOWN_BASES = re.compile(rb"[^ACGTacgt]+")


@dataclass(slots=True)
class _Tally:
    """Reads and bases, counted; a pair is two reads."""

    reads_in: int = 0
    reads_removed: int = 0
    bases_removed: int = 0
    reads_too_short: int = 0
    reads_kept: int = 0


def dehumanize(
    reads: ReadFiles,
    index: Path | None,
    *,
    rules: Dehumanize,
    publish_unscreened: bool,
    directory: Path,
    threads: int,
) -> tuple[ReadFiles, HostDepletionReport]:
    """Write the reads that are not human to `directory`, under new names.

    Several input files are one stream. Outputs are `dehumanized_R1.fastq.gz` and `_R2`, or
    `dehumanized.fastq.gz`; a read's name is its ordinal among the kept ones, from 1, the same for
    mates. Their bytes depend on reads and index only. Without an index all reads pass, renamed, and
    the report says `screened=False`: the caller must not publish them unless `publish_unscreened`.

    Raises InvalidSubmission when more reads are human than `rules` accept or when nothing is left,
    and ProcessingFailure when the screen is not provably complete (another digest than
    `rules.sha256`, a count that does not add up, a crash of the tool).
    """
    screen = None if index is None else HostScreen.with_index(index, rules, directory, threads)
    tally = _Tally()
    outputs = _outputs(directory, reads.layout)
    with ExitStack() as files:
        writers = [files.enter_context(GzipFile(path)) for path in outputs]
        keeper = _Keeper(writers, tally, screen.shortest if screen else 0)
        for mates in _lanes(reads):
            if screen is None:
                _pass_on(mates, keeper)
            else:
                _screen(mates, screen, keeper)
    report = _report(tally, index, rules, publish_unscreened)
    result = ReadFiles(reads.platform, reads.layout, (outputs[0],), tuple(outputs[1:]))
    return result, report


def _lanes(reads: ReadFiles) -> list[tuple[Path, ...]]:
    if reads.layout is LibraryLayout.SINGLE:
        return [(path,) for path in reads.r1]
    if len(reads.r1) != len(reads.r2):
        raise ProcessingFailure(STEP, "first and second mates are not in as many files")
    return list(zip(reads.r1, reads.r2, strict=True))


def _outputs(directory: Path, layout: LibraryLayout) -> list[Path]:
    names = ["dehumanized"] if layout is LibraryLayout.SINGLE else ["dehumanized_R1", "dehumanized_R2"]
    return [directory / f"{name}.fastq.gz" for name in names]


@dataclass(slots=True)
class _Keeper:
    """Drops what can't be screened, renames what is kept, and writes it. `shortest` 0 keeps all."""

    writers: list[GzipFile]
    tally: _Tally
    shortest: int

    def take(self, mates: tuple[Batch, ...]) -> None:
        """Take as many records of each mate."""
        if len({len(lines) for lines in mates}) != 1 or len(mates[0]) % 4:
            raise ProcessingFailure(STEP, "mates came out of step or a record was cut")
        for lines in mates:
            if lines[0][:1] != b"@" or lines[2][:1] != b"+":
                raise ProcessingFailure(STEP, "a record was cut")
        if self.shortest and (dropped := self._unscreenable(mates)):
            mates = tuple(_without(lines, dropped) for lines in mates)
            self.tally.reads_too_short += len(dropped) * len(mates)
        count = len(mates[0]) // 4
        start = self.tally.reads_kept // len(mates) + 1
        names = [b"@%d" % ordinal for ordinal in range(start, start + count)]
        separators = [b"+"] * count
        for lines, writer in zip(mates, self.writers, strict=True):
            lines[0::4] = names
            lines[2::4] = separators
            lines.append(b"")
            writer.write(b"\n".join(lines))
        self.tally.reads_kept += count * len(mates)

    def _unscreenable(self, mates: tuple[Batch, ...]) -> set[int]:
        """The places of records of which some mate has no window of known bases to look up."""
        found: set[int] = set()
        for lines in mates:
            sequences = lines[1::4]
            if min(map(len, sequences)) < self.shortest:
                found.update(i for i, sequence in enumerate(sequences) if len(sequence) < self.shortest)
            if b"N" in (together := b"".join(sequences)) or together.translate(None, b"ACGTacgt"):
                found.update(i for i, sequence in enumerate(sequences) if self._has_no_window(sequence))
        return found

    def _has_no_window(self, sequence: bytes) -> bool:
        return max(map(len, _UNKNOWN_BASES.split(sequence))) < self.shortest


def _without(lines: Batch, dropped: set[int]) -> Batch:
    return [line for place, line in enumerate(lines) if place // 4 not in dropped]


def _screen(mates: tuple[Path, ...], screen: HostScreen, keeper: _Keeper) -> None:
    tally = keeper.tally
    before = tally.reads_kept + tally.reads_too_short
    for batch in screen.kept(mates):
        keeper.take(batch)
    counts = screen.account(tally.reads_kept + tally.reads_too_short - before)
    tally.reads_in += counts.reads_in
    tally.reads_removed += counts.reads_removed
    tally.bases_removed += counts.bases_removed


def _pass_on(mates: tuple[Path, ...], keeper: _Keeper) -> None:
    with ExitStack() as files:
        streams = [files.enter_context(_opened(path)) for path in mates]
        before = keeper.tally.reads_kept
        _feed(streams, keeper)
        keeper.tally.reads_in += keeper.tally.reads_kept - before


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return igzip_threaded.open(str(path), "rb", threads=1) if compressed else path.open("rb", buffering=BLOCK)


def _feed(streams: list[Readable], keeper: _Keeper) -> None:
    if len(streams) == 1:
        for lines in batches(streams[0]):
            keeper.take((lines,))
    else:
        for pair in in_step(batches(streams[0]), batches(streams[1])):
            keeper.take(pair)


def _report(tally: _Tally, index: Path | None, rules: Dehumanize, publish_unscreened: bool) -> HostDepletionReport:
    if tally.reads_in != tally.reads_kept + tally.reads_removed + tally.reads_too_short:
        raise ProcessingFailure(STEP, "reads are not accounted for")
    fraction = tally.reads_removed / tally.reads_in if tally.reads_in else 0.0
    warnings = tuple(_warnings(tally, fraction, rules, screened=index is not None, published=publish_unscreened))
    if tally.reads_kept == 0:
        raise InvalidSubmission(
            [*warnings, Annotation(Reason.NO_READS_LEFT, f"No read is left of {tally.reads_in}: {_losses(tally)}.")]
        )
    return HostDepletionReport(
        screened=index is not None,
        index_sha256=None if index is None else host_index.digest(index),
        reads_in=tally.reads_in,
        reads_kept=tally.reads_kept,
        reads_removed=tally.reads_removed,
        bases_removed=tally.bases_removed,
        reads_too_short=tally.reads_too_short,
        human_fraction=fraction,
        warnings=warnings,
    )


def _losses(tally: _Tally) -> str:
    return f"{tally.reads_removed} are human, {tally.reads_too_short} are too short to be screened for human sequence"


def _warnings(
    tally: _Tally, fraction: float, rules: Dehumanize, *, screened: bool, published: bool
) -> Iterator[Annotation]:
    if fraction > rules.max_human_fraction:
        too_much = Annotation(
            Reason.TOO_MUCH_HUMAN,
            f"{fraction:.1%} of the reads are human; at most {rules.max_human_fraction:.1%} are expected.",
        )
        if rules.above == "reject":
            raise InvalidSubmission([too_much])
        yield too_much
    if tally.reads_too_short > MANY_TOO_SHORT * tally.reads_in:
        yield Annotation(
            Reason.UNSCREENABLE_READS,
            f"{tally.reads_too_short} of {tally.reads_in} reads are too short to be screened for human sequence"
            " and were left out, with their mates.",
        )
    if not screened and rules.off is None:
        fate = "they are given out nevertheless, as was asked" if published else "no read-level file is given out"
        yield Annotation(Reason.UNSCREENABLE_READS, f"The reads were not screened for human sequence; {fate}.")
