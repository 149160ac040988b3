"""The page of files that stay in a group's own buckets: how they were found, and other keys for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError

from readvault.api.dependencies import Number, Text
from readvault.api.errors import described
from readvault.api.schemas.pulls import NewCredentials
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.services.people.groups import get_group
from readvault.services.pulls import referenced
from readvault.web.rendering import page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Form, FormDep, PageRoute, Site, SiteDep, VisitDep, see, status_and_text

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

PLACE = "/groups/{group_id}/references"
_FIELDS = {
    "bucket": "bucket",
    "region": "region",
    "endpoint": "endpoint",
    "accessKey": "access_key",
    "secretKey": "secret_key",
}
"""The API's words for what the fields hold; an empty one counts as absent."""


@router.get(PLACE)
def list_of_references(
    site: SiteDep,
    visit: VisitDep,
    group_id: Number,
    after: Annotated[Text | None, Query(max_length=64)] = None,
    renewed: Annotated[int | None, Query(ge=0, le=10**9)] = None,
) -> Response:
    """What a group keeps in its own buckets, and how each file was found when it was last read here."""
    said = "" if renewed is None else f"Files that are read with the new keys: {renewed}."
    return _page(site, visit, group_id, after=after, said=said)


@router.post(PLACE)
def renew_credentials(site: SiteDep, visit: VisitDep, group_id: Number, form: FormDep) -> Response:
    """Read what the group references in a bucket with other keys from now on."""
    referenced.references_of_group(site.house, visit.actor, group_id)  # who may not look gets no page with a reason
    try:
        bucket = _asked(form, group_id).wanted()
        files = referenced.renew_credentials(site.house, visit.actor, group_id, bucket)
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _page(site, visit, group_id, problem=problem, status=status)
    return see(f"{HOME}/groups/{group_id}/references?renewed={files}")


def _asked(form: Form, group_id: int) -> NewCredentials:
    given = {word: text for word, name in _FIELDS.items() if (text := form.one(name).strip())}
    try:
        return NewCredentials.model_validate({"groupId": group_id, **given})
    except ValidationError as fault:
        faults = fault.errors(include_url=False, include_input=False, include_context=False)
    raise BadRequest(described(RequestValidationError(faults)))


def _page(
    site: Site,
    visit: Visit,
    group_id: int,
    *,
    after: str | None = None,
    said: str = "",
    problem: str = "",
    status: int = 200,
) -> Response:
    found = referenced.references_of_group(site.house, visit.actor, group_id, after)
    group, _ = get_group(site.house, visit.actor, group_id)
    return page(
        "references",
        status,
        visit=visit,
        group=group,
        here=f"{HOME}/groups/{group_id}/references",
        of_pulls=f"{HOME}/groups/{group_id}/pulls",
        references=found,
        buckets=sorted({(row.where.endpoint, row.where.bucket) for row in found if row.where.bucket}),
        more=found[-1].where.file_id if len(found) == referenced.PAGE else None,
        after=after,
        said=said,
        problem=problem,
        read_only=site.house.settings.read_only_mode,
    )
