"""Answers of many lines (NDJSON), perhaps compressed, with their number in a header."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import IO, Any

import zstandard
from fastapi.responses import StreamingResponse

MEDIA_TYPE = "application/x-ndjson"
ZSTD_LEVEL = 10
BYTES_IN_MEMORY = 16 * 2**20
BLOCK = 2**16


def answer(
    lines: Iterable[Mapping[str, Any]], *, compressed: bool, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """The lines as an answer with `x-total-records`, in flat memory; with zstd's content encoding if `compressed`.

    Written down before the first byte is sent: the count stands in a header and must be the number of
    lines, and a fault half-way must become an error, not half an answer.
    """
    spool, total = _written_down(lines, compressed=compressed)
    all_headers = {**(headers or {}), "x-total-records": str(total)}
    if compressed:
        all_headers["Content-Encoding"] = "zstd"
    return StreamingResponse(blocks(spool), media_type=MEDIA_TYPE, headers=all_headers)


def blocks(spool: IO[bytes]) -> Iterator[bytes]:
    """What was written down, block by block; closes it at the end."""
    with closing(spool):
        while block := spool.read(BLOCK):
            yield block


def spooled() -> IO[bytes]:
    """A place to write an answer down: memory first, then a file that nobody sees."""
    return tempfile.SpooledTemporaryFile(max_size=BYTES_IN_MEMORY)


def _written_down(lines: Iterable[Mapping[str, Any]], *, compressed: bool) -> tuple[IO[bytes], int]:
    spool = spooled()
    total = 0
    try:
        sink: IO[bytes] = spool
        if compressed:
            sink = zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(spool, closefd=False)
        for line in lines:
            sink.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            total += 1
        if compressed:
            sink.close()
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool, total
