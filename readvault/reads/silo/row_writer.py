"""Lines as bytes, written in native code from records in which mates lie one behind the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    FIRST,
    FIXED_BYTES,
    LAST,
    MATE_UNMAPPED,
    PAIRED,
    Bytes,
    Integers,
    int32_at,
    uint16_at,
)
from readvault.reads.call.fragments import span_and_indels
from readvault.reads.native import compiled, inlined
from readvault.reads.silo.gene_writer import write_gene
from readvault.reads.silo.layout import UNKNOWN, join_insertions, lay, lay_over, note_insertions
from readvault.reads.silo.text import (
    CLOSE,
    INSERTIONS,
    INTEGER,
    NEWLINE,
    NULL,
    OFFSET,
    QUOTE,
    SEQUENCE,
    SLASH,
    ZERO,
    put_insertions,
    put_number,
    put_text,
)

WIDEST_GAP = 1000
"""Mates with more positions between them have a line each: a line of unknown bases says no more than two."""

NO_MATE_NUMBER, TWICE = -1, -2
_BOTH = 3
_START = np.frombuffer(b'{"readId":"', dtype=np.uint8).copy()


@inlined
def _mate_number(flag: Any) -> Any:
    """1 or 2; 0 for a read without a mate, -1 for one that is neither the first nor the last."""
    if not flag & PAIRED:
        return 0
    kind = flag & (FIRST | LAST)
    return 1 if kind == FIRST else (2 if kind == LAST else -1)


@inlined
def _same_template(buffer: Bytes, one: Any, other: Any) -> Any:
    if buffer[one + 12] != buffer[other + 12]:
        return False
    for i in range(FIXED_BYTES, FIXED_BYTES + np.int64(buffer[one + 12])):
        if buffer[one + i] != buffer[other + i]:
            return False
    return uint16_at(buffer, one + 18) & uint16_at(buffer, other + 18) & PAIRED != 0


@inlined
def _note(buffer: Bytes, at: Any, bits: Any, seen: Bytes) -> Any:
    """Note that a template, or a mate of it, has a line; whether it has none yet."""
    ordinal = np.int64(0)
    for place in range(at + FIXED_BYTES, at + FIXED_BYTES + np.int64(buffer[at + 12]) - 1):
        ordinal = 10 * ordinal + np.int64(buffer[place]) - ZERO
    shift = 2 * (ordinal & 3)
    had = seen[ordinal >> 2] >> shift & bits
    seen[ordinal >> 2] |= np.uint8(bits << shift)
    return had == 0


@inlined
def _mate_of(buffer: Bytes, one: Any, following: Any, which: Any) -> Any:
    """The next record when it is the other mate of a fragment; -1 for none, TWICE when it is the same mate again."""
    if not _same_template(buffer, one, following):
        return np.int64(-1)
    if which == _mate_number(uint16_at(buffer, following + 18)):
        return np.int64(TWICE)
    start, other = int32_at(buffer, one + 8), int32_at(buffer, following + 8)
    ends = start + span_and_indels(buffer, one)[0], other + span_and_indels(buffer, following)[0]
    apart = max(start, other) - min(ends[0], ends[1])
    together = int32_at(buffer, one + 4) == int32_at(buffer, following + 4) and apart <= WIDEST_GAP
    return following if together else np.int64(-1)


@inlined
def _read_id(buffer: Bytes, record: Any, whole: Any, which: Any, out: Bytes, at: Any) -> Any:
    """Append how a line begins; where its read ID ends."""
    name = record + FIXED_BYTES
    at = put_text(_START, out, at)
    at = put_text(buffer[name : name + np.int64(buffer[record + 12]) - 1], out, at)
    if not whole:
        out[at], out[at + 1] = SLASH, ZERO + which
        at += 2
    out[at] = QUOTE
    return at + 1


@compiled("void(uint8[::1], int64, int64, int64, int64, uint8[:,::1], uint8[::1])")
def _lay_fragment(
    buffer: Bytes, one: int, mate: int, start: int, minimum: int, scratch: NDArray[np.uint8], symbols: Bytes
) -> None:
    """Lay a record, and its mate if there is one, along the reference from `start` on."""
    first = int32_at(buffer, one + 8) - start
    if mate < 0:
        lay(buffer, one, first, minimum, symbols, scratch[3])
        return
    symbols[:] = UNKNOWN
    lay(buffer, one, first, minimum, symbols, scratch[3])
    place, span = int32_at(buffer, mate + 8) - start, span_and_indels(buffer, mate)[0]
    others = scratch[0][:span]
    lay(buffer, mate, 0, minimum, others, scratch[1])
    lay_over(others, scratch[1], place, (first, first + span_and_indels(buffer, one)[0]), symbols, scratch[3])


@compiled("int64(uint8[::1], int64, int64, int64, int64[:,:,::1])")
def _find_insertions(buffer: Bytes, one: int, mate: int, minimum: int, events: NDArray[np.int64]) -> int:
    """Leave the insertions of a fragment in `events[1]`; how many there are."""
    if mate < 0:
        return note_insertions(buffer, one, minimum, events[1], 0)
    middle = note_insertions(buffer, one, minimum, events[0], 0)
    return join_insertions(
        buffer, events[0], middle, note_insertions(buffer, mate, minimum, events[0], middle), events[1]
    )


@compiled("UniTuple(int64, 2)(int64[::1], int64[::1], int64, int64, int64, int64, boolean)")
def _codons_within(
    reach: Integers, rest: Integers, base: int, length: int, start: int, end: int, reverse: bool
) -> tuple[int, int]:
    """The first and the last codon of a gene that positions from `start` to `end` may touch."""
    far, near = (-end, -start) if reverse else (start, end)
    codons = slice(base // 3, (base + length) // 3)
    return int(np.searchsorted(reach[codons], far)), int(np.searchsorted(rest[codons], near)) - 1


@compiled(
    "int64(uint8[::1], int64[::1], int64[::1], boolean, int64, uint8[::1], int64[::1], int64,"
    " int64[::1], boolean[::1], int64[::1], int64[::1], int64[::1], int64[::1], uint8[::1],"
    " uint8[:,::1], int64[:,:,::1], uint8[::1], uint8[::1])"
)
def write_lines(
    buffer: Bytes,
    offset: Integers,
    state: Integers,
    merged: bool,
    minimum: int,
    keys: Bytes,
    key_ends: Integers,
    segments: int,
    gene_segment: Integers,
    gene_reverse: NDArray[np.bool_],
    gene_first: Integers,
    places: Integers,
    reach: Integers,
    rest: Integers,
    expected: Bytes,
    scratch: NDArray[np.uint8],
    events: NDArray[np.int64],
    seen: Bytes,
    out: Bytes,
) -> int:
    """Write lines from record `state[0]` on until `out` is full; how many bytes, or what is wrong (negative).

    `state`: the next record, lines written, lines of two mates, bytes that the next line may need. With `merged`
    mates that lie one behind the other become one line. `events` is room for three lists of insertions, `scratch` are
    four rows that hold any fragment with all of its insertions.
    """
    at: Any = np.int64(0)
    rows = segments + len(gene_segment)
    fixed = len(keys) + rows * (48 + INTEGER) + 64
    while state[0] < len(offset):
        one = offset[state[0]]
        mate: Any = np.int64(-1)
        flag, segment, start = uint16_at(buffer, one + 18), int32_at(buffer, one + 4), int32_at(buffer, one + 8)
        end = start + span_and_indels(buffer, one)[0]
        which = _mate_number(flag)
        if which < 0:
            return NO_MATE_NUMBER
        if merged and state[0] + 1 < len(offset):
            mate = _mate_of(buffer, one, offset[state[0] + 1], which)
        if mate == TWICE:
            return TWICE
        if mate >= 0:
            mate_start = int32_at(buffer, mate + 8)
            start, end = min(start, mate_start), max(end, mate_start + span_and_indels(buffer, mate)[0])
        count = _find_insertions(buffer, one, mate, minimum, events)
        found = events[1]
        needed = fixed + rows * (end - start + np.sum(found[:count, 1]) + INTEGER * (count + 3))
        if at + needed > len(out):
            state[3] = needed
            return int(at)
        whole = mate >= 0 or which == 0 or (merged and flag & MATE_UNMAPPED != 0)
        if not _note(buffer, one, _BOTH if whole else which, seen):
            return TWICE
        at = _read_id(buffer, one, whole, which, out, at)
        symbols = out[:0]
        for row in range(rows):
            at = put_text(keys[key_ends[row] : key_ends[row + 1]], out, at)
            gene = row - segments
            if row == segment:
                at = put_text(SEQUENCE, out, at)
                symbols = out[at : at + end - start]
                _lay_fragment(buffer, one, mate, start, minimum, scratch, symbols)
                at = put_text(INSERTIONS, out, at + end - start)
                at = put_insertions(buffer, found, count, out, at)
                at = put_number(start, out, put_text(OFFSET, out, at))
                out[at] = CLOSE
                at += 1
            elif gene < 0 or gene_segment[gene] != segment:
                at = put_text(NULL, out, at)
            else:
                base, reverse = gene_first[gene], gene_reverse[gene]
                length = gene_first[gene + 1] - base
                low, high = _codons_within(reach, rest, base, length, start, end, reverse)
                span = (base, length, low, high)
                at = write_gene(
                    buffer, symbols, start, places, expected, reverse, span, found, count, scratch, events[2], out, at
                )
        out[at], out[at + 1] = CLOSE, NEWLINE
        at += 2
        state[0] += 2 if mate >= 0 else 1
        state[1] += 1
        state[2] += mate >= 0
    return int(at)
