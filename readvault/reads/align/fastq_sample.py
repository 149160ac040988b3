"""A few reads of many: evenly spread over the files, always the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import igzip

_CHUNK = 4 << 20
_LINES = 4
_NEWLINE = 10


def write_every(files: tuple[Path, ...], every: int, target: Path) -> int:
    """Write each record whose ordinal over all files (from 0) is a multiple of `every`; how many these are.

    The files are FASTQ with four lines a record, plain or gzip. Mates stay in step when both of
    their lists are thinned alike.
    """
    seen = written = 0
    with target.open("wb") as out:
        for file in files:
            for content, ends in _whole_records(file):
                for chosen in range(-seen % every, len(ends), every):
                    out.write(content[ends[chosen - 1] if chosen else 0 : ends[chosen]])
                    written += 1
                seen += len(ends)
    return written


def _whole_records(file: Path) -> Iterator[tuple[bytes, list[int]]]:
    """Stretches of whole records, each with the places where its records end."""
    with _opened(file) as stream:
        rest = b""
        while chunk := stream.read(_CHUNK):
            content = rest + chunk
            ends = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) == _NEWLINE)[_LINES - 1 :: _LINES] + 1
            if len(ends):
                yield content, ends.tolist()
            rest = content[int(ends[-1]) if len(ends) else 0 :]
        if rest:
            yield rest + b"\n", [len(rest) + 1]


def _opened(file: Path) -> BinaryIO:
    with file.open("rb") as probe:
        compressed = probe.read(2) == b"\x1f\x8b"
    return igzip.open(file, "rb") if compressed else file.open("rb")
