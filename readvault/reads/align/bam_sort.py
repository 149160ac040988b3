"""BAM records put in order, in flat memory: sorted runs on disk, merged one stretch of keys at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.native import compiled

RANK_BITS = 36
"""The lower bits of a position key: which read of the input, and which of its alignments."""

SUB_BITS = 4
_RUN_BYTES = 48 << 20
_MERGED_RECORDS = 200_000


class RecordSorter:
    """Takes records in any order and gives them back by key; equal keys stay in the order in which they came."""

    def __init__(self, directory: Path, *, run_bytes: int = _RUN_BYTES) -> None:
        self._directory = directory
        self._run_bytes = run_bytes
        self._parts: list[tuple[Bytes, NDArray[np.uint64], Integers]] = []
        self._held = 0
        self._runs: list[tuple[Path, Path, Path]] = []

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
                yield self._sorted_parts()[0]
            return
        if self._parts:
            self._spill()
        yield from self._merged()
        for paths in self._runs:
            for path in paths:
                path.unlink()

    def _sorted_parts(self) -> tuple[Bytes, NDArray[np.uint64], Integers]:
        content = np.concatenate([part[0] for part in self._parts])
        keys = np.concatenate([part[1] for part in self._parts])
        sizes = np.concatenate([part[2] for part in self._parts])
        self._parts, self._held = [], 0
        return _ordered(content, keys, sizes)

    def _spill(self) -> None:
        number = len(self._runs)
        paths = tuple(self._directory / f"run{number}.{kind}" for kind in ("records", "keys", "ends"))
        content, keys, sizes = self._sorted_parts()
        content.tofile(paths[0])
        keys.tofile(paths[1])
        np.cumsum(sizes).tofile(paths[2])
        self._runs.append((paths[0], paths[1], paths[2]))

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


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _ordered(content: Bytes, keys: NDArray[np.uint64], sizes: Integers) -> tuple[Bytes, NDArray[np.uint64], Integers]:
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
