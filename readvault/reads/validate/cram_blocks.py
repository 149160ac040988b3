"""The skeleton of a CRAM: containers, blocks and slice headers, without the reads in them.

Read here, in Python, before htslib sees the file. Format: CRAM specification 2.1 and 3.1, sections 6-8.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from readvault.domain.annotations import Reason
from readvault.reads.validate.formats import UnreadableFileError

MULTIPLE, UNMAPPED = -2, -1
_FILE_HEADER, _COMPRESSION_HEADER, _SLICE_HEADER = 0, 1, 2
_RAW, _GZIP = 0, 1
_DEFINITION = 26
_LARGEST_CONTAINER = 1 << 31
_LARGEST_HEADER = 1 << 26
_END = 4_542_278
"""The start position of the empty container at the end of each whole CRAM: the letters EOF."""


class Cursor:
    """Integers of CRAM, taken one after the other from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next bytes; raises UnreadableFileError when there are not as many."""
        if size < 0 or self.at + size > len(self.data):
            raise damaged()
        self.at += size
        return self.data[self.at - size : self.at]

    def int32(self) -> int:
        """Four bytes, the lowest first."""
        return int.from_bytes(self.take(4), "little", signed=True)

    def itf8(self) -> int:
        """ITF8: one to five bytes, 32 bits with sign."""
        first = self.take(1)[0]
        more = next((n for n in range(4) if not first & (0x80 >> n)), 4)
        rest = self.take(more)
        if more < 4:
            value = (first & (0x7F >> more)) << 8 * more | int.from_bytes(rest, "big")
        else:
            value = (first & 15) << 28 | int.from_bytes(rest[:3], "big") << 4 | rest[3] & 15
        return value - (1 << 32) if value >> 31 else value

    def ltf8(self) -> int:
        """LTF8: one to nine bytes, as ITF8 but with 64 bits; taken as unsigned."""
        first = self.take(1)[0]
        more = next((n for n in range(8) if not first & (0x80 >> n)), 8)
        return (first & (0x7F >> more)) << 8 * more | int.from_bytes(self.take(more), "big")


def damaged() -> UnreadableFileError:
    """What is said of a CRAM whose skeleton is broken."""
    return UnreadableFileError(Reason.UNREADABLE_FILE, "The CRAM is damaged: its containers can't be read.")


@dataclass(frozen=True, slots=True)
class Container:
    """A container: where its blocks lie in the file, and what it says of the reads in them."""

    body_at: int
    length: int
    reference: int
    start: int
    records: int

    @property
    def is_end(self) -> bool:
        """Whether it is the empty one at the end of the file."""
        return self.reference == UNMAPPED and self.start == _END and not self.records


@dataclass(frozen=True, slots=True)
class Slice:
    """What the header of a slice says of the reference: its number, an embedded copy, the checksum of the bases."""

    reference: int
    embedded: bool
    md5: bytes


def version_of(file: BinaryIO) -> tuple[int, int]:
    """Major and minor version; the file stands at its first container afterwards."""
    definition = file.read(_DEFINITION)
    if len(definition) < _DEFINITION:
        raise UnreadableFileError(Reason.TRUNCATED_FILE, "The CRAM is cut off within its header.")
    version = definition[4], definition[5]
    if version not in ((2, 1), (3, 0), (3, 1)):
        message = f"The file is CRAM {version[0]}.{version[1]}; versions 2.1, 3.0 and 3.1 are read."
        raise UnreadableFileError(Reason.UNREADABLE_FILE, message)
    return version


def containers(file: BinaryIO, major: int) -> Iterator[Container]:
    """All containers from the file's place on; raises UnreadableFileError unless the last one is the end."""
    size = file.seek(0, 2)
    at = _DEFINITION
    ended = False
    while at < size:
        file.seek(at)
        found = _container(file, at, major)
        if at == _DEFINITION:
            found = _as_long_as_its_header(file, found, size, major)
        if found.body_at + found.length > size:
            break
        ended = found.is_end
        yield found
        at = found.body_at + found.length
    if not ended or at != size:
        raise UnreadableFileError(Reason.TRUNCATED_FILE, "The CRAM is cut off: its end-of-file container is missing.")


def _counter(cursor: Cursor, major: int) -> None:
    """The number of records before, which grew with version 3."""
    if major >= 3:
        cursor.ltf8()
    else:
        cursor.itf8()


def _as_long_as_its_header(file: BinaryIO, first: Container, size: int, major: int) -> Container:
    """In version 2.1 htslib states two bytes too few for the container of a short header, and reads by its block."""
    block = _block(file, first.body_at, size)
    end = block.content_at + block.packed + (4 if major >= 3 else 0)
    return replace(first, length=max(first.length, end - first.body_at))


