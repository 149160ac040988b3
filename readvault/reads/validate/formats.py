"""The content of a file as a stream that can't grow without limit, whatever packs it."""

from __future__ import annotations

import io
import zlib
from enum import StrEnum
from pathlib import Path
from typing import Any

import zstandard
from isal import igzip_threaded, isal_zlib

from readvault.domain.annotations import Reason
from readvault.domain.errors import ReadvaultError

RATIO_LIMIT = 50
RATIO_COUNTS_FROM = 64 * 1024 * 1024
"""Bytes out after which more than `RATIO_LIMIT` bytes per compressed byte are a bomb (PyPI's figures)."""
_ZSTD_WINDOW = 1 << 27
_ZSTD_STEP = 1024  # one byte of Zstandard can stand for 32 kB: small steps bound the memory
_BROKEN: tuple[Any, ...] = (OSError, zlib.error, isal_zlib.error, zstandard.ZstdError)


class Compression(StrEnum):
    """How a file is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


class Content(StrEnum):
    """What is in a file, as far as its first bytes tell."""

    FASTQ = "FASTQ"
    FASTA = "FASTA"
    BAM = "BAM"
    CRAM = "CRAM"
    SAM = "SAM"
    TEXT = "text"
    OTHER = "other"
    NOTHING = "nothing"


class UnreadableFileError(ReadvaultError):
    """The bytes of a file are at fault; the message is for the submitter."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class _Counted(io.RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        size = self._file.readinto(buffer)
        self.count += size
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


class Decompressed(io.RawIOBase):
    """The content of a file as a stream of at most `limit` bytes. Use it as a context manager.

    Reading raises UnreadableFileError when the compression is broken or cut, when garbage follows it, when it
    gives more than `limit` bytes, or more than 50 bytes for each compressed one beyond 64 MiB.
    """

    def __init__(self, path: Path, compression: Compression, *, limit: int) -> None:
        super().__init__()
        self._compression = compression
        self._limit = limit
        self._given = 0
        self._source = _Counted(path)
        self._stream: Any = self._source
        if compression is Compression.GZIP:
            self._stream = igzip_threaded.open(self._source, "rb", threads=1)
        elif compression is Compression.ZSTD:
            self._stream = _Zstandard(self._source)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer; 0 at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            data: bytes = self._stream.read(size)
        except EOFError as fault:
            raise UnreadableFileError(
                Reason.TRUNCATED_FILE, f"The {self._compression} compression ends early: the file is cut off."
            ) from fault
        except _BROKEN as fault:
            if isinstance(fault, OSError) and fault.errno is not None:
                raise
            raise UnreadableFileError(
                Reason.CORRUPT_COMPRESSION, what_is_corrupt(self._compression, str(fault))
            ) from fault
        self._given += len(data)
        self._stop_a_bomb()
        return data

    def _stop_a_bomb(self) -> None:
        if self._given > self._limit:
            raise UnreadableFileError(Reason.COMPRESSION_BOMB, f"The file holds more than {self._limit:,} bytes.")
        if self._compression is Compression.NONE or self._given <= RATIO_COUNTS_FROM:
            return
        if self._given > RATIO_LIMIT * self._source.count:
            raise UnreadableFileError(
                Reason.COMPRESSION_BOMB,
                f"The file unpacks to more than {RATIO_LIMIT} times its size; no sequencing reads do that.",
            )

    def close(self) -> None:
        """Close the file too."""
        if not self.closed:
            self._stream.close()
            self._source.close()
        super().close()


def what_is_corrupt(compression: Compression, fault: str) -> str:
    """What a decompressor's message means, for the submitter."""
    if "CRC" in fault or "checksum" in fault.lower():
        return f"The {compression} checksum is wrong: the content is damaged."
    if "Not a gzipped file" in fault or "Unknown frame" in fault:
        return f"Something that is no {compression} follows the compressed content."
    if "too much memory" in fault:
        return "The zstd compression needs a window of more than 128 MiB; compress without --long or --ultra."
    return f"The {compression} compression is damaged."


class _Zstandard:
    """Zstandard frames one after the other, with an EOFError when the last one is cut."""

    def __init__(self, source: _Counted) -> None:
        self._source = source
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame: Any = None
        self._ready = bytearray()
        self._ahead = b""

    def read(self, size: int = -1, /) -> bytes:
        wanted = size if size >= 0 else 1 << 62
        while len(self._ready) < wanted and self._more():
            pass
        data = bytes(self._ready[:wanted])
        del self._ready[: len(data)]
        return data

    def _more(self) -> bool:
        packed = self._ahead or self._source.read(_ZSTD_STEP) or b""
        self._ahead = b""
        if not packed:
            if self._frame is not None:
                raise EOFError
            return False
        self._frame = self._frame or self._decompressor.decompressobj()
        self._ready += self._frame.decompress(packed)
        if self._frame.eof:
            self._ahead = self._frame.unused_data
            self._frame = None
        return True

    def close(self) -> None:
        self._ready.clear()
