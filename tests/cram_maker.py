"""CRAMs for tests, honest ones and forged ones."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pysam

from readvault.reads.validate import cram_blocks

_SLICE_HEADER = 2


def write_cram(target: Path, reference: Path, header: dict, records: list[dict], *options: str) -> Path:
    """Write records (fields of SAM) as CRAM against a FASTA; options as `samtools --output-fmt-option` takes them."""
    sam = target.with_suffix(".sam")
    made = pysam.AlignmentHeader.from_dict(header)
    lines = [pysam.AlignedSegment.from_dict(record, made).to_string() for record in records]
    sam.write_text(str(made) + "".join(f"{line}\n" for line in lines))
    chosen = [each for option in options for each in ("--output-fmt-option", option)]
    pysam.view("-C", "--no-PG", "-T", str(reference), *chosen, "-o", str(target), str(sam), catch_stdout=False)
    return target


def record(name: str, sequence: str, *, flag: int = 0, contig: str = "ref", position: int = 1, **more: str) -> dict:
    """A record that matches its reference from a 1-based position on, for `write_cram`."""
    mapped = not flag & 4
    return {
        "name": name,
        "flag": str(flag),
        "ref_name": contig if mapped else "*",
        "ref_pos": str(position if mapped else 0),
        "map_quality": "60",
        "cigar": f"{len(sequence)}M" if mapped else "*",
        "next_ref_name": "*",
        "next_ref_pos": "0",
        "length": "0",
        "seq": sequence,
        "qual": "F" * len(sequence),
        "tags": [],
        **more,
    }


def with_header(cram: Path, text: str) -> Path:
    """The same CRAM with another header."""
    data = cram.read_bytes()
    file = io.BytesIO(data)
    major, _ = cram_blocks.version_of(file)
    first = next(cram_blocks.containers(file, major))
    rest = data[first.body_at + first.length :]
    cram.write_bytes(data[:26] + cram_blocks.header_container(text.encode(), major) + rest)
    return cram


def without_slice_checksums(cram: Path) -> Path:
    """The same CRAM (version 3, its slice headers raw) with zeros for the MD5 of each slice; block checksums fit."""
    data = bytearray(cram.read_bytes())
    file = io.BytesIO(bytes(data))
    major, _ = cram_blocks.version_of(file)
    for number, container in enumerate(cram_blocks.containers(file, major)):
        at, end = container.body_at, container.body_at + container.length
        while number and at < end and not container.is_end:
            cursor = cram_blocks.Cursor(bytes(data[at:end]))
            _, kind = cursor.take(2)
            cursor.itf8()
            packed = cursor.itf8()
            cursor.itf8()
            after = at + cursor.at + packed
            if kind == _SLICE_HEADER:
                inside = cram_blocks.Cursor(bytes(data[at + cursor.at : after]))
                for _ in range(4):
                    inside.itf8()
                inside.ltf8()
                inside.itf8()
                for _ in range(inside.itf8()):
                    inside.itf8()
                inside.itf8()
                start = at + cursor.at + inside.at
                data[start : start + 16] = bytes(16)
                data[after : after + 4] = zlib.crc32(data[at:after]).to_bytes(4, "little")
            at = after + 4
    cram.write_bytes(bytes(data))
    return cram
