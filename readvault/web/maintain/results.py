"""Results of a newer pipeline version beside those that they would replace: look at both, and decide."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT
from readvault.domain.errors import BadRequest, Conflict, NotFound, RuleViolation
from readvault.domain.reprocessing import ResultState
from readvault.services.reprocessing import decisions
from readvault.services.reprocessing.difference import difference, replaced_by
from readvault.web.maintain.desk import PLACE, ROWS, MaintainerDep, entry_path, maintain_page
from readvault.web.sessions import Visit
from readvault.web.site import Form, FormDep, PageRoute, Site, SiteDep, see, status_and_text

router = APIRouter(prefix=f"{PLACE}/results", route_class=PageRoute, include_in_schema=False)

ResultId = Annotated[int, Path(ge=0, le=MAX_INT)]
Number = Annotated[int | None, Query(ge=0, le=MAX_INT)]
STATES = (
    ResultState.WAITS,
    ResultState.SWITCHED,
    ResultState.ACCEPTED,
    ResultState.KEPT,
    ResultState.ROLLED_BACK,
)
"""What the list can be asked for."""
_TAKE_AFTER_ALL = (("accept", "Take the new one after all", ""),)
_GO_BACK = (("roll-back", "Go back to the older result", "danger"),)
_CHOICES = {
    ResultState.WAITS: (("accept", "Take the new one", "main"), ("keep", "Keep the old one", "")),
    ResultState.KEPT: _TAKE_AFTER_ALL,
    ResultState.ROLLED_BACK: _TAKE_AFTER_ALL,
    ResultState.SWITCHED: _GO_BACK,
    ResultState.ACCEPTED: _GO_BACK,
}
DONE = {
    "accept": "The new result stands for the entry.",
    "keep": "The older result stays.",
    "roll-back": "The older result stands again.",
}


@router.get("")
def list_of_results(
    site: SiteDep,
    visit: MaintainerDep,
    state: ResultState = ResultState.WAITS,
    order: Number = None,
    after: Number = None,
    choose: Annotated[str, Query(pattern="^(none|all)$")] = "none",
    done: Annotated[int, Query(ge=0, le=MAX_INT)] = 0,
    late: Annotated[int, Query(ge=0, le=MAX_INT)] = 0,
) -> Response:
    """Compared results of one state, oldest first."""
    said = f"Decided: {done}." if done else ""
    said += f" Not possible any more for {late}: look at each." if late else ""
    return _results(site, visit, state, order=order, after=after, choose_all=choose == "all", said=said.strip())


@router.post("")
def decide_on_results(site: SiteDep, visit: MaintainerDep, form: FormDep, order: Number = None) -> Response:
    """Take or keep back the chosen results, each in a transaction of its own."""
    chosen = form.all("chosen")[:ROWS]
    done = late = 0
    try:
        if not chosen:
            raise BadRequest("Nothing was chosen.")
        for compared_id in map(_number, chosen):
            try:
                _decide(site, visit, compared_id, form)
                done += 1
            except (Conflict, NotFound):
                late += 1
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        reason = form.one("reason")
        return _results(
            site, visit, ResultState.WAITS, order=order, chosen=chosen, problem=problem, reason=reason, status=status
        )
    return see(f"{PLACE}/results?done={done}&late={late}" + (f"&order={order}" if order is not None else ""))


@router.get("/{compared_id}")
def result_page(
    compared_id: ResultId, site: SiteDep, visit: MaintainerDep, done: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """One result beside the one that it would replace, with all that differs."""
    return _result(site, visit, compared_id, said=DONE.get(done, ""))


@router.post("/{compared_id}")
def decide_on_result(compared_id: ResultId, site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Take the new result, keep the old one, or go back to it."""
    try:
        _decide(site, visit, compared_id, form)
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _result(site, visit, compared_id, problem=problem, reason=form.one("reason"), status=status)
    return see(f"{PLACE}/results/{compared_id}?done={form.one('action')}")


def _decide(site: Site, visit: Visit, compared_id: int, form: Form) -> None:
    reason = form.one("reason")
    match form.one("action"):
        case "accept":
            decisions.accept(site.house, visit.actor, compared_id, reason)
        case "keep":
            decisions.keep(site.house, visit.actor, compared_id, reason)
        case "roll-back":
            name, older = replaced_by(site.house, visit.actor, compared_id)
            decisions.roll_back(site.house, visit.actor, name, reason, pipeline_version=older)
        case _:
            raise BadRequest("There is no such button.")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise BadRequest("What was chosen can't be read.")
    return int(text)


def _results(
    site: Site,
    visit: Visit,
    state: ResultState,
    *,
    order: int | None = None,
    after: int | None = None,
    choose_all: bool = False,
    chosen: list[str] | None = None,
    said: str = "",
    problem: str = "",
    reason: str = "",
    status: int = 200,
) -> Response:
    found = decisions.waiting(site.house, visit.actor, state=state, reprocessing_id=order, after=after, size=ROWS + 1)
    return maintain_page(
        "results",
        site,
        visit,
        status,
        found=found[:ROWS],
        state=state.value,
        states=[each.value for each in STATES],
        order=order,
        after=after,
        more=found[ROWS - 1].row.id if len(found) > ROWS else None,
        choose_all=choose_all,
        chosen=set(chosen or ()),
        said=said,
        problem=problem,
        reason=reason,
    )


def _result(
    site: Site,
    visit: Visit,
    compared_id: int,
    *,
    said: str = "",
    problem: str = "",
    reason: str = "",
    status: int = 200,
) -> Response:
    compared = difference(site.house, visit.actor, compared_id)
    return maintain_page(
        "result",
        site,
        visit,
        status,
        tab="results",
        compared=compared,
        entry=entry_path(compared.organism, compared.name.accession, compared.name.version),
        choices=_CHOICES.get(ResultState(compared.state), ()),
        said=said,
        problem=problem,
        reason=reason,
    )
