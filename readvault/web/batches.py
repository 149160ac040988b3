"""The pages of lists: organisms, batches, entries to review, and a batch as one table to decide on."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT, Label, OrganismDep
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.people.groups import groups_of
from readvault.services.review import batches
from readvault.services.review.approval import Scope, approve
from readvault.services.review.listing import list_entries
from readvault.services.review.sending_back import send_back
from readvault.web.pulls import are_offered
from readvault.web.rendering import page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Form, FormDep, PageRoute, Site, SiteDep, VisitDep, see, status_and_text

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

ROWS = 100
"""Rows of a batch on one page: a plate."""
DONE = {"approved": "Released: {}.", "sent-back": "Sent back: {}."}
Choice = Annotated[str, Query(pattern="^(none|good)$")]
PageNumber = Annotated[int, Query(ge=0, le=100_000)]


@router.get("/")
def home_with_a_slash() -> Response:
    """The first page, for those who type a slash too many."""
    return see(HOME)


@router.get("")
def home(site: SiteDep, visit: VisitDep) -> Response:
    """The organisms, with how many entries of one's groups wait for a review."""
    organisms = []
    for organism in site.house.organisms.values():
        counts = list_entries(site.house, visit.actor, organism.name, page=0, size=0)
        organisms.append({"name": organism.name, "title": organism.title, **counts})
    return page(
        "home",
        visit=visit,
        organisms=organisms,
        groups=_groups(site, visit),
        drop_links=site.house.settings.drop_links.enabled,
        pulls=are_offered(site),
    )


@router.get("/organisms/{organism}")
def list_of_batches(
    site: SiteDep,
    visit: VisitDep,
    organism: OrganismDep,
    before: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """The submissions of one's groups, newest first."""
    found = batches.list_batches(site.house, visit.actor, organism.name, before=before)
    return page("organism", visit=visit, organism=organism, found=found, before=before, groups=_groups(site, visit))


@router.get("/organisms/{organism}/entries")
def list_of_entries(
    site: SiteDep,
    visit: VisitDep,
    organism: OrganismDep,
    status: Annotated[Status, Query()] = Status.PROCESSED,
    number: Annotated[int, Query(alias="page", ge=0, le=100_000)] = 0,
) -> Response:
    """The entries of one's groups with one status, with or without a batch."""
    found = list_entries(site.house, visit.actor, organism.name, statuses=[status], page=number, size=ROWS + 1)
    rows = found["sequenceEntries"]
    return page(
        "entries",
        visit=visit,
        organism=organism,
        rows=rows[:ROWS],
        more=len(rows) > ROWS,
        number=number,
        chosen_status=status.value,
        counts=found["statusCounts"],
    )


@router.get("/organisms/{organism}/batches/{batch_id}")
def batch_page(
    site: SiteDep,
    visit: VisitDep,
    organism: OrganismDep,
    batch_id: Label,
    number: Annotated[int, Query(alias="page", ge=0, le=100_000)] = 0,
    choose: Choice = "none",
    done: str = "",
    count: Annotated[int, Query(ge=0, le=MAX_INT)] = 0,
) -> Response:
    """A batch as a table, with what can be decided about its entries."""
    said = DONE[done].format(count) if done in DONE else ""
    return _batch(site, visit, organism, batch_id, number=number, choose=choose, said=said)


@router.post("/organisms/{organism}/batches/{batch_id}")
def decide_on_batch(site: SiteDep, visit: VisitDep, organism: OrganismDep, batch_id: Label, form: FormDep) -> Response:
    """Approve or send back the chosen entries, as they were on the page that was looked at."""
    house, chosen = site.house, form.all("chosen")
    number = int(form.one("page")) if form.one("page").isdecimal() and len(form.one("page")) < 6 else 0
    batches.batch(house, visit.actor, organism.name, batch_id)  # a foreign one is none
    try:
        done = _decided(site, visit, organism.name, form)
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        reason = form.one("reason")
        return _batch(
            site, visit, organism, batch_id,
            number=number, chosen=chosen, reason=reason, problem=problem, status=status,
        )  # fmt: skip
    place = f"{HOME}/organisms/{quote(organism.name)}/batches/{quote(batch_id, safe='')}"
    return see(f"{place}?page={number}&{done}")


def _decided(site: Site, visit: Visit, organism: str, form: Form) -> str:
    """Do what the form asks for; what the next page says about it."""
    named = [seen(each) for each in form.all("chosen")]
    if not named:
        raise BadRequest("Nothing was chosen.")
    if form.one("action") == "approve":
        approved = approve(site.house, visit.actor, organism, scope=Scope.ALL, accession_versions=named)
        return f"done=approved&count={len(approved)}"
    if form.one("action") == "send-back":
        sent = send_back(site.house, visit.actor, organism, named, form.one("reason"))
        return f"done=sent-back&count={len(sent)}"
    raise BadRequest("There is no such button.")


def seen(text: str) -> tuple[AccessionVersion, str]:
    """What a checkbox stands for: `LOC_000001Y.1:<manifest digest>`; raises BadRequest."""
    name, _, digest = text.partition(":")
    accession, _, version = name.rpartition(".")
    if not accession or not version.isdecimal() or len(version) > 9 or len(digest) != 64:
        raise BadRequest("What was chosen can't be read.")
    return AccessionVersion(accession, int(version)), digest


def _batch(
    site: Site,
    visit: Visit,
    organism: Any,
    batch_id: str,
    *,
    number: int,
    choose: str = "none",
    chosen: list[str] | None = None,
    reason: str = "",
    said: str = "",
    problem: str = "",
    status: int = 200,
) -> Response:
    found = batches.batch(site.house, visit.actor, organism.name, batch_id)
    shown = found["rows"][number * ROWS : (number + 1) * ROWS]
    rows = [{**row, "value": f"{row['accession']}.{row['version']}:{row['manifestDigest']}"} for row in shown]
    if chosen is None:
        chosen = [row["value"] for row in rows if choose == "good" and _is_good(row)]
    return page(
        "batch",
        status,
        visit=visit,
        organism=organism,
        found=found,
        rows=rows,
        metrics=("totalReads", "humanFraction", "depthOfCoverage", "breadthOfCoverage", "platform"),
        number=number,
        pages=-(-len(found["rows"]) // ROWS),
        chosen=set(chosen),
        undecided=any(_is_undecided(row) for row in rows),
        reason=reason,
        said=said,
        problem=problem,
        groups=_groups(site, visit),
        read_only=site.house.settings.read_only_mode,
    )


def _is_undecided(row: dict[str, Any]) -> bool:
    return row["status"] == Status.PROCESSED and row["manifestDigest"] is not None and row["sentBack"] is None


def _is_good(row: dict[str, Any]) -> bool:
    return _is_undecided(row) and row["processingResult"] == ProcessingResult.NO_ISSUES and not row["isControl"]


def _groups(site: Site, visit: Visit) -> dict[int, str]:
    """The names of the groups that somebody may know, by ID."""
    return {group.group_id: group.group_name for group in groups_of(site.house, visit.actor)}
