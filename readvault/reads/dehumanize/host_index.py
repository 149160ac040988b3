"""The host index: which k-mers are human. Built, pinned by digest, loaded once per process.

The file is deacon's index format 3 (github.com/bede/deacon): the bytes 3, k, w; an unsigned 64-bit
count; then the canonical k-mers, two bits a base (A 0, C 1, T 2, G 3, first base in the lowest
bits), eight little-endian bytes each. deacon looks up the minimizers of a read, so an index with
*all* k-mers of a host finds at least what an index of its minimizers finds, at eight times the size.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from readvault.domain.errors import ProcessingFailure

# Every process of an installation compares digests; only those that build or screen wait for native modules.
if TYPE_CHECKING:
    import deacon
    import numpy as np
    import numpy.typing as npt

    from readvault.reads.kmers import SortedKmers

STEP = "host index"
FORMAT = 3
_HEADER = struct.Struct("<BBBQ")
HEADER_SIZE = _HEADER.size
_BYTES_PER_KMER = 8

Stamp = tuple[str, int, int]
_loaded: dict[Stamp, deacon.Index] = {}
_digests: dict[Stamp, str] = {}


@dataclass(frozen=True, slots=True)
class HostIndexInfo:
    """What an index file is: k-mer length, window, number of k-mers and, when known, its SHA-256."""

    path: Path
    k: int
    w: int
    kmers: int
    sha256: str | None = None

    @property
    def shortest_screenable(self) -> int:
        """The shortest read, in bases, that deacon can look up at all: one whole window of k-mers."""
        return self.k + self.w - 1


def info(path: Path) -> HostIndexInfo:
    """Read what an index says of itself; raises ProcessingFailure for anything that is no whole index."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
        size = path.stat().st_size
    except OSError as fault:
        raise ProcessingFailure(STEP, f"the host index can't be read ({type(fault).__name__})") from fault
    if len(head) < _HEADER.size:
        raise ProcessingFailure(STEP, "the host index is cut off")
    version, k, w, count = _HEADER.unpack(head)
    if version != FORMAT or not 1 <= k <= 61 or not 1 <= w <= 255:
        raise ProcessingFailure(STEP, f"the file is no deacon index of format {FORMAT}")
    if k <= 32 and size != _HEADER.size + count * _BYTES_PER_KMER:
        raise ProcessingFailure(STEP, f"the host index should hold {count} k-mers but has {size} bytes")
    return HostIndexInfo(path, k, w, count)


def build(fasta: Path, target: Path, *, k: int = 31, w: int = 15, minimizers: bool = False) -> HostIndexInfo:
    """Index the k-mers of a FASTA (plain or gzip), on both strands, for screening reads against it.

    All of them, or with `minimizers` those that deacon itself would look up in the FASTA: an eighth,
    as `deacon index build` writes them. All find a little more in reads with errors. k-mers with a
    letter other than A, C, G, T (U) are left out; case is ignored. The file appears whole or not at
    all. Memory is bounded for all k-mers; for minimizers it is that of the loaded index of all.
    Raises ValueError for k and w that deacon can't use and for a FASTA without any k-mer.
    """
    from readvault.reads import kmers

    if not 3 <= k <= 31 or (k + w) % 2:
        raise ValueError(f"k must be 3..31 and k + w even, not k={k} and w={w}")
    with kmers.temporary_directory(target) as name:
        whole, collected = Path(name) / "index", kmers.SortedKmers(Path(name), k)
        if minimizers:
            every = build(fasta, Path(name) / "every", k=k, w=w)
            for found in _looked_up(fasta, every, Path(name)):
                collected.add(found)
        else:
            for sequence in kmers.pieces(fasta, k - 1):
                found, known = kmers.canonical(sequence, k)
                collected.add(found[known])
        _write(whole, k, w, collected)
        written = info(whole)
        if not written.kmers:
            raise ValueError("the FASTA has no stretch of bases as long as a k-mer")
        with whole.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        whole.chmod(0o644)
        whole.replace(target)
    return HostIndexInfo(target, k, w, written.kmers, sha256)


def _write(target: Path, k: int, w: int, collected: SortedKmers) -> None:
    """The number of k-mers is known, and written into the header, when all of them are."""
    count = 0
    with target.open("wb") as file:
        file.write(_HEADER.pack(FORMAT, k, w, 0))
        for part in collected.in_order():
            file.write(part.astype("<u8").tobytes())
            count += part.size
        file.seek(0)
        file.write(_HEADER.pack(FORMAT, k, w, count))
        file.flush()
        os.fsync(file.fileno())


def _looked_up(fasta: Path, every: HostIndexInfo, directory: Path) -> Iterator[npt.NDArray[np.uint64]]:
    """The k-mers that deacon looks up in a sequence: those it says it found in an index that holds them all."""
    import deacon

    from readvault.reads import kmers

    pieces, hits = directory / "pieces.fasta", directory / "hits.tsv"
    index = deacon.Index(str(every.path))
    for sequence in kmers.pieces(fasta, every.shortest_screenable - 1):
        if len(sequence) < every.shortest_screenable:
            continue
        pieces.write_bytes(b">\n" + sequence + b"\n")
        index.filter(
            str(pieces), output=os.devnull, deplete=True, abs_threshold=1, rel_threshold=0, threads=1, debug=str(hits)
        )
        listed = hits.read_bytes().splitlines()[1].rpartition(b"\t")[2]
        found, known = kmers.canonical(listed, every.k)
        yield found[known]


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as fault:
        raise ProcessingFailure(STEP, f"the host index can't be read ({type(fault).__name__})") from fault
    return (str(path.resolve()), status.st_size, status.st_mtime_ns)


def digest(path: Path) -> str:
    """The SHA-256 (hexadecimal) of an index file; read once per process and change of the file."""
    stamp = _stamp(path)
    if stamp not in _digests:
        with path.open("rb") as file:
            _digests[stamp] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[stamp]


def load(path: Path) -> deacon.Index:
    """The index in memory: loaded once per process, so that forked children share it.

    Holds the interpreter's lock while it loads (a 3.3 GB index: about two minutes); never call it
    where a lease is renewed. Raises ProcessingFailure for a file that is no whole index.
    """
    import deacon  # only the processes that screen reads need the native library

    info(path)
    stamp = _stamp(path)
    if stamp not in _loaded:
        try:
            _loaded[stamp] = deacon.Index(str(path))
        except Exception as fault:
            raise ProcessingFailure(STEP, f"deacon can't load the host index ({type(fault).__name__})") from fault
    return _loaded[stamp]
