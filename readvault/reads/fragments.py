"""Mates that overlap, seen as one fragment.

Where both mates of a fragment cover a reference position, they read the same molecule once: it must
not count twice. Here alignments are cut into pieces that lie in one mate or in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readvault.reads.bam_records import (
    DELETION,
    DIFFERENT,
    EQUAL,
    MATCH,
    MATE_UNMAPPED,
    PAIRED,
    SUPPLEMENTARY,
    Batch,
    Integers,
    Operations,
)

_PLACE_BITS = 40


@dataclass(frozen=True, slots=True)
class Pairs:
    """Mates that overlap: `first` and `second` are records of a batch.

    What both say is credited to `first`, which is either mate at random (by read name), so that both
    strands are seen where libraries always start on the same one. `waiting` are records whose overlapping
    mate is still to come.
    """

    first: Integers
    second: Integers
    waiting: Integers


def find_pairs(batch: Batch, reference_end: Integers, *, at_end: bool) -> Pairs:
    """Find the mates in a batch that overlap on the reference. Supplementary alignments stand alone."""
    flag, segment, start = batch.field("flag"), batch.field("segment"), batch.field("start")
    mate_start = batch.field("mate_start")
    longest = int((reference_end - start).max(initial=0))
    possible = (flag & (PAIRED | MATE_UNMAPPED | SUPPLEMENTARY)) == PAIRED
    possible &= (batch.field("mate_segment") == segment) & (np.abs(mate_start - start) < longest)
    chosen = np.flatnonzero(possible)
    keys = batch.select(chosen).name_keys() if len(chosen) else np.empty(0, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    chosen, keys = chosen[order], keys[order]
    same = keys[:-1] == keys[1:]
    same[1:] &= ~same[:-1]
    odd = (keys[1:][same] & np.uint64(1)).astype(bool)
    earlier, later = chosen[:-1][same], chosen[1:][same]
    first, second = np.where(odd, later, earlier), np.where(odd, earlier, later)

    waiting = np.empty(0, dtype=np.int64)
    if not at_end and len(batch):
        alone = np.ones(len(chosen), dtype=bool)
        alone[:-1] &= ~same
        alone[1:] &= ~same
        left = chosen[alone]
        coming = (segment[left] == segment[-1]) & (mate_start[left] >= start[-1]) & (mate_start[left] >= start[left])
        waiting = np.sort(left[coming & (mate_start[left] < reference_end[left])])
    overlap = np.minimum(reference_end[first], reference_end[second]) > np.maximum(start[first], start[second])
    overlap &= segment[first] == segment[second]
    return Pairs(first[overlap], second[overlap], waiting)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Stretches of the reference that a fragment covers.

    `single` and `double` are matches in one mate or in both, without gaps; `gap` are deletions.
    Columns: record, start (global reference position), length, query offset; for `double` also the
    other mate's record and query offset.
    """

    single: NDArray[np.int64]
    double: NDArray[np.int64]
    gap: NDArray[np.int64]


def cut(operations: Operations, start: Integers, pairs: Pairs, records: int) -> Pieces:
    """Cut all matches and deletions into pieces that count once.

    `start` is the global reference position of each operation. Of two mates that disagree on a
    deletion, the deletion counts: aligners miss deletions near the end of a read, they do not invent
    the same gap.
    """
    is_match = (operations.code == MATCH) | (operations.code == EQUAL) | (operations.code == DIFFERENT)
    runs = np.flatnonzero((is_match | (operations.code == DELETION)) & (operations.length > 0))
    record, length = operations.record[runs], operations.length[runs]
    query = np.where(is_match[runs], operations.query[runs], -1)
    table = np.stack([record, start[runs], length, query], axis=1)

    pair = np.full(records, -1, dtype=np.int64)
    pair[pairs.first] = pair[pairs.second] = np.arange(len(pairs.first))
    paired = pair[record] >= 0
    alone = table[~paired]
    single, double, gap = _merge(table[paired], pair[record[paired]], pairs)
    return Pieces(
        single=np.concatenate([alone[alone[:, 3] >= 0], single]),
        double=double,
        gap=np.concatenate([alone[alone[:, 3] < 0], gap])[:, :3],
    )


def _merge(
    runs: NDArray[np.int64], pair: Integers, pairs: Pairs
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut the runs of paired mates at each other's ends, and put together what covers the same place."""
    keys = pair << _PLACE_BITS
    borders = np.sort(np.concatenate([keys + runs[:, 1], keys + runs[:, 1] + runs[:, 2]]))
    low, high = borders[:-1], borders[1:]
    within = ((low >> _PLACE_BITS) == (high >> _PLACE_BITS)) & (low < high)
    low, high = low[within], high[within]
    place = low & ((1 << _PLACE_BITS) - 1)
    is_first = pairs.first[pair] == runs[:, 0]
    one, other = _covering(runs, pair, low, of=is_first), _covering(runs, pair, low, of=~is_first)
    length = high - low

    def piece(of: NDArray[np.int64]) -> NDArray[np.int64]:
        run = runs[of]
        query = np.where(run[:, 3] >= 0, run[:, 3] + place - run[:, 1], -1)
        return np.stack([run[:, 0], place, length, query], axis=1)

    left, right = piece(one), piece(other)
    has_left, has_right = one >= 0, other >= 0
    left_match, right_match = has_left & (left[:, 3] >= 0), has_right & (right[:, 3] >= 0)
    left_gap, right_gap = has_left & ~left_match, has_right & ~right_match
    both = left_match & right_match
    single = np.concatenate([left[left_match & ~has_right], right[right_match & ~has_left]])
    double = np.concatenate([left[both], right[both][:, [0, 3]]], axis=1)
    return single, double, np.concatenate([left[left_gap], right[right_gap & ~left_gap]])


def _covering(runs: NDArray[np.int64], pair: Integers, low: Integers, *, of: NDArray[np.bool_]) -> Integers:
    """For each place the run among `of` that covers it, or -1."""
    rows = np.flatnonzero(of)
    keys = (pair[rows] << _PLACE_BITS) + runs[rows, 1]
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    if not len(rows):
        return np.full(len(low), -1, dtype=np.int64)
    found = np.searchsorted(keys, low, side="right") - 1
    row = rows[np.maximum(found, 0)]
    covers = (found >= 0) & (low < (pair[row] << _PLACE_BITS) + runs[row, 1] + runs[row, 2])
    return np.where(covers, row, -1)
