"""BGZF, which any reader of gzip reads too: the same content gives the same bytes, on any machine and at any load.

libdeflate compresses, on a thread of its own. ISA-L is twice as quick, but a few of its blocks in ten thousand
came out a byte longer or shorter from one time to the next (the content was right).
"""

from __future__ import annotations

import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import deflate
import numpy as np
from numpy.typing import NDArray

LEVEL = 1
"""libdeflate's, as samtools has it (docs/decisions.md)."""

BLOCK = 0xFF00
"""Uncompressed bytes of each block but the last; what htslib takes."""

_TASK = 64 * BLOCK
_AHEAD = 4
_HEADER = struct.Struct("<4BI2BH2BHH")
_TRAILER = struct.Struct("<II")
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class BgzfWriter:
    """Writes a BGZF file. Its blocks hold as many bytes each, whatever is given at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[tuple[bytes, list[int]]]] = deque()
        self._rest = bytearray()
        self._sizes: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._submit(bytes(self._rest))
                while self._pending:
                    self._take()
                self._file.write(_END)
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._file.close()

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes; at most a few tasks of them wait in memory."""
        self._rest += content
        whole = len(self._rest) // _TASK * _TASK
        for start in range(0, whole, _TASK):
            self._submit(bytes(self._rest[start : start + _TASK]))
        del self._rest[:whole]

    def blocks(self) -> NDArray[np.int64]:
        """Where each block begins in the file, and where behind the last one; known after the writer's end."""
        return np.cumsum([0, *self._sizes], dtype=np.int64)

    def _submit(self, content: bytes) -> None:
        self._pending.append(self._pool.submit(_blocks, content))
        while len(self._pending) > _AHEAD:
            self._take()

    def _take(self) -> None:
        content, sizes = self._pending.popleft().result()
        self._file.write(content)
        self._sizes += sizes


def _blocks(content: bytes) -> tuple[bytes, list[int]]:
    """Blocks of the content, and the size of each."""
    view = memoryview(content)
    blocks = [_block(view[start : start + BLOCK]) for start in range(0, len(content), BLOCK)]
    return b"".join(blocks), [len(block) for block in blocks]


def _block(content: memoryview) -> bytes:
    packed = bytes(deflate.deflate_compress(content, LEVEL))
    size = _HEADER.size + len(packed) + _TRAILER.size
    if size > 1 << 16:
        packed = bytes(deflate.deflate_compress(content, 0))
        size = _HEADER.size + len(packed) + _TRAILER.size
    header = _HEADER.pack(0x1F, 0x8B, 8, 4, 0, 0, 255, 6, ord("B"), ord("C"), 2, size - 1)
    return header + packed + _TRAILER.pack(deflate.crc32(content), len(content))
