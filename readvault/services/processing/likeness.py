"""How much of one sequence is in another: the share of its words of 21 bases."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WORD = 21
Words = NDArray[np.uint64]

_CODES = np.full(256, 4, dtype=np.uint8)
_CODES[list(b"ACGTacgt")] = [0, 1, 2, 3] * 2
_CODES[list(b"Uu")] = 3


def words(sequences: Iterable[str]) -> Words:
    """The distinct words of 21 bases of some sequences; words with anything but A, C, G and T are left out."""
    found = [_words(sequence) for sequence in sequences]
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)


def missing(these: Words, sequences: Iterable[str]) -> float:
    """The share of words that the sequences don't have, 0..1."""
    return 1.0 - float(np.isin(these, words(sequences), assume_unique=True).mean()) if len(these) else 1.0


def _words(sequence: str) -> Words:
    bases = _CODES[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    count = len(bases) - WORD + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    word = np.zeros(count, dtype=np.uint64)
    for place in range(WORD):
        word = (word << np.uint64(2)) | bases[place : place + count].astype(np.uint64) & np.uint64(3)
    unknown = np.concatenate(([0], np.cumsum(bases == 4)))
    kept: Words = word[unknown[WORD:] == unknown[:-WORD]]
    return kept
