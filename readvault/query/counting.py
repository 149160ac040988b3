"""Counting: how many reads of each group say what at the asked positions.

Reads that don't cover a position, or don't know what stands there (`N`, of amino acids `X`), count nowhere.
For named mutations only the asked positions are looked at; to find mutations all of them are
counted, sample by sample, so memory holds one sample's counts at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from readvault.query.exported import ExportedSet, Row
from readvault.query.groups import Grouping
from readvault.query.mutations import AMINO_ACIDS, NUCLEOTIDES, Mutation, named

SAMPLE = ("accessionVersion", "sampleId")
Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(slots=True)
class Laid:
    """What the reads of a page say of one segment or gene: symbols one read behind the other."""

    symbols: Bytes
    starts: Integers
    offsets: Integers
    lengths: Integers
    groups: Integers
    insertions: list[Sequence[str]]

    @classmethod
    def of(cls, rows: Sequence[Row], groups: Sequence[int], key: str) -> Laid:
        """Those of the reads that touch it and are in a group."""
        found = [(row[key], group) for row, group in zip(rows, groups, strict=True) if group >= 0 and row[key]]
        sequences = [said["sequence"] for said, _ in found]
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(found))
        return cls(
            symbols=np.frombuffer("".join(sequences).upper().encode("ascii", "replace"), dtype=np.uint8),
            starts=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)[:-1]])[: len(found)],
            offsets=np.fromiter((said.get("offset", 0) for said, _ in found), dtype=np.int64, count=len(found)),
            lengths=lengths,
            groups=np.fromiter((group for _, group in found), dtype=np.int64, count=len(found)),
            insertions=[said.get("insertions") or () for said, _ in found],
        )

    def at(self, position: int) -> tuple[Integers, Bytes]:
        """The numbers of the reads that lie over a 1-based position, and the symbols that they have there."""
        place = position - 1
        over = np.flatnonzero((self.offsets <= place) & (place < self.offsets + self.lengths))
        return over, self.symbols[self.starts[over] + place - self.offsets[over]]


@dataclass(slots=True)
class Counts:
    """By mutation, how many reads of each group have it and how many cover its place."""

    mutations: tuple[Mutation, ...]
    ends: dict[str, int] = field(default_factory=dict)
    """The last position of each segment and gene, as far as it is known."""
    counts: list[Integers] = field(default_factory=list)
    coverages: list[Integers] = field(default_factory=list)
    reads: int = 0

    def grow(self, groups: int) -> None:
        """Make room for so many groups."""
        for sums in (self.counts, self.coverages):
            while len(sums) < len(self.mutations):
                sums.append(np.zeros(0, dtype=np.int64))
            for number, each in enumerate(sums):
                sums[number] = np.concatenate([each, np.zeros(groups - len(each), dtype=np.int64)])


def count(exported: ExportedSet, mutations: Sequence[Mutation], grouping: Grouping) -> Counts:
    """Count these mutations in all groups, in one pass over the set."""
    ends = {key: len(sequence) for key, sequence in (exported.segments | exported.genes).items()}
    found = Counts(tuple(mutations), ends)
    keys = sorted({each.key for each in mutations})
    for rows in exported.rows():
        groups = grouping.numbers(rows)
        found.grow(len(grouping.groups))
        found.reads += sum(group >= 0 for group in groups)
        for key in keys:
            _count_page(found, Laid.of(rows, groups, key), key, key in exported.genes)
    found.grow(len(grouping.groups))
    return found


def _count_page(found: Counts, laid: Laid, key: str, proteins: bool) -> None:
    unknown = ord("X" if proteins else "N")
    for number, mutation in enumerate(found.mutations):
        if mutation.key != key:
            continue
        size = len(found.counts[number])
        if mutation.inserted:
            has, covers = _insertion(laid, mutation, unknown, found.ends.get(key, 0))
        else:
            over, symbols = laid.at(mutation.position)
            covers = over[symbols != unknown]
            has = over[symbols == ord(mutation.symbol)]
        found.coverages[number] += np.bincount(laid.groups[covers], minlength=size)
        found.counts[number] += np.bincount(laid.groups[has], minlength=size)


def _insertion(laid: Laid, mutation: Mutation, unknown: int, end: int) -> tuple[Integers, Integers]:
    """Of the reads that know what stands on both sides of a place, those with the insertion, and all.

    Only one that goes on beyond could have it, and mates may end on both sides of it. `end` is the last position,
    beyond which nothing stands, as before 1; 0 where nobody says it.
    """
    wanted = f"{mutation.position}:{mutation.inserted}"
    over = np.ones(len(laid.lengths), dtype=np.bool_)
    for place in (mutation.position, mutation.position + 1):
        if place >= 1 and not (end and place > end):
            known = np.zeros(len(over), dtype=np.bool_)
            there, symbols = laid.at(place)
            known[there[symbols != unknown]] = True
            over &= known
    has = np.fromiter((wanted in said for said in laid.insertions), dtype=np.bool_, count=len(laid.insertions))
    return np.flatnonzero(has & over), np.flatnonzero(over)


def discover(
    exported: ExportedSet,
    grouping: Grouping,
    *,
    min_proportion: float,
    min_coverage: int,
    amino_acids: bool = False,
) -> list[Mutation]:
    """The mutations that reach `min_proportion` in at least one sample, where `min_coverage` of its reads are."""
    genomes = exported.genes if amino_acids else exported.segments
    alphabet = AMINO_ACIDS if amino_acids else NUCLEOTIDES
    keys = [key for key in genomes if genomes[key]]
    often = [np.zeros((len(genomes[key]), len(alphabet)), dtype=np.bool_) for key in keys]
    for sums in _by_sample(exported, grouping, keys, alphabet):
        for found, counts in zip(often, sums, strict=True):
            depth = counts.sum(axis=1, keepdims=True)
            found |= (counts >= min_proportion * depth) & (depth >= min_coverage) & (counts > 0)
    return [
        Mutation(named(key, position + 1, symbol, exported), key, position + 1, symbol)
        for key, found in zip(keys, often, strict=True)
        for position, code in np.argwhere(found).tolist()
        for symbol in [chr(alphabet[code])]
        if genomes[key][position] != symbol
    ]


def _by_sample(
    exported: ExportedSet, grouping: Grouping, keys: Sequence[str], alphabet: bytes
) -> Iterator[list[Integers]]:
    """For each sample, as they follow each other in the set, how often each symbol stands at each position."""
    genomes = {**exported.segments, **exported.genes}
    codes = np.full(256, len(alphabet), dtype=np.int64)
    codes[np.frombuffer(alphabet, dtype=np.uint8)] = np.arange(len(alphabet))
    column = next((name for name in SAMPLE if name in exported.columns), "")
    current, sums = None, None
    for rows in exported.rows():
        page = zip(rows, grouping.numbers(rows), strict=True)
        for sample, pairs in groupby(page, key=lambda pair: pair[0].get(column)):
            if sums is None or sample != current:
                if sums is not None:
                    yield sums
                current = sample
                sums = [np.zeros((len(genomes[key]), len(alphabet)), dtype=np.int64) for key in keys]
            mine = list(pairs)
            for key, total in zip(keys, sums, strict=True):
                laid = Laid.of([row for row, _ in mine], [group for _, group in mine], key)
                _add(total, laid, codes)
    if sums is not None:
        yield sums


def _add(total: Integers, laid: Laid, codes: Integers) -> None:
    kinds = total.shape[1]
    places = np.repeat(laid.offsets - laid.starts, laid.lengths) + np.arange(len(laid.symbols))
    symbols = codes[laid.symbols]
    known = symbols < kinds
    flat = places[known] * kinds + symbols[known]
    total += np.bincount(flat, minlength=total.size)[: total.size].reshape(total.shape)
