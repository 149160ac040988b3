"""The lines of `siloReads`: one read or fragment each, in the shape that SILO loads, without metadata.

A line is one JSON object, always with the same keys in the same order, and without a blank:

    {"readId":"7","main":{"sequence":"ACGT-N","insertions":["12:AC"],"offset":9},"S":null}

`readId` is the read's ordinal, as in the public FASTQ and BAM; a mate that has a line of its own has `/1` or
`/2` behind it. Then follow the segments in the reference's order (the only segment of a genome is
called `main`) and, where amino acids are written, the genes in the organism's order; `null` for those that the read
does not touch. `sequence` lies on the reference's coordinates from the 0-based `offset` on: `-` is deleted,
`N` (of amino acids `X`) not known. An insertion stands AFTER the 1-based position that it names, 0 is before the first.

Metadata come to it when a set is exported. Both places where something enters can be found without parsing: a line
begins with `START`, and the first segment's key stands behind the read ID and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

FILE_NAME = "reads.silo.ndjson.zst"
"""Concatenated zstd frames, each of whole lines."""

START = b'{"readId":"'
RESERVED = frozenset({"readId", "sequence", "insertions", "offset"})
"""What no segment, gene or metadata column may be called."""


def key(name: str) -> bytes:
    """The key of a segment or gene as it stands in a line, its colon included."""
    return json.dumps(name).encode("ascii") + b":"


def clash(names: Sequence[str]) -> str | None:
    """Which segment or gene can't have a key of its own in a line, or None.

    >>> clash(["HA", "NA", "HA"])
    'HA'
    """
    seen = set(RESERVED)
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def splice(lines: bytes, accession_version: str, metadata: bytes, first: str) -> bytes:
    """Put an entry's metadata into its lines: read IDs become `<accession version>|<ordinal>`, then come the columns.

    `lines` are any number of whole lines, `metadata` is a JSON object without its braces (empty for none), `first` the
    name of the first segment. Raises ValueError when these are no such lines.

    >>> line = b'{"readId":"7/1","main":{"sequence":"AC","insertions":[],"offset":0}}\\n'
    >>> splice(line, "LOC_1.2", b'"country":"Peru"', "main").decode()
    '{"readId":"LOC_1.2|7/1","country":"Peru","main":{"sequence":"AC","insertions":[],"offset":0}}\\n'
    """
    border = b'",' + key(first)
    count = lines.count(b"\n")
    if not (count == lines.count(START) == lines.count(border)) or not lines.startswith(START):
        raise ValueError("these are no lines of SILO reads that begin with this segment")
    if lines[-1:] != b"\n":
        raise ValueError("the last line of SILO reads has no end")
    named = lines.replace(START, START + accession_version.encode("ascii") + b"|")
    return named.replace(border, b'",' + metadata + b"," + key(first)) if metadata else named


def whole_lines(stream: BinaryIO, size: int = 4 << 20) -> Iterator[bytes]:
    """The lines of an uncompressed stream, some of them at a time. Raises ValueError for an unfinished last one."""
    held = b""
    while block := stream.read(size):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield held + block[:cut]
            held = block[cut:]
        else:
            held += block
    if held:
        raise ValueError("the SILO reads end within a line")
