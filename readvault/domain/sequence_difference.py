"""What differs between two sequences of one segment, told by position.

Where both lie on the same reference (`on_reference`), columns are compared and positions are the
reference's. Else (`between`) the sequences are laid beside each other first. Positions count from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from readvault.domain.side_by_side import UNKNOWN, laid

MOST_CHANGES = 300
"""Changes of one segment that are told one by one; the rest is counted."""
SHOWN_BASES = 60
"""Bases of one change that are told."""
GAP = "-"


class Kind(StrEnum):
    """What happened to a stretch of bases."""

    SUBSTITUTION = "substitution"
    INSERTION = "insertion"
    """The new sequence has bases there that the old one has not."""
    DELETION = "deletion"
    NOW_UNKNOWN = "now unknown"
    """The new sequence has N where the old one knew the bases."""
    NOW_KNOWN = "now known"
    REPLACED = "replaced"
    """Too different to be told base by base."""


@dataclass(frozen=True, slots=True)
class Change:
    """One stretch. `old` and `new` hold at most SHOWN_BASES of `old_length` and `new_length` bases.

    `start` and `end` are inclusive; of an insertion between two positions both are the position before it.
    """

    kind: Kind
    start: int
    end: int
    old: str
    new: str
    old_length: int
    new_length: int


@dataclass(frozen=True, slots=True)
class SegmentDifference:
    """How one segment changed. A length is None where that result has no such segment.

    `counts` holds all changes by their kind, `bases` how many bases they touch, also those that
    `changes` (at most MOST_CHANGES, by position) leaves out.
    """

    segment: str
    old_length: int | None
    new_length: int | None
    on_reference: bool
    """Whether positions are the reference's; else they are the old sequence's."""
    changes: tuple[Change, ...] = ()
    counts: Mapping[Kind, int] | None = None
    bases: Mapping[Kind, int] | None = None

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return self.old_length == self.new_length and not self.counts

    @property
    def left_out(self) -> int:
        """How many changes are counted only."""
        return sum((self.counts or {}).values()) - len(self.changes)


@dataclass(frozen=True, slots=True)
class Aligned:
    """A sequence on its reference: one letter (`-`: deleted) for each position, and what stands after which one."""

    letters: str
    insertions: Mapping[int, str]

    def assembled(self) -> str:
        """The sequence itself, in upper case."""
        parts, last = [], 0
        for place, bases in sorted(self.insertions.items()):
            parts += [self.letters[last:place], bases]
            last = place
        return "".join([*parts, self.letters[last:]]).replace(GAP, "").upper()


def missing(segment: str, old: str | None, new: str | None) -> SegmentDifference:
    """The difference of a segment that only one result has."""
    before, after = (None if each is None else len(each) for each in (old, new))
    return SegmentDifference(segment, before, after, on_reference=False)


def on_reference(segment: str, old: Aligned, new: Aligned) -> SegmentDifference:
    """What differs between two sequences on the same reference. Raises ValueError when it can't be the same one."""
    if len(old.letters) != len(new.letters):
        raise ValueError("the references differ in length")
    found = [
        *_runs(old.letters.upper(), new.letters.upper(), 0),
        *(
            _change(_kind(before, after), place, place, before, after)
            for place, before, after in _inserted(old, new)
            if before != after
        ),
    ]
    found.sort(key=lambda change: (change.start, change.end))
    return _told(segment, len(old.assembled()), len(new.assembled()), found, is_reference=True)


def between(segment: str, old: str, new: str) -> SegmentDifference:
    """What differs between two sequences without a common reference."""
    first, second = old.upper(), new.upper()
    return _told(segment, len(first), len(second), _changes(first, second), is_reference=False)


def _inserted(old: Aligned, new: Aligned) -> Iterator[tuple[int, str, str]]:
    for place in old.insertions.keys() | new.insertions.keys():
        yield place, old.insertions.get(place, "").upper(), new.insertions.get(place, "").upper()


def _told(segment: str, old: int, new: int, changes: Iterable[Change], *, is_reference: bool) -> SegmentDifference:
    kept: list[Change] = []
    counts: dict[Kind, int] = {}
    bases: dict[Kind, int] = {}
    for change in changes:
        counts[change.kind] = counts.get(change.kind, 0) + 1
        bases[change.kind] = bases.get(change.kind, 0) + max(change.old_length, change.new_length)
        if len(kept) < MOST_CHANGES:
            kept.append(change)
    return SegmentDifference(segment, old, new, is_reference, tuple(kept), counts, bases)


def _changes(old: str, new: str) -> Iterator[Change]:
    for start, end, first, last in laid(old, new):
        before, after = old[start:end], new[first:last]
        if before == after:
            continue
        if len(before) == len(after):
            yield from _runs(before, after, start)
        else:
            yield _change(_kind(before, after), start + 1 if before else start, end, before, after)


def _runs(old: str, new: str, offset: int) -> Iterator[Change]:
    """Columns that differ; neighbours of one kind are one change, except substitutions."""
    start, kind = 0, None
    place = 0
    for place, (before, after) in enumerate(zip(old, new, strict=True)):
        now = None if before == after else _kind(before, after)
        if now is kind and now is not Kind.SUBSTITUTION:
            continue
        if kind is not None:
            yield _change(kind, offset + start + 1, offset + place, old[start:place], new[start:place])
        start, kind = place, now
    if kind is not None:
        yield _change(kind, offset + start + 1, offset + place + 1, old[start:], new[start:])


def _kind(old: str, new: str) -> Kind:
    """What became of a stretch whose letters differ."""
    if not old.strip(GAP):
        return Kind.NOW_UNKNOWN if new and not new.strip(UNKNOWN) else Kind.INSERTION
    if not new.strip(GAP):
        return Kind.NOW_KNOWN if not old.strip(UNKNOWN) else Kind.DELETION
    if not new.strip(UNKNOWN):
        return Kind.NOW_UNKNOWN
    if not old.strip(UNKNOWN):
        return Kind.NOW_KNOWN
    return Kind.SUBSTITUTION if len(old) == len(new) == 1 else Kind.REPLACED


def _change(kind: Kind, start: int, end: int, old: str, new: str) -> Change:
    before, after = old.replace(GAP, ""), new.replace(GAP, "")
    return Change(kind, start, end, before[:SHOWN_BASES], after[:SHOWN_BASES], len(before), len(after))
