"""What a record says, laid along the reference; what two mates say, laid over each other.

The rules are those of `alleleCounts`, so that both tell the same frequencies:
- a base below the minimal quality says nothing (`N`); so does one that is no A, C, G or T;
- a deletion (`-`) says something when the bases beside it have the minimal quality on average, else it is `N`;
- of mates that disagree the better quality wins, a tie says nothing; a deletion wins over a base, because
  aligners miss deletions near a read's end and do not invent the same gap;
- positions that an alignment skips (`N` of the CIGAR) say nothing, soft-clipped bases are left out.

An insertion counts when its bases have the minimal quality on average, whether or not the other mate has it. Of two
different ones at one place the better mean quality wins, and a tie leaves none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    DELETION,
    DIFFERENT,
    EQUAL,
    FIXED_BYTES,
    INSERTION,
    MATCH,
    SKIP,
    SOFT_CLIP,
    Bytes,
    Integers,
    int32_at,
    nibble_at,
    uint16_at,
)
from readvault.reads.native import compiled, inlined

EVENT = 4
"""An insertion: the 1-based position before it, its length, where its bases begin (in nibbles), its summed quality."""

UNKNOWN, GONE = 78, 45  # N and -
SYMBOLS = np.frombuffer(b"NACNGNNNTNNNNNNN", dtype=np.uint8).copy()
"""The symbol of each four-bit code of a BAM."""

_HIGH, _LOW = SYMBOLS[np.arange(256) >> 4], SYMBOLS[np.arange(256) & 15]
"""The symbols of the two codes in a byte."""


@inlined
def _beside(buffer: Bytes, quality: Any, query: Any, length: Any) -> Any:
    """Twice the mean quality of the bases on both sides of a deletion."""
    return np.int64(buffer[quality + max(query - 1, 0)]) + np.int64(buffer[quality + min(query, length - 1)])


@inlined
def _unpack(buffer: Bytes, nibble: Any, symbols: Bytes) -> None:
    """Write the symbols of bases that begin at a place that counts nibbles."""
    if nibble & 1 and len(symbols):
        symbols[0] = _LOW[buffer[nibble >> 1]]
        symbols, nibble = symbols[1:], nibble + 1
    packed = buffer[nibble >> 1 : (nibble + len(symbols) + 1) >> 1]
    for i in range(len(symbols) >> 1):
        symbols[2 * i] = _HIGH[packed[i]]
        symbols[2 * i + 1] = _LOW[packed[i]]
    if len(symbols) & 1:
        symbols[len(symbols) - 1] = _HIGH[packed[len(symbols) >> 1]]


@inlined
def _mask(qualities: Bytes, minimum: Any, symbols: Bytes) -> None:
    """Make what is below the minimal quality unknown."""
    least, unknown = np.uint8(minimum), np.uint8(UNKNOWN)
    for i in range(len(symbols)):
        symbols[i] = symbols[i] if qualities[i] >= least else unknown


@compiled("void(uint8[::1], int64, int64, int64, uint8[::1], uint8[::1])")
def lay(buffer: Bytes, at: int, place: int, minimum: int, symbols: Bytes, qualities: Bytes) -> None:
    """Lay a record's symbols and their qualities along the reference, from index `place` on."""
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    count = uint16_at(buffer, at + 16)
    sequence = operation + 4 * count
    bases = int32_at(buffer, at + 20)
    quality = sequence + (bases + 1) // 2
    query = 0
    for _ in range(count):
        word = int32_at(buffer, operation) & 0xFFFFFFFF
        code, length = word & 15, word >> 4
        operation += 4
        if code in (MATCH, EQUAL, DIFFERENT):
            _unpack(buffer, 2 * sequence + query, symbols[place : place + length])
            _mask(buffer[quality + query :][:length], minimum, symbols[place : place + length])
            qualities[place : place + length] = buffer[quality + query : quality + query + length]
            query += length
            place += length
        elif code in (INSERTION, SOFT_CLIP):
            query += length
        elif code in (DELETION, SKIP):
            good = code == DELETION and _beside(buffer, quality, query, bases) >= 2 * minimum
            symbols[place : place + length] = GONE if good else UNKNOWN
            place += length


