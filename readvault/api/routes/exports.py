"""The newest export of aligned reads for SILO, for everybody: what it is, and redirects to S3, where its files are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import RedirectResponse

from readvault.api.dependencies import CallerDep, HouseDep, Label, OrganismDep
from readvault.api.schemas import exports as schemas
from readvault.domain.exports import LATEST
from readvault.services.exports import reading

router = APIRouter(prefix="/{organism}/get-silo-reads", tags=["released data"])

ExportId = Annotated[str, Path(alias="export", pattern=r"^(latest|[0-9a-f]{16})$", description="An ID, or `latest`.")]
FILE = "/{export}/{name}"


@router.get("", response_model=schemas.SiloExport)
def get_silo_reads(organism: OrganismDep, caller: CallerDep, house: HouseDep) -> dict[str, Any]:
    """The newest export: its counts, and its files with digests and addresses that name this very export."""
    found = reading.find(house, caller, organism.name, LATEST)
    return found.as_json(house.settings.public_url)


@router.get(FILE, status_code=307, response_class=RedirectResponse)
def get_silo_reads_file(
    organism: OrganismDep, export: ExportId, name: Label, caller: CallerDep, house: HouseDep
) -> RedirectResponse:
    """A file of an export, by a redirect to a short-lived pre-signed URL; with an ID always the same bytes."""
    return RedirectResponse(reading.file_url(house, caller, organism.name, export, name), status_code=307)


@router.head(FILE, status_code=307, response_class=RedirectResponse)
def head_silo_reads_file(
    organism: OrganismDep, export: ExportId, name: Label, caller: CallerDep, house: HouseDep
) -> RedirectResponse:
    """The same for HEAD: the method is part of what is signed."""
    return RedirectResponse(reading.file_url(house, caller, organism.name, export, name, head=True), status_code=307)
