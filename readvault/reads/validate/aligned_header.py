"""The header of an aligned file: what of it is used, and that is little.

Only the number of references and the names of read groups are taken from it; programs, comments,
paths, samples and libraries are never looked at and go nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from readvault.domain.annotations import Reason
from readvault.domain.reads import Platform
from readvault.reads.validate.fastq_stream import Readable
from readvault.reads.validate.formats import UnreadableFileError

MOST_GROUPS = 200
"""Read groups that become lanes of their own; where there are more, all reads are one lane."""
_LARGEST_TEXT = 1 << 26
_MOST_REFERENCES = 10_000_000
_LONGEST_NAME = 1 << 20
_64_BITS = (1 << 64) - 1
_GROUP_NAME = re.compile(rb"^@RG\t(?:.*\t)?ID:([^\t\r\n]+)", re.MULTILINE)
_PLATFORM = re.compile(rb"^@RG\t(?:.*\t)?PL:([^\t\r\n]+)", re.MULTILINE)
_OTHER_LINE = re.compile(rb"^[^@]", re.MULTILINE)
"""The beginning of a line that is no header line."""
_PLATFORMS = {
    b"ILLUMINA": Platform.ILLUMINA,
    b"ONT": Platform.OXFORD_NANOPORE,
    b"OXFORD_NANOPORE": Platform.OXFORD_NANOPORE,
    b"NANOPORE": Platform.OXFORD_NANOPORE,
    b"PACBIO": Platform.PACBIO_SMRT,
    b"PACBIO_SMRT": Platform.PACBIO_SMRT,
}


@dataclass(frozen=True, slots=True)
class Header:
    """How many references there are, the hashes of the read groups' names in order, and the machine they name.

    `lines` is the number of lines before the first record, where the header is text.
    """

    references: int
    groups: npt.NDArray[np.int64]
    platform: Platform | None = None
    lines: int | None = None


def header_of(text: bytes, references: int) -> Header:
    """What is used of a header's text."""
    names = list(dict.fromkeys(_GROUP_NAME.findall(text)))
    hashes = [_hash(name) for name in names] if len(names) <= MOST_GROUPS else []
    platforms = {_PLATFORMS.get(name.upper()) for name in _PLATFORM.findall(text)}
    platform = platforms.pop() if len(platforms) == 1 else None
    return Header(references, np.array(hashes, np.int64), platform)


def _hash(name: bytes) -> int:
    """What `aligned_records.hash_of` says of a name; it is compiled into other functions and not called from here."""
    value = 0xCBF29CE484222325
    for byte in name:
        value = (value ^ byte) * 0x100000001B3 & _64_BITS
    value ^= value >> 32
    value = value * 0xD6E8FEB86659FD93 & _64_BITS
    value ^= value >> 32
    return value - (1 << 64) if value >> 63 else value


class BamStream:
    """The records of a BAM, after its header has been taken off. `read` gives bytes as a file does."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._held = bytearray()
        self._at = 0

    def header(self) -> Header:
        """Take the header off the beginning.

        Raises UnreadableFileError where it is cut or states lengths that no header has.
        """
        if self._take(4) != b"BAM\x01":
            raise _damaged()
        text = self._take(self._number(_LARGEST_TEXT))
        references = self._number(_MOST_REFERENCES)
        for _ in range(references):
            self._take(self._number(_LONGEST_NAME) + 4)
        return header_of(text.rstrip(b"\x00"), references)

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`."""
        if self._at < len(self._held):
            data = bytes(self._held[self._at : self._at + size])
            self._at += len(data)
            return data
        return self._stream.read(size)

    def _take(self, size: int) -> bytes:
        while self._at + size > len(self._held):
            if not (data := self._stream.read(1 << 20)):
                raise UnreadableFileError(Reason.TRUNCATED_FILE, "The BAM is cut off within its header.")
            del self._held[: self._at]
            self._held += data
            self._at = 0
        self._at += size
        return bytes(self._held[self._at - size : self._at])

    def _number(self, most: int) -> int:
        number = int.from_bytes(self._take(4), "little", signed=True)
        if not 0 <= number <= most:
            raise _damaged()
        return number


def _damaged() -> UnreadableFileError:
    return UnreadableFileError(Reason.UNREADABLE_FILE, "The header of the BAM is damaged.")


class SamStream:
    """The records of a SAM's text, after its header has been taken off. `read` gives bytes as a file does."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._held = b""

    def header(self) -> Header:
        """Take the lines that begin with `@` off the beginning."""
        text = bytearray()
        while True:
            looked_through = len(text)
            data = self._stream.read(1 << 20)
            text += data
            other = _OTHER_LINE.search(text, looked_through)
            if other or not data:
                end = other.start() if other else len(text)
                self._held = bytes(text[end:])
                return replace(header_of(bytes(text[:end]), 0), lines=text.count(b"\n", 0, end))
            if len(text) > _LARGEST_TEXT:
                raise UnreadableFileError(Reason.UNREADABLE_FILE, "The header of the SAM is endless.")

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`."""
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
            return data
        return self._stream.read(size)
