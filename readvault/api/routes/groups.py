"""Groups of submitters and their members."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response

from readvault.api.dependencies import (
    CallerDep,
    HouseDep,
    IdempotencyKeyDep,
    Label,
    Number,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import groups as schemas
from readvault.domain.group import GroupView
from readvault.services.idempotency import Once
from readvault.services.people import groups

router = APIRouter(tags=["groups"])


@router.post("/groups")
def create_group(
    details: schemas.GroupBody, user: UserDep, house: HouseDep, idempotency_key: IdempotencyKeyDep
) -> GroupView:
    """Make a group; whoever makes it becomes its first member."""
    once = Once.of(idempotency_key, "create group", details.model_dump())
    return groups.create_group(house, user, details, once=once)


@router.put("/groups/{group_id}")
def edit_group(group_id: Number, details: schemas.GroupBody, user: UserDep, house: HouseDep) -> GroupView:
    """Replace what is said about a group."""
    return groups.edit_group(house, user, group_id, details)


@router.get("/groups", openapi_extra=documented(schemas.GroupName))
def list_groups(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.GroupName, parameters(schemas.GroupName)]
) -> list[GroupView]:
    """All groups, or those of one name."""
    return groups.list_groups(house, user, name=asked.name)


@router.get("/groups/{group_id}")
def get_group(group_id: Number, caller: CallerDep, house: HouseDep) -> dict[str, Any]:
    """A group and its members; an anonymous reader gets neither members nor contact."""
    group, members = groups.get_group(house, caller, group_id)
    users = None if members is None else [{"name": name} for name in members]
    return {"group": group.model_dump(by_alias=True), "users": users}


@router.get("/user/groups")
def groups_of_user(user: UserDep, house: HouseDep) -> list[GroupView]:
    """The user's own groups."""
    return groups.groups_of(house, user)


@router.put("/groups/{group_id}/users/{name}", status_code=204, response_class=Response)
def add_member(group_id: Number, name: Label, user: UserDep, house: HouseDep) -> Response:
    """Make somebody a member: from then on with full rights in the group."""
    groups.add_member(house, user, group_id, name)
    return Response(status_code=204)


@router.delete("/groups/{group_id}/users/{name}", status_code=204, response_class=Response)
def remove_member(group_id: Number, name: Label, user: UserDep, house: HouseDep) -> Response:
    """End a membership, with effect from the next request."""
    groups.remove_member(house, user, group_id, name)
    return Response(status_code=204)
