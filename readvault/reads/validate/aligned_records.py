"""The records of a BAM, found in its bytes.

Every length that a record states is compared with the bytes that are there before anything is read.
A record becomes a row of a table of integers (the columns below); its bytes stay where they are.
Format: SAM specification, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from readvault.reads.native import compiled

Bytes = npt.NDArray[np.uint8]
Table = npt.NDArray[np.int64]

NAME_AT, NAME_SIZE, BASES_AT, BASES, QUALITIES_AT, FLAG, GROUP, HASH, ORDINAL, HARD_CLIPPED, FAULT = range(11)
COLUMNS = 11
PAIRED, REVERSE, FIRST, SECOND, NOT_PRIMARY = 0x1, 0x10, 0x40, 0x80, 0x900
LARGEST_RECORD = 1 << 27
"""Bytes; ten million bases with their qualities, tags and a long CIGAR fit."""

NO_BASES, NO_QUALITIES, CIGAR_DIFFERS, BAD_TAGS, NO_NAME = 1, 2, 3, 4, 5
FEW_COLUMNS, BAD_FLAG, BAD_NUMBER, BAD_CIGAR, QUALITIES_DIFFER = 6, 7, 8, 9, 10
MESSAGES = {
    NO_BASES: "The record has no bases.",
    NO_QUALITIES: "The record has no qualities.",
    CIGAR_DIFFERS: "The CIGAR covers another number of bases than the record has.",
    BAD_TAGS: "The tags of the record are damaged.",
    NO_NAME: "The read has no name.",
    FEW_COLUMNS: "The line has fewer than the eleven columns of a SAM record.",
    BAD_FLAG: "The second column (FLAG) is no number from 0 to 65535.",
    BAD_NUMBER: "A column of numbers (POS, MAPQ, PNEXT or TLEN) holds something else.",
    BAD_CIGAR: "The sixth column is no CIGAR.",
    QUALITIES_DIFFER: "The record has another number of qualities than of bases.",
}
WHOLE, CUT, DAMAGED = 0, 1, 2

helper: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(nogil=True)
"""Compiled into its callers, so that only these need loading."""


@helper
def hash_of(data: Bytes, start: int, end: int) -> Any:
    """FNV-1a with a final mix, so that its low bits choose a bucket well. Fixed: outputs depend on names alone."""
    value = np.uint64(0xCBF29CE484222325)
    for place in range(start, end):
        value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
    value ^= value >> np.uint64(32)
    value *= np.uint64(0xD6E8FEB86659FD93)
    value ^= value >> np.uint64(32)
    return np.int64(value)


@helper
def end_of_name(data: Bytes, start: int, end: int, flag: int) -> Any:
    """Where a read's name ends without the `/1` or `/2` that old aligners left at a mate's."""
    if not flag & PAIRED or end - start < 3 or data[end - 2] != 47:
        return end
    mate = FIRST if data[end - 1] == 49 else SECOND if data[end - 1] == 50 else 0
    return end - 2 if flag & mate else end


@helper
def _int32(data: Bytes, at: int) -> Any:
    value = (
        np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    )
    return value - (np.int64(1) << 32) if value >> 31 else value


@helper
def group_of(groups: Table, wanted: int) -> Any:
    """The number of the read group whose name has this hash, from 1; 0 for one that the header does not know."""
    for place in range(groups.size):
        if groups[place] == wanted:
            return place + 1
    return 0


@helper
def _after_tag(data: Bytes, at: int, end: int) -> Any:
    """Where the tag of a BAM record that begins here ends; -1 when it lies about its length."""
    if at + 3 > end:
        return -1
    kind = data[at + 2]
    at += 3
    count = 1
    if kind == 66:  # B: an array
        if at + 5 > end:
            return -1
        kind = data[at]
        count = _int32(data, at + 1)
        at += 5
        if count < 0 or kind not in (99, 67, 115, 83, 105, 73, 102):
            return -1
    if kind in (65, 99, 67):  # A c C
        at += count
    elif kind in (115, 83):  # s S
        at += 2 * count
    elif kind in (105, 73, 102):  # i I f
        at += 4 * count
    elif kind == 100:  # d, of old
        at += 8
    elif kind in (90, 72):  # Z H
        while at < end and data[at] != 0:
            at += 1
        at += 1
    else:
        return -1
    return at if at <= end else -1


@helper
def _group_of_tags(data: Bytes, at: int, end: int, groups: Table) -> Any:
    """The read group that the tags of a BAM record name, 0 for none; -1 when they are damaged."""
    group = 0
    while at < end:
        after = _after_tag(data, at, end)
        if after < 0:
            return -1
        if data[at] == 82 and data[at + 1] == 71 and data[at + 2] == 90:
            group = group_of(groups, hash_of(data, at + 3, after - 1))
        at = after
    return group


@compiled("Tuple((int64, int64, int64))(uint8[::1], int64, int64[::1], int64[:, ::1], int64)")
def scan_bam(data: Bytes, references: int, groups: Table, table: Table, ordinal: int) -> tuple[int, int, int]:
    """Find whole records from the beginning of `data`: rows filled, bytes used, and how it ended.

    `ordinal` is the number of records before; `groups` are hashes of read group names. It ended 0 at
    a full table or whole record, 1 in the middle of a record, 2 at bytes that are no record.
    """
    at, row = 0, 0
    while row < table.shape[0]:
        if at == data.size:
            return row, at, WHOLE
        if at + 36 > data.size:
            return row, at, CUT
        size = _int32(data, at)
        name_size, cigar = np.int64(data[at + 12]), np.int64(data[at + 16]) | np.int64(data[at + 17]) << 8
        flag, bases = np.int64(data[at + 18]) | np.int64(data[at + 19]) << 8, _int32(data, at + 20)
        if size < 32 or size > LARGEST_RECORD or name_size < 1 or bases < 0:
            return row, at, DAMAGED
        for place in (at + 4, at + 24):
            reference = _int32(data, place)
            if reference < -1 or reference >= references:
                return row, at, DAMAGED
        tags = 36 + name_size + 4 * cigar + (bases + 1) // 2 + bases
        if tags > size + 4:
            return row, at, DAMAGED
        if at + 4 + size > data.size:
            return row, at, CUT
        name_at = at + 36
        if data[name_at + name_size - 1] != 0:
            return row, at, DAMAGED
        line = table[row]
        name_end = end_of_name(data, name_at, name_at + name_size - 1, flag)
        line[NAME_AT], line[NAME_SIZE], line[FLAG] = name_at, name_end - name_at, flag
        line[BASES_AT], line[BASES] = name_at + name_size + 4 * cigar, bases
        line[QUALITIES_AT] = line[BASES_AT] + (bases + 1) // 2
        line[ORDINAL], line[FAULT], line[HARD_CLIPPED] = ordinal + row + 1, 0, 0
        line[HASH] = hash_of(data, name_at, name_end)
        covered = 0
        for operation in range(cigar):
            packed = _int32(data, name_at + name_size + 4 * operation) & 0xFFFFFFFF
            kind = packed & 15
            if kind in (0, 1, 4, 7, 8):
                covered += packed >> 4
            elif kind == 5:
                line[HARD_CLIPPED] = 1
            elif kind > 8:
                line[FAULT] = BAD_CIGAR
        line[GROUP] = _group_of_tags(data, at + tags, at + 4 + size, groups)
        if line[GROUP] < 0:
            line[FAULT] = BAD_TAGS
        elif bases == 0:
            line[FAULT] = NO_BASES
        elif data[line[QUALITIES_AT]] == 255:
            line[FAULT] = NO_QUALITIES
        elif cigar and covered != bases:
            line[FAULT] = CIGAR_DIFFERS
        elif name_size == 1 or (name_size == 2 and data[name_at] == 42):
            line[FAULT] = NO_NAME
        at += 4 + size
        row += 1
    return row, at, WHOLE
