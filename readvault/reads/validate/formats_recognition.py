"""What a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from readvault.domain.annotations import Reason
from readvault.reads.validate.formats import Compression, Content, Decompressed, UnreadableFileError, what_is_corrupt

_HEAD = 1 << 16
_ENOUGH = 1 << 12
"""Bytes by which any content is recognized."""


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
        if len(inside) < _ENOUGH and len(head) == _HEAD:  # a long comment, or many empty members, come first
            inside = _beginning(path, Compression.GZIP)
        if inside.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
            raise UnreadableFileError(Reason.WRONG_FORMAT, "The file is compressed twice; compress it once, with gzip.")
        _refuse_unreadable(inside)
        return Kind(_content(inside), Compression.GZIP, bgzf=head[3:4] == b"\x04" and head[12:14] == b"BC")
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        inside = _beginning(path, Compression.ZSTD)
        _refuse_unreadable(inside)
        return Kind(_content(inside), Compression.ZSTD)
    return Kind(_content(head), Compression.NONE)


def _beginning(path: Path, compression: Compression) -> bytes:
    """The first bytes that a file unpacks to, however far into the file they begin."""
    with Decompressed(path, compression, limit=1 << 62) as stream:
        return stream.read(_HEAD)


def _beginning_of_gzip(head: bytes) -> bytes:
    """What the first bytes of a gzip file unpack to, also when it is cut: the full check tells that."""
    inside = b""
    while len(inside) < _HEAD and head.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            inside += member.decompress(head, _HEAD)
        except zlib.error as fault:
            raise UnreadableFileError(
                Reason.CORRUPT_COMPRESSION, what_is_corrupt(Compression.GZIP, str(fault))
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
