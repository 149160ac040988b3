"""Drop links: those of a group, what came through them, and the one thing that their holders may do.

A holder's token comes in the header Authorization and file names in the form: neither is in any log.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BeforeValidator

from readvault.api.dependencies import (
    HouseDep,
    IdempotencyKeyDep,
    Label,
    Number,
    Text,
    UserDep,
    all_storable,
    documented,
    parameters,
)
from readvault.api.schemas import drops as schemas
from readvault.domain.errors import NotFound, Unauthenticated
from readvault.ports import SignedRequest
from readvault.services.drops import announcing, delivering, forms, links, unclaimed
from readvault.services.house import House
from readvault.services.idempotency import Once

router = APIRouter(tags=["drop links"])

PAGE_OF_HOLDERS = "/web/drop"
ObjectName = Annotated[Text, Path(max_length=64)]
Shape = Annotated[
    Literal["json", "curl", "words"],
    Query(alias="as", description="`curl`: a configuration for `curl -K -`; `words`: plain words for a shell."),
]


async def _token(request: Request, house: HouseDep) -> str:
    """The token of a link. Who logs in with something else holds none, and is told what a wrong one is told."""
    links.refuse_when_off(house)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token:
        raise Unauthenticated("Send the link's token: Authorization: Bearer rvd_…")
    if scheme.lower() != "bearer" or not token.strip().startswith(links.PREFIX):
        raise NotFound(links.NO_LINK)
    return token.strip()


TokenDep = Annotated[str, Depends(_token)]


@router.post("/groups/{group_id}/drop-links")
def make_drop_link(
    group_id: Number,
    wish: Annotated[schemas.DropLinkWish, BeforeValidator(all_storable)],
    user: UserDep,
    house: HouseDep,
    key: IdempotencyKeyDep,
) -> schemas.NewDropLink:
    """Make a link through which others may deliver files for the group. Its token is in this answer alone."""
    once = Once.of(key, "make drop link", group_id, wish.model_dump(mode="json"))
    view, token = links.make_link(house, user, group_id, wish.wish(), once=once)
    url = None if token is None else url_of(house, token)
    return schemas.NewDropLink(token=token, url=url, **schemas.DropLinkInfo.of(view).model_dump())


def url_of(house: House, token: str) -> str:
    """The page of a link's holder. What is behind the `#` leaves no browser."""
    return f"{house.settings.public_url.rstrip('/')}{PAGE_OF_HOLDERS}#{token}"


@router.get("/groups/{group_id}/drop-links")
def list_drop_links(group_id: Number, user: UserDep, house: HouseDep) -> list[schemas.DropLinkInfo]:
    """The group's links, without their tokens; expired and revoked ones too."""
    return [schemas.DropLinkInfo.of(view) for view in links.list_links(house, user, group_id)]


@router.delete("/groups/{group_id}/drop-links/{link_id}", status_code=204, response_class=Response)
def revoke_drop_link(group_id: Number, link_id: Label, user: UserDep, house: HouseDep) -> Response:
    """End a link, with effect from the next request; what came through it stays."""
    links.revoke_link(house, user, link_id, group_id)
    return Response(status_code=204)


@router.get("/groups/{group_id}/dropped-files")
def list_dropped_files(
    group_id: Number, user: UserDep, house: HouseDep, after: Annotated[Text, Query(max_length=64)] = ""
) -> list[schemas.UnclaimedFile]:
    """One page of the files that came through the group's links and that no entry has; the next is `after` its last."""
    return [schemas.UnclaimedFile.of(file) for file in unclaimed.unclaimed_files(house, user, group_id, after)]


@router.delete("/groups/{group_id}/dropped-files/{object_name}", status_code=204, response_class=Response)
def discard_dropped_file(group_id: Number, object_name: ObjectName, user: UserDep, house: HouseDep) -> Response:
    """Give up a file that no entry has."""
    unclaimed.discard(house, user, group_id, object_name)
    return Response(status_code=204)


