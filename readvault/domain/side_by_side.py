"""Two similar sequences laid beside each other, without a tool: fast for genomes that differ a little.

Words that occur once in both sequences are anchors (as in a patience diff), the gaps between them are
treated in the same way, and what is left without a common word is laid letter by letter where it is small.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby

UNKNOWN = "N"
_WORDS = (31, 15)
_MOST_WORDS = 20_000
_CELLS_OF_BLOCK, _CELLS_IN_ALL = 200_000, 1_000_000
_MANY_MISMATCHES = 0.3
_MISMATCH, _AGAINST_UNKNOWN, _GAP_COST = 4, 1, 5

Span = tuple[int, int, int, int]
"""`old[a:b]` beside `new[c:d]`: compared letter by letter when both are of one length."""


def laid(old: str, new: str) -> Iterator[Span]:
    """Both sequences (in upper case), cut into stretches that belong beside each other, in their order.

    Takes a second or two for genomes of a few million bases: what would take longer is told as one stretch.
    """
    cells = _CELLS_IN_ALL
    waiting: list[Span] = [(0, len(old), 0, len(new))]
    while waiting:
        start, end, first, last = waiting.pop()
        before, after = old[start:end], new[first:last]
        if before == after or not before or not after:
            yield start, end, first, last
            continue
        anchors = _anchors(before, after)
        if anchors:
            waiting += reversed(list(_around(anchors, (start, end, first, last))))
            continue
        size = len(before) * len(after)
        if size > min(cells, _CELLS_OF_BLOCK) or not _is_worth_it(before, after):
            yield start, end, first, last
            continue
        cells -= size
        for a, b, c, d in _letter_by_letter(before, after):
            yield start + a, start + b, first + c, first + d


def _around(anchors: list[tuple[int, int, int]], span: Span) -> Iterator[Span]:
    """The anchors (place in the old part, in the new part, length) and what lies between them."""
    start, end, first, last = span
    old, new = start, first
    for place, other, length in anchors:
        yield old, start + place, new, first + other
        old, new = start + place + length, first + other + length
        yield old - length, old, new - length, new
    yield old, end, new, last


def _anchors(old: str, new: str) -> list[tuple[int, int, int]]:
    """Stretches that are equal for sure, in the same order in both: the ends, and words that occur once."""
    tail = _common(old[::-1], new[::-1])  # first, so that a gap among equal bases stands at their left end
    head = _common(old[: len(old) - tail], new[: len(new) - tail])
    found = [(0, 0, head)] if head else []
    if not head and not tail:
        for length in _WORDS:
            if found := _by_words(old, new, length):
                return found
    if tail:
        found.append((len(old) - tail, len(new) - tail, tail))
    return found


def _common(old: str, new: str) -> int:
    """How many letters both begin with."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _by_words(old: str, new: str, length: int) -> list[tuple[int, int, int]]:
    step = max(1, len(old) // _MOST_WORDS)
    places: dict[str, int] = {}
    for place in range(0, len(old) - length + 1, step):
        word = old[place : place + length]
        places[word] = -1 if word in places else place
    others: dict[str, int] = {}
    for place in range(len(new) - length + 1):
        word = new[place : place + length]
        if places.get(word, -1) >= 0:
            others[word] = -1 if word in others else place
    pairs = sorted((places[word], place) for word, place in others.items() if place >= 0)
    found: list[tuple[int, int, int]] = []
    for place, other in _rising(pairs):
        if found:
            old_end, new_end = found[-1][0] + found[-1][2], found[-1][1] + found[-1][2]
            if place - other == old_end - new_end and place <= old_end:
                found[-1] = (*found[-1][:2], place + length - found[-1][0])
                continue
            if place < old_end or other < new_end:
                continue
        found.append((place, other, length))
    return found


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs in which both numbers rise; the pairs come by the first."""
    tops: list[int] = []
    at: list[int] = []
    before: list[int] = []
    for number, (_, other) in enumerate(pairs):
        pile = bisect_left(tops, other)
        before.append(at[pile - 1] if pile else -1)
        if pile == len(tops):
            tops.append(other)
            at.append(number)
        else:
            tops[pile], at[pile] = other, number
    chosen = []
    number = at[-1] if at else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = before[number]
    return chosen[::-1]


def _is_worth_it(old: str, new: str) -> bool:
    """Whether two stretches without a common word need to be laid on each other letter by letter."""
    if not old.strip(UNKNOWN) or not new.strip(UNKNOWN):
        return False
    if len(old) != len(new):
        return True
    known = [(a, b) for a, b in zip(old, new, strict=True) if UNKNOWN not in (a, b)]
    return sum(a != b for a, b in known) > _MANY_MISMATCHES * len(known)


def _letter_by_letter(old: str, new: str) -> Iterator[Span]:
    """The cheapest way to lay one on the other (Needleman and Wunsch 1970)."""
    width = len(new) + 1
    costs = [_GAP_COST * place for place in range(width)]
    ways = [bytes([0] + [2] * len(new))]
    for row, letter in enumerate(old, start=1):
        way = bytearray(width)
        way[0] = 1
        diagonal, costs[0] = costs[0], _GAP_COST * row
        for column, other in enumerate(new, start=1):
            same = 0 if letter == other else _AGAINST_UNKNOWN if UNKNOWN in (letter, other) else _MISMATCH
            best, choice = diagonal + same, 0
            if costs[column] + _GAP_COST < best:
                best, choice = costs[column] + _GAP_COST, 1
            if costs[column - 1] + _GAP_COST < best:
                best, choice = costs[column - 1] + _GAP_COST, 2
            diagonal, costs[column], way[column] = costs[column], best, choice
        ways.append(bytes(way))
    yield from _spans(ways, len(old), len(new))


def _spans(ways: list[bytes], row: int, column: int) -> Iterator[Span]:
    steps = []
    while row or column:
        choice = ways[row][column]
        steps.append(choice)
        row -= choice != 2
        column -= choice != 1
    start = first = 0
    for choice, run in groupby(reversed(steps)):
        length = len(list(run))
        old, new = length * (choice != 2), length * (choice != 1)
        yield start, start + old, first, first + new
        start, first = start + old, first + new
