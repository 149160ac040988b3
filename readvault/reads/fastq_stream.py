"""FASTQ as streams of whole records: blocks in, lists of lines out, reproducible gzip back.

A block is split by one call in C, and its four kinds of lines are slices of the list, so that work
per read is a C loop over bytes objects instead of a Python loop over records.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from isal import igzip_threaded

BLOCK = 1 << 20
PIPE_SIZE = 1 << 20
LONGEST_LINE = 10_000_000
"""Bytes; the longest nanopore read on record has 4.2 million bases."""
LONGEST_RECORD = 4 * LONGEST_LINE
_GZIP_BLOCK = 1 << 20
_GZIP_LEVEL = 1

Batch = list[bytes]
"""Lines without their ends; four are a record."""


class Readable(Protocol):
    """Anything that gives the next bytes."""

    def read(self, size: int, /) -> bytes: ...


def batches(stream: Readable, block: int = BLOCK) -> Iterator[Batch]:
    """The lines of four-line records, some thousand whole records at a time, without line ends.

    A last record that is incomplete comes as it is, and so does the beginning of one that is longer
    than `LONGEST_RECORD`, after which nothing comes: the caller counts.
    """
    pieces: list[bytes] = []
    size = 0
    while size <= LONGEST_RECORD and (data := stream.read(block)):
        pieces.append(data)
        size += len(data)
        if b"\n" not in data:
            continue
        lines = b"".join(pieces).split(b"\n")
        whole = (len(lines) - 1) // 4 * 4
        pieces = [b"\n".join(lines[whole:])]
        size = len(pieces[0])
        if whole:
            del lines[whole:]
            yield lines
    if rest := b"".join(pieces):
        yield rest.removesuffix(b"\n").split(b"\n")


def in_step(first: Iterator[Batch], second: Iterator[Batch]) -> Iterator[tuple[Batch, Batch]]:
    """Two streams of batches cut so that both lists hold the same number of records.

    When one stream ends before the other, the last pair of lists differs in length.
    """
    one: Batch = []
    two: Batch = []
    while True:
        one = one or next(first, [])
        two = two or next(second, [])
        if not one or not two:
            break
        size = min(len(one), len(two))
        yield one[:size], two[:size]
        one, two = one[size:], two[size:]
    if one or two:
        yield one, two


def arriving(pipes: list[int]) -> Iterator[tuple[Batch, ...]]:
    """Records as they come through pipes (file descriptors), as many of each mate at a time.

    Whichever pipe has something is read, because the writer may fill one before it goes on with the
    other. The last lists may differ in length: then the streams were not in step.
    """
    held = [bytearray() for _ in pipes]
    with selectors.DefaultSelector() as selector:
        for mate, descriptor in enumerate(pipes):
            selector.register(descriptor, selectors.EVENT_READ, mate)
        while selector.get_map():
            for key, _ in selector.select():
                if data := os.read(key.fd, PIPE_SIZE):
                    held[key.data] += data
                else:
                    selector.unregister(key.fd)
            if min(map(len, held)) >= BLOCK and (whole := _whole_records(held))[0]:
                yield whole
    if (whole := _whole_records(held))[0]:
        yield whole
    if any(held):
        yield tuple(bytes(data).split(b"\n") for data in held)


def _whole_records(held: list[bytearray]) -> tuple[Batch, ...]:
    """Take as many whole records from each; what remains stays held."""
    split = [bytes(data).split(b"\n") for data in held]
    size = min((len(lines) - 1) // 4 * 4 for lines in split)
    for data, lines in zip(held, split, strict=True):
        data[:] = b"\n".join(lines[size:])
    return tuple(lines[:size] for lines in split)


class GzipFile:
    """A gzip file whose bytes depend on its content alone: no time, no name, no number of threads.

    Compression runs on a thread of its own. Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = igzip_threaded.open(
            str(path), "wb", compresslevel=_GZIP_LEVEL, threads=1, block_size=_GZIP_BLOCK
        )
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Add bytes; what comes out does not depend on how they were cut into calls."""
        self._waiting += data
        while len(self._waiting) >= _GZIP_BLOCK:
            self._file.write(bytes(self._waiting[:_GZIP_BLOCK]))
            del self._waiting[:_GZIP_BLOCK]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._file.write(bytes(self._waiting))
        self._file.close()
