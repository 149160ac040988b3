"""Removing human reads. It fails closed: a read that was not screened enters no public file.

deacon looks up the minimizers of each read, of a pair together, in the host index. The way of a
read: deacon drops it when it hits the host; what deacon keeps arrives here through a pipe; reads that
hold no window of k-mers (45 bases for k=31, w=15), or whose unknown bases leave none, leave too,
because deacon could not have seen anything in them; the rest gets a new name and is written. Mates
leave together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from isal import igzip_threaded

from readvault.domain.errors import ProcessingFailure
from readvault.domain.organism import Dehumanize
from readvault.domain.reads import LibraryLayout
from readvault.domain.reports import HostDepletionReport, ScreeningReport
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.dehumanize import host_index
from readvault.reads.dehumanize.host_screen import STEP, HostScreen
from readvault.reads.dehumanize.host_verdict import HostTally, judge
from readvault.reads.sample import ReadFiles
from readvault.reads.validate import fastq_native
from readvault.reads.validate.fastq_native import keep_records
from readvault.reads.validate.fastq_stream import BLOCK, Window, abreast

_LONGEST_NAME = len(b"@9223372036854775807")
_SMALLEST_RECORD = len(b"@\nA\n+\nI\n")
_CUT = "mates came out of step or a record was cut"


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
        writers = [files.enter_context(BgzfWriter(path)) for path in outputs]
        keeper = _Keeper(writers, tally, screen.shortest if screen else 0)
        lanes = [
            _pass_on(mates, keeper) if screen is None else _screen(mates, screen, keeper) for mates in _lanes(reads)
        ]
    report = judge(
        tally,
        index_sha256=None if index is None else host_index.digest(index),
        rules=rules,
        publish_unscreened=publish_unscreened,
    )
    result = ReadFiles(reads.platform, reads.layout, (outputs[0],), tuple(outputs[1:]), tuple(lanes))
    return result, report


def count_hits(
    lanes: Sequence[tuple[Path, ...]], index: Path, *, rules: Dehumanize, directory: Path, threads: int
) -> ScreeningReport:
    """How many reads of these FASTQ files (alone, or two of mates) hit the host; nothing is written.

    Raises ProcessingFailure unless the index is the pinned one and every read is accounted for.
    """
    if rules.sha256 is None:
        raise ProcessingFailure(STEP, "no host index is pinned")
    screen = HostScreen.with_index(index, rules, directory, threads)
    tally = HostTally()
    for mates in lanes:
        _screen(mates, screen, _Keeper([_Nowhere() for _ in mates], tally, screen.shortest))
    if tally.reads_in != tally.reads_kept + tally.reads_removed + tally.reads_too_short:
        raise ProcessingFailure(STEP, "reads are not accounted for")
    return ScreeningReport(rules.sha256, tally.reads_in, tally.reads_removed, tally.reads_too_short)


def _lanes(reads: ReadFiles) -> list[tuple[Path, ...]]:
    if reads.layout is LibraryLayout.SINGLE:
        return [(path,) for path in reads.r1]
    if len(reads.r1) != len(reads.r2):
        raise ProcessingFailure(STEP, "first and second mates are not in as many files")
    return list(zip(reads.r1, reads.r2, strict=True))


def _outputs(directory: Path, layout: LibraryLayout) -> list[Path]:
    names = ["dehumanized"] if layout is LibraryLayout.SINGLE else ["dehumanized_R1", "dehumanized_R2"]
    return [directory / f"{name}.fastq.gz" for name in names]


class _Writer(Protocol):
    def write(self, data: memoryview, /) -> object: ...


class _Nowhere:
    """Where reads go that are only counted."""

    def write(self, data: memoryview, /) -> None:
        """Let it go."""


@dataclass(slots=True)
class _Keeper:
    """Drops what can't be screened, renames what is kept, and writes it. `shortest` 0 keeps all."""

    writers: Sequence[_Writer]
    tally: HostTally
    shortest: int

    def take(self, windows: tuple[Window, ...]) -> None:
        """Take as many whole records of each mate as there are."""
        one, two = windows[0], windows[-1]
        counts = np.zeros(fastq_native.DROPPED + 1, np.int64)
        written = [np.empty(_room_for(window), np.uint8) for window in windows]
        right = keep_records(
            one.text,
            one.size,
            two.text,
            two.size,
            len(windows) == 2,
            self.shortest,
            self.tally.reads_kept // len(windows) + 1,
            written[0],
            written[-1],
            counts,
        )
        if not right:
            raise ProcessingFailure(STEP, _CUT)
        for mate, (window, writer, text) in enumerate(zip(windows, self.writers, written, strict=True)):
            window.drop(int(counts[fastq_native.MATE_USED + mate]))
            writer.write(memoryview(text)[: int(counts[fastq_native.MATE_WRITTEN + mate])])
        self.tally.reads_kept += int(counts[fastq_native.KEPT]) * len(windows)
        self.tally.reads_too_short += int(counts[fastq_native.DROPPED]) * len(windows)

    def take_all(self, texts: Iterator[tuple[Window, ...]]) -> int:
        """Take what comes, to the end; how many records (of each mate) were kept.

        Raises ProcessingFailure when something is left that is no record, or has no mate.
        """
        before = self.tally.reads_kept
        left, mates = 0, 1
        for windows in texts:
            self.take(windows)
            left, mates = sum(window.size for window in windows), len(windows)
        if left:
            raise ProcessingFailure(STEP, _CUT)
        return (self.tally.reads_kept - before) // mates


def _room_for(window: Window) -> int:
    """Bytes that the window's records may take under their new names."""
    return window.size + _LONGEST_NAME * (window.size // _SMALLEST_RECORD + 1)


def _screen(mates: tuple[Path, ...], screen: HostScreen, keeper: _Keeper) -> int:
    tally = keeper.tally
    before = tally.reads_kept + tally.reads_too_short
    kept = keeper.take_all(screen.kept(mates))
    counts = screen.account(tally.reads_kept + tally.reads_too_short - before)
    tally.reads_in += counts.reads_in
    tally.reads_removed += counts.reads_removed
    tally.bases_removed += counts.bases_removed
    return kept


def _pass_on(mates: tuple[Path, ...], keeper: _Keeper) -> int:
    with ExitStack() as files:
        kept = keeper.take_all(abreast([files.enter_context(_opened(path)) for path in mates]))
    keeper.tally.reads_in += kept * len(mates)
    return kept


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return igzip_threaded.open(str(path), "rb", threads=1) if compressed else path.open("rb", buffering=BLOCK)
