"""The inner loop of counting: what every record says at every position, base by base, in native code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    DELETION,
    DIFFERENT,
    EQUAL,
    FIXED_BYTES,
    HARD_CLIP,
    INSERTION,
    MATCH,
    REVERSE,
    SOFT_CLIP,
    Bytes,
    Integers,
    int32_at,
    nibble_at,
    uint16_at,
)
from readvault.reads.call.fragments import ALONE
from readvault.reads.native import compiled, inlined

A, C, G, T, N, GAP = range(6)
SILENT = 255
"""An alignment covers a position, but no base of it stands there."""

LONG_CLIP = 15
EVENT = 5
"""The columns of an event; `_note_indels` says which."""

_ALLELE_OF_NIBBLE = np.array([N, A, C, N, G, N, N, N, T, N, N, N, N, N, N, N], dtype=np.uint8)


@inlined
def _beside(buffer: Bytes, quality: Any, query: Any, length: Any) -> Any:
    """Twice the mean quality of the bases on both sides of a deletion: absent bases have none of their own."""
    before = np.int64(buffer[quality + max(query - 1, 0)])
    behind = np.int64(buffer[quality + min(query, length - 1)])
    return before + behind


@compiled("void(uint8[::1], int64, int64, int64, uint8[::1], uint8[::1])")
def _spread(buffer: Bytes, at: int, span: int, minimum: int, alleles: Bytes, qualities: Bytes) -> None:
    """Lay a record's alleles and qualities out along the reference.

    A deletion says something when the bases beside it have the minimal quality on average, as bases must: else a
    place where a nanopore often fails would be left to those reads in which it lost a base.
    """
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    count = uint16_at(buffer, at + 16)
    sequence = operation + 4 * count
    bases = int32_at(buffer, at + 20)
    quality = sequence + (bases + 1) // 2
    query, place = 0, 0
    for _ in range(count):
        word = int32_at(buffer, operation) & 0xFFFFFFFF
        code, length = word & 15, word >> 4
        operation += 4
        if code in (MATCH, EQUAL, DIFFERENT):
            for i in range(length):
                alleles[place + i] = _ALLELE_OF_NIBBLE[nibble_at(buffer, 2 * sequence + query + i)]
                qualities[place + i] = buffer[quality + query + i]
            query += length
            place += length
        elif code in (INSERTION, SOFT_CLIP):
            query += length
        elif code != HARD_CLIP and place + length <= span:
            good = code == DELETION and _beside(buffer, quality, query, bases) >= 2 * minimum
            alleles[place : place + length] = GAP if good else SILENT
            place += length


@inlined
def _credit(
    counts: NDArray[np.int64],
    quality_sums: NDArray[np.int64],
    reference: Bytes,
    place: int,
    strand: int,
    allele: Any,
    quality: Any,
) -> None:
    """Count one observation."""
    counts[strand, allele, place] += 1
    if allele != reference[place] and allele < N:
        quality_sums[allele, place] += quality


@compiled("boolean(uint8[::1], int64, int64, int64)")
def _same_bases(buffer: Bytes, one: Any, other: Any, length: Any) -> bool:
    for i in range(length):  # noqa: SIM110 - compiled code knows no generators
        if nibble_at(buffer, one + i) != nibble_at(buffer, other + i):
            return False
    return True


@compiled("int64(uint8[::1], int64, int64, int64, int64[:,::1], int64, int64)")
def _note_indels(
    buffer: Bytes, at: int, origin: int, minimum: int, events: NDArray[np.int64], first: int, free: int
) -> int:
    """Append a record's insertions and deletions, but those that stand among `events[first:free]`; the new end.

    An event is: 1 for an insertion, its place, its length, the strand, where its bases begin (in nibbles from the
    buffer's begin). An insertion counts when its bases have the minimal quality on average, a deletion when those
    beside it have.
    """
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    count = uint16_at(buffer, at + 16)
    sequence = operation + 4 * count
    stored = int32_at(buffer, at + 20)
    quality = sequence + (stored + 1) // 2
    strand = (uint16_at(buffer, at + 18) & REVERSE) >> 4
    start = int32_at(buffer, at + 8)
    query, place, before = 0, start, free
    for _ in range(count):
        word = int32_at(buffer, operation) & 0xFFFFFFFF
        code, length = word & 15, word >> 4
        operation += 4
        if code in (INSERTION, DELETION):
            inserted = code == INSERTION
            good = length > 0
            if inserted:
                total = np.int64(0)
                for i in range(length):
                    total += np.int64(buffer[quality + query + i])
                # an insertion before the first base of a segment has no base to stand after
                good = good and place > 0 and total >= minimum * length
            else:
                good = good and _beside(buffer, quality, query, stored) >= 2 * minimum
            bases = 2 * sequence + query
            for other in range(first, before):
                if good and events[other, 0] == inserted and events[other, 2] == length:
                    good = events[other, 1] != origin + place - inserted or (
                        inserted and not _same_bases(buffer, events[other, 4], bases, length)
                    )
            if good:
                events[free, 0], events[free, 1], events[free, 2] = inserted, origin + place - inserted, length
                events[free, 3], events[free, 4] = strand, bases
                free += 1
        if code in (INSERTION, SOFT_CLIP):
            query += length
        elif code in (MATCH, EQUAL, DIFFERENT):
            query += length
            place += length
        elif code != HARD_CLIP:
            place += length
    return free


@compiled(
    "void(uint8[:,::1], int64, int64, int64, int64, uint8[::1], int64[:,:,::1], int64[:,::1])",
)
def _count_one(
    spread: NDArray[np.uint8],
    span: int,
    start: int,
    strand: int,
    minimum: int,
    reference: Bytes,
    counts: NDArray[np.int64],
    quality_sums: NDArray[np.int64],
) -> None:
    """Count what a read says without a mate beside it."""
    for i in range(span):
        allele = spread[0, i]
        if allele == GAP:
            counts[strand, GAP, start + i] += 1
        elif allele != SILENT and spread[1, i] >= minimum:
            _credit(counts, quality_sums, reference, start + i, strand, allele, spread[1, i])


@compiled(
    "void(uint8[:,::1], UniTuple(int64, 4), int64, int64, int64, uint8[::1], int64[:,:,::1], int64[:,::1])",
)
def _count_two(
    spread: NDArray[np.uint8],
    places: tuple[int, int, int, int],
    lead_strand: int,
    other_strand: int,
    minimum: int,
    reference: Bytes,
    counts: NDArray[np.int64],
    quality_sums: NDArray[np.int64],
) -> None:
    """Count once what two mates say that overlap."""
    start, end, other_start, other_end = places
    for place in range(min(start, other_start), max(end, other_end)):
        one, other = np.uint8(SILENT), np.uint8(SILENT)
        one_quality, other_quality = np.uint8(0), np.uint8(0)
        if start <= place < end:
            one, one_quality = spread[0, place - start], spread[1, place - start]
        if other_start <= place < other_end:
            other, other_quality = spread[2, place - other_start], spread[3, place - other_start]
        if one == GAP:
            counts[lead_strand, GAP, place] += 1
        elif other == GAP:
            counts[other_strand, GAP, place] += 1
        elif other == SILENT:
            if one != SILENT and one_quality >= minimum:
                _credit(counts, quality_sums, reference, place, lead_strand, one, one_quality)
        elif one == SILENT:
            if other_quality >= minimum:
                _credit(counts, quality_sums, reference, place, other_strand, other, other_quality)
        elif one == other == reference[place] and min(one_quality, other_quality) >= minimum:
            counts[lead_strand, one, place] += 1
        elif max(one_quality, other_quality) >= minimum and (one == other or one_quality != other_quality):
            if other_quality > one_quality:
                _credit(counts, quality_sums, reference, place, other_strand, other, other_quality)
            else:
                _credit(counts, quality_sums, reference, place, lead_strand, one, one_quality)


@compiled("void(uint8[::1], int64, int64, int64, int64[:,::1])")
def _note_clips(buffer: Bytes, at: int, start: int, end: int, clips: NDArray[np.int64]) -> None:
    """Count long soft clips at the first and after the last aligned position."""
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    count = uint16_at(buffer, at + 16)
    if count < 2 or end <= start:
        return
    for side in range(2):
        place, step = (operation, 4) if side == 0 else (operation + 4 * (count - 1), -4)
        word = int32_at(buffer, place) & 0xFFFFFFFF
        if word & 15 == HARD_CLIP:
            word = int32_at(buffer, place + step) & 0xFFFFFFFF
        if word & 15 == SOFT_CLIP and word >> 4 >= LONG_CLIP:
            clips[side, start if side == 0 else end - 1] += 1


@compiled(
    "int64(uint8[::1], int64[::1], int64[::1], int64[::1], boolean[::1], int64[::1], uint8[::1], int64,"
    " int64[:,:,::1], int64[:,::1], int64[:,::1], int64[:,::1], uint8[:,::1])"
)
def count_records(
    buffer: Bytes,
    offset: Integers,
    mate: Integers,
    end: Integers,
    is_lead: NDArray[np.bool_],
    origins: Integers,
    reference: Bytes,
    minimum: int,
    counts: NDArray[np.int64],
    quality_sums: NDArray[np.int64],
    clips: NDArray[np.int64],
    events: NDArray[np.int64],
    spread: NDArray[np.uint8],
) -> int:
    """Count a batch's records that don't wait; how many indels were noted in `events`.

    Where both mates say a base, the better quality wins, a tie between different bases says nothing,
    and what both say of the reference is credited to the lead. Of two mates that disagree on a deletion, the
    deletion counts: aligners miss deletions near the end of a read, they do not invent the same gap.
    `spread` is scratch: four rows as long as the longest alignment.
    """
    free = 0
    for record in range(len(offset)):
        other = mate[record]
        if other < ALONE:
            continue
        at = offset[record]
        origin = origins[int32_at(buffer, at + 4)]
        start = int32_at(buffer, at + 8)
        _note_clips(buffer, at, origin + start, origin + end[record], clips)
        if other >= 0 and not is_lead[record]:
            continue
        first = free
        free = _note_indels(buffer, at, origin, minimum, events, first, free)
        _spread(buffer, at, end[record] - start, minimum, spread[0], spread[1])
        strand = (uint16_at(buffer, at + 18) & REVERSE) >> 4
        if other < 0:
            _count_one(spread, end[record] - start, origin + start, strand, minimum, reference, counts, quality_sums)
            continue
        at = offset[other]
        free = _note_indels(buffer, at, origin, minimum, events, first, free)
        other_start = int32_at(buffer, at + 8)
        _spread(buffer, at, end[other] - other_start, minimum, spread[2], spread[3])
        other_strand = (uint16_at(buffer, at + 18) & REVERSE) >> 4
        places = origin + start, origin + end[record], origin + other_start, origin + end[other]
        _count_two(spread, places, strand, other_strand, minimum, reference, counts, quality_sums)
    return free
