"""The compiled loops over FASTQ text: check records, cut them out and name them anew.

Text lies in a byte array; each function works on as many whole records as there are and says how many
bytes it used. A record that is not whole yet stays for the next call.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core.typing import signature

from readvault.reads.native import compiled, inlined
from readvault.reads.validate.sip_hash import sip_hash

Text = npt.NDArray[np.uint8]
Figures = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

READS, BASES, SHORTEST, LONGEST, QUALITY_SUM, LOWEST, HIGHEST, CARRIAGE_RETURNS, RESHAPED = range(9)
"""What `check_records` counts."""
MATE_USED, MATE_WRITTEN = 0, 2
KEPT, DROPPED = 4, 5
"""What `keep_records` counts: bytes used of and written for each mate, records (of each mate) kept and dropped."""
NOT_WHOLE, WRONG = -1, -2
BAD, RESHAPE = 1, 2
"""Classes of bases: none at all; one that must be rewritten."""

_LF, _CR, _TAB, _SPACE, _AT, _PLUS = 10, 13, 9, 32, 64, 43
_ZERO = 48
_WORST, _BEST = 33, 126

# C's own functions: the linker finds them in every process, and no loop of ours is as quick.
_memchr = types.ExternalFunction("memchr", signature(types.uintp, types.uintp, types.intc, types.uintp))
_memcmp = types.ExternalFunction("memcmp", signature(types.intc, types.uintp, types.uintp, types.uintp))
_memcpy = types.ExternalFunction("memcpy", signature(types.uintp, types.uintp, types.uintp, types.uintp))


@inlined
def _line_end(text: Text, start: int, size: int) -> int:
    """Where the line's LF is; `size` when there is none."""
    if start >= size:
        return size
    base = text.ctypes.data
    found = _memchr(base + start, _LF, size - start)
    return np.int64(found - base) if found else size  # type: ignore[return-value]


@inlined
def _copy(out: Text, at: int, text: Text, start: int, end: int) -> int:
    """Copy `text[start:end]` to `out[at:]`; where it ends there."""
    _memcpy(out.ctypes.data + at, text.ctypes.data + start, end - start)
    return at + end - start


@inlined
def _without_cr(text: Text, start: int, end: int) -> int:
    while end > start and text[end - 1] == _CR:
        end -= 1
    return end


@inlined
def _name_end(text: Text, start: int, end: int) -> int:
    place = start
    for letter in text[start:end]:
        if letter in (_SPACE, _TAB):
            break
        place += 1
    return place


@inlined
def _is_title(text: Text, start: int, end: int) -> bool:
    """`@`, a name, and printable ASCII only."""
    if end - start < 2 or text[start] != _AT or text[start + 1] == _SPACE or text[start + 1] == _TAB:
        return False
    bad = np.uint8(0)
    for letter in text[start:end]:
        bad |= np.uint8(((letter < _SPACE) & (letter != _TAB)) | (letter > _BEST))
    return not bad


@inlined
def _is_separator(text: Text, start: int, end: int, title: int, title_end: int) -> bool:
    """`+`, alone or followed by the title once more."""
    if start >= end or text[start] != _PLUS:
        return False
    if end - start == 1:
        return True
    if end - start != title_end - title:
        return False
    base = text.ctypes.data
    return bool(_memcmp(base + start + 1, base + title + 1, end - start - 1) == 0)


@inlined
def _is_known(text: Text, start: int, end: int) -> bool:
    """Whether all bases are A, C, G or T, in upper case: those of most reads are."""
    other = np.uint8(0)
    for letter in text[start:end]:
        other |= np.uint8((letter != 65) & (letter != 67) & (letter != 71) & (letter != 84))
    return not other


@inlined
def _add_qualities(text: Text, start: int, end: int, figures: Figures) -> bool:
    total = 0
    lowest, highest = np.uint8(255), np.uint8(0)
    for character in text[start:end]:
        total += character
        lowest = min(lowest, character)
        highest = max(highest, character)
    figures[QUALITY_SUM] += total - _WORST * (end - start)
    figures[LOWEST] = min(figures[LOWEST], lowest)
    figures[HIGHEST] = max(figures[HIGHEST], highest)
    return bool(lowest >= _WORST and highest <= _BEST)


