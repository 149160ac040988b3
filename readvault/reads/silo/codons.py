"""What a read says of proteins: each codon of a gene by the read's own bases there.

Codons lie where the organism's GFF3 has them (joined rows, slipping ribosomes and the minus strand as in
`readvault.reads.call`), never where a search found them. A row begins with the first codon whose three positions are
known and ends with the last one; between them `X` is what is not known for certain, also when two of three bases
would do, because those who carry another codon there could not be told in the same way.

Around an indel, as many codons as bring the reading back into frame within 6 bases are translated together, and the
gap or the insertion is put where most amino acids stay the reference's (as in the consensus). A shift
that goes on is not followed, unlike in the consensus: of single reads it is an error of sequencing more often than
not. The codon that it cuts is `X`, and the next ones are read in the reference's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers, nibble_at
from readvault.reads.call import genes as called_genes
from readvault.reads.call.gene_annotation import Gene
from readvault.reads.call.genes import OUT_OF_FRAME
from readvault.reads.native import compiled, inlined
from readvault.reads.sample import Segment
from readvault.reads.silo.layout import SYMBOLS

UNKNOWN_AMINO_ACID, GONE = 88, 45  # X and -
_BASES = "ACGT"
_N, _GAP = 4, 5
_CODES = np.full(256, _N, dtype=np.uint8)
_CODES[np.frombuffer(b"ACGT-", dtype=np.uint8)] = (0, 1, 2, 3, _GAP)
_AMINO_ACIDS = np.frombuffer(
    "".join(called_genes.translate("".join(codon)) for codon in product(_BASES, repeat=3)).encode(), dtype=np.uint8
).copy()


@dataclass(frozen=True, slots=True)
class GeneTable:
    """The genes as arrays, one behind the other.

    `places` are the positions in reading order, `first[g]` is where gene `g` begins among them. `reach` and `rest` say
    for each codon how far the codons up to it reach, and where those from it on begin; on the minus
    strand positions are negative there (-1 - position), so that both only rise.
    """

    names: tuple[str, ...]
    segment: Integers
    reverse: NDArray[np.bool_]
    first: Integers
    places: Integers
    reach: Integers
    rest: Integers
    expected: Bytes

    @classmethod
    def of(cls, genes: Sequence[Gene], segments: tuple[Segment, ...]) -> GeneTable:
        """The table of genes on these segments, in their order."""
        index = {segment.name: number for number, segment in enumerate(segments)}
        rising = [np.where(gene.reverse, -1 - gene.places, gene.places).reshape(-1, 3) for gene in genes]
        proteins = [called_genes.protein(gene, segments[index[gene.segment]].sequence) for gene in genes]
        return cls(
            names=tuple(gene.name for gene in genes),
            segment=np.array([index[gene.segment] for gene in genes], dtype=np.int64),
            reverse=np.array([gene.reverse for gene in genes], dtype=np.bool_),
            first=np.cumsum([0, *(len(gene.places) for gene in genes)]).astype(np.int64),
            places=_joined([gene.places for gene in genes]),
            reach=_joined([np.maximum.accumulate(codons.max(axis=1)) for codons in rising]),
            rest=_joined([np.minimum.accumulate(codons.min(axis=1)[::-1])[::-1] for codons in rising]),
            expected=np.frombuffer("".join(proteins).encode(), dtype=np.uint8).copy(),
        )

    @property
    def codons(self) -> Integers:
        """How many codons each gene has."""
        return np.diff(self.first) // 3


def _joined(parts: list[Integers]) -> Integers:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts]).astype(np.int64)


@inlined
def _code(symbols: Bytes, start: Any, place: Any, reverse: Any) -> Any:
    """The base that a coding position has: 0 to 3, 4 unknown, 5 deleted."""
    if place < start or place >= start + len(symbols):
        return np.int64(_N)
    code = np.int64(_CODES[symbols[place - start]])
    return 3 - code if reverse and code < _N else code


@inlined
def _amino_acid(one: Any, two: Any, three: Any) -> Any:
    if max(one, two, three) >= _N:
        return np.uint8(UNKNOWN_AMINO_ACID)
    return _AMINO_ACIDS[16 * one + 4 * two + three]


@compiled("int64(int64[::1], int64, int64, int64, boolean, int64[:,::1], int64)")
def _inserted_after(
    places: Integers, index: int, end: int, base: int, reverse: bool, events: NDArray[np.int64], count: int
) -> int:
    """Which insertion stands between a coding position and the next one; -1 for none, or where the exon ends."""
    place = places[base + index]
    step = -1 if reverse else 1
    if index + 1 >= end or places[base + index + 1] != place + step:
        return -1
    wanted = place if reverse else place + 1
    for event in range(count):
        if events[event, 0] == wanted:
            return event
    return -1


@compiled("UniTuple(int64, 2)(uint8[::1], int64, int64[::1], int64, int64, int64, int64, boolean)")
def known_codons(
    symbols: Bytes, start: int, places: Integers, base: int, low: int, high: int, codons: int, reverse: bool
) -> tuple[int, int]:
    """The first and the last codon of `low`..`high` whose positions are all known; (0, -1) when there is none."""
    first: Any = np.int64(-1)
    last: Any = first
    for codon in range(max(low, 0), min(high, codons - 1) + 1):
        known = True
        for i in range(3):
            known = known and _code(symbols, start, places[base + 3 * codon + i], reverse) != _N
        if known:
            last = codon
            if first < 0:
                first = codon
    return int(max(first, 0)), int(last)


@compiled(
    "int64(uint8[::1], uint8[::1], int64, int64[::1], int64, int64, int64, int64, boolean,"
    " int64[:,::1], int64, uint8[::1], int64[::1])"
)
def read_together(
    buffer: Bytes,
    symbols: Bytes,
    start: int,
    places: Integers,
    base: int,
    length: int,
    codon: int,
    last: int,
    reverse: bool,
    events: NDArray[np.int64],
    count: int,
    bases: Bytes,
    found: Integers,
) -> int:
    """Read codons from one on until the frame is back; how many, 0 when it does not come back in time.

    Their bases go to `bases`, how many to `found[0]`; `found[1]` says whether an indel lies within the first codon.
    """
    free: Any = np.int64(0)
    shift, run = free, free
    found[1] = 0
    for index in range(3 * codon, 3 * (last + 1)):
        before = free
        code = _code(symbols, start, places[base + index], reverse)
        event = _inserted_after(places, index, length, base, reverse, events, count) if count else -1
        if code != _GAP:
            bases[free] = code
            free += 1
        if event >= 0:
            for i in range(events[event, 1]):
                nibble = events[event, 2] + (events[event, 1] - 1 - i if reverse else i)
                inserted = np.int64(_CODES[SYMBOLS[nibble_at(buffer, nibble)]])
                bases[free] = 3 - inserted if reverse and inserted < _N else inserted
                free += 1
        if (code == _GAP and index <= 3 * codon + 2) or (event >= 0 and index < 3 * codon + 2):
            found[1] = 1
        read = free - before
        run = 0 if shift == 0 else run + read
        if run > OUT_OF_FRAME:
            return 0
        shift = (shift + read - 1) % 3
        if index % 3 == 2 and shift == 0:
            found[0] = free
            return index // 3 + 1 - codon
    return 0


@inlined
def _agreeing(amino_acids: Bytes, count: Any, expected: Bytes, left: Any) -> Any:
    """How many amino acids are the expected ones when the gap or insertion lies behind the first `left`."""
    same = 0
    for i in range(left):
        same += amino_acids[i] == expected[i]
    for i in range(1, min(count, len(expected)) - left + 1):
        same += amino_acids[count - i] == expected[len(expected) - i]
    return same


@compiled("int64(uint8[::1], int64, uint8[::1])")
def best_place(amino_acids: Bytes, count: int, expected: Bytes) -> int:
    """How many of the amino acids stand before the gap or the insertion; of equally good places the last one."""
    best, best_same = 0, -1
    for left in range(min(count, len(expected)) + 1):
        same = _agreeing(amino_acids, count, expected, left)
        if same >= best_same:
            best, best_same = left, same
    return best


@compiled("void(uint8[::1], int64, uint8[::1])")
def translate(bases: Bytes, count: int, amino_acids: Bytes) -> None:
    """The amino acids of `count` base codes."""
    for i in range(count // 3):
        amino_acids[i] = _amino_acid(np.int64(bases[3 * i]), np.int64(bases[3 * i + 1]), np.int64(bases[3 * i + 2]))


@compiled("uint8(uint8[::1], int64, int64[::1], int64, int64, boolean)")
def single_codon(symbols: Bytes, start: int, places: Integers, base: int, codon: int, reverse: bool) -> Any:
    """The amino acid of one codon by itself; 255 when a position of it is deleted."""
    at = base + 3 * codon
    one = _code(symbols, start, places[at], reverse)
    two = _code(symbols, start, places[at + 1], reverse)
    three = _code(symbols, start, places[at + 2], reverse)
    if max(one, two, three) == _GAP:
        return np.uint8(255)
    return _amino_acid(one, two, three)
