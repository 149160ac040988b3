"""What is released, for everybody: the stream that SILO is fed with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, Annotated, Any

import zstandard
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from readvault.api.dependencies import HouseDep, OrganismDep, documented, parameters
from readvault.api.schemas import released as schemas
from readvault.services.release import publication
from readvault.services.release.released_state import released_etag

router = APIRouter(prefix="/{organism}", tags=["released data"])

ZSTD_LEVEL = 10
BYTES_IN_MEMORY = 16 * 2**20
BLOCK = 2**16


@router.get(
    "/get-released-data",
    openapi_extra=documented(schemas.ReleasedDataParameters),
    response_class=StreamingResponse,
    responses={304: {"description": "Nothing was released since."}},
)
def get_released_data(
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.ReleasedDataParameters, parameters(schemas.ReleasedDataParameters)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Every version ever released as NDJSON; 304 when nothing has changed since the ETag that was sent."""
    etag = released_etag(house, organism.name)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if if_none_match is not None and etag in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    # Written down before the first byte is sent: the count stands in a header and must be the number of lines,
    # and a fault half-way must become an error, not half an answer.
    spool, total = _written_down(
        publication.released_data(house, organism.name), compressed=asked.compression == "zstd"
    )
    headers["x-total-records"] = str(total)
    if asked.compression == "zstd":
        headers["Content-Encoding"] = "zstd"
    return StreamingResponse(_blocks(spool), media_type="application/x-ndjson", headers=headers)


def _written_down(lines: Iterable[dict[str, Any]], *, compressed: bool) -> tuple[IO[bytes], int]:
    spool = tempfile.SpooledTemporaryFile(max_size=BYTES_IN_MEMORY)  # noqa: SIM115 - closed by _blocks
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


def _blocks(spool: IO[bytes]) -> Iterator[bytes]:
    with closing(spool):
        while block := spool.read(BLOCK):
            yield block
