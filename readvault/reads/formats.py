"""What a file is, by its first bytes, and its content as a stream that can't grow without limit."""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
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
_HEAD = 1 << 16
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


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is. `bgzf` says that its gzip is in blocks, as BAM needs it."""

    content: Content
    compression: Compression
    bgzf: bool = False


_REFUSED = (
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89HDF", "HDF5 (FAST5 or an old BAX file)"),
    (b"NCBI.sra", "an SRA archive"),
    (b"\x8bPOD", "POD5"),
)
_ENCODINGS = ((b"\xef\xbb\xbf", "UTF-8 with a byte order mark"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


def kind_of(path: Path) -> Kind:
    """Recognize a file by its content, whatever its name says.

    Raises UnreadableFileError for an empty file, a broken compression and a packing or encoding that is not read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise UnreadableFileError(Reason.EMPTY_FILE, "The file is empty.")
    _refuse_unreadable(head)
    if head.startswith(b"\x1f\x8b"):
        inside = _beginning_of_gzip(head)
        if inside.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
            raise UnreadableFileError(Reason.WRONG_FORMAT, "The file is compressed twice; compress it once, with gzip.")
        _refuse_unreadable(inside)
        return Kind(_content(inside), Compression.GZIP, bgzf=head[3:4] == b"\x04" and head[12:14] == b"BC")
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        with Decompressed(path, Compression.ZSTD, limit=1 << 62) as stream:
            inside = stream.read(_HEAD)
        _refuse_unreadable(inside)
        return Kind(_content(inside), Compression.ZSTD)
    return Kind(_content(head), Compression.NONE)


def _beginning_of_gzip(head: bytes) -> bytes:
    """What the first bytes of a gzip file unpack to, also when it is cut: the full check tells that."""
    inside = b""
    while len(inside) < _HEAD and head.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            inside += member.decompress(head, _HEAD)
        except zlib.error as fault:
            raise UnreadableFileError(
                Reason.CORRUPT_COMPRESSION, _what_is_corrupt(Compression.GZIP, str(fault))
            ) from fault
        head = member.unused_data
    return inside


def _refuse_unreadable(head: bytes) -> None:
    for magic, name in _REFUSED:
        if head.startswith(magic):
            raise UnreadableFileError(
                Reason.UNKNOWN_FORMAT, f"The file is {name}, which is not read; send FASTQ with gzip."
            )
    for magic, name in _ENCODINGS:
        if head.startswith(magic):
            raise UnreadableFileError(Reason.WRONG_FORMAT, f"The text is {name}; FASTQ is plain ASCII.")
    if head[257:262] == b"ustar":
        raise UnreadableFileError(Reason.UNKNOWN_FORMAT, "The file is a tar archive; send the files in it one by one.")


_SAM_RECORD = re.compile(
    rb"[!-?A-~][!-~]*\t[0-9]{1,5}\t[!-~]+\t[0-9]+\t[0-9]+\t([0-9]+[MIDNSHPX=])*\*?\t[!-~]+\t[0-9]+\t"
)
"""The first columns of a SAM that has no header."""


def _content(head: bytes) -> Content:
    if not head:
        return Content.NOTHING
    if head.startswith((b"BAM\x01", b"CRAM")):
        return Content.BAM if head.startswith(b"BAM") else Content.CRAM
    if re.match(rb"@(HD|SQ|RG|PG|CO)\t", head) or _SAM_RECORD.match(head):
        return Content.SAM
    if head.startswith((b"@", b">")):
        return Content.FASTQ if head.startswith(b"@") else Content.FASTA
    return Content.OTHER if b"\x00" in head[:1024] else Content.TEXT


_COMPRESSIONS = {".gz": Compression.GZIP, ".bgz": Compression.GZIP, ".bgzf": Compression.GZIP, ".zst": Compression.ZSTD}
_CONTENTS = {
    ".fastq": Content.FASTQ,
    ".fq": Content.FASTQ,
    ".bam": Content.BAM,
    ".cram": Content.CRAM,
    ".sam": Content.SAM,
}


def claimed_by(label: str) -> tuple[Content | None, Compression | None]:
    """What a file's name says that it is: content and compression, None where it says nothing.

    >>> claimed_by("plate 3/S1_R1.fastq.gz")
    (<Content.FASTQ: 'FASTQ'>, <Compression.GZIP: 'gzip'>)
    """
    endings = [f".{part}" for part in label.lower().split(".")[1:]]
    compression = _COMPRESSIONS.get(endings[-1]) if endings else None
    if compression is not None:
        endings.pop()
    content = _CONTENTS.get(endings[-1]) if endings else None
    if compression is None and content in (Content.FASTQ, Content.SAM):
        compression = Compression.NONE
    return content, compression


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
                Reason.CORRUPT_COMPRESSION, _what_is_corrupt(self._compression, str(fault))
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


def _what_is_corrupt(compression: Compression, fault: str) -> str:
    if "CRC" in fault or "checksum" in fault.lower():
        return f"The {compression} checksum is wrong: the content is damaged."
    if "Not a gzipped file" in fault or "Unknown frame" in fault:
        return f"Something that is no {compression} follows the compressed content."
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
