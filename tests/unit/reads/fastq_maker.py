"""Small FASTQ files for tests, right ones and broken ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def bases(length: int, seed: int = 0) -> str:
    """Random bases."""
    return np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(seed).integers(0, 4, length)].tobytes().decode()


def reverse_complement(sequence: str) -> str:
    """The other strand."""
    return sequence.translate(str.maketrans("ACGTacgt", "TGCAtgca"))[::-1]


def record(name: str, sequence: str, quality: str | None = None) -> str:
    """One record."""
    return f"@{name}\n{sequence}\n+\n{quality or 'F' * len(sequence)}\n"


def reads(count: int, *, name: str = "M1:7:FC:1:1101:10:{}", length: int = 60, seed: int = 0) -> str:
    """`count` records with names from 1 on."""
    sequence = bases(length + count, seed)
    return "".join(record(name.format(n), sequence[n : n + length]) for n in range(1, count + 1))


def write(path: Path, text: str | bytes) -> Path:
    """Write a file; gzip when its name ends with .gz."""
    data = text.encode("latin-1") if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data, 1, mtime=0) if path.suffix == ".gz" else data)
    return path


def records_of(path: Path) -> list[list[str]]:
    """The records of a file, as lists of four lines."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode().splitlines()
    return [lines[start : start + 4] for start in range(0, len(lines), 4)]
