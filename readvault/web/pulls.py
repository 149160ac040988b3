"""The pages of pulls: a group's list, the form that asks for one, and how far one is."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from readvault.api.dependencies import Number, Text
from readvault.domain.errors import BadRequest, NotFound, RuleViolation
from readvault.domain.interventions import checked_reason
from readvault.domain.pulls import SourceState
from readvault.services.drops.links import categories_of
from readvault.services.people.groups import get_group
from readvault.services.pulls import access, counting, ending, requests
from readvault.web.pull_form import request_of, shown_again
from readvault.web.rendering import page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Form, FormDep, PageRoute, Site, SiteDep, VisitDep, see, status_and_text

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

FILES = 100
"""Files of a pull on one page."""
REFRESH_SECONDS = 5
DONE = {
    "asked": "The pull is on its way.",
    "started": "The pull has begun.",
    "cancelled": "The pull is cancelled. What it had fetched stays.",
}
PullId = Annotated[Text, Path(max_length=64)]
GROUP = "/groups/{group_id}/pulls"


def are_offered(site: Site) -> bool:
    """Whether this instance pulls files."""
    try:
        requests.offered(site.house)
    except NotFound:
        return False
    return True


@router.get(GROUP)
def list_of_pulls(
    site: SiteDep, visit: VisitDep, group_id: Number, after: Annotated[Text | None, Query(max_length=64)] = None
) -> Response:
    """A group's pulls, the newest first."""
    found = access.pulls_of_group(site.house, visit.actor, group_id, after)
    group, _ = get_group(site.house, visit.actor, group_id)
    return page(
        "group_pulls",
        visit=visit,
        group=group,
        here=_place(group_id),
        pulls=found,
        files=counting.files_of(site.house, visit.actor, group_id, [view.pull.id for view in found]),
        more=found[-1].pull.id if len(found) == access.PAGE else None,
        after=after,
        offered=are_offered(site),
        references=site.house.settings.pulls.references,
    )


@router.get(f"{GROUP}/new")
def form_of_a_pull(site: SiteDep, visit: VisitDep, group_id: Number) -> Response:
    """The form that asks for a pull."""
    return _form(site, visit, group_id)


@router.post(f"{GROUP}/new")
def ask_for_a_pull(site: SiteDep, visit: VisitDep, group_id: Number, form: FormDep) -> Response:
    """Ask for a pull; the same form sent twice asks once."""
    access.pulls_of_group(site.house, visit.actor, group_id)  # who may not look at the page gets no page with a reason
    try:
        wanted = request_of(form, group_id).wanted()
        view = requests.request_pull(site.house, visit.actor, group_id, wanted, key=_key(form))
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _form(site, visit, group_id, form=form, problem=problem, status=status)
    return see(f"{HOME}/pulls/{view.pull.id}" + ("" if view.challenge else "?done=asked"))


@router.get("/pulls/{pull_id}")
def pull_page(
    site: SiteDep,
    visit: VisitDep,
    pull_id: PullId,
    number: Annotated[int, Query(alias="page", ge=0, le=100_000)] = 0,
    state: SourceState | None = None,
    done: str = "",
) -> Response:
    """How far a pull is, file by file, and what it waits for."""
    return _pull(site, visit, pull_id, number=number, state=state, said=DONE.get(done, ""))


@router.post("/pulls/{pull_id}")
def change_pull(site: SiteDep, visit: VisitDep, pull_id: PullId, form: FormDep) -> Response:
    """Begin a pull whose challenge object is there, or stop one."""
    access.look_up(site.house, visit.actor, pull_id)  # who may not look at the page gets no page with a reason
    reason = form.one("reason")
    try:
        match form.one("action"):
            case "start":
                requests.start(site.house, visit.actor, pull_id)
                done = "started"
            case "cancel" if visit.actor.is_maintainer:
                ending.cancel_any(site.house, visit.actor, pull_id, checked_reason(reason))
                done = "cancelled"
            case "cancel":
                ending.cancel(site.house, visit.actor, pull_id, checked_reason(reason) if reason.strip() else "")
                done = "cancelled"
            case _:
                raise BadRequest("There is no such button.")
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _pull(site, visit, pull_id, problem=problem, reason=reason, status=status)
    return see(f"{HOME}/pulls/{pull_id}?done={done}")


def _key(form: Form) -> str | None:
    """What makes a form that is sent twice one request; another text than ours makes none."""
    try:
        return f"form {uuid.UUID(form.one('once'))}"
    except ValueError:
        return None


def _place(group_id: int) -> str:
    return f"{HOME}/groups/{group_id}/pulls"


def _form(
    site: Site, visit: Visit, group_id: int, *, form: Form | None = None, problem: str = "", status: int = 200
) -> Response:
    access.pulls_of_group(site.house, visit.actor, group_id)
    requests.offered(site.house)
    group, _ = get_group(site.house, visit.actor, group_id)
    return page(
        "new_pull",
        status,
        visit=visit,
        group=group,
        here=_place(group_id),
        rules=site.house.settings.pulls,
        categories=categories_of(site.house, None),
        given=shown_again(form),
        once=uuid.uuid4(),
        problem=problem,
        read_only=site.house.settings.read_only_mode,
    )


def _pull(
    site: Site,
    visit: Visit,
    pull_id: str,
    *,
    number: int = 0,
    state: SourceState | None = None,
    said: str = "",
    problem: str = "",
    reason: str = "",
    status: int = 200,
) -> Response:
    view = access.look_up(site.house, visit.actor, pull_id)
    group, _ = get_group(site.house, visit.actor, view.pull.group_id)
    shown = [each for each in view.sources if state is None or each.state == state]
    return page(
        "pull",
        status,
        visit=visit,
        group=group,
        here=f"{HOME}/pulls/{pull_id}",
        of_group=_place(view.pull.group_id),
        view=view,
        pull=view.pull,
        over=access.is_over(view.pull),
        stands_still=counting.stands_still(site.house, visit.actor, pull_id),
        counts=Counter(SourceState(each.state) for each in view.sources),
        sources=shown[number * FILES : (number + 1) * FILES],
        number=number,
        pages=-(-len(shown) // FILES),
        state=state,
        refresh=REFRESH_SECONDS,
        said=said,
        problem=problem,
        reason=reason,
        read_only=site.house.settings.read_only_mode,
    )
