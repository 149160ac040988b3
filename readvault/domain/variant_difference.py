"""What differs between the variants of two results: new ones, lost ones, and those whose frequency moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST_LISTED = 300
"""Variants of each kind that are told one by one; the rest is counted."""
FREQUENCY_STEP = 0.05
"""How much a frequency must move to be told."""
SHOWN_BASES = 40

Key = tuple[str, int, str, str]
"""Segment, position (from 1), reference and alternative bases."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a VCF says of one variant. None where it says nothing."""

    frequency: float | None
    depth: int | None
    filters: str


@dataclass(frozen=True, slots=True)
class VariantChange:
    """One variant in both results; None: that result has it not."""

    segment: str
    position: int
    reference: str
    alternative: str
    old: Called | None
    new: Called | None


@dataclass(frozen=True, slots=True)
class VariantDifference:
    """The variants by what became of them, each list by position and at most MOST_LISTED; the counts are of all."""

    old: int
    new: int
    added: tuple[VariantChange, ...]
    lost: tuple[VariantChange, ...]
    changed: tuple[VariantChange, ...]
    added_in_all: int
    lost_in_all: int
    changed_in_all: int

    @property
    def is_same(self) -> bool:
        """Whether nothing differs that is worth telling."""
        return not (self.added_in_all or self.lost_in_all or self.changed_in_all)


class NotVcf(ValueError):
    """The text is no VCF."""


def parse(lines: Iterable[str]) -> dict[Key, Called]:
    """The variants of a VCF, one for each alternative; raises NotVcf, in words that quote nothing of it."""
    found: dict[Key, Called] = {}
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if not text or text.startswith("#"):
            continue
        columns = text.split("\t")
        if len(columns) < 8 or not columns[1].isascii() or not columns[1].isdecimal() or len(columns[1]) > 12:
            raise NotVcf(f"line {number} is none of a VCF.")
        info = dict(each.partition("=")[::2] for each in columns[7].split(";"))
        depth, frequencies = _number(info.get("DP", "")), info.get("AF", "").split(",")
        for place, alternative in enumerate(columns[4].split(",")):
            called = Called(
                frequency=_number(frequencies[place]) if place < len(frequencies) else None,
                depth=None if depth is None else int(depth),
                filters=columns[6],
            )
            found[columns[0], int(columns[1]), columns[3].upper(), alternative.upper()] = called
    return found


def compare(old: Mapping[Key, Called], new: Mapping[Key, Called]) -> VariantDifference:
    """The difference of two sets of variants."""
    added = sorted(new.keys() - old.keys())
    lost = sorted(old.keys() - new.keys())
    changed = sorted(key for key in old.keys() & new.keys() if _moved(old[key], new[key]))

    def told(keys: list[Key]) -> tuple[VariantChange, ...]:
        return tuple(
            VariantChange(key[0], key[1], key[2][:SHOWN_BASES], key[3][:SHOWN_BASES], old.get(key), new.get(key))
            for key in keys[:MOST_LISTED]
        )

    return VariantDifference(
        old=len(old),
        new=len(new),
        added=told(added),
        lost=told(lost),
        changed=told(changed),
        added_in_all=len(added),
        lost_in_all=len(lost),
        changed_in_all=len(changed),
    )


def _moved(old: Called, new: Called) -> bool:
    """Whether another filter holds, or the frequency is another one by FREQUENCY_STEP or more."""
    if old.filters != new.filters or (old.frequency is None) != (new.frequency is None):
        return True
    return abs((old.frequency or 0.0) - (new.frequency or 0.0)) >= FREQUENCY_STEP - 1e-9


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None
