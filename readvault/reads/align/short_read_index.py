"""Where the k-mers of a small reference lie: what `exact_placement` looks reads up in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, Integers
from readvault.reads.native import compiled, inlined
from readvault.reads.sample import Segment

KMER = 21
"""minimap2's k for short reads: every anchor of a read is such a k-mer."""

UNKNOWN = 4
LARGEST_REFERENCE = 20_000_000
"""Bases. The index takes about 50 bytes a base."""

_MASK = np.uint64((1 << 2 * KMER) - 1)
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
CODES = np.full(256, UNKNOWN, dtype=np.uint8)
"""A, C, G, T as 0 to 3; anything else as UNKNOWN."""
CODES[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.arange(4)


@dataclass(frozen=True, slots=True)
class ShortReadIndex:
    """All k-mers of a reference on both strands. Places count in the row of all segments.

    `keys` and `places` are a hash table: the lesser of a k-mer and its reverse complement, and twice
    its place plus whether the reverse one is the lesser, or -1 when it occurs more than once. `repeats[i]` says how
    many places before `i` hold a k-mer that is repeated or not known.
    """

    bases: Bytes
    starts: Integers
    keys: NDArray[np.uint64]
    places: Integers
    repeats: Integers

    @classmethod
    def of(cls, segments: tuple[Segment, ...]) -> ShortReadIndex:
        """Index the segments; milliseconds for a genome of 200,000 bases."""
        lengths = [len(segment.sequence) for segment in segments]
        starts = np.cumsum([0, *lengths]).astype(np.int64)
        sequence = "".join(segment.sequence for segment in segments).encode()
        bases = CODES[np.frombuffer(sequence, dtype=np.uint8)]
        size = 1 << max(10, (2 * len(bases)).bit_length())
        keys, places = np.full(size, _EMPTY, dtype=np.uint64), np.full(size, -1, dtype=np.int64)
        repeats = np.zeros(len(bases) + 1, dtype=np.int64)
        _fill(bases, starts, keys, places, repeats)
        return cls(bases, starts, keys, places, np.cumsum(repeats) - repeats)


@inlined
def slot_of(keys: NDArray[np.uint64], key: Any) -> Any:
    """Where in the table a k-mer is, or would be."""
    mask = np.uint64(len(keys) - 1)
    slot = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20) & mask
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + np.uint64(1)) & mask
    return slot


@inlined
def extended(forward: Any, reverse: Any, base: Any) -> Any:
    """A k-mer and its reverse complement, moved on by one base."""
    code = np.uint64(base)
    forward = (forward << np.uint64(2) | code) & _MASK
    reverse = reverse >> np.uint64(2) | (np.uint64(3) - code) << np.uint64(2 * KMER - 2)
    return forward, reverse


@compiled("void(uint8[::1], int64[::1], uint64[::1], int64[::1], int64[::1])")
def _fill(bases: Bytes, starts: Integers, keys: NDArray[np.uint64], places: Integers, repeats: Integers) -> None:
    for segment in range(len(starts) - 1):
        forward, reverse, known = np.uint64(0), np.uint64(0), 0
        for last in range(starts[segment], starts[segment + 1]):
            repeats[last] = 1  # until the k-mer that begins here is seen
            if bases[last] >= UNKNOWN:
                known = 0
                continue
            forward, reverse = extended(forward, reverse, bases[last])
            known += 1
            if known < KMER:
                continue
            first = last - KMER + 1
            key = min(forward, reverse)
            slot = slot_of(keys, key)
            if keys[slot] == _EMPTY:
                keys[slot], places[slot] = key, 2 * first + (reverse < forward)
                repeats[first] = 0
            elif places[slot] >= 0:
                repeats[places[slot] >> 1] = 1
                places[slot] = -1
