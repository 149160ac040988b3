"""Insertions and deletions as whole events: where, which bases or how many, on which strand.

The counts per position say how much of the depth is deleted; they don't say which deletion. Here
every event is counted exactly, once per fragment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers

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
    """Adds up the insertions and deletions of batch after batch."""

    def __init__(self) -> None:
        self._insertions: Counter[tuple[int, int, str, int]] = Counter()
        self._deletions: Counter[tuple[int, int, str, int]] = Counter()

    def add(self, buffer: Bytes, events: NDArray[np.int64]) -> None:
        """Add a batch's events, as `counting_kernel.count_records` notes them of a buffer."""
        for kind, target in ((0, self._deletions), (1, self._insertions)):
            chosen = events[events[:, 0] == kind]
            for rows in _by_length(chosen):
                length = int(rows[0, 2])
                words = (
                    _packed(_bases(buffer, rows[:, 4], length)) if kind else np.empty((len(rows), 0), dtype=np.int64)
                )
                distinct, counts = _distinct(np.column_stack([rows[:, 1], words, rows[:, 3]]))
                for row, number in zip(distinct.tolist(), counts.tolist(), strict=True):
                    target[row[0], length, _unpacked(row[1:-1], length), row[-1]] += number

    def results(self) -> tuple[tuple[Indel, ...], tuple[Indel, ...]]:
        """All insertions and all deletions, by place."""
        return _merged(self._insertions), _merged(self._deletions)


def _merged(events: Counter[tuple[int, int, str, int]]) -> tuple[Indel, ...]:
    strands: dict[tuple[int, int, str], list[int]] = {}
    for (place, length, bases, strand), number in events.items():
        strands.setdefault((place, length, bases), [0, 0])[strand] += number
    return tuple(sorted(Indel(*event, *numbers) for event, numbers in strands.items()))


def _by_length(events: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The events of each length."""
    events = events[np.argsort(events[:, 2], kind="stable")]
    borders = np.flatnonzero(np.diff(events[:, 2]) > 0) + 1
    return [part for part in np.split(events, borders) if len(part)]


def _bases(buffer: Bytes, begin: Integers, length: int) -> Bytes:
    """Inserted bases (as nibbles), one row an insertion; `begin` counts nibbles."""
    nibble = begin[:, None] + np.arange(length)
    packed = buffer[nibble // 2]
    return np.asarray(np.where(nibble & 1, packed & 15, packed >> 4), dtype=np.uint8)


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
