"""FASTQ as streams: blocks of text in, or lists of lines where few reads are looked at."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from typing import Protocol

import numpy as np

BLOCK = 1 << 20
PIPE_SIZE = 1 << 20
LONGEST_LINE = 10_000_000
"""Bytes; the longest nanopore read on record has 4.2 million bases."""
LONGEST_RECORD = 4 * LONGEST_LINE
_LARGEST_BLOCK = 8 * BLOCK
_LF = 10

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


class Window:
    """The part of a text that has come and is not used up: `text[:size]` of an array that grows as it must."""

    def __init__(self) -> None:
        self.text = np.empty(2 * BLOCK, np.uint8)
        self.size = 0

    def room(self, size: int) -> memoryview:
        """Where the next `size` bytes belong; tell `came` how many there were."""
        if self.size + size > self.text.size:
            grown = np.empty(max(2 * self.text.size, self.size + size), np.uint8)
            grown[: self.size] = self.text[: self.size]
            self.text = grown
        return memoryview(self.text)[self.size : self.size + size]

    def came(self, size: int) -> None:
        """Count bytes in."""
        self.size += size

    def drop(self, size: int) -> None:
        """Forget the first bytes."""
        self.text[: self.size - size] = self.text[size : self.size]
        self.size -= size

    def fill(self, stream: Readable, block: int = BLOCK) -> bool:
        """Take a block of a stream: False at its end, at which the last line gets its LF if it has none.

        The longer the record that is not whole yet, the larger the block.
        """
        data = stream.read(max(block, min(self.size, _LARGEST_BLOCK)))
        if not data and self.size and self.text[self.size - 1] != _LF:
            data, more = b"\n", False
        else:
            more = bool(data)
        self.room(len(data))[:] = data
        self.came(len(data))
        return more


def abreast(streams: list[Readable], block: int = BLOCK) -> Iterator[tuple[Window, ...]]:
    """The text of several streams, some blocks at a time, for a caller who uses as many records of each.

    A stream whose records are shorter than the other's waits: memory stays flat.
    """
    windows = tuple(Window() for _ in streams)
    unread = dict(zip(windows, streams, strict=True))
    waiting = False
    while unread:
        for window, stream in list(unread.items()):
            if (waiting or window.size < block) and not window.fill(stream, block):
                del unread[window]
        before = [window.size for window in windows]
        yield windows
        waiting = before == [window.size for window in windows]


def arriving(pipes: list[int]) -> Iterator[tuple[Window, ...]]:
    """Text as it comes through pipes (file descriptors), for a caller who uses as many records of each.

    Whichever pipe has something is read, because the writer may fill one before it goes on with the
    other.
    """
    windows = tuple(Window() for _ in pipes)
    wanted = BLOCK
    with selectors.DefaultSelector() as selector:
        for descriptor, window in zip(pipes, windows, strict=True):
            selector.register(descriptor, selectors.EVENT_READ, window)
        while selector.get_map():
            for key, _ in selector.select():
                if count := os.readv(key.fd, [key.data.room(PIPE_SIZE)]):
                    key.data.came(count)
                else:
                    selector.unregister(key.fd)
            if min(window.size for window in windows) >= wanted:
                yield windows
                wanted = max(BLOCK, 2 * min(window.size for window in windows))
    yield windows
