"""What a fragment says of a gene, as bytes, written in native code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.native import compiled
from readvault.reads.silo.codons import (
    GONE,
    UNKNOWN_AMINO_ACID,
    best_place,
    known_codons,
    read_together,
    single_codon,
    translate,
)
from readvault.reads.silo.text import (
    CLOSE,
    COLON,
    COMMA,
    INSERTIONS,
    NULL,
    OFFSET,
    QUOTE,
    SEQUENCE,
    put_number,
    put_text,
)


@compiled(
    "int64(uint8[::1], uint8[::1], int64, int64[::1], uint8[::1], boolean, UniTuple(int64, 4), int64[:,::1], int64,"
    " uint8[:,::1], int64[:,::1], uint8[::1], int64)"
)
def write_gene(
    buffer: Bytes,
    symbols: Bytes,
    start: int,
    places: Integers,
    expected: Bytes,
    reverse: bool,
    span: tuple[int, int, int, int],
    events: NDArray[np.int64],
    count: int,
    scratch: NDArray[np.uint8],
    gained: NDArray[np.int64],
    out: Bytes,
    at: int,
) -> int:
    """Append what a fragment says of a gene, or null; where it ends.

    `span`: where the gene begins in `places`, how many positions it has, its first and last codon that may be touched.
    """
    base, length, low, high = span
    first, last = known_codons(symbols, start, places, base, low, high, length // 3, reverse)
    if last < first:
        return int(put_text(NULL, out, at))
    at = put_text(SEQUENCE, out, at)
    plain = count == 0
    for i in range(len(symbols)):
        plain = plain and symbols[i] != GONE
    bases, acids, more = scratch[0], scratch[1], scratch[2]
    found = np.zeros(2, dtype=np.int64)
    gains, free, codon = 0, 0, int(first)
    while codon <= last:
        together = 0
        if not plain:
            together = read_together(
                buffer, symbols, start, places, base, length, codon, last, reverse, events, count, bases, found
            )
        if together == 0:
            cut = not plain and found[1]
            single = single_codon(symbols, start, places, base, codon, reverse)
            out[at] = UNKNOWN_AMINO_ACID if cut else single
            at, codon = at + 1, codon + 1
            continue
        wanted = expected[base // 3 + codon : base // 3 + codon + together]
        read = found[0] // 3
        translate(bases, found[0], acids)
        left = best_place(acids, read, wanted) if read != together else read
        at = put_text(acids[:left], out, at)
        for _ in range(together - read):
            out[at] = GONE
            at += 1
        extra = max(read - together, 0)
        at = put_text(acids[left + extra : read], out, at)
        if extra:
            if gains == 0 or gained[gains - 1, 0] != codon + left:  # else it goes on with the one before
                gained[gains, 0], gained[gains, 1], gained[gains, 2] = codon + left, free, 0
                gains += 1
            gained[gains - 1, 2] += extra
            free = put_text(acids[left : left + extra], more, free)
        codon += together
    at = put_text(INSERTIONS, out, at)
    for gain in range(gains):
        if gain:
            out[at] = COMMA
            at += 1
        out[at] = QUOTE
        at = put_number(gained[gain, 0], out, at + 1)
        out[at] = COLON
        at = put_text(more[gained[gain, 1] : gained[gain, 1] + gained[gain, 2]], out, at + 1)
        out[at] = QUOTE
        at += 1
    at = put_number(first, out, put_text(OFFSET, out, at))
    out[at] = CLOSE
    return at + 1
