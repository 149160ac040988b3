"""All reads to BAM records: the certain ones placed here, the others by minimap2, each with its read group and key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pysam
from isal import igzip_threaded

from readvault.domain.errors import ProcessingFailure
from readvault.domain.reads import LibraryLayout
from readvault.reads import tools
from readvault.reads.align.bam_records import BamReader, Integers
from readvault.reads.align.bam_sort import RecordSorter
from readvault.reads.align.bam_writer import take_over
from readvault.reads.align.placement import Groups, Placer
from readvault.reads.align.short_read_index import LARGEST_REFERENCE, ShortReadIndex
from readvault.reads.sample import ReadFiles, Segment

STEP = "align"
KEPT_TAGS = "NM,AS,RG"
"""Clipping primers makes MD stale, and readers who want it can make it from the reference."""

_PIPE_BYTES = 1 << 20
_FED_AT_ONCE = "4M"
"""Bases: minimap2 aligns while more is placed, and not only when it has all. Its answers don't depend on it."""


def map_reads(
    reads: ReadFiles,
    reference: Path,
    segments: tuple[Segment, ...],
    *,
    preset: str,
    groups: Groups,
    sorter: RecordSorter,
    by_place: bool,
    scratch: Path,
    threads: int,
) -> tuple[int, int]:
    """Give all mapped records to the sorter; how many reads there are, and how many of them are mapped.

    Keys are by place on the reference or, with `by_place` False, by the order of the input. Raises
    ProcessingFailure when the reads are no FASTQ or minimap2 fails.
    """
    files = [reads.r1] if reads.layout is LibraryLayout.SINGLE else [reads.r1, reads.r2]
    arguments = ["-a", "-x", preset, "-t", str(threads), "--secondary=no", str(reference)]
    bam = scratch / "minimap2.bam"
    placed, templates = 0, np.empty(0, dtype=np.int64)
    if preset == "sr" and sum(len(segment.sequence) for segment in segments) <= LARGEST_REFERENCE:
        placer = Placer(ShortReadIndex.of(segments), groups, by_place=by_place)
        templates = _place(placer, files, arguments, sorter, bam)
        placed = placer.reads
        others = _take_over(bam, segments, groups, sorter, templates, by_place=by_place) if len(templates) else (0, 0)
    else:
        with tools.minimap2(STEP, [*arguments, *_inputs(files, scratch)]) as sam:
            _to_bam(sam, bam)
        others = _take_over(bam, segments, groups, sorter, templates, by_place=by_place)
    return placed + others[0], placed + others[1]


def take_bam(bam: Path, segments: tuple[Segment, ...], sorter: RecordSorter) -> int:
    """Give the records of a BAM to the sorter, by place and as they are; how many reads are mapped."""
    none = Groups(np.empty((1, 0), dtype=np.uint8), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64))
    return _take_over(bam, segments, none, sorter, np.empty(0, dtype=np.int64), by_place=True)[1]


def _place(
    placer: Placer, files: list[tuple[Path, ...]], arguments: list[str], sorter: RecordSorter, bam: Path
) -> Integers:
    """Place what is certain, give minimap2 the rest; leaves minimap2's BAM and tells whose reads it got."""
    sam = bam.with_suffix(".sam")
    templates = []
    with ExitStack() as opened:
        streams = [opened.enter_context(_Chain(paths)) for paths in files]
        with tools.minimap2_fed(STEP, ["-K", _FED_AT_ONCE, *arguments, "-"], sam) as feed:
            for placed in placer.place(streams):
                sorter.add(placed.records, placed.keys, placed.sizes)
                templates.append(placed.templates)
                if len(placed.rest):
                    feed(placed.rest)
    _to_bam(str(sam), bam)
    sam.unlink()
    return np.concatenate(templates) if templates else np.empty(0, dtype=np.int64)


def _to_bam(sam: str, bam: Path) -> None:
    tools.samtools(STEP, pysam.view, "-u", "--no-PG", "--keep-tag", KEPT_TAGS, "-o", str(bam), sam)


def _take_over(
    bam: Path,
    segments: tuple[Segment, ...],
    groups: Groups,
    sorter: RecordSorter,
    templates: Integers,
    *,
    by_place: bool,
) -> tuple[int, int]:
    """Give a BAM's mapped records to the sorter; how many reads it has, and how many are mapped."""
    starts = np.cumsum([0, *(len(segment.sequence) for segment in segments)]).astype(np.int64)
    state = np.zeros(4, dtype=np.int64)
    longest = groups.tags.shape[1]
    with BamReader(bam) as reader:
        while True:
            batch = reader.read()
            target = np.empty(len(batch.buffer) + longest * len(batch), dtype=np.uint8)
            keys, sizes = np.empty(len(batch), dtype=np.uint64), np.empty(len(batch), dtype=np.int64)
            count = take_over(
                batch.buffer,
                batch.offset,
                templates,
                starts,
                groups.tags,
                groups.lengths,
                groups.ends,
                longest == 0,
                by_place,
                state,
                target,
                keys,
                sizes,
            )
            sorter.add(target[: int(state[2])].copy(), keys[:count], sizes[:count])
            if reader.at_end:
                bam.unlink()
                return int(state[0]), int(state[3])


def _inputs(files: list[tuple[Path, ...]], scratch: Path) -> Iterator[str]:
    """One file with all reads in order for each mate: minimap2 takes several files for mates of each other."""
    for number, paths in enumerate(files):
        if len(paths) == 1:
            yield str(paths[0])
            continue
        joined = scratch / f"joined{number}.fastq"
        with joined.open("wb") as target, _Chain(paths) as source:
            while block := source.read(_PIPE_BYTES):
                target.write(block)
        yield str(joined)


class _Chain:
    """Several FASTQ files, plain or gzip, as one stream of lines."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._waiting = list(paths)
        self._stream: Any = None
        self._last = b"\n"

    def __enter__(self) -> _Chain:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none only at the end of the last file."""
        try:
            while True:
                block: bytes = self._stream.read(size) if self._stream is not None else b""
                if block:
                    self._last = block[-1:]
                    return block
                if self._stream is not None:
                    self._stream.close()
                    self._stream = None
                    if self._last != b"\n":
                        self._last = b"\n"
                        return b"\n"
                if not self._waiting:
                    return b""
                self._stream = _opened(self._waiting.pop(0))
        except (OSError, EOFError) as fault:
            raise ProcessingFailure(STEP, "the reads can't be read") from fault


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return igzip_threaded.open(str(path), "rb", threads=1) if compressed else path.open("rb")
