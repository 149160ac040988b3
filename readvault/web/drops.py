"""The pages of drop links: the one on which a group looks after them, and the one on which files are delivered."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from fastapi.responses import Response

from readvault.api.dependencies import Number, Text
from readvault.api.routes.drops import PAGE_OF_HOLDERS, url_of
from readvault.config import S3Settings
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.domain.reads import FileFormat
from readvault.services.drops import links, unclaimed
from readvault.services.drops.links import Wish
from readvault.services.people.groups import get_group
from readvault.web.rendering import HEADERS, page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Form, FormDep, PageRoute, Site, SiteDep, VisitDep, see, status_and_text

router = APIRouter(route_class=PageRoute, include_in_schema=False)

GIGABYTE = 10**9
MAX_DIGITS = 9
DONE = {"revoked": "The link has ended. What came through it stays.", "discarded": "The file is discarded."}


@router.get(PAGE_OF_HOLDERS)
def delivery_page(site: SiteDep) -> Response:
    """Where the holder of a link delivers files; the link's token is behind the `#` and never comes here."""
    links.refuse_when_off(site.house)
    answer = page("drop", visit=None)
    answer.headers["Content-Security-Policy"] = policy(site.house.settings.s3)
    return answer


def policy(s3: S3Settings) -> str:
    """What the delivery page may do: what every page may, and talk to the bucket's address.

    >>> policy(S3Settings(endpoint="http://s3.internal:8333", public_endpoint="https://s3.example.org/x"))[-44:]
    "connect-src 'self' https://s3.example.org"
    """
    place = urlsplit(s3.public_endpoint or s3.endpoint)
    return f"{HEADERS['Content-Security-Policy']}; connect-src 'self' {place.scheme}://{place.netloc}"


@router.get(HOME + "/groups/{group_id}/drops")
def group_page(
    site: SiteDep,
    visit: VisitDep,
    group_id: Number,
    after: Annotated[Text, Query(max_length=64)] = "",
    done: str = "",
) -> Response:
    """The links of a group, and the files that came through them and that no entry has."""
    return _page(site, visit, group_id, after=after, said=DONE.get(done, ""))


@router.post(HOME + "/groups/{group_id}/drops")
def change_drops(site: SiteDep, visit: VisitDep, group_id: Number, form: FormDep) -> Response:
    """Make or revoke a link, or discard a file."""
    links.list_links(site.house, visit.actor, group_id)  # who may not look at the page gets no page with a reason
    try:
        match form.one("action"):
            case "make":
                _, token = links.make_link(site.house, visit.actor, group_id, _wish(form))
                made = "" if token is None else url_of(site.house, token)
                return _page(site, visit, group_id, made=made, said="The link is made.")
            case "revoke":
                links.revoke_link(site.house, visit.actor, form.one("link"), group_id)
                done = "revoked"
            case "discard":
                unclaimed.discard(site.house, visit.actor, group_id, form.one("file"))
                done = "discarded"
            case _:
                raise BadRequest("There is no such button.")
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _page(site, visit, group_id, problem=problem, status=status)
    return see(f"{_place(group_id)}?done={done}")


def _wish(form: Form) -> Wish:
    label = form.one("label").strip()
    if not 1 <= len(label) <= 100:
        raise BadRequest("Say whom or what the link is for, in 1 to 100 characters.")
    formats = form.all("format")
    if not set(formats) <= set(FileFormat):
        raise BadRequest("There is no such format.")
    return Wish(
        label=label,
        days=_number(form, "days"),
        categories=tuple(form.all("category")) or None,
        formats=tuple(FileFormat(each) for each in formats) or None,
        bytes_quota=_number(form, "gigabytes") * GIGABYTE,
        objects_quota=_number(form, "objects"),
    )


def _number(form: Form, name: str) -> int:
    text = form.one(name)
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise BadRequest(f"{name} is a whole number.")
    return int(text)


def _place(group_id: int) -> str:
    return f"{HOME}/groups/{group_id}/drops"


def _page(
    site: Site,
    visit: Visit,
    group_id: int,
    *,
    after: str = "",
    said: str = "",
    problem: str = "",
    made: str = "",
    status: int = 200,
) -> Response:
    files = unclaimed.unclaimed_files(site.house, visit.actor, group_id, after)
    group, _ = get_group(site.house, visit.actor, group_id)
    return page(
        "group_drops",
        status,
        visit=visit,
        group=group,
        here=_place(group_id),
        links=links.list_links(site.house, visit.actor, group_id),
        files=files,
        more=len(files) == unclaimed.PAGE,
        rules=site.house.settings.drop_links,
        categories=links.categories_of(site.house, None),
        formats=[each.value for each in FileFormat],
        now=time.time(),
        said=said,
        problem=problem,
        made=made,
    )
