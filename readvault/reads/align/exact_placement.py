"""Short reads whose alignment is certain before any dynamic programming.

A read is placed here only where minimap2 (`-x sr`) provably says the same: it lies end to end and without a gap
on a stretch of the reference whose 21-mers occur nowhere else, no 21-mer that an error made occurs
anywhere, and its errors can neither move the ends nor pay for a gap. Pairs must lie as a library makes
them, and where mates overlap both must agree with the reference. Everything else goes to minimap2.

Why that is minimap2's answer (its scores: match 2, mismatch -8, gap -12 - 2 a base, 10 for reaching the
read's end): of 31 bases without an error at least one 21-mer is an anchor, all anchors lie on one diagonal, and
between them minimap2 aligns without gaps. Outside them it extends: a gap costs at least 14, one error 10, so with
one error no gap pays and the end bonus carries the alignment to the end; with two a gap could pay only where the
bases beyond the inner one fit shifted, too. Of mates that overlap a little, the first in the chain keeps all its
anchors and the second those that the first can't have. The mapping quality is 60 when its formula gives more with
the fewest anchors that there can be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.align.short_read_index import CODES, KMER, UNKNOWN, extended, slot_of
from readvault.reads.native import compiled, inlined

_CLEAN = KMER + 10
"""So many bases without an error hold an anchor."""

_MOST_ERRORS = 6
_LONGEST_EXTENSION = 90
_LONGEST_READ = 2000
_LONGEST_TEMPLATE = 800
_LONGEST_OVERLAP = 33
"""With longer ones anchors that both mates have can become a chain of their own (of 25 bases), which lowers
the mapping quality; whether they do depends on the order in which minimap2 sorts equal anchors."""

_SURELY_60 = 66.0
NOWHERE = -1


@inlined
def _word(read: Bytes, at: Any) -> Any:
    """The lesser of the k-mer at a place and its reverse complement, and whether that is the reverse one."""
    forward, reverse, bases = np.uint64(0), np.uint64(0), read[at : at + KMER]
    for i in range(len(bases)):
        if bases[i] >= UNKNOWN:
            return np.uint64(0), -1
        forward, reverse = extended(forward, reverse, bases[i])
    return min(forward, reverse), np.int64(reverse < forward)


@compiled("int64(uint8[::1], int64, uint64[::1], int64[::1], int64, int64)")
def _seed(bases: Bytes, length: int, keys: NDArray[np.uint64], places: Integers, total: int, tries: int) -> int:
    """Twice the place where the read would begin plus whether it is reversed there, by one unique k-mer."""
    for attempt in range(tries):
        at = (length - KMER) * attempt // (tries - 1)
        key, is_reverse = _word(bases, at)
        if is_reverse < 0:
            return NOWHERE
        slot = slot_of(keys, key)
        if keys[slot] != key or places[slot] < 0:
            continue
        place, reverse = places[slot] >> 1, (places[slot] & 1) ^ is_reverse
        start = place - (length - KMER - at) if reverse else place - at
        return 2 * start + reverse if 0 <= start <= total - length else NOWHERE
    return NOWHERE


@compiled("boolean(uint8[::1], int64, int64[::1], int64, uint64[::1])")
def _errors_are_new(bases: Bytes, length: int, errors: Integers, count: int, keys: NDArray[np.uint64]) -> bool:
    """Whether no k-mer with an error in it occurs in the reference."""
    forward, reverse, known, latest, following = np.uint64(0), np.uint64(0), 0, -KMER, 0
    at = max(errors[0] - KMER + 1, 0)
    until = min(errors[count - 1] + KMER, length)
    while at < until:
        forward, reverse = extended(forward, reverse, bases[at])
        known += 1
        if following < count and errors[following] == at:
            latest = at
            following += 1
        if known >= KMER and at - latest < KMER:
            key = min(forward, reverse)
            if keys[slot_of(keys, key)] == key:
                return False
        at += 1
    return True


@compiled("boolean(uint8[::1], uint8[::1], int64, int64, int64)")
def _shift_fits(read: Bytes, reference: Bytes, start: int, begin: int, end: int) -> bool:
    """Whether the read's bases from `begin` to `end` fit the reference beside their place, or are too few to tell."""
    if end - begin < 1:
        return True
    for shift in range(-4, 5):
        if shift == 0:
            continue
        first = start + begin + shift
        if first < 0 or start + end + shift > len(reference):
            return True
        fits = True
        for i in range(end - begin):
            if read[begin + i] != reference[first + i]:
                fits = False
                break
        if fits:
            return True
    return False


