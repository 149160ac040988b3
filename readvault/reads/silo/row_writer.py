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
    mates that lie one behind the other become one line. `events` is room for three lists of insertions and one of
    inserted amino acids, `scratch` are four rows that hold any fragment with all of its insertions.
    """
    at: Any = np.int64(0)
    fixed = np.int64(len(keys) + (segments + len(gene_segment)) * (48 + INTEGER) + 64)
    while state[0] < len(offset):
        one = offset[state[0]]
        flag, segment, start = uint16_at(buffer, one + 18), int32_at(buffer, one + 4), int32_at(buffer, one + 8)
        end = start + span_and_indels(buffer, one)[0]
        first_start, first_end, mate_start, mate_end = start, end, start, end
        which_mate = _mate_number(flag)
        mate: Any = np.int64(-1)
        if which_mate < 0:
            return NO_MATE_NUMBER
        if merged and state[0] + 1 < len(offset) and _same_template(buffer, one, offset[state[0] + 1]):
            mate = offset[state[0] + 1]
            if which_mate == _mate_number(uint16_at(buffer, mate + 18)):
                return TWICE
            mate_start = int32_at(buffer, mate + 8)
            mate_end = mate_start + span_and_indels(buffer, mate)[0]
            apart = max(start, mate_start) - min(end, mate_end)
            if int32_at(buffer, mate + 4) != segment or apart > WIDEST_GAP:
                mate = -1
            else:
                start, end = min(start, mate_start), max(end, mate_end)
        count = note_insertions(buffer, one, minimum, events[0], 0)
        found = events[0]
        if mate >= 0:
            middle, count = count, note_insertions(buffer, mate, minimum, events[0], count)
            count = join_insertions(buffer, events[0], middle, count, events[1])
            found = events[1]
        inserted = np.int64(0)
        for event in range(count):
            inserted += found[event, 1]
        per_row = end - start + inserted + 3 * INTEGER + INTEGER * count
        needed = fixed + per_row * (1 + len(gene_segment))
        if at + needed > len(out):
            state[3] = needed
            return int(at)
        whole = mate >= 0 or which_mate == 0 or (merged and flag & MATE_UNMAPPED != 0)
        if not _note(buffer, one, _BOTH if whole else which_mate, seen):
            return TWICE
        at = put_text(_START, out, at)
        name = one + FIXED_BYTES
        at = put_text(buffer[name : name + np.int64(buffer[one + 12]) - 1], out, at)
        if not whole:
            out[at], out[at + 1] = SLASH, ZERO + which_mate
            at += 2
        out[at] = QUOTE
        at += 1
        symbols = out[:0]
        for which in range(segments + len(gene_segment)):
            at = put_text(keys[key_ends[which] : key_ends[which + 1]], out, at)
            if which == segment:
                at = put_text(SEQUENCE, out, at)
                symbols = out[at : at + end - start]
                qualities = scratch[3]
                if mate < 0:
                    lay(buffer, one, 0, minimum, symbols, qualities)
                else:
                    symbols[:] = UNKNOWN
                    first = (first_start - start, first_end - start)
                    lay(buffer, one, first_start - start, minimum, symbols, qualities)
                    others = scratch[0][: mate_end - mate_start]
                    lay(buffer, mate, 0, minimum, others, scratch[1])
                    lay_over(others, scratch[1], mate_start - start, first, symbols, qualities)
                at = put_text(INSERTIONS, out, at + end - start)
                at = put_insertions(buffer, found, count, out, at)
                at = put_number(start, out, put_text(OFFSET, out, at))
                out[at] = CLOSE
                at += 1
            elif which < segments or gene_segment[which - segments] != segment:
                at = put_text(NULL, out, at)
            else:
                gene = which - segments
                base, length, reverse = gene_first[gene], gene_first[gene + 1] - gene_first[gene], gene_reverse[gene]
                far, near = (-end, -start) if reverse else (start, end)
                low = np.searchsorted(reach[base // 3 : (base + length) // 3], far)
                high = np.searchsorted(rest[base // 3 : (base + length) // 3], near) - 1
                if low > high:
                    at = put_text(NULL, out, at)
                    continue
                at = write_gene(
                    buffer,
                    symbols,
                    start,
                    places,
                    expected,
                    reverse,
                    (base, length, low, high),
                    found,
                    count,
                    scratch,
                    events[2],
                    out,
                    at,
                )
        out[at], out[at + 1] = CLOSE, NEWLINE
        at += 2
        state[0] += 2 if mate >= 0 else 1
        state[1] += 1
        state[2] += mate >= 0
    return int(at)
