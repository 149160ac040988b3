"""Removing human reads. It fails closed: a read that was not screened enters no public file.

deacon looks up the minimizers of each read, of a pair together, in the host index. The way of a
read: deacon drops it when it hits the host; what deacon keeps arrives here through a pipe; reads that
hold no window of k-mers (45 bases for k=31, w=15), or whose unknown bases leave none, leave too,
because deacon could not have seen anything in them; the rest gets a new name and is written. Mates
leave together.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import igzip_threaded

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout
from readvault.domain.reports import HostDepletionReport
from readvault.reads import host_index
from readvault.reads.fastq_stream import BLOCK, Batch, GzipFile, Readable, batches, in_step
from readvault.reads.host_screen import STEP, HostScreen
from readvault.reads.host_verdict import HostTally, judge
from readvault.reads.sample import ReadFiles

_UNKNOWN_BASES = re.compile(rb"[^ACGTacgt]+")


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
    tally = HostTally()
    outputs = _outputs(directory, reads.layout)
    with ExitStack() as files:
        writers = [files.enter_context(GzipFile(path)) for path in outputs]
        keeper = _Keeper(writers, tally, screen.shortest if screen else 0)
        for mates in _lanes(reads):
            if screen is None:
                _pass_on(mates, keeper)
            else:
                _screen(mates, screen, keeper)
    report = judge(
        tally,
        index_sha256=None if index is None else host_index.digest(index),
        rules=rules,
        publish_unscreened=publish_unscreened,
    )
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
    tally: HostTally
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
