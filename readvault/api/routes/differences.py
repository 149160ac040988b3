"""What differs between a compared result and the one that stood before it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from readvault.api.dependencies import MAX_INT, HouseDep, UserDep
from readvault.api.schemas import differences as schemas
from readvault.services.reprocessing.difference import difference

router = APIRouter(prefix="/admin/compared-results", tags=["maintenance"])


@router.get("/{compared_id}/difference")
def get_difference(
    compared_id: Annotated[int, Path(ge=0, le=MAX_INT)], user: UserDep, house: HouseDep
) -> schemas.DifferenceInfo:
    """Consensus, variants, figures, messages and files of a result of a newer pipeline version beside the older one."""
    return schemas.DifferenceInfo.of(difference(house, user, compared_id))
