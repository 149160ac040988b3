"""What is released, for everybody: the stream that SILO is fed with."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from readvault.api import ndjson, scans
from readvault.api.dependencies import HouseDep, OrganismDep, documented, parameters
from readvault.api.schemas import released as schemas
from readvault.domain.organism import Organism
from readvault.reads import reference_shapes
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.release import released_data

router = APIRouter(prefix="/{organism}", tags=["released data"])


@router.get(
    "/get-released-data",
    openapi_extra=documented(schemas.ReleasedDataParameters),
    response_class=StreamingResponse,
    responses={304: {"description": "Nothing was released since."}},
)
async def get_released_data(
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.ReleasedDataParameters, parameters(schemas.ReleasedDataParameters)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Every version ever released as NDJSON; 304 when nothing has changed since the ETag that was sent."""
    return await scans.answered(lambda: _released(house, organism, asked.compression == "zstd", if_none_match))


def _released(house: House, organism: Organism, compressed: bool, if_none_match: str | None) -> Response:
    etag = released_etag(house, organism.name)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if if_none_match is not None and etag in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    lines = released_data.released_data(house, organism.name, reference_shapes.of(organism))
    return ndjson.answer(lines, compressed=compressed, headers=headers)
