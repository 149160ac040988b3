"""External pipelines, in Loculus's protocol: they take unprocessed data and send processed data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, ValidationError

from readvault.api import ndjson
from readvault.api.dependencies import HouseDep, OrganismDep, UserDep, all_storable, documented, parameters
from readvault.api.schemas import pipelines as schemas
from readvault.domain.errors import BadRequest
from readvault.reads import reference_shapes
from readvault.services.processing import external_claims, external_results, external_work, pipeline_versions
from readvault.services.release import external_metadata

router = APIRouter(tags=["external pipelines"])
NDJSON_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {ndjson.MEDIA_TYPE: {"schema": {"type": "string"}}}}
}


async def _body(request: Request) -> bytes:
    return await request.body()


BodyDep = Annotated[bytes, Depends(_body)]


@router.get("/admin/pipeline-statistics")
def get_pipeline_statistics(user: UserDep, house: HouseDep) -> dict[str, dict[int, int]]:
    """How many results each pipeline version has, by organism."""
    return pipeline_versions.statistics(house, user)


@router.get("/admin/current-pipeline-versions")
def get_current_pipeline_versions(user: UserDep, house: HouseDep) -> dict[str, int]:
    """Which pipeline version counts, by organism."""
    return pipeline_versions.current_versions(house, user)


@router.post(
    "/{organism}/extract-unprocessed-data",
    openapi_extra=documented(schemas.ExtractParameters),
    response_class=Response,
    responses={200: {"content": {ndjson.MEDIA_TYPE: {}}}, 304: {"description": "There is nothing new to do."}},
)
def extract_unprocessed_data(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.ExtractParameters, parameters(schemas.ExtractParameters)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Claim entries to process, as NDJSON; they come back to the queue when no result is sent in time."""
    claimed = external_claims.claim(
        house,
        user,
        organism.name,
        count=asked.number_of_sequence_entries,
        pipeline_version=asked.pipeline_version,
        if_none_match=if_none_match,
    )
    headers = {"ETag": claimed.etag}
    if claimed.unchanged:
        return Response(status_code=304, headers=headers)
    lines = external_work.lines(house, organism, claimed.names, asked.pipeline_version)
    return ndjson.answer(lines, compressed=False, headers=headers)


@router.post(
    "/{organism}/submit-processed-data",
    status_code=204,
    openapi_extra={**documented(schemas.SubmitParameters), **NDJSON_BODY},
)
def submit_processed_data(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.SubmitParameters, parameters(schemas.SubmitParameters)],
    body: BodyDep,
) -> None:
    """Send the results of claimed entries as NDJSON: all of them are taken, or none."""
    external_results.submit(
        house,
        user,
        organism.name,
        reference_shapes.of(organism),
        [entry.parsed() for entry in _lines(body, schemas.ProcessedEntry)],
        pipeline_version=asked.pipeline_version,
    )


@router.post(
    "/{organism}/submit-external-metadata",
    status_code=204,
    openapi_extra={**documented(schemas.ExternalMetadataParameters), **NDJSON_BODY},
)
def submit_external_metadata(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.ExternalMetadataParameters, parameters(schemas.ExternalMetadataParameters)],
    body: BodyDep,
) -> None:
    """Say something about approved entries from outside, as NDJSON; it is published with them."""
    updates = [entry.parsed() for entry in _lines(body, schemas.ExternalMetadataEntry)]
    external_metadata.submit(house, user, organism.name, asked.external_metadata_updater, updates)


def _lines[M: BaseModel](body: bytes, model: type[M]) -> Iterator[M]:
    """The lines of a body; raises BadRequest for the first one that is none, and names it."""
    for number, line in enumerate(body.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield model.model_validate(all_storable(json.loads(line, parse_constant=_refuse)))
        except ValidationError as fault:
            first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
            place = " -> ".join(str(part) for part in first["loc"])
            raise BadRequest(
                f"Failed to deserialize NDJSON line {number}: failed for JSON property {place}: {first['msg']}"
            ) from fault
        except (ValueError, RecursionError) as fault:  # no JSON, no Unicode, or nested without end
            raise BadRequest(f"Failed to deserialize NDJSON line {number}: it is no valid JSON") from fault


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
