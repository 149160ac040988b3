"""Listing entries with their status."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter

from readvault.api.dependencies import HouseDep, OrganismDep, UserDep, documented, parameters
from readvault.api.schemas import entries as schemas
from readvault.services.review import listing

router = APIRouter(prefix="/{organism}", tags=["entries"])


@router.get("/get-sequences", openapi_extra=documented(schemas.EntryFilters))
def get_sequences(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    asked: Annotated[schemas.EntryFilters, parameters(schemas.EntryFilters)],
) -> dict[str, Any]:
    """The user's entries with their status, and how many there are of each status."""
    return listing.list_entries(
        house,
        user,
        organism.name,
        group_ids=asked.group_ids_filter,
        statuses=asked.statuses_filter,
        results=asked.processing_result_filter,
        page=asked.page,
        size=asked.size,
    )
