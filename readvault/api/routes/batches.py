"""Batches: the submissions of one's groups, and the quality of a plate as one table."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from readvault.api.dependencies import HouseDep, Label, OrganismDep, UserDep, documented, parameters
from readvault.api.schemas import batches as schemas
from readvault.api.schemas.batches import TableFormat
from readvault.api.schemas.review import SendingBack
from readvault.api.schemas.wire import Version
from readvault.domain import tsv
from readvault.services.review import batches

router = APIRouter(prefix="/{organism}/batches", tags=["batches"])


@router.get("", openapi_extra=documented(schemas.BatchFilters))
def list_batches(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.BatchFilters, parameters(schemas.BatchFilters)],
) -> dict[str, Any]:
    """The submissions of the user's groups, newest first, with how many entries are where."""
    return batches.list_batches(
        house, user, organism.name, group_ids=asked.group_ids_filter, before=asked.before, size=asked.size
    )


@router.get(
    "/{batch_id}",
    openapi_extra=documented(schemas.TableParameters),
    responses={200: {"content": {"application/json": {}, "text/tab-separated-values": {}}}},
)
def get_batch(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    batch_id: Label,
    asked: Annotated[schemas.TableParameters, parameters(schemas.TableParameters)],
) -> Response:
    """A batch with a row of figures for each entry, as JSON or as a table."""
    found = batches.batch(house, user, organism.name, batch_id)
    if asked.format is TableFormat.JSON:
        return JSONResponse(found)
    safe = asked.format is TableFormat.SPREADSHEET
    table = tsv.lines(batches.COLUMNS, found["rows"], for_spreadsheets=safe)
    name = "batch-for-spreadsheets.tsv" if safe else "batch.tsv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(table, media_type="text/tab-separated-values", headers=headers)


@router.post("/{batch_id}/send-back")
def send_back_of_batch(
    user: UserDep, house: HouseDep, organism: OrganismDep, batch_id: Label, body: SendingBack
) -> list[Version]:
    """Refuse results of a batch for a reason that the submitter reads: all of them or none."""
    named = [version.pair() for version in body.accession_versions]
    sent = batches.send_back(house, user, organism.name, batch_id, named, body.reason)
    return [Version.of(accession_version) for accession_version in sent]