def _container(file: BinaryIO, at: int, major: int) -> Container:
    cursor = Cursor(file.read(64))
    length, reference, start, _ = cursor.int32(), cursor.itf8(), cursor.itf8(), cursor.itf8()
    records = cursor.itf8()
    _counter(cursor, major)
    cursor.ltf8()
    cursor.itf8()
    count = cursor.itf8()
    if not 0 <= length < _LARGEST_CONTAINER or not 0 <= count <= 1 << 20 or records < 0:
        raise damaged()
    cursor.data += file.read(5 * count + 4)
    for _ in range(count):
        cursor.itf8()
    if major >= 3:
        checksum = zlib.crc32(cursor.data[: cursor.at])
        if int.from_bytes(cursor.take(4), "little") != checksum:
            raise damaged()
    return Container(at + cursor.at, length, reference, start, records)


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a block begins, its content's place and sizes, and what it is."""

    at: int
    content_at: int
    packed: int
    size: int
    method: int
    kind: int


def _block(file: BinaryIO, at: int, end: int) -> _Block:
    file.seek(at)
    cursor = Cursor(file.read(min(32, end - at)))
    method, kind = cursor.take(2)
    cursor.itf8()
    packed, size = cursor.itf8(), cursor.itf8()
    if not 0 <= packed <= end - at - cursor.at or size < 0:
        raise damaged()
    return _Block(at, at + cursor.at, packed, size, method, kind)


def _content(file: BinaryIO, block: _Block, major: int, kind: int) -> bytes:
    """What a block holds; it must be of this kind, and raw or gzip."""
    closing = 4 if major >= 3 else 0
    file.seek(block.at)
    head = block.content_at - block.at
    whole = file.read(head + block.packed + closing)
    content = whole[head : head + block.packed]
    if block.kind != kind or block.size > _LARGEST_HEADER or len(content) < block.packed:
        raise damaged()
    if closing and zlib.crc32(whole[:-4]) != int.from_bytes(whole[-4:], "little"):
        raise damaged()
    if block.method == _RAW and block.packed == block.size:
        return content
    if block.method != _GZIP:
        raise damaged()
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(content, block.size + 1)
    except zlib.error:
        raise damaged() from None
    if len(unpacked) != block.size:
        raise damaged()
    return unpacked


def header_text(file: BinaryIO, container: Container, major: int) -> bytes:
    """The text of the file's header, which its first container holds."""
    block = _block(file, container.body_at, container.body_at + container.length)
    cursor = Cursor(_content(file, block, major, _FILE_HEADER))
    return cursor.take(cursor.int32())


def needs_reference(file: BinaryIO, container: Container, major: int) -> bool:
    """Whether reads of the container lack bases that a reference must fill in (preservation map, RR)."""
    block = _block(file, container.body_at, container.body_at + container.length)
    cursor = Cursor(_content(file, block, major, _COMPRESSION_HEADER))
    cursor.itf8()
    for _ in range(cursor.itf8()):
        key = cursor.take(2)
        if key == b"RR":
            return cursor.take(1) != b"\x00"
        if key in (b"RN", b"AP", b"QO"):
            cursor.take(1)
        elif key == b"SM":
            cursor.take(5)
        elif key == b"TD":
            cursor.take(cursor.itf8())
        else:
            raise damaged()
    return True


def slices(file: BinaryIO, container: Container, major: int) -> Iterator[Slice]:
    """What the slices of a container say of their references, in the order of the bytes, as htslib reads them."""
    at, end = container.body_at, container.body_at + container.length
    while at < end:
        block = _block(file, at, end)
        at = block.content_at + block.packed + (4 if major >= 3 else 0)
        if block.kind != _SLICE_HEADER:
            continue
        cursor = Cursor(_content(file, block, major, _SLICE_HEADER))
        reference = cursor.itf8()
        for _ in range(3):
            cursor.itf8()
        _counter(cursor, major)
        cursor.itf8()
        for _ in range(cursor.itf8()):
            cursor.itf8()
        embedded = cursor.itf8()
        yield Slice(reference, embedded >= 0, cursor.take(16))


def header_container(text: bytes, major: int) -> bytes:
    """The first container of a CRAM with this text as the file's header."""
    content = len(text).to_bytes(4, "little") + text
    block = bytes([_RAW, _FILE_HEADER, 0]) + 2 * itf8(len(content)) + content
    if major >= 3:
        block += zlib.crc32(block).to_bytes(4, "little")
    head = len(block).to_bytes(4, "little") + bytes(6) + itf8(1) + itf8(1) + itf8(0)
    if major >= 3:
        head += zlib.crc32(head).to_bytes(4, "little")
    return head + block


def itf8(number: int) -> bytes:
    """A number below 2**28 as ITF8.

    >>> itf8(5).hex(), itf8(300).hex(), itf8(70_000).hex()
    ('05', '812c', 'c11170')
    """
    for more in range(4):
        if number < 1 << 7 * (more + 1):
            data = number.to_bytes(more + 1, "big")
            return bytes([data[0] | (0xFF00 >> more) & 0xFF]) + data[1:]
    raise ValueError("the number does not fit")
