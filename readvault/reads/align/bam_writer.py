"""BAM records made in native code: of reads that are placed without gaps, and of minimap2's with a read group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import FIXED_BYTES, REVERSE, Bytes, Integers, int32_at, uint16_at
from readvault.reads.align.bam_sort import RANK_BITS, SUB_BITS
from readvault.reads.native import compiled, inlined

_NIBBLES = np.array([1, 2, 4, 8], dtype=np.uint8)


@inlined
def _put(target: Bytes, at: Any, value: Any, size: Any) -> Any:
    """Write a little-endian number; where it ends."""
    for i in range(size):
        target[at + i] = (value >> (8 * i)) & 255
    return at + size


@inlined
def bin_of(start: Any, end: Any) -> Any:
    """The bin of an interval, as the SAM specification computes it (section 5.3)."""
    last = end - 1
    offset = 4681
    for shift in range(14, 29, 3):
        if start >> shift == last >> shift:
            return offset + (start >> shift)
        offset = (offset - 1) >> 3
    return 0


@compiled("int64(uint8[::1], int64, uint8[::1], int64)")
def copied(source: Bytes, begin: int, target: Bytes, at: int) -> int:
    """Append all of `source` from `begin` on; where it ends."""
    size = len(source) - begin
    target[at : at + size] = source[begin:]
    return at + size


@compiled(
    "int64(uint8[::1], int64, int64, int64, int64, uint8[::1], boolean, int64[::1], uint8[::1], uint8[::1], int64)"
)
def placed_record(
    text: Bytes,
    name: int,
    name_length: int,
    quality: int,
    length: int,
    bases: Bytes,
    is_reverse: bool,
    fields: Integers,
    group: Bytes,
    target: Bytes,
    at: int,
) -> int:
    """Append the record of a read that is aligned without gaps; where it ends.

    `bases` are codes in the reference's direction; `fields`: flag, segment, start in the segment, mate's segment,
    mate's start, template length, differences, score.
    """
    flag, segment, start = fields[0], fields[1], fields[2]
    begin = at
    at = _put(target, at + 4, segment, 4)
    at = _put(target, at, start, 4)
    target[at], target[at + 1] = name_length + 1, 60
    at = _put(target, at + 2, bin_of(start, start + length), 2)
    at = _put(target, at, 1, 2)
    at = _put(target, at, flag, 2)
    at = _put(target, at, length, 4)
    at = _put(target, at, fields[3], 4)
    at = _put(target, at, fields[4], 4)
    at = _put(target, at, fields[5], 4)
    target[at : at + name_length] = text[name : name + name_length]
    target[at + name_length] = 0
    at = _put(target, at + name_length + 1, length << 4, 4)
    packed = target[at : at + length // 2]
    for i in range(len(packed)):
        packed[i] = _NIBBLES[bases[2 * i]] << 4 | _NIBBLES[bases[2 * i + 1]]
    at += length // 2
    if length & 1:
        target[at] = _NIBBLES[bases[length - 1]] << 4
        at += 1
    qualities, written = text[quality : quality + length], target[at : at + length]
    if is_reverse:
        qualities = qualities[::-1].copy()
    for i in range(len(written)):
        written[i] = qualities[i] - np.uint8(33)
    at = copied(group, 0, target, at + length)
    target[at], target[at + 1], target[at + 2], target[at + 3] = 78, 77, 67, fields[6]  # NM:C
    target[at + 4], target[at + 5] = 65, 83  # AS
    if fields[7] < 256:
        target[at + 6], target[at + 7] = 67, fields[7]  # C
        at += 8
    else:
        target[at + 6] = 83  # S
        at = _put(target, at + 7, fields[7], 2)
    _put(target, begin, at - begin - 4, 4)
    return at


@inlined
def position_key(place: Any, is_reverse: Any, rank: Any) -> Any:
    """The key by which records are in order: place on all segments, strand, and the input's order."""
    return np.uint64(2 * place + is_reverse) << np.uint64(RANK_BITS) | np.uint64(rank)


@compiled("uint64(int64, int64, int64)")
def key_of(place: int, is_reverse: int, rank: int) -> Any:
    """`position_key` for Python and other modules."""
    return position_key(place, is_reverse, rank << SUB_BITS)


@compiled(
    "int64(uint8[::1], int64[::1], int64[::1], int64[::1], uint8[:,::1], int64[::1], int64[::1], boolean, boolean,"
    " int64[::1], uint8[::1], uint64[::1], int64[::1])"
)
def take_over(
    buffer: Bytes,
    offset: Integers,
    templates: Integers,
    starts: Integers,
    groups: NDArray[np.uint8],
    group_lengths: Integers,
    group_ends: Integers,
    has_group: bool,
    by_place: bool,
    state: Integers,
    target: Bytes,
    keys: NDArray[np.uint64],
    sizes: Integers,
) -> int:
    """Copy the mapped ones of minimap2's records with their read group and key; how many those are.

    `templates` are the ordinals of the templates that minimap2 got, `state` counts: reads begun, alignments of the
    current read, bytes written, reads that are mapped.
    """
    count, at = 0, 0
    for begin in offset:
        flag = uint16_at(buffer, begin + 18)
        if flag & 0x900 == 0:
            state[0] += 1
            state[1] = 0
            state[3] += flag & 4 == 0
        else:
            state[1] += 1
        if flag & 4:
            continue
        mates = 2 if flag & 1 else 1
        template = templates[(state[0] - 1) // mates] if len(templates) else (state[0] - 1) // mates
        rank = (2 * template + (state[0] - 1) % mates) << SUB_BITS | min(state[1], (1 << SUB_BITS) - 1)
        end = begin + 4 + int32_at(buffer, begin)
        operations, length = uint16_at(buffer, begin + 16), int32_at(buffer, begin + 20)
        tags = begin + FIXED_BYTES + np.int64(buffer[begin + 12]) + 4 * operations + (length + 1) // 2 + length
        first = at
        target[at : at + tags - begin] = buffer[begin:tags]
        at += tags - begin
        if not has_group:
            lane = np.searchsorted(group_ends, template, side="right")
            at = copied(groups[lane, : group_lengths[lane]], 0, target, at)
        at = copied(buffer[tags:end], 0, target, at)
        _put(target, first, at - first - 4, 4)
        sizes[count] = at - first
        place = starts[int32_at(buffer, begin + 4)] + int32_at(buffer, begin + 8)
        is_reverse = (flag & REVERSE) >> 4
        keys[count] = position_key(place, is_reverse, rank) if by_place else np.uint64(rank)
        count += 1
    state[2] = at
    return count
