"""The first of the maintainers' pages: what waits for somebody, how the queue gets on, and what is broken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from readvault.domain.organism import Organism
from readvault.domain.status import JobKind, JobState
from readvault.services.entries.damage import REFERENCE_LOST
from readvault.services.housekeeping.desk import Backlog, Desk, desk
from readvault.services.housekeeping.figures import Figure
from readvault.services.reprocessing import orders
from readvault.web.maintain.desk import PLACE, MaintainerDep, maintain_page
from readvault.web.maintain.index_look import IndexLook
from readvault.web.maintain.orders import shown
from readvault.web.site import PageRoute, Site, SiteDep, see

router = APIRouter(prefix=PLACE, route_class=PageRoute, include_in_schema=False)

_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.NEEDS_ATTENTION)


@router.get("/")
def overview_with_a_slash() -> Response:
    """The overview, for those who type a slash too many."""
    return see(PLACE)


@router.get("")
def overview(request: Request, site: SiteDep, visit: MaintainerDep) -> Response:
    """All that a maintainer wants to know first."""
    waiting = desk(site.house, visit.actor)
    figures = _by_name(request.app.state.figures.now(visit.actor))
    look: IndexLook = request.app.state.index_look
    return maintain_page(
        "overview",
        site,
        visit,
        waiting=waiting,
        queue=_queue(figures),
        figures={name: values.get(()) for name, values in figures.items()},
        damaged=sum(
            number for (kind,), number in figures.get("readvault_objects_damaged", {}).items() if kind != REFERENCE_LOST
        ),
        erasures_to_do=int(figures.get("readvault_erasures_waiting", {}).get(("shredding",), 0)),
        orders=[each for each in map(shown, orders.page(site.house, visit.actor)) if each["living"]],
        parts=request.app.state.readiness.now(),
        organisms=_organisms(site, waiting, look),
    )


def _by_name(figures: Iterable[Figure]) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for figure in figures:
        found.setdefault(figure.name, {})[figure.labels] = figure.value
    return found


def _queue(figures: dict[str, dict[tuple[str, ...], float]]) -> list[dict[str, Any]]:
    """A row for each kind of job that has open ones."""
    jobs, due = figures["readvault_jobs"], figures["readvault_jobs_oldest_due_seconds"]
    rows = []
    for kind in JobKind:
        queued, running, stuck = (int(jobs.get((kind.value, state.value), 0)) for state in _STATES)
        if queued or running or stuck:
            row = {"kind": kind.value, "queued": queued, "running": running, "stuck": stuck}
            rows.append({**row, "oldest_due": due.get((kind.value,), 0), "failures": _failures(figures, kind)})
    return rows


def _failures(figures: dict[str, dict[tuple[str, ...], float]], kind: JobKind) -> int:
    return int(figures.get("readvault_jobs_failures", {}).get((kind.value,), 0))


def _organisms(site: Site, waiting: Desk, look: IndexLook) -> list[dict[str, Any]]:
    reasons = look.now()
    return [
        {
            "name": name,
            "title": organism.title,
            "version": organism.pipeline.version,
            "screen": _screen(organism),
            "known": reasons is not None and name in reasons,
            "reason": None if reasons is None else reasons.get(name),
            "backlog": waiting.backlogs.get(name, Backlog()),
        }
        for name, organism in site.house.organisms.items()
    ]


def _screen(organism: Organism) -> str:
    """What screens its reads for human ones, in words."""
    rules = organism.pipeline.dehumanize
    if rules.off is not None:
        return f"off: {rules.off}"
    if rules.index is None:
        return "none"
    return f"{rules.index} ({(rules.sha256 or '')[:8] or 'not pinned'})"