@compiled("int64(uint8[::1], int64, int64, uint8[::1], uint8[::1], uint64[::1], int64[::1], int64[::1])")
def check_records(
    text: Text, size: int, longest: int, classes: Text, endings: Text, keys: Keys, figures: Figures, hashes: Hashes
) -> int:
    """Check whole records of `text[:size]`: the bytes they take, or WRONG.

    Adds to `figures`; `hashes` takes the hash of each read's name without an ending (two of two bytes).
    """
    at = 0
    count = 0
    while at < size:
        title = at
        line = _line_end(text, title, size)
        bases = line + 1
        title_end = _without_cr(text, title, line)
        line = _line_end(text, bases, size)
        separator = line + 1
        bases_end = _without_cr(text, bases, line)
        line = _line_end(text, separator, size)
        qualities = line + 1
        separator_end = _without_cr(text, separator, line)
        line = _line_end(text, qualities, size)
        if line >= size:
            break
        qualities_end = _without_cr(text, qualities, line)
        length = bases_end - bases
        if length == 0 or qualities_end - qualities != length or max(length, title_end - title) > longest:
            return WRONG
        if not (_is_title(text, title, title_end) and _is_separator(text, separator, separator_end, title, title_end)):
            return WRONG
        found = np.uint8(0)
        if not _is_known(text, bases, bases_end):
            for letter in text[bases:bases_end]:
                found |= classes[letter]
        if found & BAD or not _add_qualities(text, qualities, qualities_end, figures):
            return WRONG
        name_end = _name_end(text, title + 1, title_end)
        if name_end - title > 2:
            for ending in (0, 2):
                if text[name_end - 2] == endings[ending] and text[name_end - 1] == endings[ending + 1]:
                    name_end -= 2
                    break
        hashes[count] = sip_hash(text, title + 1, name_end, keys)
        count += 1
        figures[READS] += 1
        figures[BASES] += length
        figures[SHORTEST] = min(figures[SHORTEST], length)
        figures[LONGEST] = max(figures[LONGEST], length)
        figures[RESHAPED] |= found & RESHAPE
        figures[CARRIAGE_RETURNS] |= (
            title_end + 1 < bases or bases_end + 1 < separator or separator_end + 1 < qualities or qualities_end < line
        )
        at = line + 1
    return at


@inlined
def _find_record(text: Text, at: int, size: int, lines: Figures) -> int:
    """Where the record at `at` ends; `lines` takes beginning and end of its bases, beginning of its qualities."""
    if at >= size:
        return NOT_WHOLE
    title_end = _line_end(text, at, size)
    bases_end = _line_end(text, title_end + 1, size)
    separator_end = _line_end(text, bases_end + 1, size)
    length = bases_end - title_end - 1
    end = separator_end + 1 + length
    if end >= size:
        return NOT_WHOLE
    if text[at] != _AT or text[bases_end + 1] != _PLUS or text[end] != _LF:
        return WRONG
    lines[0], lines[1], lines[2] = title_end + 1, bases_end, separator_end + 1
    return end + 1


@inlined
def _has_window(text: Text, start: int, end: int, shortest: int) -> bool:
    """Whether `shortest` known bases stand in a row."""
    if end - start < shortest:
        return False
    if _is_known(text, start, end):
        return True
    run = 0
    for character in text[start:end]:
        letter = character & 0xDF
        known = letter == 65 or letter == 67 or letter == 71 or letter == 84
        run = run + 1 if known else 0
        if run >= shortest:
            return True
    return False


@inlined
def _write_number(out: Text, at: int, number: int) -> int:
    digits = 1
    rest = number // 10
    while rest:
        digits += 1
        rest //= 10
    for place in range(at + digits - 1, at - 1, -1):
        out[place] = _ZERO + number % 10
        number //= 10
    return at + digits


@inlined
def _write_record(text: Text, end: int, lines: Figures, ordinal: int, out: Text, at: int) -> int:
    out[at] = _AT
    at = _write_number(out, at + 1, ordinal)
    out[at] = _LF
    at += 1
    at = _copy(out, at, text, lines[0], lines[1] + 1)
    out[at], out[at + 1] = _PLUS, _LF
    return _copy(out, at + 2, text, lines[2], end)


@compiled(
    "boolean(uint8[::1], int64, uint8[::1], int64, boolean, int64, int64, uint8[::1], uint8[::1], int64[::1])",
)
def keep_records(
    one: Text,
    one_size: int,
    two: Text,
    two_size: int,
    paired: bool,
    shortest: int,
    ordinal: int,
    out_one: Text,
    out_two: Text,
    counts: Figures,
) -> bool:
    """Write whole records under the names `ordinal`, `ordinal` + 1, … and drop those with no window of known bases.

    Mates are dropped together. Without `paired` the second text is left alone. `counts` takes bytes and
    records. False when a record is cut.
    """
    lines = np.empty(3, np.int64)
    mate_lines = np.empty(3, np.int64)
    at = mate_at = mate_end = written = mate_written = kept = dropped = 0
    while True:
        end = _find_record(one, at, one_size, lines)
        if paired:
            mate_end = _find_record(two, mate_at, two_size, mate_lines)
        if end == WRONG or mate_end == WRONG:
            return False
        if end == NOT_WHOLE or mate_end == NOT_WHOLE:
            break
        if _has_window(one, lines[0], lines[1], shortest) and (
            not paired or _has_window(two, mate_lines[0], mate_lines[1], shortest)
        ):
            written = _write_record(one, end, lines, ordinal + kept, out_one, written)
            if paired:
                mate_written = _write_record(two, mate_end, mate_lines, ordinal + kept, out_two, mate_written)
            kept += 1
        else:
            dropped += 1
        at, mate_at = end, mate_end
    counts[MATE_USED], counts[MATE_USED + 1] = at, mate_at
    counts[MATE_WRITTEN], counts[MATE_WRITTEN + 1] = written, mate_written
    counts[KEPT], counts[DROPPED] = kept, dropped
    return True
