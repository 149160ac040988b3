"""The host index: which k-mers are human. Built, fetched, pinned by digest, loaded once per process.

The file is deacon's index format 3 (github.com/bede/deacon): the bytes 3, k, w; an unsigned 64-bit
count; then the canonical k-mers, two bits a base (A 0, C 1, T 2, G 3, first base in the lowest
bits), eight little-endian bytes each. deacon looks up the minimizers of a read, so an index with
*all* k-mers of a host finds at least what an index of its minimizers finds, at eight times the size.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import numpy.typing as npt

from readvault.domain.errors import ProcessingFailure

if TYPE_CHECKING:
    import deacon

STEP = "host index"
FORMAT = 3
_HEADER = struct.Struct("<BBBQ")
_BYTES_PER_KMER = 8
_BASES_AT_ONCE = 1 << 22
_TIMEOUT = httpx.Timeout(30.0, read=120.0)
PANHUMAN = "panhuman-1.k31w15"
"""deacon's human index: HPRC year 1, CHM13v2 and GRCh38.p14, less what bacteria and viruses share with them."""
DOWNLOADS = "https://objectstorage.uk-london-1.oraclecloud.com/n/lrbvkel2wjot/b/human-genome-bucket/o/deacon/3"
"""Where deacon's own `index fetch` finds its prebuilt indexes (3.3 GB for `panhuman-1.k31w15`)."""

_CODES = np.full(256, 255, np.uint8)
for _letters, _code in (("Aa", 0), ("Cc", 1), ("TtUu", 2), ("Gg", 3)):
    for _letter in _letters:
        _CODES[ord(_letter)] = _code

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
    version, k, w, kmers = _HEADER.unpack(head)
    if version != FORMAT or not 1 <= k <= 61 or not 1 <= w <= 255:
        raise ProcessingFailure(STEP, f"the file is no deacon index of format {FORMAT}")
    if k <= 32 and size != _HEADER.size + kmers * _BYTES_PER_KMER:
        raise ProcessingFailure(STEP, f"the host index should hold {kmers} k-mers but has {size} bytes")
    return HostIndexInfo(path, k, w, kmers)


def build(fasta: Path, target: Path, *, k: int = 31, w: int = 15) -> HostIndexInfo:
    """Index every k-mer of a FASTA (plain or gzip), on both strands, for screening reads against it.

    k-mers with a letter other than A, C, G, T (U) are left out; case is ignored. The file appears
    whole or not at all. Memory is about 24 bytes a base: right for tests, demos and small hosts; a
    whole genome is fetched or built with `deacon index build`. Raises ValueError for k and w that
    deacon can't use and for a FASTA without any k-mer.
    """
    if not 3 <= k <= 31 or (k + w) % 2:
        raise ValueError(f"k must be 3..31 and k + w even, not k={k} and w={w}")
    parts = [np.unique(_canonical_kmers(piece, k)) for piece in _pieces(fasta, k)]
    kmers = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    if not kmers.size:
        raise ValueError("the FASTA has no stretch of bases as long as a k-mer")
    content = [_HEADER.pack(FORMAT, k, w, kmers.size), memoryview(kmers.astype("<u8")).cast("B")]
    sha256 = _write_whole(target, content)
    return HostIndexInfo(target, k, w, int(kmers.size), sha256)


def _pieces(fasta: Path, k: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The records as two-bit codes (255 = no base), cut so that every k-mer lies in exactly one piece."""
    with fasta.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    sequence = bytearray()
    with gzip.open(fasta, "rb") if compressed else fasta.open("rb") as lines:
        for number, line in enumerate(lines):
            if number == 0 and not line.startswith(b">"):
                raise ValueError("the file is no FASTA: it does not begin with '>'")
            if line.startswith(b">"):
                yield _CODES[np.frombuffer(bytes(sequence), np.uint8)]
                sequence.clear()
                continue
            sequence += line.strip()
            if len(sequence) >= _BASES_AT_ONCE:
                yield _CODES[np.frombuffer(bytes(sequence), np.uint8)]
                del sequence[: len(sequence) - (k - 1)]
    yield _CODES[np.frombuffer(bytes(sequence), np.uint8)]


def _canonical_kmers(codes: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.uint64]:
    """The smaller of each k-mer and its reverse complement."""
    count = codes.size - k + 1
    if count < 1:
        return np.empty(0, np.uint64)
    unknown = np.concatenate(([0], np.cumsum(codes == 255)))
    known = unknown[k:] == unknown[:-k]
    wide = codes.astype(np.uint64)
    forward = np.zeros(count, np.uint64)
    reverse = np.zeros(count, np.uint64)
    for place in range(k):
        window = wide[place : place + count]
        forward |= window << np.uint64(2 * place)
        reverse |= (window ^ np.uint64(2)) << np.uint64(2 * (k - 1 - place))
    canonical: npt.NDArray[np.uint64] = np.minimum(forward, reverse)[known]
    return canonical


def _write_whole(target: Path, content: list[Any]) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in content:
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return digest.hexdigest()


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


def fetch(
    url: str, target: Path, sha256: str | None = None, *, progress: Callable[[int, int | None], None] | None = None
) -> str:
    """Download an index to `target`, going on where an earlier try stopped; its SHA-256 (hexadecimal).

    `progress` is told the bytes so far and in all. The file appears only when it is whole and, where
    `sha256` is given, has that digest. Raises ProcessingFailure otherwise; what came so far stays
    beside the target for the next try, unless the digest is wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _download(url, part, progress)
    except httpx.HTTPError as fault:
        raise ProcessingFailure(STEP, f"the download stopped ({type(fault).__name__}); try again") from fault
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256.lower():
        _forget(part)
        raise ProcessingFailure(STEP, f"the download has SHA-256 {found}, but {sha256.lower()} was expected")
    try:
        info(part)
    except ProcessingFailure:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return found


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    """Beside a half download lies the ETag of the version that it belongs to."""
    return part.with_name(part.name + ".etag")


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    tag = _tag_of(part)
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
    headers["Accept-Encoding"] = "identity"
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
        if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it came before; the digest decides
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        tag.unlink(missing_ok=True)
        if etag := response.headers.get("ETag"):
            tag.write_text(etag)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            for block in response.iter_bytes():
                file.write(block)
                have += len(block)
                if progress:
                    progress(have, total)
    if total is not None and have != total:
        raise httpx.ReadError("fewer bytes came than were promised")
