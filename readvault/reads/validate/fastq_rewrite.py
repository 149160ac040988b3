"""FASTQ in the one form that every later tool reads alike: gzip, LF, upper-case IUPAC without U and dots."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from isal import isal_zlib

from readvault.reads.bgzf import BgzfWriter
from readvault.reads.validate.fastq_stream import Batch, batches
from readvault.reads.validate.formats import Decompressed

END_OF_BGZF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block at the end of each whole BGZF file (SAM specification, 4.1.2)."""
_BLOCK = 1 << 18
_TO_BASES = bytes.maketrans(b"acgtunrykmswbdhvU.", b"ACGTTNRYKMSWBDHVTN")


def is_padded(path: Path) -> bool:
    """Whether zeros follow a gzip file's content, as tapes and some copies add them; gzip ignores them, others don't.

    Zeros may also be the end of a gzip that is not padded (its content's size). Where they are, and are
    not BGZF's last block, the file is unpacked once more to see where its last member ends.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - len(END_OF_BGZF)))
        tail = file.read()
        if not tail.endswith(b"\x00") or tail == END_OF_BGZF:
            return False
        file.seek(0)
        member: Any = None
        while data := file.read(_BLOCK):
            while data:
                if member is None:
                    if data[0] == 0:
                        return True
                    member = isal_zlib.decompressobj(wbits=31)
                member.decompress(data)
                data = member.unused_data
                if member.eof:
                    member = None
    return False


def rewrite(stream: Decompressed, targets: tuple[Path, ...]) -> None:
    """Write checked FASTQ anew; with two targets, odd records go to the first and even ones to the second."""
    with ExitStack() as files:
        writers = [files.enter_context(BgzfWriter(path)) for path in targets]
        offset = 0
        for lines in batches(stream):
            if b"\r" in b"".join(lines):
                lines = [line.rstrip(b"\r") for line in lines]
            lines[1::4] = [sequence.translate(_TO_BASES) for sequence in lines[1::4]]
            for mate, writer in enumerate(writers):
                writer.write(_every(lines, (mate - offset) % len(writers), len(writers)))
            offset += len(lines) // 4


def _every(lines: Batch, start: int, step: int) -> bytes:
    """The records from `start` on, each `step`-th, as text."""
    chosen: Batch = [b""] * (len(lines[start * 4 :: 4 * step]) * 4)
    for place in range(4):
        chosen[place::4] = lines[start * 4 + place :: 4 * step]
    return b"\n".join([*chosen, b""]) if chosen else b""
