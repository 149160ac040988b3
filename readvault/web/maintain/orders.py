"""Orders to reprocess: ask, count, confirm, hold, go on, call off, go back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from readvault.api.dependencies import MAX_INT
from readvault.domain.errors import BadRequest, RuleViolation
from readvault.domain.reads import Platform
from readvault.domain.reprocessing import TAKEN, OrderState, ResultState
from readvault.domain.status import ProcessingResult
from readvault.services.reprocessing import decisions, orders, planning
from readvault.services.reprocessing.orders import Order
from readvault.web.maintain.desk import PLACE, MaintainerDep, maintain_page
from readvault.web.maintain.order_form import OrderForm
from readvault.web.sessions import Visit
from readvault.web.site import Form, FormDep, PageRoute, Site, SiteDep, see, status_and_text

router = APIRouter(prefix=f"{PLACE}/reprocessing", route_class=PageRoute, include_in_schema=False)

ORDERS = 50
"""Orders on one page."""
OrderId = Annotated[int, Path(ge=0, le=MAX_INT)]
DONE = {
    "requested": "It is asked for. Nothing begins before it is confirmed.",
    "confirm": "It begins, behind new submissions.",
    "refuse": "It is refused.",
    "pause": "Nothing more is begun, not even what was queued; what is under way ends.",
    "resume": "It goes on.",
    "cancel": "It is called off. Results that were made stay as they are.",
    "roll-back": "The order ends, and its entries go back one by one.",
}


@router.get("")
def list_of_orders(
    site: SiteDep, visit: MaintainerDep, before: Annotated[int | None, Query(ge=0, le=MAX_INT)] = None
) -> Response:
    """All orders, newest first."""
    found = orders.page(site.house, visit.actor, before=before, size=ORDERS + 1)
    return maintain_page(
        "orders",
        site,
        visit,
        orders=[shown(each) for each in found[:ORDERS]],
        before=before,
        more=found[ORDERS - 1].row.id if len(found) > ORDERS else None,
    )


@router.get("/new")
def new_order(site: SiteDep, visit: MaintainerDep) -> Response:
    """The form of an order."""
    return _form(site, visit, OrderForm())


@router.post("/new")
def count_or_request(site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Count what an order would process, which touches nothing, or ask for it."""
    typed = OrderForm.of(form)
    try:
        choice, per_hour, organism = typed.choice(), typed.per_hour(), typed.text("organism")
        if form.one("action") == "count":
            return _form(site, visit, typed, plan=planning.plan(site.house, visit.actor, organism, choice))
        if form.one("action") != "request":
            raise BadRequest("There is no such button.")
        reason = typed.text("reason")
        row, _ = orders.request(site.house, visit.actor, organism, choice, reason, per_hour=per_hour)
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _form(site, visit, typed, problem=problem, status=status)
    return see(f"{PLACE}/reprocessing/{row.id}?done=requested")


@router.get("/{order_id}")
def order_page(
    order_id: OrderId, site: SiteDep, visit: MaintainerDep, done: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """One order: which entries, how far it is, and what can be done about it."""
    return _order(site, visit, order_id, said=DONE.get(done, ""))


@router.post("/{order_id}")
def decide_on_order(order_id: OrderId, site: SiteDep, visit: MaintainerDep, form: FormDep) -> Response:
    """Confirm, refuse, hold, continue, call off or go back."""
    action = form.one("action")
    try:
        _decide(site, visit, order_id, action, form)
    except RuleViolation as fault:
        status, problem = status_and_text(fault)
        return _order(site, visit, order_id, problem=problem, status=status, reason=form.one("reason"))
    return see(f"{PLACE}/reprocessing/{order_id}?done={action}")


def _decide(site: Site, visit: Visit, order_id: int, action: str, form: Form) -> None:
    match action:
        case "confirm":
            orders.confirm(site.house, visit.actor, order_id)
        case "pause":
            orders.pause(site.house, visit.actor, order_id)
        case "resume":
            orders.resume(site.house, visit.actor, order_id)
        case "cancel" | "refuse":
            orders.cancel(site.house, visit.actor, order_id)
        case "roll-back" if form.one("sure"):
            decisions.roll_back_order(site.house, visit.actor, order_id, form.one("reason"))
        case "roll-back":
            raise BadRequest("Please tick the box if you are sure.")
        case _:
            raise BadRequest("There is no such button.")


def _order(
    site: Site, visit: Visit, order_id: int, *, said: str = "", problem: str = "", reason: str = "", status: int = 200
) -> Response:
    order = orders.find(site.house, visit.actor, order_id)
    return maintain_page(
        "order",
        site,
        visit,
        status,
        tab="orders",
        order=shown(order),
        choice=order.choice.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        said=said,
        problem=problem,
        reason=reason,
    )


def _form(
    site: Site,
    visit: Visit,
    typed: OrderForm,
    *,
    plan: planning.Plan | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    return maintain_page(
        "new_order",
        site,
        visit,
        status,
        tab="orders",
        typed=typed,
        plan=plan,
        organisms=list(site.house.organisms.values()),
        results=list(ProcessingResult),
        platforms=list(Platform),
        problem=problem,
    )


def shown(order: Order) -> dict[str, Any]:
    """An order with how far it is: entries that were processed, of all that are planned."""
    row = order.row
    still_open = sum(order.jobs.values())
    done = max(0, row.queued - still_open)
    return {
        "row": row,
        "jobs": order.jobs,
        "results": order.results,
        "open": still_open,
        "done": done,
        "taken": sum(order.results.get(state.value, 0) for state in TAKEN),
        "waits": order.results.get(ResultState.WAITS.value, 0),
        "planned": max(row.planned_entries, row.queued, 1),
        "living": row.state in (OrderState.REQUESTED, OrderState.RUNNING, OrderState.PAUSED),
    }
