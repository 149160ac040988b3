"""Reprocessing: orders, what waits for a decision, and going back. For maintainers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path

from readvault.api.dependencies import MAX_INT, HouseDep, UserDep, documented, parameters
from readvault.api.schemas import reprocessing as schemas
from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.services.reprocessing import decisions, going_back, orders, planning

router = APIRouter(prefix="/admin", tags=["maintenance"])
OrderId = Annotated[int, Path(ge=0, le=MAX_INT)]
ComparedId = Annotated[int, Path(ge=0, le=MAX_INT)]


@router.post("/reprocessings")
def request_reprocessing(
    asked: schemas.ReprocessingRequest, user: UserDep, house: HouseDep
) -> schemas.ReprocessingAnswer:
    """Count what a newer pipeline version would process or, without `dryRun`, ask for it. Nothing begins by this."""
    if asked.dry_run:
        plan = planning.plan(house, user, asked.organism, asked.choice)
        return schemas.ReprocessingAnswer(plan=schemas.PlanInfo.of(plan), reprocessing=None)
    row, plan = orders.request(house, user, asked.organism, asked.choice, asked.reason, per_hour=asked.per_hour)
    return schemas.ReprocessingAnswer(plan=schemas.PlanInfo.of(plan), reprocessing=schemas.ReprocessingInfo.of_row(row))


@router.get("/reprocessings", openapi_extra=documented(schemas.PageQuery))
def list_reprocessings(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.PageQuery, parameters(schemas.PageQuery)]
) -> schemas.ReprocessingPage:
    """All orders, newest first, page by page."""
    found = orders.page(house, user, before=asked.before, size=asked.size)
    following = found[-1].row.id if len(found) == asked.size else None
    return schemas.ReprocessingPage(
        reprocessings=[schemas.ReprocessingInfo.of(order) for order in found], next=following
    )


@router.get("/reprocessings/{order_id}")
def get_reprocessing(order_id: OrderId, user: UserDep, house: HouseDep) -> schemas.ReprocessingInfo:
    """One order and how far it is."""
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.post("/reprocessings/{order_id}/confirm")
def confirm_reprocessing(order_id: OrderId, user: UserDep, house: HouseDep) -> schemas.ReprocessingInfo:
    """Let an order begin, in the background. A person has to say so: no machine token does."""
    orders.confirm(house, user, order_id)
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.post("/reprocessings/{order_id}/pause")
def pause_reprocessing(order_id: OrderId, user: UserDep, house: HouseDep) -> schemas.ReprocessingInfo:
    """Begin nothing more of an order, not even what was queued; what is under way ends."""
    orders.pause(house, user, order_id)
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.post("/reprocessings/{order_id}/resume")
def resume_reprocessing(order_id: OrderId, user: UserDep, house: HouseDep) -> schemas.ReprocessingInfo:
    """Go on with a paused order."""
    orders.resume(house, user, order_id)
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.post("/reprocessings/{order_id}/cancel")
def cancel_reprocessing(order_id: OrderId, user: UserDep, house: HouseDep) -> schemas.ReprocessingInfo:
    """End an order for good. Results that it made stay as they are."""
    orders.cancel(house, user, order_id)
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.post("/reprocessings/{order_id}/roll-back", status_code=202)
def roll_back_reprocessing(
    order_id: OrderId, asked: schemas.DecisionRequest, user: UserDep, house: HouseDep, background: BackgroundTasks
) -> schemas.ReprocessingInfo:
    """Let the older results stand again wherever this order's took their place, entry by entry after the answer."""
    decisions.roll_back_order(house, user, order_id, asked.reason)
    # Should this process die, the rounds of the workers go on with it.
    background.add_task(going_back.carry_on, house)
    return schemas.ReprocessingInfo.of(orders.find(house, user, order_id))


@router.get("/compared-results", openapi_extra=documented(schemas.ComparedQuery))
def list_compared_results(
    user: UserDep, house: HouseDep, asked: Annotated[schemas.ComparedQuery, parameters(schemas.ComparedQuery)]
) -> schemas.ComparedPage:
    """Results of newer pipeline versions, those that wait for a decision by default, page by page."""
    found = decisions.waiting(
        house, user, state=asked.state, reprocessing_id=asked.reprocessing, after=asked.after, size=asked.size
    )
    following = found[-1].row.id if len(found) == asked.size else None
    return schemas.ComparedPage(results=[schemas.ComparedInfo.of(each.row, each) for each in found], next=following)


@router.post("/compared-results/{compared_id}/accept")
def accept_compared_result(
    compared_id: ComparedId, asked: schemas.DecisionRequest, user: UserDep, house: HouseDep
) -> schemas.ComparedInfo:
    """Let a waiting result stand for its entry: of a released one for everybody, at once."""
    return schemas.ComparedInfo.of(decisions.accept(house, user, compared_id, asked.reason))


@router.post("/compared-results/{compared_id}/keep")
def keep_older_result(
    compared_id: ComparedId, asked: schemas.DecisionRequest, user: UserDep, house: HouseDep
) -> schemas.ComparedInfo:
    """Let the older result stand for good."""
    return schemas.ComparedInfo.of(decisions.keep(house, user, compared_id, asked.reason))


@router.post("/results/roll-back")
def roll_back_result(asked: schemas.RollBackRequest, user: UserDep, house: HouseDep) -> schemas.RolledBack:
    """Let an older result stand for an entry again. The newer one stays downloadable by its pipeline version."""
    try:
        name = AccessionVersion.parse(asked.accession_version)
    except ValueError as fault:
        raise BadRequest(str(fault)) from None
    version = decisions.roll_back(house, user, name, asked.reason, pipeline_version=asked.pipeline_version)
    return schemas.RolledBack(accession_version=str(name), pipeline_version=version)
