"""A BAM as numpy columns, in batches: one pass, no Python object per read.

The layout of a record is that of the SAM specification (SAMv1, section 4.2). Batches hold whole
records in the file's order. All positions are 0-based.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import igzip_threaded
from numpy.typing import NDArray

from readvault.domain.errors import ProcessingFailure

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

PAIRED, UNMAPPED, MATE_UNMAPPED, REVERSE = 0x1, 0x4, 0x8, 0x10
SECONDARY, FAILED, DUPLICATE, SUPPLEMENTARY = 0x100, 0x200, 0x400, 0x800
MATCH, INSERTION, DELETION, SOFT_CLIP, EQUAL, DIFFERENT = 0, 1, 2, 4, 7, 8

_STEP = "consensus"
_FIXED = np.dtype(
    [
        ("size", "<i4"),
        ("segment", "<i4"),
        ("start", "<i4"),
        ("name_length", "u1"),
        ("mapping_quality", "u1"),
        ("bin", "<u2"),
        ("operations", "<u2"),
        ("flag", "<u2"),
        ("length", "<i4"),
        ("mate_segment", "<i4"),
        ("mate_start", "<i4"),
        ("template_length", "<i4"),
    ]
)
_ON_QUERY = np.array([1, 1, 0, 0, 1, 0, 0, 1, 1] + [0] * 7, dtype=np.int64)
_ON_REFERENCE = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1] + [0] * 7, dtype=np.int64)
_PADDING = 512  # so that fixed-width windows at the last record stay inside the buffer


def windows(values: Bytes, width: int) -> Bytes:
    """Every stretch of `width` values, one row each, without a copy (numpy's own costs 50 times the call)."""
    return np.ndarray((len(values) - width + 1, width), dtype=np.uint8, buffer=values, strides=(1, 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole records of one BAM, as columns; `offset` is where a record starts in `buffer`."""

    buffer: Bytes
    offset: Integers
    fields: NDArray[Any]

    def __len__(self) -> int:
        return len(self.offset)

    def field(self, name: str) -> Integers:
        """One fixed field of every record."""
        return self.fields[name].astype(np.int64)

    def select(self, chosen: NDArray[Any]) -> Batch:
        """Some of the records."""
        return Batch(self.buffer, self.offset[chosen], self.fields[chosen])

    @property
    def sequence_offset(self) -> Integers:
        """Where the packed bases of every record start in `buffer`."""
        return self.offset + 36 + self.field("name_length") + 4 * self.field("operations")

    @property
    def quality_offset(self) -> Integers:
        """Where the qualities of every record start in `buffer`."""
        return self.sequence_offset + (self.field("length") + 1) // 2

    def name_keys(self) -> NDArray[np.uint64]:
        """A 64-bit key of every read name: the same for mates, and for different names different.

        Names are compared by value whether they are ordinals or anything else.
        """
        lengths = self.field("name_length") - 1
        width = -(-int(lengths.max(initial=1)) // 8) * 8
        names = windows(self.buffer, width)[self.offset + 36]
        words = np.where(np.arange(width) < lengths[:, None], names, 0).astype(np.uint8).view("<u8")
        keys = np.full(len(words), 0x9E3779B97F4A7C15, dtype=np.uint64)
        for column in range(words.shape[1]):
            keys = (keys ^ words[:, column]) * np.uint64(0xBF58476D1CE4E5B9)
            keys ^= keys >> np.uint64(29)
        return keys

    def raw(self, chosen: Integers) -> bytes:
        """The bytes of some records, to be put in front of the next batch."""
        content = self.buffer
        sizes = self.field("size")
        return b"".join(content[self.offset[i] : self.offset[i] + 4 + sizes[i]].tobytes() for i in chosen)


@dataclass(frozen=True, slots=True)
class Operations:
    """The CIGAR operations of a batch, flat: whose they are, what, how long, and from where.

    `start` is the 0-based reference position at which the operation begins, `query` the 0-based
    offset in the record's stored bases.
    """

    record: Integers
    code: Integers
    length: Integers
    start: Integers
    query: Integers
    reference_end: Integers
    """Per record: where its alignment ends (exclusive)."""

    @classmethod
    def of(cls, batch: Batch) -> Operations:
        counts = batch.field("operations")
        firsts = np.cumsum(counts) - counts
        record = np.repeat(np.arange(len(batch)), counts)
        place = np.arange(len(record)) - firsts[record]
        at = (batch.offset + 36 + batch.field("name_length"))[record] + 4 * place
        packed = windows(batch.buffer, 4)[at].view("<u4").ravel().astype(np.int64)
        code, length = packed & 15, packed >> 4
        query = _before(length * _ON_QUERY[code], firsts, record)
        on_reference = length * _ON_REFERENCE[code]
        start = _before(on_reference, firsts, record) + batch.field("start")[record]
        spans = np.bincount(record, weights=on_reference, minlength=len(batch)).astype(np.int64)
        return cls(record, code, length, start, query, batch.field("start") + spans)

    def of_records(self, chosen: NDArray[np.bool_]) -> Operations:
        """The operations of some records only."""
        kept = chosen[self.record]
        record, code, length = self.record[kept], self.code[kept], self.length[kept]
        return Operations(record, code, length, self.start[kept], self.query[kept], self.reference_end)


class BamReader:
    """Reads a BAM in batches. Raises ProcessingFailure when it is no BAM or ends too early."""

    def __init__(self, bam: Path, *, batch_bytes: int = 32 << 20) -> None:
        self._batch_bytes = batch_bytes
        self._rest = b""
        self._stream = igzip_threaded.open(bam, "rb")
        self.at_end = False
        self.segments = self._read_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()

    def read(self, held: bytes = b"") -> Batch:
        """The next records, after those whose bytes are given; `at_end` tells whether there are more."""
        fresh = self._take(self._batch_bytes)
        content = held + self._rest + fresh
        offsets, end = _record_offsets(content)
        self._rest = content[end:]
        self.at_end = len(fresh) < self._batch_bytes
        if self.at_end and self._rest:
            raise ProcessingFailure(_STEP, "the BAM ends within a record")
        buffer = np.frombuffer(content[:end] + bytes(_PADDING), dtype=np.uint8)
        offset = np.array(offsets, dtype=np.int64)
        fields = windows(buffer, _FIXED.itemsize)[offset].view(_FIXED).ravel()
        return Batch(buffer, offset, fields)

    def _read_header(self) -> tuple[tuple[str, int], ...]:
        magic, text_length = struct.unpack("<4si", self._exactly(8))
        if magic != b"BAM\1":
            raise ProcessingFailure(_STEP, "the alignment is no BAM")
        self._exactly(text_length)
        segments = []
        for _ in range(struct.unpack("<i", self._exactly(4))[0]):
            name = self._exactly(struct.unpack("<i", self._exactly(4))[0])[:-1].decode("ascii")
            segments.append((name, struct.unpack("<i", self._exactly(4))[0]))
        return tuple(segments)

    def _exactly(self, size: int) -> bytes:
        content = self._take(size)
        if len(content) < size:
            raise ProcessingFailure(_STEP, "the BAM ends within its header")
        return content

    def _take(self, size: int) -> bytes:
        parts = []
        try:
            while size > 0 and (part := self._stream.read(size)):
                parts.append(part)
                size -= len(part)
        except (OSError, EOFError) as fault:
            raise ProcessingFailure(_STEP, "the BAM can't be decompressed") from fault
        return b"".join(parts)


def _record_offsets(content: bytes) -> tuple[list[int], int]:
    """Where the whole records start, and where the last of them ends."""
    offsets = []
    at, last = 0, len(content) - 4
    size_at = struct.Struct("<i").unpack_from
    while at <= last:
        following = at + 4 + size_at(content, at)[0]
        if following > last + 4:
            break
        offsets.append(at)
        at = following
    return offsets, at


def _before(values: Integers, firsts: Integers, record: Integers) -> Integers:
    """The sum of the values before each one, within its record."""
    sums = np.cumsum(values) - values
    return sums - sums[firsts[record]] if len(values) else sums
