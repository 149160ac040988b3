"""The records of a SAM, found in its text: the same rows as of a BAM. Format: SAM specification, section 1.4."""

from __future__ import annotations

from typing import Any

import numpy as np

from readvault.reads.native import compiled
from readvault.reads.validate.aligned_records import (
    BAD_CIGAR,
    BAD_FLAG,
    BAD_NUMBER,
    BASES,
    BASES_AT,
    CIGAR_DIFFERS,
    CUT,
    FAULT,
    FEW_COLUMNS,
    FLAG,
    GROUP,
    HARD_CLIPPED,
    HASH,
    NAME_AT,
    NAME_SIZE,
    NO_BASES,
    NO_NAME,
    NO_QUALITIES,
    ORDINAL,
    QUALITIES_AT,
    QUALITIES_DIFFER,
    WHOLE,
    Bytes,
    Table,
    end_of_name,
    group_of,
    hash_of,
    helper,
)


@helper
def _number(data: Bytes, start: int, end: int) -> Any:
    """A whole number of at most ten digits, as text; -1 << 40 when it is none."""
    none = -(np.int64(1) << 40)
    negative = start < end and data[start] == 45
    if negative:
        start += 1
    if start == end or end - start > 10:
        return none
    value = np.int64(0)
    for place in range(start, end):
        if data[place] < 48 or data[place] > 57:
            return none
        value = value * 10 + data[place] - 48
    return -value if negative else value


@helper
def _cigar_of_text(data: Bytes, start: int, end: int) -> Any:
    """Bases that a CIGAR covers (-1: it is none; 0 for `*`), and whether it clips hard."""
    if end - start == 1 and data[start] == 42:
        return 0, 0
    covered, number, hard, digits = np.int64(0), np.int64(0), 0, 0
    for place in range(start, end):
        character = data[place]
        if 48 <= character <= 57:
            number = number * 10 + character - 48
            digits += 1
            if digits > 9:
                return -1, 0
            continue
        if digits == 0 or character not in (77, 73, 68, 78, 83, 72, 80, 61, 88):
            return -1, 0
        if character in (77, 73, 83, 61, 88):  # M I S = X
            covered += number
        elif character == 72:
            hard = 1
        number, digits = np.int64(0), 0
    return (-1, 0) if digits or start == end else (covered, hard)


@helper
def _row_of_text(data: Bytes, columns: Table, found: int, groups: Table, line: Table) -> Any:
    """Fill a row from a SAM line whose columns begin at `columns`; the code of its fault, 0 for none."""
    if found < 11:
        return FEW_COLUMNS
    flag = _number(data, columns[1], columns[2] - 1)
    if flag < 0 or flag > 65535:
        return BAD_FLAG
    name_end = end_of_name(data, columns[0], columns[1] - 1, flag)
    line[FLAG], line[NAME_AT], line[NAME_SIZE] = flag, columns[0], name_end - columns[0]
    line[HASH] = hash_of(data, columns[0], name_end)
    for column in (3, 4, 7, 8):
        value = _number(data, columns[column], columns[column + 1] - 1)
        if value < (-(np.int64(1) << 31) if column == 8 else 0):
            return BAD_NUMBER
    covered, line[HARD_CLIPPED] = _cigar_of_text(data, columns[5], columns[6] - 1)
    if covered < 0:
        return BAD_CIGAR
    line[BASES_AT], line[BASES] = columns[9], columns[10] - 1 - columns[9]
    line[QUALITIES_AT] = columns[10]
    qualities = columns[11] - 1 - columns[10]
    for column in range(11, found):
        at = columns[column]
        if columns[column + 1] - at > 6 and data[at] == 82 and data[at + 1] == 71 and data[at + 3] == 90:
            line[GROUP] = group_of(groups, hash_of(data, at + 5, columns[column + 1] - 1))
    if line[NAME_SIZE] == 0 or (line[NAME_SIZE] == 1 and data[columns[0]] == 42):
        return NO_NAME
    if line[BASES] == 0 or (line[BASES] == 1 and data[line[BASES_AT]] == 42):
        return NO_BASES
    if qualities == 1 and data[columns[10]] == 42 and line[BASES] != 1:
        return NO_QUALITIES
    if qualities != line[BASES]:
        return QUALITIES_DIFFER
    if covered and covered != line[BASES]:
        return CIGAR_DIFFERS
    return 0


@compiled("Tuple((int64, int64, int64))(uint8[::1], int64, int64[::1], int64[:, ::1], int64)")
def scan_sam(data: Bytes, references: int, groups: Table, table: Table, ordinal: int) -> tuple[int, int, int]:
    """Find the records of whole lines, as `scan_bam` does; a line that is no record gets a row with a fault."""
    at, row = 0, 0
    columns = np.empty(4096, np.int64)
    while row < table.shape[0] and at < data.size:
        columns[0] = at
        found, place = 1, at
        while place < data.size and data[place] != 10:
            if data[place] == 9 and found < columns.size - 1:
                columns[found] = place + 1
                found += 1
            place += 1
        if place == data.size:
            return row, at, CUT
        end = place - 1 if place > at and data[place - 1] == 13 else place
        columns[found] = end + 1
        line = table[row]
        line[:] = 0
        line[ORDINAL] = ordinal + row + 1
        line[FAULT] = _row_of_text(data, columns, found, groups, line)
        at = place + 1
        row += 1
    return row, at, WHOLE
