"""A BAM in batches of whole records: one pass, no Python object per read.

The layout of a record is that of the SAM specification (SAMv1, section 4.2). Batches hold whole
records in the file's order. All positions are 0-based.
"""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import igzip_threaded
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure
from readvault.reads.native import compiled, inlined

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

PAIRED, PROPER, UNMAPPED, MATE_UNMAPPED, REVERSE, MATE_REVERSE = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
FIRST, LAST, SECONDARY, FAILED, DUPLICATE, SUPPLEMENTARY = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
MATCH, INSERTION, DELETION, SKIP, SOFT_CLIP, HARD_CLIP, EQUAL, DIFFERENT = 0, 1, 2, 3, 4, 5, 7, 8
FIXED_BYTES = 36
"""The size of a record and its fields of fixed place; the name follows."""

_SMALLEST_RECORD = 37
_SIZE = struct.Struct("<i").unpack_from
_PADDING = 512  # so that fixed-width windows at the last record stay inside the buffer


def windows(values: Bytes, width: int) -> Bytes:
    """Every stretch of `width` values, one row each, without a copy (numpy's own costs 50 times the call)."""
    return np.ndarray((len(values) - width + 1, width), dtype=np.uint8, buffer=values, strides=(1, 1))


@inlined
def int32_at(buffer: Bytes, at: Any) -> Any:
    """The signed 32-bit number at a place."""
    word = (
        np.int64(buffer[at])
        | np.int64(buffer[at + 1]) << 8
        | np.int64(buffer[at + 2]) << 16
        | np.int64(buffer[at + 3]) << 24
    )
    return word - (np.int64(1) << 32) if word >> 31 else word


@inlined
def uint16_at(buffer: Bytes, at: Any) -> Any:
    """The unsigned 16-bit number at a place."""
    return np.int64(buffer[at]) | np.int64(buffer[at + 1]) << 8


@inlined
def nibble_at(buffer: Bytes, at: Any) -> Any:
    """The four bits at a place that counts nibbles, the high ones of a byte first."""
    packed = np.int64(buffer[at >> 1])
    return packed & 15 if at & 1 else packed >> 4


@compiled("UniTuple(int64, 2)(uint8[::1], int64, int64[::1])")
def record_offsets(buffer: Bytes, length: int, offsets: Integers) -> tuple[int, int]:
    """Note where the whole records start; how many there are, and where the last of them ends (-1: damaged)."""
    count, at = 0, 0
    while at + 4 <= length:
        size = int32_at(buffer, at)
        if size < _SMALLEST_RECORD - 4:
            return count, -1
        if at + 4 + size > length:
            break
        offsets[count] = at
        count += 1
        at += 4 + size
    return count, at


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole records of one BAM; `offset` is where a record starts in `buffer`."""

    buffer: Bytes
    offset: Integers

    def __len__(self) -> int:
        return len(self.offset)

    def raw(self, chosen: Integers) -> bytes:
        """The bytes of some records, to be put in front of the next batch."""
        content = self.buffer
        return b"".join(content[at : at + 4 + _SIZE(content, at)[0]].tobytes() for at in self.offset[chosen].tolist())


class BamReader:
    """Reads a BAM in batches. Raises ProcessingFailure when it is no BAM or ends too early."""

    def __init__(self, bam: Path, *, batch_bytes: int = 32 << 20, step: str = "consensus") -> None:
        self._step = step
        self._batch_bytes = batch_bytes
        self._rest = b""
        self._stream = igzip_threaded.open(bam, "rb")
        self.at_end = False
        self.segments = self._read_header()
        self._reading = ThreadPoolExecutor(1)
        self._fresh = self._reading.submit(self._take, batch_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reading.shutdown()
        self._stream.close()

    def read(self, held: bytes = b"") -> Batch:
        """The next records, after those whose bytes are given; `at_end` tells whether there are more.

        While the caller works on a batch, the next one is unpacked.
        """
        fresh = self._fresh.result()
        self.at_end = len(fresh) < self._batch_bytes
        if not self.at_end:
            self._fresh = self._reading.submit(self._take, self._batch_bytes)
        content = bytearray().join((held, self._rest, fresh, bytes(_PADDING)))
        length = len(content) - _PADDING
        buffer = np.frombuffer(content, dtype=np.uint8)
        offsets = np.empty(length // _SMALLEST_RECORD + 1, dtype=np.int64)
        count, end = record_offsets(buffer, length, offsets)
        if end < 0 or (self.at_end and end < length):
            raise ProcessingFailure(self._step, "the BAM is damaged or ends within a record")
        self._rest = bytes(content[end:length])
        return Batch(buffer, offsets[:count].copy())

    def _read_header(self) -> tuple[tuple[str, int], ...]:
        magic, text_length = struct.unpack("<4si", self._exactly(8))
        if magic != b"BAM\1":
            raise ProcessingFailure(self._step, "the alignment is no BAM")
        self._exactly(text_length)
        segments = []
        for _ in range(struct.unpack("<i", self._exactly(4))[0]):
            name = self._exactly(struct.unpack("<i", self._exactly(4))[0])[:-1].decode("ascii")
            segments.append((name, struct.unpack("<i", self._exactly(4))[0]))
        return tuple(segments)

    def _exactly(self, size: int) -> bytes:
        content = self._take(size)
        if len(content) < size:
            raise ProcessingFailure(self._step, "the BAM ends within its header")
        return content

    def _take(self, size: int) -> bytes:
        parts = []
        try:
            while size > 0 and (part := self._stream.read(size)):
                parts.append(part)
                size -= len(part)
        except (OSError, EOFError) as fault:
            raise ProcessingFailure(self._step, "the BAM can't be decompressed") from fault
        return b"".join(parts)