@compiled("int64(uint8[::1], uint8[::1], int64, int64, int64, int64[::1], int64)")
def _certain_score(
    read: Bytes, reference: Bytes, start: int, length: int, sure_from: int, errors: Any, count: int
) -> int:
    """minimap2's alignment score of a read that lies at `start`, or -1 when it could say something else.

    Only from `sure_from` on (in the read) the anchors are surely its own.
    """
    anchors, score, first_clean, last_clean, begin = 0, KMER, -1, -1, sure_from
    for number in range(count + 1):
        end = errors[number] if number < count else length
        if end - begin >= _CLEAN:
            anchors += (end - begin - KMER + 1) // (_CLEAN - KMER + 1)
            score += max(end - begin - KMER - 2 * (_CLEAN - KMER), 0)
            if first_clean < 0:
                first_clean = begin
            last_clean = end
        begin = max(begin, end + 1)
    if first_clean < 0:
        return -1
    before, behind = 0, 0
    for number in range(count):
        before += errors[number] < first_clean
        behind += errors[number] >= last_clean
    if before > 2 or behind > 2 or first_clean > _LONGEST_EXTENSION or length - last_clean > _LONGEST_EXTENSION:
        return -1
    if before == 2 and (errors[1] < 5 or _shift_fits(read, reference, start, 3, errors[1] + 1)):
        return -1
    inner = errors[count - 2] if behind == 2 else 0
    if behind == 2 and (length - inner < 6 or _shift_fits(read, reference, start, inner, length - 3)):
        return -1
    best = 2 * length - 10 * count
    identity = (length - count) / length
    certainty = min(1.0, 0.01 * score, 0.1 * anchors)
    if identity * certainty * 40.0 * (1.0 - 25.0 / score) * math.log(best / 2.0) < _SURELY_60:
        return -1
    left, right = 0, 0
    for number in range(before):
        left = max(left, 10 * (number + 1) - 2 * (errors[number] + 1))
    for number in range(behind):
        right = max(right, 10 * (number + 1) - 2 * (length - errors[count - 1 - number]))
    return best + left + right


@compiled("int64(uint8[::1], uint8[::1], int64, int64, int64[::1])")
def _compare(read: Bytes, reference: Bytes, start: int, length: int, errors: Integers) -> int:
    """Note where a read differs from the reference; how often, at most one more than is allowed."""
    one, other = read[:length], reference[start : start + length]
    total = 0
    for i in range(len(one)):  # without a way out it is done many bases at a time, and mostly it is all there is to do
        total += one[i] != other[i]
    if total == 0 or total > _MOST_ERRORS:
        return total
    count = 0
    for i in range(len(one)):
        if one[i] != other[i]:
            errors[count] = i
            count += 1
    return count


@compiled("boolean(uint8[::1], int64, int64, uint8[::1])")
def encode(text: Bytes, at: int, length: int, target: Bytes) -> bool:
    """Bases as codes; False when there is another letter than A, C, G, T."""
    worst = np.uint8(0)
    letters, codes = text[at : at + length], target[:length]
    for i in range(len(letters)):
        code = CODES[letters[i]]
        codes[i] = code
        worst |= code
    return bool(worst < UNKNOWN)


@compiled("void(uint8[::1], int64)")
def reverse_complement(bases: Bytes, length: int) -> None:
    """Turn a read around in place."""
    turned = bases[:length].copy()
    backwards, target = turned[::-1], bases[:length]
    for i in range(len(target)):
        target[i] = np.uint8(3) - backwards[i]


@compiled(
    "int64(uint8[::1], int64, uint8[::1], int64[::1], uint64[::1], int64[::1], int64[::1], int64[::1], int64[::1])"
)
def locate(
    read: Bytes,
    length: int,
    reference: Bytes,
    starts: Integers,
    keys: NDArray[np.uint64],
    places: Integers,
    repeats: Integers,
    errors: Integers,
    found: Integers,
) -> int:
    """Where a read lies, if nowhere else: its place, or NOWHERE; the read is turned to the forward strand.

    `found` becomes: whether it was turned, its segment, the number of errors; `errors` their offsets.
    """
    if length < 2 * _CLEAN or length > _LONGEST_READ:
        return NOWHERE
    seed = _seed(read, length, keys, places, len(reference), 4)
    if seed < 0:
        return NOWHERE
    start = seed >> 1
    if seed & 1:
        reverse_complement(read, length)
    segment = np.searchsorted(starts, start, side="right") - 1
    if start + length > starts[segment + 1] or repeats[start + length - KMER + 1] != repeats[start]:
        return NOWHERE
    count = _compare(read, reference, start, length, errors)
    if count > _MOST_ERRORS or (count and not _errors_are_new(read, length, errors, count, keys)):
        return NOWHERE
    found[0], found[1], found[2] = seed & 1, segment, count
    return start


@compiled("int64(uint8[::1], uint8[::1], int64, int64, int64, int64[::1], int64)")
def score_one(read: Bytes, reference: Bytes, start: int, length: int, sure_from: int, errors: Any, count: int) -> int:
    """The certain score of a single read or of one mate, as `_certain_score` says."""
    return _certain_score(read, reference, start, length, sure_from, errors, count)


@compiled("boolean(int64, int64, int64, int64, int64[::1], int64, int64[::1], int64)")
def lie_as_mates(
    start: int,
    length: int,
    other_start: int,
    other_length: int,
    errors: Any,
    count: int,
    other_errors: Any,
    other_count: int,
) -> bool:
    """Whether a forward mate and a reverse one lie as a proper pair, without an error where they overlap."""
    end, other_end = start + length, other_start + other_length
    if start > other_start or end > other_end or other_end - start > _LONGEST_TEMPLATE:
        return False
    if end - other_start > _LONGEST_OVERLAP:
        return False
    if count and start + errors[count - 1] >= other_start:
        return False
    return not (other_count and other_start + other_errors[0] < end)
