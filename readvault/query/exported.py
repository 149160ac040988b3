"""An exported set on disk: what its columns, segments and genes are, and its reads, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

from readvault.query import QueryError

READS, MANIFEST, GENOMES = "reads.ndjson.zst", "manifest.json", "reference_genomes.json"
BLOCK = 4 << 20
"""Bytes of lines that are in memory at once."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportedSet:
    """Where the reads lie, what they lie on (name to sequence; empty where nobody says), and the columns by type."""

    reads: Path
    segments: dict[str, str]
    genes: dict[str, str]
    columns: dict[str, str] = field(default_factory=dict)

    def rows(self) -> Iterator[list[Row]]:
        """All reads, in pages. Raises QueryError for a file that is damaged or holds something else."""
        try:
            with self.reads.open("rb") as file:
                for lines in _blocks(_unpacked(self.reads, file)):
                    # One document of many lines is parsed in half the time of its lines.
                    rows = orjson.loads(b"[" + lines.rstrip(b"\n").replace(b"\n", b",") + b"]")
                    if rows and not isinstance(rows[0], dict):
                        raise QueryError(f"{self.reads}: a line is no JSON object")
                    yield rows
        except OSError as fault:
            raise QueryError(f"{self.reads}: {fault.strerror}") from None
        except (zstandard.ZstdError, orjson.JSONDecodeError) as fault:
            raise QueryError(f"{self.reads} is damaged, or no set of reads: {fault}") from None


def open_set(place: Path) -> ExportedSet:
    """The set in a folder, or around a file with reads. Raises QueryError for what is none."""
    reads = place / READS if place.is_dir() else place
    if not reads.is_file():
        raise QueryError(f"there is no {READS} in {place}" if place.is_dir() else f"there is no file {place}")
    folder = reads.parent
    genomes = _json(folder / GENOMES) or {}
    segments = _sequences(genomes.get("nucleotideSequences"))
    genes = _sequences(genomes.get("genes"))
    manifest = _json(folder / MANIFEST) or {}
    columns = {each["name"]: each["type"] for each in manifest.get("columns", ())}
    return ExportedSet(reads, segments, genes, columns) if segments and columns else _guessed(reads, segments, genes)


def _guessed(reads: Path, segments: dict[str, str], genes: dict[str, str]) -> ExportedSet:
    """What the first read says of a set that somebody else wrote: its lengths stay unknown without a genome."""
    first = next(ExportedSet(reads, {}, {}).rows(), [])
    row = first[0] if first else {}
    columns = {name: "string" for name, value in row.items() if not isinstance(value, dict)}
    columns = {name: kind for name, kind in columns.items() if name not in segments and name not in genes}
    if not segments:
        segments = {name: "" for name, value in row.items() if isinstance(value, dict)}
    return ExportedSet(reads, segments, genes, columns)


def _unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file, unpacked; an unfinished frame, as of a download that broke off, is an error."""
    if path.suffix != ".zst":
        yield from iter(lambda: file.read(BLOCK), b"")
        return
    frame = None
    while packed := file.read(BLOCK // 8):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise QueryError(f"{path} ends within a frame: a part of it is missing")


def _blocks(unpacked: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, some megabytes of them at a time."""
    held: list[bytes] = []
    size = 0
    for block in unpacked:
        held.append(block)
        size += len(block)
        if size >= BLOCK:
            lines = b"".join(held)
            cut = lines.rfind(b"\n") + 1
            if cut:
                yield lines[:cut]
            held, size = [lines[cut:]], len(lines) - cut
    if (rest := b"".join(held)).strip():
        yield rest


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as fault:
        raise QueryError(f"{path} can't be read: {fault}") from None
    return found if isinstance(found, dict) else None


def _sequences(listed: Any) -> dict[str, str]:
    return {each["name"]: each["sequence"].upper() for each in listed or ()}
