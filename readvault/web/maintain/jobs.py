"""Jobs that nobody tries again before a maintainer has looked after the cause."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT, Text
from readvault.domain.errors import BadRequest, Conflict, NotFound, RuleViolation
from readvault.services.processing import attention, jobs
from readvault.web.maintain.desk import PLACE, ROWS, MaintainerDep, maintain_page
from readvault.web.sessions import Visit
from readvault.web.site import FormDep, PageRoute, Site, SiteDep, see, status_and_text

router = APIRouter(prefix=f"{PLACE}/jobs", route_class=PageRoute, include_in_schema=False)
Count = Annotated[int, Query(ge=0, le=MAX_INT)]


@router.get("")
def list_of_jobs(
    site: SiteDep,
    visit: MaintainerDep,
    after: Annotated[Text | None, Query(max_length=100)] = None,
    choose: Annotated[str, Query(pattern="^(none|all)$")] = "none",
    done: Count = 0,
    late: Count = 0,
) -> Response:
    """The jobs that need attention, oldest first, with what went wrong."""
    said = f"Queued again: {done}." if done else ""
    said += f" Somebody else was first with {late}." if late else ""
    return _jobs(site, visit, after=after, choose_all=choose == "all", said=said.strip())


@router.post("")
def retry_jobs(site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Queue the chosen jobs once more, each with fresh counts."""
    chosen = form.all("chosen")[:ROWS]
    try:
        if form.one("action") != "retry":
            raise BadRequest("There is no such button.")
        if not chosen:
            raise BadRequest("Nothing was chosen.")
        done = late = 0
        for job_id in chosen:
            try:
                jobs.retry(site.house, visit.actor, job_id)
                done += 1
            except (Conflict, NotFound):
                late += 1
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _jobs(site, visit, problem=problem, status=status)
    return see(f"{PLACE}/jobs?done={done}&late={late}")


def _jobs(
    site: Site,
    visit: Visit,
    *,
    after: str | None = None,
    choose_all: bool = False,
    said: str = "",
    problem: str = "",
    status: int = 200,
) -> Response:
    rows = attention.needing_attention(site.house, visit.actor, after=after, size=ROWS + 1)
    return maintain_page(
        "jobs",
        site,
        visit,
        status,
        rows=rows[:ROWS],
        more=rows[ROWS - 1].id if len(rows) > ROWS else None,
        after=after,
        choose_all=choose_all,
        said=said,
        problem=problem,
    )
