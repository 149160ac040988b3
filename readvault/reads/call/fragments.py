"""Mates that overlap, seen as one fragment.

Where both mates of a fragment cover a reference position, they read the same molecule once: it must
not count twice. Here the mates find each other in a batch of records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    DELETION,
    DIFFERENT,
    DUPLICATE,
    EQUAL,
    FAILED,
    FIXED_BYTES,
    INSERTION,
    MATCH,
    MATE_UNMAPPED,
    PAIRED,
    SECONDARY,
    SKIP,
    SOFT_CLIP,
    SUPPLEMENTARY,
    UNMAPPED,
    Batch,
    Bytes,
    Integers,
    int32_at,
    uint16_at,
)
from readvault.reads.native import compiled, inlined

ALONE, IGNORED, WAITING = -1, -2, -3
_UNUSABLE = UNMAPPED | SECONDARY | FAILED | DUPLICATE


@dataclass(frozen=True, slots=True)
class Fragments:
    """The records of a batch and their mates.

    `mate` has for each record the one that it overlaps with, or ALONE; IGNORED are records that don't
    count, WAITING those whose overlapping mate is still to come. `end` is where an alignment ends on the
    reference (exclusive), `is_lead` says which of two mates is credited with what both say: either at
    random (by read name), so that both strands are seen where libraries always start on the same one.
    `indels` is an upper bound for insertions and deletions, `longest` for the positions that an alignment spans.
    """

    mate: Integers
    end: Integers
    is_lead: NDArray[np.bool_]
    indels: int
    longest: int

    @property
    def waiting(self) -> Integers:
        """The records that wait."""
        return np.flatnonzero(self.mate == WAITING)


def find(batch: Batch, *, at_end: bool) -> Fragments:
    """Find the mates in a batch that overlap on the reference. Supplementary alignments stand alone."""
    mate = np.full(len(batch), ALONE, dtype=np.int64)
    end = np.empty(len(batch), dtype=np.int64)
    is_lead = np.ones(len(batch), dtype=np.bool_)
    slots = np.full(1 << max(4, (2 * len(batch)).bit_length()), -1, dtype=np.int64)
    indels, longest = _find(batch.buffer, batch.offset, at_end, mate, end, is_lead, slots)
    return Fragments(mate, end, is_lead, indels, longest)


def are_sound(batch: Batch, lengths: Integers) -> bool:
    """Whether every record keeps within its own bytes and within its segment, whose lengths are given."""
    return bool(_are_sound(batch.buffer, batch.offset, lengths))


@inlined
def _name_key(buffer: Bytes, at: Any, length: Any) -> np.uint64:
    """A hash of a read name: eight bytes at a time, least significant first."""
    key = np.uint64(0x9E3779B97F4A7C15)
    for start in range(0, max(length, 1), 8):
        word = np.uint64(0)
        for place in range(start, min(start + 8, length)):
            word |= np.uint64(buffer[at + place]) << np.uint64(8 * (place - start))
        key = (key ^ word) * np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(29)
    return key


@inlined
def _same_name(buffer: Bytes, one: int, other: int) -> bool:
    """Whether two records have the same read name."""
    length = buffer[one + 12]
    if buffer[other + 12] != length:
        return False
    for place in range(FIXED_BYTES, FIXED_BYTES + np.int64(length)):
        if buffer[one + place] != buffer[other + place]:
            return False
    return True


@inlined
def span_and_indels(buffer: Bytes, at: Any) -> tuple[Any, Any]:
    """How many reference positions an alignment spans, and how many insertions and deletions it has."""
    operation = at + FIXED_BYTES + np.int64(buffer[at + 12])
    span, indels = np.int64(0), np.int64(0)
    for _ in range(uint16_at(buffer, at + 16)):
        word = int32_at(buffer, operation) & 0xFFFFFFFF
        code, length = word & 15, word >> 4
        if code in (MATCH, EQUAL, DIFFERENT, SKIP):
            span += length
        elif code == DELETION:
            span += length
            indels += 1
        elif code == INSERTION:
            indels += 1
        operation += 4
    return span, indels


@compiled("boolean(uint8[::1], int64[::1], int64[::1])")
def _are_sound(buffer: Bytes, offset: Integers, lengths: Integers) -> bool:
    for at in offset:
        names, operations, bases = np.int64(buffer[at + 12]), uint16_at(buffer, at + 16), int32_at(buffer, at + 20)
        segment, start = int32_at(buffer, at + 4), int32_at(buffer, at + 8)
        needed = FIXED_BYTES + names + 4 * operations + (bases + 1) // 2 + bases
        if bases < 0 or segment >= len(lengths) or needed > 4 + int32_at(buffer, at):
            return False
        if segment < 0 or uint16_at(buffer, at + 18) & _UNUSABLE:
            continue
        span, stored = np.int64(0), np.int64(0)
        for place in range(at + FIXED_BYTES + names, at + FIXED_BYTES + names + 4 * operations, 4):
            word = int32_at(buffer, place) & 0xFFFFFFFF
            code, length = word & 15, word >> 4
            if code in (MATCH, EQUAL, DIFFERENT, DELETION, SKIP):
                span += length
            if code in (MATCH, EQUAL, DIFFERENT, INSERTION, SOFT_CLIP):
                stored += length
        if start < 0 or start + span > lengths[segment] or (bases > 0 and stored != bases):
            return False
    return True


@compiled("UniTuple(int64, 2)(uint8[::1], int64[::1], boolean, int64[::1], int64[::1], boolean[::1], int64[::1])")
def _find(
    buffer: Bytes,
    offset: Integers,
    at_end: bool,
    mate: Integers,
    end: Integers,
    is_lead: NDArray[np.bool_],
    slots: Integers,
) -> tuple[int, int]:
    """Fill `mate`, `end` and `is_lead`; how many insertions and deletions there are and the longest span, at most."""
    total, longest, mask = 0, 0, len(slots) - 1
    for record in range(len(offset)):
        at = offset[record]
        flag, segment, start = uint16_at(buffer, at + 18), int32_at(buffer, at + 4), int32_at(buffer, at + 8)
        if flag & _UNUSABLE or segment < 0 or int32_at(buffer, at + 20) <= 0:
            mate[record] = IGNORED
            continue
        span, indels = span_and_indels(buffer, at)
        end[record] = start + span
        total += indels
        longest = max(longest, span)
        mate_start = int32_at(buffer, at + 28)
        if flag & (PAIRED | MATE_UNMAPPED | SUPPLEMENTARY) != PAIRED or int32_at(buffer, at + 24) != segment:
            continue
        comes = start <= mate_start < end[record]
        if not comes and mate_start > start:
            continue
        key = _name_key(buffer, at + FIXED_BYTES, np.int64(buffer[at + 12]) - 1)
        slot = np.int64(key >> np.uint64(3)) & mask
        while slots[slot] >= 0 and not _same_name(buffer, offset[slots[slot]], at):
            slot = (slot + 1) & mask
        earlier = slots[slot]
        if earlier >= 0 and mate[earlier] == WAITING:
            other = offset[earlier]
            mate[earlier] = ALONE
            if int32_at(buffer, other + 4) == segment and end[earlier] > start:
                mate[earlier], mate[record] = record, earlier
                is_lead[earlier] = not key & np.uint64(1)
                is_lead[record] = not is_lead[earlier]
        elif comes:
            slots[slot] = record
            mate[record] = WAITING
    if len(offset):
        last = offset[len(offset) - 1]
        last_segment, last_start = int32_at(buffer, last + 4), int32_at(buffer, last + 8)
        for record in range(len(offset)):
            if mate[record] == WAITING:
                at = offset[record]
                passed = int32_at(buffer, at + 4) != last_segment or int32_at(buffer, at + 28) < last_start
                if at_end or passed:
                    mate[record] = ALONE
    return total, longest
