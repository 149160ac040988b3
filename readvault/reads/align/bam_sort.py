"""BAM records put in order, in flat memory: sorted runs on disk, merged one stretch of keys at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.native import compiled

RANK_BITS = 36
"""The lower bits of a position key: which read of the input, and which of its alignments."""

SUB_BITS = 4
_RUN_BYTES = 48 << 20
_MERGED_RECORDS = 50_000

Part = tuple[Bytes, NDArray[np.uint64], Integers]
"""Records, their keys and their sizes."""


class RecordSorter:
    """Takes records in any order and gives them back by key; equal keys stay in the order in which they came.

    A run is sorted and written while the next records come. Use it as a context manager: at the end nothing is
    being written any more.
    """

    def __init__(self, directory: Path, *, run_bytes: int = _RUN_BYTES) -> None:
        self._directory = directory
        self._run_bytes = run_bytes
        self._parts: list[Part] = []
        self._held = 0
        self._runs: list[tuple[Path, Path, Path]] = []
        self._writing = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writing.shutdown()

    def add(self, content: Bytes, keys: NDArray[np.uint64], sizes: Integers) -> None:
        """Take whole records that lie one after the other; the arrays must not change any more."""
        if len(keys):
            self._parts.append((content, keys, sizes))
            self._held += content.nbytes
        if self._held >= self._run_bytes:
            self._spill()

    def sorted(self) -> Iterator[Bytes]:
        """The records by key, some millions of bytes at a time; what was on disk is gone at the end."""
        if not self._runs:
            if self._parts:
                yield _sorted(self._parts)[0]
                self._parts = []
            return
        if self._parts:
            self._spill()
        self._wait()
        yield from self._merged()
        for paths in self._runs:
            for path in paths:
                path.unlink()

    def _spill(self) -> None:
        number = len(self._runs)
        records, keys, ends = (self._directory / f"run{number}.{kind}" for kind in ("records", "keys", "ends"))
        self._runs.append((records, keys, ends))
        self._wait()  # or memory would hold as many runs as come while one is written
        self._written = self._writing.submit(_write_run, self._parts, records, keys, ends)
        self._parts, self._held = [], 0

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()

    def _merged(self) -> Iterator[Bytes]:
        maps = [[_mapped(path) for path in paths] for paths in self._runs]
        runs = [
            (np.frombuffer(c, np.uint8), np.frombuffer(k, np.uint64), np.frombuffer(e, np.int64)) for c, k, e in maps
        ]
        chunk = max(1000, _MERGED_RECORDS // len(runs))
        cursors = [0] * len(runs)
        while True:
            ahead = [keys[at + chunk] for (_, keys, _), at in zip(runs, cursors, strict=True) if at + chunk < len(keys)]
            parts = []
            for number, (content, keys, ends) in enumerate(runs):
                at = cursors[number]
                until = int(np.searchsorted(keys, min(ahead))) if ahead else len(keys)
                begin = int(ends[at - 1]) if at else 0
                stop = int(ends[until - 1]) if until else 0
                sizes = np.diff(ends[at:until], prepend=begin)
                parts.append((content[begin:stop], keys[at:until], sizes))
                cursors[number] = until
            content, _, _ = _ordered(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            for each in (each for run in maps for each in run):
                each.madvise(mmap.MADV_DONTNEED)  # or all runs would stay in memory that have been read
            yield content
            if not ahead:
                return


def _write_run(parts: list[Part], records: Path, keys: Path, ends: Path) -> None:
    content, sorted_keys, sizes = _sorted(parts)
    content.tofile(records)
    sorted_keys.tofile(keys)
    np.cumsum(sizes).tofile(ends)


def _sorted(parts: list[Part]) -> Part:
    content = np.concatenate([part[0] for part in parts])
    keys = np.concatenate([part[1] for part in parts])
    sizes = np.concatenate([part[2] for part in parts])
    parts.clear()
    return _ordered(content, keys, sizes)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _ordered(content: Bytes, keys: NDArray[np.uint64], sizes: Integers) -> Part:
    order = np.argsort(keys, kind="stable")
    sorted_content = np.empty_like(content)
    _gather(content, np.cumsum(sizes) - sizes, sizes, order, sorted_content)
    return sorted_content, keys[order], sizes[order]


@compiled("void(uint8[::1], int64[::1], int64[::1], int64[::1], uint8[::1])")
def _gather(content: Bytes, offsets: Integers, sizes: Integers, order: Integers, target: Bytes) -> None:
    at = 0
    for record in order:
        offset, size = offsets[record], sizes[record]
        target[at : at + size] = content[offset : offset + size]
        at += size
