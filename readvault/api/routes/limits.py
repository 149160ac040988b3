"""How much may be uploaded: what members see of their group, and what maintainers set."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from readvault.api.dependencies import HouseDep, Label, Number, Text, UserDep
from readvault.api.schemas import limits as schemas
from readvault.services.uploads import limits

router = APIRouter(tags=["limits"])


@router.get("/groups/{group_id}/limits")
def limits_of_group(group_id: Number, user: UserDep, house: HouseDep) -> schemas.LimitsOfGroup:
    """What the group and the caller may upload, and what they have used."""
    return schemas.LimitsOfGroup.of(limits.limits_of_group(house, user, group_id))


@router.get("/admin/limits")
def list_limits(
    user: UserDep, house: HouseDep, after: Annotated[Text, Query(max_length=300)] = ""
) -> schemas.LimitsOverview:
    """The instance's limits, and the groups and users that have others, by scope."""
    return schemas.LimitsOverview.of(limits.overview(house, user, after), limits.PAGE)


@router.get("/admin/limits/{scope}")
def get_limits(scope: Label, user: UserDep, house: HouseDep) -> schemas.ScopeLimits:
    """What one group (`group:<id>`) or user (`user:<name>`) may have and has."""
    return schemas.ScopeLimits.of(*limits.limits_of_scope(house, user, scope))


@router.put("/admin/limits/{scope}")
def set_limits(scope: Label, change: schemas.LimitChange, user: UserDep, house: HouseDep) -> schemas.ScopeLimits:
    """Give a group or a user other limits, for a reason that stays on record."""
    return schemas.ScopeLimits.of(
        *limits.set_limits(
            house,
            user,
            scope,
            reason=change.reason,
            bytes_total=change.bytes_total,
            bytes_per_window=change.bytes_per_window,
            open_files=change.open_files,
        )
    )
