"""Tiny files of SILO reads, from rows that a reader of a test can check by eye."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zstandard

from readvault.reads.silo.lines import FrameWriter


def line(read_id: str, keys: Sequence[str], **found: tuple[int, str] | tuple[int, str, list[str]]) -> bytes:
    """One line: for each key `(offset, sequence)` or `(offset, sequence, insertions)`; null for those not given."""
    row: dict[str, Any] = {"readId": read_id}
    for key in keys:
        offset, sequence, insertions = (*found[key], [])[:3] if key in found else (0, None, [])
        row[key] = None if sequence is None else {"sequence": sequence, "insertions": insertions, "offset": offset}
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def unpacked(path: Path) -> bytes:
    """All lines of a file of concatenated zstd frames."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        return stream.read()


def write(path: Path, lines: Iterable[bytes], *, frame_bytes: int = 200) -> Path:
    """A file of `siloReads` with these lines, in several frames."""
    with FrameWriter(path, frame_bytes=frame_bytes) as out:
        for each in lines:
            out.write(each)
    return path


def simulated(path: Path, reference: str, *, count: int, start: int = 1, length: int = 50, key: str = "main") -> Path:
    """Reads of the reference, evenly spread; each third has A>G at its first A, each tenth an insertion of CC."""
    rows = []
    for number in range(start, start + count):
        offset = (number * 37) % max(1, len(reference) - length)
        sequence = reference[offset : offset + length]
        if number % 3 == 0:
            sequence = sequence.replace("A", "G", 1)
        insertions = [f"{offset + 10}:CC"] if number % 10 == 0 else []
        rows.append(line(str(number), [key], **{key: (offset, sequence, insertions)}))
    return write(path, rows)
