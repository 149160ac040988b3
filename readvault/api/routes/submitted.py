"""What was submitted, to be read again: metadata as a stream, everything as files ready to be revised."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from readvault.api import ndjson
from readvault.api.dependencies import HouseDep, OrganismDep, UserDep, documented, parameters
from readvault.api.schemas import submission as schemas
from readvault.services.submission.submitted_data import write_submitted_data
from readvault.services.submission.submitted_metadata import Wanted, submitted_metadata

router = APIRouter(prefix="/{organism}", tags=["submission"])


@router.get(
    "/get-submitted-metadata",
    openapi_extra=documented(schemas.SubmittedMetadataParameters),
    response_class=StreamingResponse,
)
def get_submitted_metadata(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.SubmittedMetadataParameters, parameters(schemas.SubmittedMetadataParameters)],
) -> StreamingResponse:
    """The metadata of the user's entries as they were submitted, as NDJSON."""
    wanted = Wanted(
        group_ids=asked.group_ids_filter,
        statuses=asked.statuses_filter,
        accession_versions=asked.accession_versions_filter,
        fields=asked.fields,
    )
    lines = submitted_metadata(house, user, organism.name, wanted)
    return ndjson.answer(lines, compressed=asked.compression == "zstd")


@router.post(
    "/get-submitted-data",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_submitted_data(
    user: UserDep, house: HouseDep, organism: OrganismDep, body: schemas.SubmittedDataRequest
) -> StreamingResponse:
    """The group's released entries as a zip archive of metadata and sequences that can be sent to `revise`."""
    spool = ndjson.spooled()
    try:
        write_submitted_data(
            house,
            user,
            organism.name,
            group_id=body.group_id,
            accessions=body.accessions_filter,
            target=spool,
        )
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    name = f"{organism.name}_submitted_data_{datetime.now(UTC):%Y%m%dT%H%M%SZ}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(ndjson.blocks(spool), media_type="application/zip", headers=headers)
