"""A better pipeline makes better results of what is there; what is public changes only after a maintainer's yes."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from readvault.services.reprocessing.form import Reprocess
from tasks import artifacts, endings
from tasks.asked import ACTOR

PAGE = "the maintainers' page /web/maintain/reprocessing"


@flow(name="reprocess", persist_result=False, validate_parameters=True)
def reprocess(chosen: Reprocess = Reprocess()) -> State[Any]:  # noqa: B008 - it is frozen
    """Count what would be processed anew, or ask a maintainer to let it begin; by its schedule pick up what was left.

    Args:
        chosen: Which entries.
    """
    try:
        asked = worker_house().reprocess(chosen, ACTOR)
    except Exception as fault:
        return endings.failed(fault)
    if asked is None:
        return Completed(message="What was passed over is picked up, a few entries at a time.")
    artifacts.show_counts("reprocess", asked.plan.counts())
    if asked.order_id is None:
        return Completed(name="Counted", message=asked.plan.told())
    return endings.requested(f"Reprocessing {asked.order_id} ({asked.plan.told()})", f"{PAGE}/{asked.order_id}")
