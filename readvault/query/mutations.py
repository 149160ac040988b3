"""Mutations by their names: `C241T`, `21765-`, `S:N501Y`, `ins_22204:GAGCCAGAA`, `segment:C241T`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from readvault.query import QueryError
from readvault.query.exported import ExportedSet

NUCLEOTIDES, AMINO_ACIDS = b"ACGT-", b"ACDEFGHIKLMNPQRSTVWY*-"
"""What reads can be counted with: an `N`, of amino acids `X`, says nothing."""

_CHANGE = re.compile(r"([A-Za-z*]?)([1-9][0-9]{0,8})([A-Za-z*-])")
_INSERTION = re.compile(r"ins_(?:([^:]+):)?([0-9]{1,9}):([A-Za-z*]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mutation. `key` is the segment or gene, `position` 1-based, `symbol` what stands there.

    Of an insertion `position` is the one before it, and `inserted` what is inserted.
    """

    name: str
    key: str
    position: int
    symbol: str
    inserted: str = ""


def parse(text: str, exported: ExportedSet) -> Mutation:
    """The mutation that a name means in this set. Raises QueryError for one that can't be in it.

    A letter before the position, if there is one, must be the reference's.
    """
    told = text.strip()
    if told.lower().startswith("ins_"):
        return _insertion(told, exported)
    prefix, colon, change = told.rpartition(":")
    found = _CHANGE.fullmatch(change)
    if found is None:
        raise QueryError(f"{told!r} is no mutation: C241T, 21765-, S:N501Y and ins_22204:GAG are")
    key = _key(prefix if colon else None, told, exported)
    position, symbol = int(found[2]), found[3].upper()
    _check_letters(told, key, symbol, exported)
    reference = _reference(key, exported)
    if reference:
        if position > len(reference):
            raise QueryError(f"{told}: {key} ends at {len(reference)}")
        there = reference[position - 1]
        if found[1] and found[1].upper() != there:
            raise QueryError(f"{told}: the reference has {there} at {position}")
        if symbol == there:
            raise QueryError(f"{told}: {symbol} is the reference's own at {position}")
    return Mutation(named(key, position, symbol, exported), key, position, symbol)


def named(key: str, position: int, symbol: str, exported: ExportedSet) -> str:
    """The full name of a change, with the reference's letter and, where several could be meant, its segment."""
    reference = _reference(key, exported)
    there = reference[position - 1] if reference else ""
    return f"{_prefix(key, exported)}{there}{position}{symbol}"


def _insertion(told: str, exported: ExportedSet) -> Mutation:
    found = _INSERTION.fullmatch(told)
    if found is None:
        raise QueryError(f"{told!r} is no insertion: ins_22204:GAGCCAGAA is")
    key = _key(found[1], told, exported)
    position, bases = int(found[2]), found[3].upper()
    _check_letters(told, key, bases.replace("X" if key in exported.genes else "N", ""), exported)
    reference = _reference(key, exported)
    if reference and position > len(reference):
        raise QueryError(f"{told}: {key} ends at {len(reference)}")
    return Mutation(f"ins_{_prefix(key, exported)}{position}:{bases}", key, position, "", bases)


def _check_letters(told: str, key: str, letters: str, exported: ExportedSet) -> None:
    alphabet = (AMINO_ACIDS if key in exported.genes else NUCLEOTIDES).decode("ascii")
    if strange := set(letters) - set(alphabet):
        raise QueryError(f"{told}: reads are not counted by {min(strange)}, only by {', '.join(alphabet)}")


def _key(prefix: str | None, told: str, exported: ExportedSet) -> str:
    if prefix is None:
        if len(exported.segments) != 1:
            raise QueryError(f"{told}: of which segment? There are {', '.join(exported.segments)}")
        return next(iter(exported.segments))
    if prefix in exported.segments or prefix in exported.genes:
        return prefix
    known = ", ".join([*exported.segments, *exported.genes])
    raise QueryError(f"{told}: there is no segment or gene {prefix!r} in this set, only {known}")


def _prefix(key: str, exported: ExportedSet) -> str:
    return "" if len(exported.segments) == 1 and key in exported.segments else f"{key}:"


def _reference(key: str, exported: ExportedSet) -> str:
    return exported.segments.get(key) or exported.genes.get(key) or ""
