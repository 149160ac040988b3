"""Released reads that a newer host index knows, and originals that wait for a second maintainer's yes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.openings import State
from readvault.services.release import opening
from readvault.services.screening import withholding
from readvault.web.maintain.desk import PLACE, ROWS, MaintainerDep, maintain_page
from readvault.web.sessions import Visit
from readvault.web.site import Form, FormDep, PageRoute, Site, SiteDep, see, status_and_text

HERE = f"{PLACE}/human-reads"
router = APIRouter(prefix=HERE, route_class=PageRoute, include_in_schema=False)
Before = Annotated[int | None, Query(ge=0, le=MAX_INT)]

DONE = {
    "give": "Everybody may have the reads again.",
    "keep": "The reads stay withheld.",
    "confirm": "Everybody may read the originals.",
    "refuse": "The originals stay with their group.",
}


@router.get("")
def human_reads(
    site: SiteDep, visit: MaintainerDep, before: Before = None, done: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """What waits for a decision."""
    return _page(site, visit, before=before, said=DONE.get(done, ""))


@router.post("/withheld")
def decide(site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Give the reads of one result again, or say that they rightly are withheld."""
    deciders = {"give": withholding.give_again, "keep": withholding.withhold}
    try:
        action = form.one("action")
        if action not in deciders:
            raise BadRequest("There is no such button.")
        version = form.one("pipeline_version")
        if not version.isascii() or not version.isdecimal() or len(version) > 9:
            raise BadRequest("There is no such result.")
        deciders[action](site.house, visit.actor, _name(form), int(version), form.one("reason"))
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _page(site, visit, problem=problem, status=status)
    return see(f"{HERE}?done={action}")


@router.post("/originals")
def second_yes(site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Confirm or refuse what another maintainer asked for."""
    try:
        action, name = form.one("action"), _name(form)
        if action == "confirm":
            opening.confirm(site.house, visit.actor, [name])
        elif action == "refuse":
            opening.close(site.house, visit.actor, [name], form.one("reason"))
        else:
            raise BadRequest("There is no such button.")
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _page(site, visit, problem=problem, status=status)
    return see(f"{HERE}?done={action}")


def _name(form: Form) -> AccessionVersion:
    try:
        return AccessionVersion.parse(form.one("entry"))
    except ValueError:
        raise BadRequest("There is no such accession version.") from None


def _page(
    site: Site, visit: Visit, *, before: int | None = None, said: str = "", problem: str = "", status: int = 200
) -> Response:
    rows = withholding.page(site.house, visit.actor, before=before, undecided=True, size=ROWS + 1)
    return maintain_page(
        "human_reads",
        site,
        visit,
        status,
        rows=rows[:ROWS],
        more=rows[ROWS - 1].id if len(rows) > ROWS else None,
        before=before,
        openings=opening.page(site.house, visit.actor, state=State.REQUESTED, size=ROWS),
        said=said,
        problem=problem,
    )
