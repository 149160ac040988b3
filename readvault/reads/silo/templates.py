"""The records that become lines, each with a key by which mates come to lie one behind the other.

A template's key is where its first mate begins on the reference, then its ordinal. Either mate knows it without
having seen the other one, so the sorter, which spills to disk, pairs them in flat memory: however deep
one amplicon is, however far apart mates lie, and whether or not the other one ever comes.

Left out are unmapped, secondary, supplementary, duplicate and failed alignments, those without bases, and those
of which clipping left no base on the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import (
    DUPLICATE,
    FAILED,
    FIXED_BYTES,
    MATE_UNMAPPED,
    PAIRED,
    SECONDARY,
    SUPPLEMENTARY,
    UNMAPPED,
    Batch,
    Bytes,
    Integers,
    int32_at,
    uint16_at,
)
from readvault.reads.align.bam_sort import RANK_BITS
from readvault.reads.call.fragments import span_and_indels
from readvault.reads.native import compiled

LARGEST_ORDINAL = 1 << 32
"""The names are the ordinals that our own screen gave; a larger one is none of these."""

_ZERO = 48
_UNUSED = UNMAPPED | SECONDARY | SUPPLEMENTARY | FAILED | DUPLICATE


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records without their tags, one behind the other, with keys and sizes.

    `longest` is the most bases that one of them has or spans on the reference, `left_out` counts the other ones.
    """

    content: Bytes
    keys: NDArray[np.uint64]
    sizes: Integers
    longest: int
    largest_ordinal: int
    left_out: int

    @property
    def offset(self) -> Integers:
        """Where each record begins."""
        return np.cumsum(self.sizes) - self.sizes


def take(batch: Batch, starts: Integers, room: Bytes) -> Records | None:
    """The records of a batch that become lines; None when one is not named by an ordinal.

    `starts` says where each segment begins when all lie in a row, `room` is at least as large as the batch's buffer.
    The batch must be sound.
    """
    keys, sizes = np.empty(len(batch), dtype=np.uint64), np.empty(len(batch), dtype=np.int64)
    state = np.zeros(3, dtype=np.int64)
    count = int(_take(batch.buffer, batch.offset, starts, state, room, keys, sizes))
    if count < 0:
        return None
    written, longest, largest = (int(value) for value in state)
    return Records(room[:written].copy(), keys[:count], sizes[:count], longest, largest, len(batch) - count)


@compiled("int64(uint8[::1], int64[::1], int64[::1], int64[::1], uint8[::1], uint64[::1], int64[::1])")
def _take(
    buffer: Bytes,
    offset: Integers,
    starts: Integers,
    state: Integers,
    target: Bytes,
    keys: NDArray[np.uint64],
    sizes: Integers,
) -> int:
    """Copy what is used; how many records that is, -1 for a strange name.

    `state`: bytes written, the most bases, largest ordinal.
    """
    count, free = 0, 0
    for at in offset:
        flag, segment, bases = uint16_at(buffer, at + 18), int32_at(buffer, at + 4), int32_at(buffer, at + 20)
        if flag & _UNUSED or segment < 0 or bases <= 0:
            continue
        span, _ = span_and_indels(buffer, at)
        if span == 0:
            continue
        ordinal, name = np.int64(0), np.int64(buffer[at + 12])
        for place in range(at + FIXED_BYTES, at + FIXED_BYTES + name - 1):
            digit = np.int64(buffer[place]) - _ZERO
            if digit < 0 or digit > 9 or ordinal > LARGEST_ORDINAL:
                return -1
            ordinal = ordinal * 10 + digit
        if ordinal < 1 or ordinal > LARGEST_ORDINAL or buffer[at + FIXED_BYTES] == _ZERO:
            return -1
        start = int32_at(buffer, at + 8)
        if flag & (PAIRED | MATE_UNMAPPED) == PAIRED and int32_at(buffer, at + 24) == segment:
            start = min(start, max(int32_at(buffer, at + 28), 0))
        size = FIXED_BYTES + name + 4 * uint16_at(buffer, at + 16) + (bases + 1) // 2 + bases
        target[free : free + size] = buffer[at : at + size]
        for byte in range(4):
            target[free + byte] = ((size - 4) >> (8 * byte)) & 255
        keys[count] = np.uint64(starts[segment] + start) << np.uint64(RANK_BITS) | np.uint64(ordinal)
        sizes[count] = size
        free += size
        count += 1
        state[1] = max(state[1], span, bases)
        state[2] = max(state[2], ordinal)
    state[0] = free
    return count
