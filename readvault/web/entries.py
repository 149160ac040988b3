"""The page of one accession version: verdict, figures, files, and what can be done about it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from readvault.api.dependencies import Label, Number, OrganismDep
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.services.entries.candidates import is_control
from readvault.services.people.groups import get_group
from readvault.services.review import review
from readvault.services.review.approval import Scope, approve
from readvault.services.review.batches import METRICS
from readvault.services.review.sending_back import send_back
from readvault.services.submission.deletion import Scope as DeletionScope
from readvault.services.submission.deletion import delete_versions
from readvault.services.submission.revocation import revoke
from readvault.web.rendering import page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Form, FormDep, PageRoute, Site, SiteDep, VisitDep, see, status_and_text

router = APIRouter(prefix=f"{HOME}/organisms/{{organism}}/entries", route_class=PageRoute, include_in_schema=False)

DONE = {
    "approved": "It is released.",
    "sent-back": "It was sent back.",
    "revoked": "This revocation takes effect when it is approved.",
}


@router.get("/{accession}/{version}")
def entry_page(
    site: SiteDep, visit: VisitDep, organism: OrganismDep, accession: Label, version: Number, done: str = ""
) -> Response:
    """All that a reviewer needs of one version."""
    return _entry(site, visit, organism, AccessionVersion(accession, version), said=DONE.get(done, ""))


@router.post("/{accession}/{version}")
def decide_on_entry(
    site: SiteDep, visit: VisitDep, organism: OrganismDep, accession: Label, version: Number, form: FormDep
) -> Response:
    """Approve, send back, delete or revoke the version, as it was on the page that was looked at."""
    name = AccessionVersion(accession, version)
    review.overview(site.house, visit.actor, organism.name, name)  # who may not see it, may not decide on it
    try:
        return see(_decided(site, visit, organism.name, name, form))
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _entry(site, visit, organism, name, problem=problem, status=status, reason=form.one("reason"))


@router.get("/{accession}/{version}/files/{file_id}")
def file_of_entry(
    site: SiteDep, visit: VisitDep, organism: OrganismDep, accession: Label, version: Number, file_id: Label
) -> Response:
    """A file, by a fresh short-lived link to the store; what is not public is written into the access log."""
    url = review.file_url(site.house, visit.actor, organism.name, AccessionVersion(accession, version), file_id)
    return RedirectResponse(url, 303)


def place_of(organism: str, name: AccessionVersion) -> str:
    """The path of a version's page."""
    return f"{HOME}/organisms/{quote(organism)}/entries/{quote(name.accession, safe='')}/{name.version}"


def _decided(site: Site, visit: Visit, organism: str, name: AccessionVersion, form: Form) -> str:
    """Do what the form asks for; the page to look at next."""
    digest = form.one("digest") or None
    match form.one("action"):
        case "approve" if digest is not None:
            approve(site.house, visit.actor, organism, scope=Scope.ALL, accession_versions=[(name, digest)])
            return f"{place_of(organism, name)}?done=approved"
        case "send-back":
            send_back(site.house, visit.actor, organism, [(name, digest)], form.one("reason"))
            return f"{place_of(organism, name)}?done=sent-back"
        case "delete" if form.one("sure"):
            delete_versions(site.house, visit.actor, organism, scope=DeletionScope.ALL, accession_versions=[name])
            return f"{HOME}/organisms/{quote(organism)}/entries"
        case "revoke" if form.one("sure"):
            comment = form.one("reason").strip() or None
            [revocation] = revoke(site.house, visit.actor, organism, accessions=[name.accession], comment=comment)
            return place_of(organism, AccessionVersion(name.accession, revocation.version)) + "?done=revoked"
        case "delete" | "revoke":
            raise BadRequest("Please tick the box if you are sure.")
        case _:
            raise BadRequest("There is no such button.")


def _entry(
    site: Site,
    visit: Visit,
    organism: Any,
    name: AccessionVersion,
    *,
    said: str = "",
    problem: str = "",
    status: int = 200,
    reason: str = "",
) -> Response:
    shown = review.overview(site.house, visit.actor, organism.name, name)
    made = (shown["processedData"] or {}).get("metadata") or {}
    submitted = shown["submittedData"]
    group, _ = get_group(site.house, visit.actor, shown["groupId"])
    return page(
        "entry",
        status,
        visit=visit,
        organism=organism,
        name=name,
        place=place_of(organism.name, name),
        shown=shown,
        group=group.group_name,
        metrics={metric: made[metric] for metric in METRICS if made.get(metric) is not None},
        metadata=_side_by_side(submitted["metadata"], made),
        kinds=(
            ("Made by the pipeline", (shown["processedData"] or {}).get("files") or {}),
            ("Submitted", submitted["files"]),
        ),
        is_newest=all(each["version"] < name.version for each in shown["history"]["versions"]),
        is_control=is_control(submitted["metadata"].get("sampleRole")),
        said=said,
        problem=problem,
        reason=reason,
        read_only=site.house.settings.read_only_mode,
    )


def _side_by_side(submitted: dict[str, Any], made: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Each metadata field as it was submitted and as processing left it, without the figures."""
    names = dict.fromkeys([*submitted, *made])
    return [
        (name, submitted.get(name), made.get(name))
        for name in names
        if name not in METRICS and name != "qualityControlDetails"
    ]
