"""Which dehumanized reads are published: all of them, or only those of templates that lie on the reference.

A template is a read or a pair; it lies on the reference when one of its mates has a primary
alignment in the BAM. Names stay as they are, so that FASTQ and BAM keep telling of the same reads.
Memory is one bit a template, whatever the size of the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import igzip_threaded

from readvault.domain.errors import ProcessingFailure
from readvault.reads.bgzf import BgzfWriter
from readvault.reads.native import compiled

STEP = "align"
_BLOCK = 8 << 20
_NEWLINE = 10
_LINES_OF_A_RECORD = 4

Bytes = npt.NDArray[np.uint8]


def keep_mapped(files: tuple[Path, ...], bam: Path, templates: int) -> int:
    """Leave in dehumanized FASTQ files only the templates that lie on the reference; how many those are.

    `files` are those of a single or paired sample, their records named by ordinals from 1 to
    `templates`, the same in each file. They are replaced whole, one after the other. Raises
    ProcessingFailure when the BAM has a read that they have not.
    """
    mapped = mapped_templates(bam, templates)
    for path in files:
        part = path.with_name(path.name + ".part")
        try:
            with igzip_threaded.open(str(path), "rb", threads=1) as source, BgzfWriter(part) as target:
                if _copy(source, target, mapped) != templates:
                    raise ProcessingFailure(STEP, "the dehumanized reads are not as many as were counted")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return int(np.bitwise_count(mapped).sum())


def mapped_templates(bam: Path, templates: int) -> Bytes:
    """A bit for each template, set when it has a primary alignment: bit n - 1 is read name n."""
    bits = np.zeros(-(-templates // 8), np.uint8)
    with igzip_threaded.open(str(bam), "rb", threads=1) as stream:
        held = _after_the_header(stream)
        while True:
            block = np.frombuffer(held, np.uint8)
            used = _mark(block, bits, templates)
            if used < 0:
                raise ProcessingFailure(STEP, "the alignment has a read that is not among the dehumanized ones")
            more = stream.read(_BLOCK)
            held = held[used:] + more
            if not more:
                break
    if held:
        raise ProcessingFailure(STEP, "the BAM ends within a record")
    return bits


def _after_the_header(stream: Any) -> bytes:
    magic = stream.read(8)
    if magic[:4] != b"BAM\1":
        raise ProcessingFailure(STEP, "the alignment is no BAM")
    stream.read(int.from_bytes(magic[4:], "little"))
    for _ in range(int.from_bytes(stream.read(4), "little")):
        stream.read(int.from_bytes(stream.read(4), "little") + 4)
    content: bytes = stream.read(_BLOCK)
    return content


@compiled("int64(Array(uint8, 1, 'C', readonly=True), uint8[::1], int64)")
def _mark(block: Bytes, bits: Bytes, templates: int) -> int:
    """Set the bits of the whole BAM records in a block; where the last of them ends, -1 for a strange name.

    Offsets are those of SAMv1, section 4.2: the name begins 36 bytes after the record's size, its
    length (with a closing zero) stands at 12, the flag at 18.
    """
    at = 0
    while at + 4 <= len(block):
        size = block[at] | block[at + 1] << 8 | block[at + 2] << 16 | block[at + 3] << 24
        following = at + 4 + size
        if following > len(block):
            break
        flag = block[at + 18] | block[at + 19] << 8
        if not flag & 0x904:
            ordinal = 0
            for place in range(at + 36, at + 35 + block[at + 12]):
                digit = block[place] - 48
                if digit < 0 or digit > 9 or ordinal > templates:
                    return -1
                ordinal = ordinal * 10 + digit
            if ordinal < 1 or ordinal > templates:
                return -1
            bits[(ordinal - 1) >> 3] |= np.uint8(128 >> ((ordinal - 1) & 7))
        at = following
    return at


def _copy(source: Any, target: BgzfWriter, mapped: Bytes) -> int:
    """Write the records whose bit is set; how many records there were."""
    records = 0
    held = b""
    while data := source.read(_BLOCK):
        held += data
        block = np.frombuffer(held, np.uint8)
        ends = np.flatnonzero(block == _NEWLINE)[_LINES_OF_A_RECORD - 1 :: _LINES_OF_A_RECORD] + 1
        if ends.size:
            target.write(_chosen(block[: ends[-1]], ends, _bits(mapped, records, ends.size)))
            records += ends.size
            held = held[ends[-1] :]
    if held:
        raise ProcessingFailure(STEP, "the dehumanized reads end within a record")
    return records


def _bits(mapped: Bytes, first: int, count: int) -> npt.NDArray[np.bool_]:
    """`count` bits from the place `first` on; what is beyond the last template is not set."""
    bits = np.unpackbits(mapped[first // 8 : -(-(first + count) // 8)])[first % 8 : first % 8 + count]
    return np.pad(bits, (0, count - bits.size)).astype(bool)


def _chosen(block: Bytes, ends: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> bytes:
    return block[np.repeat(chosen, np.diff(ends, prepend=0))].tobytes()
