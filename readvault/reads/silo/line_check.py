"""A strict look at every line before it is written: one bad line makes SILO refuse a whole set.

This reads the bytes again, from the format alone, and shares nothing with what wrote them. A line must have each key
once and in order, at least one segment that is not null, sequences and insertions of the right letters only, and
must keep within its segments and genes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.native import compiled, inlined

_NUCLEOTIDE, _INSERTED, _AMINO_ACID, _INSERTED_AMINO_ACID = 1, 2, 4, 8
_LETTERS = np.zeros(256, dtype=np.uint8)
for _bit, _letters in (
    (_NUCLEOTIDE, b"ACGTN-"),
    (_INSERTED, b"ACGTN"),
    (_AMINO_ACID, b"ACDEFGHIKLMNPQRSTVWYX*-"),
    (_INSERTED_AMINO_ACID, b"ACDEFGHIKLMNPQRSTVWYX*"),
):
    _LETTERS[np.frombuffer(_letters, dtype=np.uint8)] |= _bit

_START = np.frombuffer(b'{"readId":"', dtype=np.uint8).copy()
_SEQUENCE = np.frombuffer(b'{"sequence":"', dtype=np.uint8).copy()
_INSERTIONS = np.frombuffer(b'","insertions":[', dtype=np.uint8).copy()
_OFFSET = np.frombuffer(b'],"offset":', dtype=np.uint8).copy()
_NULL = np.frombuffer(b"null", dtype=np.uint8).copy()
_END = np.frombuffer(b"}\n", dtype=np.uint8).copy()
_MOST_DIGITS = 10


@inlined
def _after(lines: Bytes, at: Any, expected: Bytes) -> Any:
    """Where an expected text ends; -1 when another one stands here."""
    if at < 0 or at + len(expected) > len(lines):
        return -1
    for i in range(len(expected)):
        if lines[at + i] != expected[i]:
            return -1
    return at + len(expected)


@inlined
def _number(lines: Bytes, at: Any) -> Any:
    """A number without leading zeros, and where it ends (-1 for none)."""
    value, begin = np.int64(0), at
    while at >= 0 and at < len(lines) and 48 <= lines[at] <= 57 and at - begin < _MOST_DIGITS:
        value, at = 10 * value + np.int64(lines[at]) - 48, at + 1
    if at == begin or (lines[begin] == 48 and at > begin + 1):
        return np.int64(0), np.int64(-1)
    return value, at


@inlined
def _end_of(lines: Bytes, at: Any, kind: Any) -> Any:
    """Where letters of one kind end."""
    while at < len(lines) and _LETTERS[lines[at]] & kind:
        at += 1
    return at


@inlined
def _read_id(lines: Bytes, at: Any) -> Any:
    """Where the read ID ends, its quote included; -1 when it is none."""
    ordinal, at = _number(lines, _after(lines, at, _START))
    if at < 0 or ordinal < 1 or at + 2 >= len(lines):
        return -1
    if lines[at] == 47 and 49 <= lines[at + 1] <= 50:
        at += 2
    return at + 1 if lines[at] == 34 else -1


@compiled("int64(uint8[::1], int64, int64, boolean)")
def _row(lines: Bytes, at: int, length: int, of_gene: bool) -> int:
    """Where the object of a segment or gene ends that is so long; -1 when it breaks a rule."""
    begin = _after(lines, at, _SEQUENCE)
    if begin < 0:
        return -1
    end = _end_of(lines, begin, _AMINO_ACID if of_gene else _NUCLEOTIDE)
    at = _after(lines, end, _INSERTIONS)
    last = np.int64(-1)
    while at >= 0 and at < len(lines) and lines[at] != 93:
        if last >= 0:
            if lines[at] != 44:
                return -1
            at += 1
        if at >= len(lines) or lines[at] != 34:
            return -1
        place, at = _number(lines, at + 1)
        if at < 0 or at >= len(lines) or lines[at] != 58 or place > length or place <= last:
            return -1
        last = place
        bases = _end_of(lines, at + 1, _INSERTED_AMINO_ACID if of_gene else _INSERTED)
        if bases == at + 1 or bases >= len(lines) or lines[bases] != 34:
            return -1
        at = bases + 1
    at = _after(lines, at, _OFFSET)
    if at < 0:
        return -1
    offset, at = _number(lines, at)
    if at < 0 or at >= len(lines) or lines[at] != 125 or end == begin or offset + end - begin > length:
        return -1
    return at + 1


@compiled("int64(uint8[::1], uint8[::1], int64[::1], int64[::1], int64)")
def count_lines(lines: Bytes, keys: Bytes, key_ends: Integers, lengths: Integers, segments: int) -> int:
    """How many lines these are; -1 - n when line n (from 0 on) breaks a rule.

    `keys` are the texts of the keys, with what parts them from the value before, `lengths` those of segments and genes.
    """
    at: Any = np.int64(0)
    count = 0
    while at < len(lines):
        at = _read_id(lines, at)
        rows = 0
        for which in range(len(lengths)):
            at = _after(lines, at, keys[key_ends[which] : key_ends[which + 1]])
            if at < 0:
                return -1 - count
            null = _after(lines, at, _NULL)
            if null >= 0:
                at = null
            else:
                at = _row(lines, at, lengths[which], which >= segments)
                rows += which < segments
        at = _after(lines, at, _END)
        if at < 0 or rows == 0:
            return -1 - count
        count += 1
    return count
