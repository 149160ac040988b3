"""Insertions and deletions as whole events: where, which bases or how many, on which strand.

The counts per position say how much of the depth is deleted; they don't say which deletion. Here
every event is counted exactly, once per fragment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readvault.reads.bam_records import DELETION, INSERTION, Batch, Integers, Operations, windows
from readvault.reads.fragments import Pairs

_BASES = "=ACMGRSVTWYHKDBN"
_BASES_A_WORD = 15  # 4 bits each, in a signed 64-bit word


@dataclass(frozen=True, slots=True, order=True)
class Indel:
    """One insertion or deletion and how many fragments have it, by strand.

    `place` is a 0-based position in the row of all segments: of the base before an insertion, or of the first
    deleted base. `bases` are the inserted ones, empty for a deletion.
    """

    place: int
    length: int
    bases: str
    forward: int
    reverse: int

    @property
    def fragments(self) -> int:
        """How many fragments have it."""
        return self.forward + self.reverse


class IndelCounter:
    """Counts the insertions and deletions of batch after batch."""

    def __init__(self, min_base_quality: int) -> None:
        self._minimum = min_base_quality
        self._insertions: Counter[tuple[int, int, str, int]] = Counter()
        self._deletions: Counter[tuple[int, int, str, int]] = Counter()

    def add(self, batch: Batch, operations: Operations, start: Integers, strand: Integers, pairs: Pairs) -> None:
        """Count a batch. An insertion counts when its bases have the minimal quality on average."""
        fragment = np.full(len(batch), -1, dtype=np.int64)
        fragment[pairs.first] = fragment[pairs.second] = np.arange(len(pairs.first))
        is_second = np.zeros(len(batch), dtype=bool)
        is_second[pairs.second] = True

        def once(at: Integers, place: Integers, words: NDArray[np.int64]) -> None:
            """Drop what the second mate repeats, and count the rest."""
            of = operations.record[at]
            kept = _not_repeated(np.column_stack([fragment[of], place, words]), is_second[of])
            length = int(operations.length[at[0]])
            rows, counts = _distinct(np.column_stack([place, strand[of], words])[kept])
            target = self._insertions if words.shape[1] else self._deletions
            for row, number in zip(rows.tolist(), counts.tolist(), strict=True):
                target[row[0], length, _unpacked(row[2:], length), row[1]] += number

        for at in _by_length(operations, np.flatnonzero(operations.code == DELETION)):
            once(at, start[at], np.empty((len(at), 0), dtype=np.int64))
        # an insertion before the first base of a segment has no base to stand after
        inserted = np.flatnonzero((operations.code == INSERTION) & (operations.start > 0))
        for at in _by_length(operations, inserted):
            bases, quality = _inserted(batch, operations, at)
            good = quality.mean(axis=1) >= self._minimum
            if good.any():
                once(at[good], start[at[good]] - 1, _packed(bases[good]))

    def results(self) -> tuple[tuple[Indel, ...], tuple[Indel, ...]]:
        """All insertions and all deletions, by place."""
        return _merged(self._insertions), _merged(self._deletions)


def _merged(events: Counter[tuple[int, int, str, int]]) -> tuple[Indel, ...]:
    strands: dict[tuple[int, int, str], list[int]] = {}
    for (place, length, bases, strand), number in events.items():
        strands.setdefault((place, length, bases), [0, 0])[strand] += number
    return tuple(sorted(Indel(*event, *numbers) for event, numbers in strands.items()))


def _by_length(operations: Operations, at: Integers) -> list[Integers]:
    """The operations of each length."""
    lengths = operations.length[at]
    at = at[np.argsort(lengths, kind="stable")]
    borders = np.flatnonzero(np.diff(np.sort(lengths)) > 0) + 1
    return [part for part in np.split(at, borders) if len(part)]


def _inserted(batch: Batch, operations: Operations, at: Integers) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The inserted bases (as nibbles) and their qualities, one row an insertion."""
    of, length = operations.record[at], int(operations.length[at[0]])
    query = operations.query[at]
    nibble = query[:, None] + np.arange(length)
    packed = batch.buffer[batch.sequence_offset[of][:, None] + nibble // 2]
    bases = np.where(nibble & 1, packed & 15, packed >> 4).astype(np.uint8)
    return bases, windows(batch.buffer, length)[batch.quality_offset[of] + query]


def _packed(bases: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Bases (nibbles) in as few 64-bit words a row as hold them."""
    width = -(-bases.shape[1] // _BASES_A_WORD)
    padded = np.zeros((len(bases), width * _BASES_A_WORD), dtype=np.int64)
    padded[:, : bases.shape[1]] = bases
    shifts = 4 * np.arange(_BASES_A_WORD)
    return np.asarray((padded.reshape(len(bases), width, _BASES_A_WORD) << shifts).sum(axis=2), dtype=np.int64)


def _unpacked(words: list[int], length: int) -> str:
    bases = "".join(_BASES[(word >> (4 * i)) & 15] for word in words for i in range(_BASES_A_WORD))
    return bases[:length] if words else ""


def _distinct(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Integers]:
    """The distinct rows, in order, and how often each occurs."""
    rows = rows[np.lexsort(rows.T[::-1])]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    borders = np.flatnonzero(new)
    return rows[borders], np.diff(borders, append=len(rows))


def _not_repeated(rows: NDArray[np.int64], is_second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows to keep: of equal rows of one fragment (first column, -1 for none) the first mate's."""
    kept = np.ones(len(rows), dtype=bool)
    paired = np.flatnonzero(rows[:, 0] >= 0)
    if len(paired):
        paired = paired[np.lexsort([is_second[paired], *rows[paired].T[::-1]])]
        kept[paired[1:]] = (rows[paired[1:]] != rows[paired[:-1]]).any(axis=1)
    return kept
