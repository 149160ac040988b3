"""Reads of aligned records: written as FASTQ, put aside until their mates come, and joined with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from readvault.reads.native import compiled
from readvault.reads.validate.aligned_records import (
    BASES,
    BASES_AT,
    FIRST,
    FLAG,
    GROUP,
    HASH,
    NAME_AT,
    NAME_SIZE,
    ORDINAL,
    QUALITIES_AT,
    REVERSE,
    Bytes,
    Table,
    helper,
)

_HEADER = 48
_MANY_OF_ONE_HASH = 64
_BASES_OF_BAM = np.frombuffer(b"=ACMGRSVTWYHKDBN", np.uint8)
_COMPLEMENT_OF_BAM = np.frombuffer(b"=TGKCYSBAWRDMHVN", np.uint8)
_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[list(b"ACGTUNRYKMBDHVacgtunrykmbdhv")] = list(b"TGCAANYRMKVHDBtgcaanyrmkvhdb")


@helper
def _unpacked(
    data: Bytes, start: int, scores: int, size: int, reverse: bool, out: Bytes, at: int, qualities: int
) -> None:
    """Bases of BAM, two a byte, and scores without the 33. Scores above 93, which no FASTQ can say, become code 127."""
    if reverse:
        for place in range(size):
            base = data[start + (place >> 1)] >> (0 if place & 1 else 4) & 15
            out[at + size - 1 - place] = _COMPLEMENT_OF_BAM[base]
        for place in range(size):
            out[qualities + size - 1 - place] = min(data[scores + place], np.uint8(94)) + np.uint8(33)
        return
    for place in range(0, size - 1, 2):
        pair = data[start + (place >> 1)]
        out[at + place] = _BASES_OF_BAM[pair >> 4]
        out[at + place + 1] = _BASES_OF_BAM[pair & 15]
    if size & 1:
        out[at + size - 1] = _BASES_OF_BAM[data[start + (size >> 1)] >> 4]
    for place in range(size):
        out[qualities + place] = min(data[scores + place], np.uint8(94)) + np.uint8(33)


@helper
def _as_they_are(
    data: Bytes, start: int, scores: int, size: int, reverse: bool, out: Bytes, at: int, qualities: int
) -> None:
    """Bases and qualities of SAM's text."""
    if reverse:
        for place in range(size):
            out[at + size - 1 - place] = _COMPLEMENT[data[start + place]]
            out[qualities + size - 1 - place] = data[scores + place]
        return
    for place in range(size):
        out[at + place] = data[start + place]
    for place in range(size):
        out[qualities + place] = data[scores + place]


@compiled("int64(uint8[::1], int64[:, ::1], int64[::1], boolean, uint8[::1])")
def write_fastq(data: Bytes, table: Table, rows: Table, packed: bool, out: Bytes) -> int:
    """Write these rows as FASTQ, turned back where they lie on the reverse strand; the bytes written.

    `packed` says that bases are as in BAM, two a byte, and qualities without the 33. `out` must have
    room for names, twice the bases, and six bytes a record.
    """
    at = 0
    for row in rows:
        line = table[row]
        out[at] = 64
        at += 1
        for place in range(line[NAME_SIZE]):
            out[at + place] = data[line[NAME_AT] + place]
        at += line[NAME_SIZE]
        out[at] = 10
        at += 1
        size, start, reverse = line[BASES], line[BASES_AT], line[FLAG] & REVERSE
        qualities = at + size + 3
        if packed:
            _unpacked(data, start, line[QUALITIES_AT], size, reverse != 0, out, at, qualities)
        else:
            _as_they_are(data, start, line[QUALITIES_AT], size, reverse != 0, out, at, qualities)
        out[at + size], out[at + size + 1], out[at + size + 2], out[qualities + size] = 10, 43, 10, 10
        at = qualities + size + 1
    return at


@compiled("int64(uint8[::1], int64[:, ::1], int64[::1], boolean, uint8[::1])")
def pack(data: Bytes, table: Table, rows: Table, packed: bool, out: Bytes) -> int:
    """Copy what is needed of these rows, one after the other, for `unpack`; the bytes written."""
    at = 0
    for row in rows:
        line = table[row]
        for number, column in enumerate((HASH, ORDINAL, FLAG, GROUP, NAME_SIZE, BASES)):
            value = np.uint64(line[column])
            for byte in range(8):
                out[at + number * 8 + byte] = (value >> np.uint64(8 * byte)) & np.uint64(255)
        at += _HEADER
        sizes = (line[NAME_SIZE], (line[BASES] + 1) // 2 if packed else line[BASES], line[BASES])
        for start, size in zip((line[NAME_AT], line[BASES_AT], line[QUALITIES_AT]), sizes):  # noqa: B905 (not in numba)
            out[at : at + size] = data[start : start + size]
            at += size
    return at


@compiled("int64(uint8[::1], boolean, int64[:, ::1])")
def unpack(data: Bytes, packed: bool, table: Table) -> int:
    """The rows of what `pack` wrote; with an empty table, only their number."""
    at: Any = 0
    row = 0
    while at < data.size:
        name, bases = np.int64(0), np.int64(0)
        for byte in range(8):
            name |= np.int64(data[at + 32 + byte]) << (8 * byte)
            bases |= np.int64(data[at + 40 + byte]) << (8 * byte)
        packed_bases = (bases + 1) // 2 if packed else bases
        if table.shape[0]:
            line = table[row]
            for number, column in enumerate((HASH, ORDINAL, FLAG, GROUP)):
                whole: Any = np.uint64(0)
                for byte in range(8):
                    whole |= np.uint64(data[at + number * 8 + byte]) << np.uint64(8 * byte)
                line[column] = np.int64(whole)
            line[NAME_AT], line[NAME_SIZE], line[BASES] = at + _HEADER, name, bases
            line[BASES_AT] = at + _HEADER + name
            line[QUALITIES_AT] = line[BASES_AT] + packed_bases
        at += _HEADER + name + packed_bases + bases
        row += 1
    return row


@helper
def _same_name(data: Bytes, table: Table, one: int, two: int) -> Any:
    if table[one, NAME_SIZE] != table[two, NAME_SIZE]:
        return False
    for place in range(table[one, NAME_SIZE]):
        if data[table[one, NAME_AT] + place] != data[table[two, NAME_AT] + place]:
            return False
    return True


@compiled("void(uint8[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1])")
def pair_up(data: Bytes, table: Table, order: Table, mates: Table, twice: Table) -> None:
    """Find each row's mate (`mates`: its row or -1) and rows that repeat another one (`twice`: its row or -1).

    `order` sorts rows by hash, then by ordinal. Of many rows with one hash, later ones are compared
    with the first alone: names are the same then, or somebody made them to collide.
    """
    mates[:] = -1
    twice[:] = -1
    start = 0
    while start < order.size:
        end = start + 1
        while end < order.size and table[order[end], HASH] == table[order[start], HASH]:
            end += 1
        for later in range(start + 1, end):
            one = order[later]
            for earlier in range(start, min(later, start + _MANY_OF_ONE_HASH)):
                two = order[earlier]
                if twice[two] >= 0 or not _same_name(data, table, one, two):
                    continue
                if (table[one, FLAG] ^ table[two, FLAG]) & FIRST == 0:
                    twice[one] = two
                    break
                if mates[two] < 0:
                    mates[one], mates[two] = two, one
        start = end
