"""Files that we fetch from submitters' own S3. No byte of them passes through here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from readvault.api.dependencies import MAX_INT, HouseDep, IdempotencyKeyDep, Text, UserDep
from readvault.api.schemas import pulls as schemas
from readvault.services.pulls import access, ending, referenced, requests

router = APIRouter(prefix="/pulls", tags=["pulls"])

PullId = Annotated[Text, Path(max_length=64)]


@router.post("")
def request_pull(body: schemas.PullRequest, user: UserDep, house: HouseDep, key: IdempotencyKeyDep) -> schemas.PullInfo:
    """Let files be fetched from a bucket of your own, or from URLs; credentials are never shown again."""
    view = requests.request_pull(house, user, body.group_id, body.wanted(), key=key)
    return schemas.PullInfo.of(view)


@router.get("")
def list_pulls(
    user: UserDep,
    house: HouseDep,
    group_id: Annotated[int, Query(alias="groupId", ge=0, le=MAX_INT)],
    after: Annotated[Text | None, Query(max_length=64)] = None,
) -> schemas.PullPage:
    """A group's pulls, the newest first."""
    views = access.pulls_of_group(house, user, group_id, after)
    more = views[-1].pull.id if len(views) == access.PAGE else None
    return schemas.PullPage(pulls=[schemas.PullSummary.of(view) for view in views], next=more)


@router.get("/references")
def list_references(
    user: UserDep,
    house: HouseDep,
    group_id: Annotated[int, Query(alias="groupId", ge=0, le=MAX_INT)],
    after: Annotated[Text | None, Query(max_length=64)] = None,
) -> schemas.ReferencePage:
    """The files that stay in a group's own buckets, and how they were found when they were last read."""
    found = referenced.references_of_group(house, user, group_id, after)
    more = found[-1].where.file_id if len(found) == referenced.PAGE else None
    return schemas.ReferencePage(references=[schemas.ReferenceInfo.of(each) for each in found], next=more)


@router.put("/references/credentials")
def renew_credentials(body: schemas.NewCredentials, user: UserDep, house: HouseDep) -> schemas.RenewedCredentials:
    """Read what a group references in a bucket with other keys from now on, after they were changed there."""
    files = referenced.renew_credentials(house, user, body.group_id, body.wanted())
    return schemas.RenewedCredentials(files=files)


@router.get("/{pull_id}")
def get_pull(pull_id: PullId, user: UserDep, house: HouseDep) -> schemas.PullInfo:
    """How far a pull is, source by source, and the IDs of what is pulled."""
    return schemas.PullInfo.of(access.look_up(house, user, pull_id))


@router.post("/{pull_id}/start")
def start_pull(pull_id: PullId, user: UserDep, house: HouseDep) -> schemas.PullInfo:
    """Begin a pull whose challenge object lies beside the sources now."""
    return schemas.PullInfo.of(requests.start(house, user, pull_id))


@router.delete("/{pull_id}")
def cancel_pull(pull_id: PullId, user: UserDep, house: HouseDep) -> schemas.PullInfo:
    """Stop a pull and delete its credentials; what is pulled already stays."""
    return schemas.PullInfo.of(ending.cancel(house, user, pull_id))
