"""Lines of SILO reads on disk: zstd frames of whole lines (`readvault.domain.silo_lines` has their format)."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import zstandard

from readvault.domain.silo_lines import FILE_NAME

__all__ = ["FILE_NAME", "FRAME_BYTES", "LEVEL", "FrameWriter"]

LEVEL = 1
"""zstd's: of real and simulated lines level 3 makes no smaller files, in a third more time."""
FRAME_BYTES = 4 << 20
"""Uncompressed bytes from which on a frame ends, at the next line's end."""

_AHEAD = 4


class FrameWriter:
    """Writes frames of about `FRAME_BYTES`, each with its size and checksum, on a thread of its own.

    The same lines give the same bytes, however they are handed over. Use it as a context manager.
    """

    def __init__(self, path: Path, *, frame_bytes: int = FRAME_BYTES) -> None:
        self._file = path.open("wb")
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[bytes]] = deque()
        self._frame_bytes = frame_bytes
        self._held = bytearray()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self.frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._held or not self.frames:
                    self._submit(bytes(self._held))
                while self._pending:
                    self._file.write(self._pending.popleft().result())
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._file.close()

    def write(self, lines: bytes | memoryview) -> None:
        """Append whole lines; at most a few frames of them wait in memory."""
        self._held += lines
        begin = 0
        while len(self._held) - begin >= self._frame_bytes:
            end = self._held.find(b"\n", begin + self._frame_bytes - 1) + 1
            if end == 0:
                break
            self._submit(bytes(self._held[begin:end]))
            begin = end
        del self._held[:begin]

    def _submit(self, content: bytes) -> None:
        self.frames += 1
        self._pending.append(self._pool.submit(self._compressor.compress, content))
        while len(self._pending) > _AHEAD:
            self._file.write(self._pending.popleft().result())