@router.get("/drop")
def read_drop_link(token: TokenDep, house: HouseDep) -> schemas.DropPurpose:
    """What a link takes, for its holder."""
    return schemas.DropPurpose.of(announcing.purpose(house, token))


@router.post("/drop/files", openapi_extra=documented(schemas.Announcement, files={}), response_model=schemas.DropTicket)
def announce_dropped_file(
    token: TokenDep,
    house: HouseDep,
    asked: Annotated[schemas.Announcement, parameters(schemas.Announcement)],
    shape: Shape = "json",
) -> Response:
    """A signed upload for one file: S3 refuses another size, another hash, a second write."""
    ticket = announcing.announce(house, token, asked.wanted(), in_parts=asked.multipart)
    if shape == "curl" and ticket.put is not None:
        return PlainTextResponse(curl(ticket.put))
    if shape != "json":
        return PlainTextResponse(f"{ticket.object_name} {ticket.part_size or 0} {ticket.part_count or 0}\n")
    return JSONResponse(schemas.DropTicket.of(ticket).model_dump(by_alias=True))


@router.get("/drop/files/{object_name}", response_model=schemas.DropProgress)
def read_dropped_file(object_name: ObjectName, token: TokenDep, house: HouseDep, shape: Shape = "json") -> Response:
    """How far a file of the holder's own is: with `as=words` the parts that miss, one a line."""
    progress = delivering.progress(house, token, object_name)
    if shape != "json":
        return PlainTextResponse("".join(f"{number}\n" for number in progress.missing))
    return JSONResponse(schemas.DropProgress.of(progress).model_dump(by_alias=True))


@router.post("/drop/files/{object_name}/url", response_model=schemas.DropRequest)
def sign_dropped_file(object_name: ObjectName, token: TokenDep, house: HouseDep, shape: Shape = "json") -> Response:
    """A fresh signed PUT of a file that comes in one piece, when the first one has expired."""
    request = delivering.sign_again(house, token, object_name)
    if shape != "json":
        return PlainTextResponse(curl(request))
    return JSONResponse(schemas.DropRequest.of(request).model_dump(by_alias=True))


@router.post(
    "/drop/files/{object_name}/parts",
    openapi_extra=documented(schemas.PartNumbers, files={}),
    response_model=list[schemas.DropPart],
)
def sign_dropped_parts(
    object_name: ObjectName,
    token: TokenDep,
    house: HouseDep,
    asked: Annotated[schemas.PartNumbers, parameters(schemas.PartNumbers)],
    shape: Shape = "json",
) -> Response:
    """Signed PUTs for parts of a file; with `as=curl` for the first of them."""
    parts = delivering.sign_parts(house, token, object_name, asked.numbers)
    if shape != "json":
        return PlainTextResponse(curl(parts[0].request))
    return JSONResponse([schemas.DropPart.signed(part).model_dump(by_alias=True) for part in parts])


@router.post("/drop/files/{object_name}/complete")
def complete_dropped_file(object_name: ObjectName, token: TokenDep, house: HouseDep) -> schemas.DropProgress:
    """Put a file's parts together, or see that one in a piece is there."""
    return schemas.DropProgress.of(delivering.complete(house, token, object_name))


@router.post("/drop/forms", openapi_extra=documented(schemas.FormAnnouncement, files={}))
def announce_form(
    token: TokenDep,
    house: HouseDep,
    asked: Annotated[schemas.FormAnnouncement, parameters(schemas.FormAnnouncement)],
) -> schemas.DropForm:
    """A signed POST for an HTML form, for one file and at most 15 minutes; the first version counts."""
    return schemas.DropForm.of(
        forms.announce_form(house, token, asked.name, max_bytes=asked.max_bytes, category=asked.category)
    )


def curl(request: SignedRequest) -> str:
    """A configuration for `curl -K - -T <file>`; curl counts the bytes itself."""
    headers = [f'header = "{name}: {value}"' for name, value in request.headers.items() if name != "Content-Length"]
    return "\n".join([f'url = "{request.url}"', "fail", "silent", "show-error", *headers]) + "\n"
