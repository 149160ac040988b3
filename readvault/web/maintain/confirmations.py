"""What one maintainer asked for and another has to confirm: nobody destroys alone, nobody opens originals alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT
from readvault.domain.erasures import CONFIRM_WITHIN, State
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.services.storage.erasing import erasure, shredding
from readvault.web.maintain.desk import PLACE, MaintainerDep, maintain_page
from readvault.web.sessions import Visit
from readvault.web.site import FormDep, PageRoute, Site, SiteDep, see, status_and_text

router = APIRouter(prefix=f"{PLACE}/confirmations", route_class=PageRoute, include_in_schema=False)

DONE = {"erasure": "The erasure is confirmed: nobody reads these versions any more, and their bytes go."}
MOST_NAMES = 20
"""Accession versions that are listed of one request."""


@router.get("")
def confirmations(site: SiteDep, visit: MaintainerDep, done: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Requests that wait for a second person, and what became of the latest ones."""
    return _confirmations(site, visit, said=DONE.get(done, ""))


@router.post("/erasures/{erasure_id}")
def confirm_erasure(
    erasure_id: Annotated[int, Path(ge=0, le=MAX_INT)],
    site: SiteDep,
    visit: MaintainerDep,
    form: FormDep,
    background: BackgroundTasks,
) -> Response:
    """Say yes to another maintainer's erasure, naming how many objects go."""
    typed = form.one("objects").strip().replace(",", "")
    try:
        if form.one("action") != "confirm":
            raise BadRequest("There is no such button.")
        if not form.one("sure"):
            raise BadRequest("Please tick the box if you are sure.")
        if not typed.isascii() or not typed.isdecimal() or len(typed) > 9:
            raise BadRequest("Please write how many objects go.")
        erasure.confirm(site.house, visit.actor, erasure_id, objects=int(typed), code=form.one("code"))
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _confirmations(site, visit, problem=problem, status=status)
    # Should this process die, the worker's `recover` goes on with it.
    background.add_task(shredding.carry_on_quietly, site.house, erasure_id)
    return see(f"{PLACE}/confirmations?done=erasure")


def _confirmations(site: Site, visit: Visit, *, said: str = "", problem: str = "", status: int = 200) -> Response:
    erasures = erasure.page(site.house, visit.actor)
    return maintain_page(
        "confirmations",
        site,
        visit,
        status,
        asked=[(row, row.requested_at + CONFIRM_WITHIN) for row, state in erasures if state is State.REQUESTED],
        latest=[(row, state) for row, state in erasures if state is not State.REQUESTED][:20],
        most_names=MOST_NAMES,
        said=said,
        problem=problem,
    )
