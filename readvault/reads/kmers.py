"""Canonical k-mers as deacon writes them: of sequences, sorted in bounded memory, read back from an index file.

A base is two bits (A 0, C 1, T 2, G 3), the first base of a k-mer stands in the lowest bits, and of
a k-mer and its reverse complement the smaller number is taken.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from readvault.domain.errors import ProcessingFailure
from readvault.reads.native import compiled

BYTES_PER_KMER = 8
BASES_AT_ONCE = 1 << 20
KMERS_IN_MEMORY = 1 << 22
_SHELVES = 256
_UNKNOWN = 255

_CODES = np.full(256, _UNKNOWN, np.uint8)
for _letters, _code in (("Aa", 0), ("Cc", 1), ("TtUu", 2), ("Gg", 3)):
    for _letter in _letters:
        _CODES[ord(_letter)] = _code

Bytes = npt.NDArray[np.uint8]
Kmers = npt.NDArray[np.uint64]


def pieces(fasta: Path, overlap: int) -> Iterator[bytes]:
    """The sequences of a FASTA (plain or gzip), cut so that neighbours share `overlap` bases.

    Every stretch of `overlap` + 1 bases of a record lies in exactly one piece. Raises ValueError for
    a file that is no FASTA.
    """
    with fasta.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    sequence = bytearray()
    with gzip.open(fasta, "rb") if compressed else fasta.open("rb") as lines:
        for number, line in enumerate(lines):
            if number == 0 and not line.startswith(b">"):
                raise ValueError("the file is no FASTA: it does not begin with '>'")
            if line.startswith(b">"):
                yield bytes(sequence)
                sequence.clear()
                continue
            sequence += line.strip()
            if len(sequence) >= BASES_AT_ONCE:
                yield bytes(sequence)
                del sequence[: len(sequence) - overlap]
    yield bytes(sequence)


def canonical(sequence: bytes, k: int) -> tuple[Kmers, npt.NDArray[np.bool_]]:
    """The canonical k-mer at each position (0-based, of its first base), and where one is: without unknown bases."""
    codes = _CODES[np.frombuffer(sequence, np.uint8)]
    count = codes.size - k + 1
    if count < 1:
        return np.empty(0, np.uint64), np.empty(0, bool)
    found, known = np.empty(count, np.uint64), np.empty(count, bool)
    _roll(codes, k, found, known)
    return found, known


@compiled("void(uint8[::1], int64, uint64[::1], boolean[::1])")
def _roll(codes: Bytes, k: int, found: Kmers, known: npt.NDArray[np.bool_]) -> None:
    """Both strands' k-mers grow by one base at a time; after an unknown base k known ones must follow."""
    forward, reverse = np.uint64(0), np.uint64(0)
    highest = np.uint64(2 * (k - 1))
    mask = (np.uint64(1) << np.uint64(2 * k)) - np.uint64(1)
    since_unknown = 0
    for place in range(len(codes)):
        code = np.uint64(codes[place] & 3)
        since_unknown = 0 if codes[place] == _UNKNOWN else since_unknown + 1
        forward = (forward >> np.uint64(2)) | (code << highest)
        reverse = ((reverse << np.uint64(2)) & mask) | (code ^ np.uint64(2))
        if place >= k - 1:
            found[place - k + 1] = min(forward, reverse)
            known[place - k + 1] = since_unknown >= k


def blocks(index: Path, *, header: int, at_once: int = 1 << 20) -> Iterator[Kmers]:
    """The k-mers of an index file, some at a time: a 3.3 GB file takes the memory of one block.

    Raises ProcessingFailure when the file can't be read.
    """
    try:
        with index.open("rb") as file:
            file.seek(header)
            while data := file.read(at_once * BYTES_PER_KMER):
                yield np.frombuffer(data[: len(data) // BYTES_PER_KMER * BYTES_PER_KMER], "<u8")
    except OSError as fault:
        raise ProcessingFailure("host index", f"the host index can't be read ({type(fault).__name__})") from fault


class SortedKmers:
    """Collects k-mers and gives each of them once, in order, whatever their number.

    What does not fit into memory lies in `directory`, on shelves by range: 8 bytes for each k-mer of
    the host, of which one shelf at a time is in memory again.
    """

    def __init__(self, directory: Path, k: int) -> None:
        self._bounds = ((1 << 2 * k) // _SHELVES * np.arange(1, _SHELVES, dtype=np.uint64)).astype(np.uint64)
        self._shelves = [directory / f"shelf-{number:03}" for number in range(_SHELVES)]
        self._spilled = False
        self._waiting: list[Kmers] = []
        self._count = 0

    def add(self, found: Kmers) -> None:
        """Add k-mers in any order."""
        self._waiting.append(_distinct(found))
        self._count += self._waiting[-1].size
        if self._count > KMERS_IN_MEMORY:
            self._spill()

    def in_order(self) -> Iterator[Kmers]:
        """All different k-mers, ascending, in parts."""
        if not self._spilled:
            yield _merged(self._waiting)
            return
        self._spill()
        for shelf in self._shelves:
            yield _distinct(np.fromfile(shelf, "<u8"))
            shelf.unlink()

    def _spill(self) -> None:
        found = _merged(self._waiting)
        cuts = [0, *np.searchsorted(found, self._bounds), found.size]
        for shelf, start, end in zip(self._shelves, cuts, cuts[1:], strict=False):
            with shelf.open("ab") as file:
                file.write(found[start:end].astype("<u8").tobytes())
        self._waiting.clear()
        self._count = 0
        self._spilled = True


def _merged(parts: list[Kmers]) -> Kmers:
    return _distinct(np.concatenate(parts)) if parts else np.empty(0, np.uint64)


def _distinct(found: Kmers) -> Kmers:
    """Each number once, ascending; numpy's own `unique` takes fifty times as long for numbers like these."""
    ordered = np.sort(found)
    distinct: Kmers = ordered[np.concatenate((np.ones(1, bool), ordered[1:] != ordered[:-1]))[: ordered.size]]
    return distinct


def temporary_directory(beside: Path) -> tempfile.TemporaryDirectory[str]:
    """A directory on the disk on which a file is to appear, gone with its block."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=beside.parent, prefix=f".{beside.name}-")
