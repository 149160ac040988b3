"""What a row of the table of inputs says, and the packings that inputs come in."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from readvault.domain.annotations import Reason

Files = dict[str, bytes]
Maker = Callable[[], Files]
END_OF_BGZF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


@dataclass(frozen=True)
class Row:
    """One input: how it is made (label -> bytes), and what must be said of it.

    `reason` None means that it is accepted without any word, or with `warning`. `record` and `line`
    None are not looked at.
    """

    kind: str
    name: str
    make: Maker
    reason: Reason | None = None
    record: int | None = None
    line: int | None = None
    warning: Reason | None = None
    also: tuple[Reason, ...] = ()
    """Other reasons that are as right."""


def bgzf(data: bytes, *, size: int = 400, end: bool = True) -> bytes:
    """Data in many small blocks of BGZF."""
    blocks = []
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = deflate.compress(piece) + deflate.flush()
        head = bytes.fromhex("1f8b08040000000000ff0600424302 00".replace(" ", ""))
        blocks.append(
            head + struct.pack("<H", len(packed) + 25) + packed + struct.pack("<II", zlib.crc32(piece), len(piece))
        )
    return b"".join(blocks) + (END_OF_BGZF if end else b"")


def members(data: bytes) -> bytes:
    """Data in three members of gzip."""
    third = len(data) // 3 + 1
    return b"".join(gzip.compress(data[at : at + third], mtime=0) for at in range(0, len(data), third))


def changed_at(data: bytes, place: int) -> bytes:
    """Data with eight bytes changed: fewer might all lie in the time stamp of a gzip header, which nothing checks."""
    return data[:place] + bytes(byte ^ 0x55 for byte in data[place : place + 8]) + data[place + 8 :]


def zstd(data: bytes) -> bytes:
    """Data in one frame with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", lambda data: data),
    "gzip": (".gz", lambda data: gzip.compress(data, mtime=0)),
    "gzip in members": (".gz", members),
    "bgzf": (".gz", bgzf),
    "zstd": (".zst", zstd),
}
