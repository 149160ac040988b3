"""Downloading processed files: redirects to S3, where the bytes are."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from readvault.api.dependencies import CallerDep, HouseDep, Label, Number
from readvault.services.release import downloads

router = APIRouter(prefix="/files", tags=["downloads"], default_response_class=RedirectResponse)

CURRENT = "/get/{accession}/{version}/{category}/{name}"
STABLE = "/released/{accession}/{version}/{pipeline_version}/{category}/{name}"


@router.get(CURRENT, status_code=307)
def get_file(
    accession: Label, version: Number, category: Label, name: Label, caller: CallerDep, house: HouseDep
) -> RedirectResponse:
    """The processed file, by a redirect to a short-lived pre-signed URL; after release for everybody."""
    return RedirectResponse(downloads.file_url(house, caller, accession, version, category, name), status_code=307)


@router.head(CURRENT, status_code=307)
def head_file(
    accession: Label, version: Number, category: Label, name: Label, caller: CallerDep, house: HouseDep
) -> RedirectResponse:
    """The same for HEAD: the method is part of what is signed."""
    url = downloads.file_url(house, caller, accession, version, category, name, head=True)
    return RedirectResponse(url, status_code=307)


@router.get(STABLE, status_code=307)
def get_released_file(
    accession: Label,
    version: Number,
    pipeline_version: Number,
    category: Label,
    name: Label,
    caller: CallerDep,
    house: HouseDep,
) -> RedirectResponse:
    """The published file of one pipeline version: always the same bytes, also when newer ones have taken its place."""
    url = downloads.released_file_url(house, accession, version, pipeline_version, category, name, actor=caller)
    return RedirectResponse(url, status_code=307)


@router.head(STABLE, status_code=307)
def head_released_file(
    accession: Label,
    version: Number,
    pipeline_version: Number,
    category: Label,
    name: Label,
    caller: CallerDep,
    house: HouseDep,
) -> RedirectResponse:
    """The same for HEAD."""
    url = downloads.released_file_url(
        house, accession, version, pipeline_version, category, name, actor=caller, head=True
    )
    return RedirectResponse(url, status_code=307)