@compiled("void(uint8[::1], uint8[::1], int64, UniTuple(int64, 2), uint8[::1], uint8[::1])")
def lay_over(
    others: Bytes, other_qualities: Bytes, place: int, first: tuple[int, int], symbols: Bytes, qualities: Bytes
) -> None:
    """Lay what the other mate says over the first one's symbols, from index `place` on; those are at `first`."""
    end = place + len(others)
    low, high = min(max(first[0], place), end), max(min(first[1], end), place)
    symbols[place:low] = others[: low - place]
    symbols[max(high, low) : end] = others[max(high, low) - place :]
    for at in range(low, high):
        one, other = symbols[at], others[at - place]
        if one == GONE or other == UNKNOWN:
            continue
        if one == UNKNOWN or other == GONE or other_qualities[at - place] > qualities[at]:
            symbols[at] = other
        elif one != other and other_qualities[at - place] == qualities[at]:
            symbols[at] = UNKNOWN


@compiled("int64(uint8[::1], int64, int64, int64[:,::1], int64)")
def note_insertions(buffer: Bytes, at: int, minimum: int, events: NDArray[np.int64], free: int) -> int:
    """Append a record's insertions that count, in the reference's order; where the next one goes."""
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    count = uint16_at(buffer, at + 16)
    sequence = operation + 4 * count
    quality = sequence + (int32_at(buffer, at + 20) + 1) // 2
    query, place, first, last = 0, int32_at(buffer, at + 8), free, np.int64(-1)
    for _ in range(count):
        word = int32_at(buffer, operation) & 0xFFFFFFFF
        code, length = word & 15, word >> 4
        operation += 4
        if code == INSERTION and length > 0:
            if last != place:  # else it goes on with the one before, which padding may part from it
                last = place
                events[free, 0], events[free, 1], events[free, 2] = place, 0, 2 * sequence + query
                events[free, 3] = 0
                free += 1
            events[free - 1, 1] += length
            for i in range(length):
                events[free - 1, 3] += np.int64(buffer[quality + query + i])
        if code in (INSERTION, SOFT_CLIP):
            query += length
        elif code in (MATCH, EQUAL, DIFFERENT):
            query += length
            place += length
        elif code in (DELETION, SKIP):
            place += length
    kept = first
    for event in range(first, free):
        if events[event, 3] >= minimum * events[event, 1]:
            events[kept] = events[event]
            kept += 1
    return kept


@inlined
def _differ(buffer: Bytes, one: Integers, other: Integers) -> Any:
    if one[1] != other[1]:
        return True
    for i in range(one[1]):  # noqa: SIM110 - compiled code knows no generators
        if nibble_at(buffer, one[2] + i) != nibble_at(buffer, other[2] + i):
            return True
    return False


@compiled("int64(uint8[::1], int64[:,::1], int64, int64, int64[:,::1])")
def join_insertions(buffer: Bytes, events: NDArray[np.int64], middle: int, end: int, joined: NDArray[np.int64]) -> int:
    """Join the insertions of two mates, `events[:middle]` and `events[middle:end]`; how many are left."""
    one, other, free = 0, middle, 0
    while one < middle or other < end:
        if other >= end or (one < middle and events[one, 0] < events[other, 0]):
            joined[free] = events[one]
            one, free = one + 1, free + 1
        elif one >= middle or events[other, 0] < events[one, 0]:
            joined[free] = events[other]
            other, free = other + 1, free + 1
        else:
            mine, theirs = events[one, 3] * events[other, 1], events[other, 3] * events[one, 1]
            if mine > theirs or not _differ(buffer, events[one], events[other]):
                joined[free] = events[one]
                free += 1
            elif theirs > mine:
                joined[free] = events[other]
                free += 1
            one, other = one + 1, other + 1
    return free
