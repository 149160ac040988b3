"""Indels that are the same event, told as one.

Aligners may place an indel within a repeat at either end of it, and sequencers misread single
bases of a long insertion. Here every event goes to its leftmost place, as VCF wants it, and insertions that differ by
errors of reading are counted with what most of them say.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from readvault.reads.call.allele_counts import GAP, AlleleCounts, N
from readvault.reads.call.indel_counts import Indel

MERGED_FROM = 6
"""Shorter insertions are not merged: one base is too much of them."""

MAX_DIFFERENCES, MAX_SHARE = 0.2, 0.2
"""What is an error of reading: at most so much of an insertion's bases, in at most so much of its fragments."""

_Events = dict[tuple[int, int, str], list[int]]


def tidy(counts: AlleleCounts) -> AlleleCounts:
    """The same counts with every indel at its leftmost place, and equal ones together.

    Where a deletion moves, the gap moves with it in the counts per position.
    """
    sequence = "".join(segment.sequence for segment in counts.segments)
    firsts = np.searchsorted(counts.origins, [event.place for event in counts.deletions], side="right") - 1
    moves = _movable(counts, sequence)
    alleles = counts.counts.copy() if moves.any() else counts.counts
    deletions: _Events = {}
    for event, first, movable in zip(counts.deletions, firsts.tolist(), moves.tolist(), strict=True):
        place = _leftmost(event, sequence, counts.origins[first]) if movable else event.place
        if place != event.place:
            _move(alleles, sequence, event, place)
        _add(deletions, place, event, "")
    insertions: _Events = {}
    for event in counts.insertions:
        place, bases = event.place, event.bases
        if sequence[place] == bases[-1]:
            origin = counts.origins[int(np.searchsorted(counts.origins, place, side="right")) - 1]
            while place > origin and sequence[place] == bases[-1]:
                place, bases = place - 1, bases[-1] + bases[:-1]
        _add(insertions, place, event, bases)
    return replace(
        counts,
        counts=alleles,
        deletions=_sorted(deletions),
        insertions=_merged(_sorted(insertions)),
    )


def column_votes(events: list[Indel]) -> NDArray[np.int64]:
    """How many fragments have A, C, G, T at each base of insertions of one length: shape (4, length)."""
    bases = np.frombuffer("".join(event.bases for event in events).encode(), dtype=np.uint8).reshape(len(events), -1)
    weights = np.array([event.fragments for event in events])
    return np.stack([((bases == ord(base)) * weights[:, None]).sum(axis=0) for base in "ACGT"])


def _movable(counts: AlleleCounts, sequence: str) -> NDArray[np.bool_]:
    """Which deletions have the same base before them as at their end."""
    places = np.array([event.place for event in counts.deletions], dtype=np.int64)
    lengths = np.array([event.length for event in counts.deletions], dtype=np.int64)
    letters = np.frombuffer(sequence.encode(), dtype=np.uint8)
    return np.asarray(letters[np.maximum(places - 1, 0)] == letters[places + lengths - 1])


def _leftmost(event: Indel, sequence: str, origin: int) -> int:
    """The leftmost place of a deletion that leaves a base of its segment before it."""
    place = event.place
    while place - 1 > origin and sequence[place - 1] == sequence[place + event.length - 1]:
        place -= 1
    return place


def _move(alleles: NDArray[np.int64], sequence: str, event: Indel, place: int) -> None:
    """Take a deletion's gaps from where they were to `place`; the bases in between change sides."""
    gained = range(place, min(event.place, place + event.length))
    lost = range(max(event.place, place + event.length), event.place + event.length)
    for strand, number in enumerate((event.forward, event.reverse)):
        for at in gained:
            base = alleles[strand, _allele(sequence[at]), at]
            alleles[strand, _allele(sequence[at]), at] = max(int(base) - number, 0)
            alleles[strand, GAP, at] += number
        for at in lost:
            alleles[strand, GAP, at] -= number
            alleles[strand, _allele(sequence[at]), at] += number


def _allele(base: str) -> int:
    return "ACGT".find(base) if base in "ACGT" else N


def _add(events: _Events, place: int, event: Indel, bases: str) -> None:
    numbers = events.setdefault((place, event.length, bases), [0, 0])
    numbers[0] += event.forward
    numbers[1] += event.reverse


def _sorted(events: _Events) -> tuple[Indel, ...]:
    return tuple(sorted(Indel(*event, *numbers) for event, numbers in events.items()))


def _merged(insertions: tuple[Indel, ...]) -> tuple[Indel, ...]:
    """Count insertions of one place and length that differ by errors with what most of them say."""
    groups: dict[tuple[int, int], list[Indel]] = defaultdict(list)
    for event in insertions:
        groups[event.place, event.length if event.length >= MERGED_FROM else 0].append(event)
    merged: list[Indel] = []
    for (place, length), events in groups.items():
        if not length or len(events) == 1:
            merged += events
            continue
        bases = "".join("ACGT"[best] for best in column_votes(events).argmax(axis=0))
        total = sum(event.fragments for event in events)
        same = [event for event in events if _is_misread(event, bases, total)]
        if same:
            numbers = sum(event.forward for event in same), sum(event.reverse for event in same)
            merged.append(Indel(place, length, bases, *numbers))
        merged += [event for event in events if event not in same]
    return tuple(sorted(merged))


def _is_misread(event: Indel, bases: str, total: int) -> bool:
    if event.bases == bases:
        return True
    differences = sum(one != other for one, other in zip(event.bases, bases, strict=True))
    return differences <= MAX_DIFFERENCES * len(bases) and event.fragments <= MAX_SHARE * total
