"""Erasures: one maintainer asks, another confirms. The bytes go after the answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path

from readvault.api.dependencies import MAX_INT, HouseDep, UserDep, documented, parameters
from readvault.api.schemas import erasures as schemas
from readvault.domain.erasures import State
from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.services.storage.erasing import erasure, shredding

router = APIRouter(prefix="/admin/erasures", tags=["maintenance"])
ErasureId = Annotated[int, Path(ge=0, le=MAX_INT)]


@router.post("", status_code=201)
def request_erasure(asked: schemas.ErasureRequest, user: UserDep, house: HouseDep) -> schemas.ErasureInfo:
    """Ask for the erasure of accession versions. Nothing is touched until another maintainer confirms."""
    row, _ = erasure.request(house, user, [_name(each) for each in asked.accession_versions], asked.reason)
    return schemas.ErasureInfo.of(row, State.REQUESTED)


@router.get("", openapi_extra=documented(schemas.ErasureQuery))
def list_erasures(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.ErasureQuery, parameters(schemas.ErasureQuery)]
) -> schemas.ErasurePage:
    """All erasures, newest first, page by page."""
    rows = erasure.page(house, user, before=asked.before, size=asked.size)
    following = rows[-1][0].id if len(rows) == asked.size else None
    return schemas.ErasurePage(erasures=[schemas.ErasureInfo.of(*row) for row in rows], next=following)


@router.get("/{erasure_id}")
def get_erasure(erasure_id: ErasureId, user: UserDep, house: HouseDep) -> schemas.ErasureInfo:
    """One erasure and how far it is."""
    return schemas.ErasureInfo.of(*erasure.find(house, user, erasure_id))


@router.post("/{erasure_id}/confirm", status_code=202)
def confirm_erasure(
    erasure_id: ErasureId,
    asked: schemas.ErasureConfirmation,
    user: UserDep,
    house: HouseDep,
    background: BackgroundTasks,
) -> schemas.ErasureInfo:
    """Confirm what another maintainer asked for: nobody reads the versions any more, and their bytes go."""
    row = erasure.confirm(house, user, erasure_id, objects=asked.objects, code=asked.code)
    # Should this process die, the worker's `recover` goes on with it.
    background.add_task(shredding.carry_on_quietly, house, erasure_id)
    return schemas.ErasureInfo.of(row, State.CONFIRMED)


def _name(text: str) -> AccessionVersion:
    try:
        return AccessionVersion.parse(text)
    except ValueError as fault:
        raise BadRequest(str(fault)) from None
