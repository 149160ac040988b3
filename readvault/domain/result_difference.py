"""Two results of one accession version beside each other: sequences, variants, figures, messages, files.

The older result stands for the entry, the newer one wants its place; a maintainer reads this to decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readvault.domain import sequence_difference
from readvault.domain.sequence_difference import Aligned, SegmentDifference
from readvault.domain.variant_difference import VariantDifference

ONLY_SEGMENT = "main"
MOST_SEGMENTS = 100
MOST_MESSAGES = 200
_NOT_COMPARED = frozenset({"qualityControlDetails"})
"""A document of its own: the figures it is made of are compared."""
_INSERTION = re.compile(r"([0-9]{1,12}):([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Sequences:
    """The consensus of one result by segment, and how it lies on the reference, where that is known."""

    by_segment: Mapping[str, str]
    aligned: Mapping[str, Aligned]
    reference: str | None
    """What the result calls its reference."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure or field of the metadata in both results; None: that result has none."""

    name: str
    old: Any
    new: Any

    @property
    def is_same(self) -> bool:
        """Whether both results say the same."""
        return bool(self.old == self.new)


@dataclass(frozen=True, slots=True)
class Messages:
    """What processing said of one kind: only in the new result, only in the old one, and in how many words in both."""

    added: tuple[Mapping[str, Any], ...]
    gone: tuple[Mapping[str, Any], ...]
    same: int


@dataclass(frozen=True, slots=True)
class FileChange:
    """A processed file in both results. Sizes count bytes; None: that result has it not."""

    category: str
    name: str
    old_size: int | None
    new_size: int | None
    is_same: bool
    """Whether the bytes are the same."""


@dataclass(frozen=True, slots=True)
class ResultDifference:
    """All of it. Where a file could not be read `…_problem` says why, and that part is None."""

    segments: tuple[SegmentDifference, ...] | None
    segments_problem: str | None
    segments_left_out: int
    variants: VariantDifference | None
    variants_problem: str | None
    figures: tuple[Figure, ...]
    errors: Messages
    warnings: Messages
    files: tuple[FileChange, ...]


def sequences(processed_data: Mapping[str, Any], fasta: str | None) -> Sequences:
    """The consensus of a result: what its file `consensus` says, else the sequences that it was registered with."""
    registered = {
        name: text for name, text in (processed_data.get("unalignedNucleotideSequences") or {}).items() if text
    }
    aligned = processed_data.get("alignedNucleotideSequences") or {}
    inserted = processed_data.get("nucleotideInsertions") or {}
    reference = (processed_data.get("metadata") or {}).get("reference")
    return Sequences(
        registered if fasta is None else by_segment(fasta, only=next(iter(registered), ONLY_SEGMENT)),
        {name: Aligned(letters, _insertions(inserted.get(name) or ())) for name, letters in aligned.items() if letters},
        None if reference is None else str(reference),
    )


def by_segment(fasta: str, *, only: str = ONLY_SEGMENT) -> dict[str, str]:
    """The sequences of a consensus file, by what stands behind `|`; a record without that is the segment `only`."""
    found: dict[str, str] = {}
    name: str | None = None
    parts: list[str] = []
    for line in [*fasta.splitlines(), ">"]:
        if not line.startswith(">"):
            parts.append("".join(line.split()))
            continue
        if name is not None:
            found[name] = "".join(parts).upper()
        name, parts = line[1:].strip().rpartition("|")[2] if "|" in line else only, []
    return found


def compare_sequences(old: Sequences, new: Sequences) -> tuple[SegmentDifference, ...]:
    """How each segment changed, in the order of the old result; new segments come last."""
    names = dict.fromkeys([*old.by_segment, *new.by_segment])
    return tuple(_segment(name, old, new) for name in names)


def _segment(name: str, old: Sequences, new: Sequences) -> SegmentDifference:
    before, after = old.by_segment.get(name), new.by_segment.get(name)
    if before is None or after is None:
        return sequence_difference.missing(name, before, after)
    first, second = _on_reference(old, name), _on_reference(new, name)
    if first and second and old.reference == new.reference and len(first.letters) == len(second.letters):
        return sequence_difference.on_reference(name, first, second)
    return sequence_difference.between(name, before, after)


def _on_reference(result: Sequences, name: str) -> Aligned | None:
    """How the very sequence lies on the reference. None too where the record is another one than the file."""
    aligned = result.aligned.get(name)
    return aligned if aligned is not None and aligned.assembled() == result.by_segment[name].upper() else None


def _insertions(listed: Iterable[Any]) -> dict[int, str]:
    """Insertions as `21:ACG`, by the position before them. Any other spelling is none: the check of lengths tells."""
    found: dict[int, str] = {}
    for each in listed:
        if match := _INSERTION.fullmatch(str(each)):
            place = int(match[1])
            found[place] = found.get(place, "") + match[2].upper()
    return found


def compare_figures(old: Mapping[str, Any], new: Mapping[str, Any], first: Sequence[str] = ()) -> tuple[Figure, ...]:
    """The metadata of both results: those named `first`, then what differs."""
    names = dict.fromkeys([*first, *old, *new])
    figures = (Figure(name, old.get(name), new.get(name)) for name in names if name not in _NOT_COMPARED)
    return tuple(
        each
        for each in figures
        if not each.is_same or (each.name in first and not (each.old is None and each.new is None))
    )


def compare_messages(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Messages:
    """What processing said of one kind, at most MOST_MESSAGES of each."""
    before, after = {_spelt(each): each for each in old}, {_spelt(each): each for each in new}
    return Messages(
        added=tuple(each for key, each in after.items() if key not in before)[:MOST_MESSAGES],
        gone=tuple(each for key, each in before.items() if key not in after)[:MOST_MESSAGES],
        same=len(before.keys() & after.keys()),
    )


def _spelt(message: Mapping[str, Any]) -> str:
    return json.dumps(message, sort_keys=True)


Files = Mapping[tuple[str, str], tuple[int, str]]
"""Size and SHA-256 of each file, by category and name."""


def compare_files(old: Files, new: Files) -> tuple[FileChange, ...]:
    """The processed files of both results, by category and name."""
    return tuple(
        FileChange(
            *place,
            old_size=old[place][0] if place in old else None,
            new_size=new[place][0] if place in new else None,
            is_same=old.get(place) == new.get(place),
        )
        for place in sorted(old.keys() | new.keys())
    )
