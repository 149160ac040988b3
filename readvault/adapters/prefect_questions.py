"""What our worker asks of Prefect's server about runs, in one request each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import PrefectException

logger = logging.getLogger(__name__)


async def due_runs(
    client: PrefectClient, work_pool: str, queues: Collection[str], *, before: datetime, limit: int
) -> list[WorkerFlowRunResponse] | None:
    """Runs of these work queues that are due; None where Prefect doesn't know the pool or a queue of it.

    Raises httpx.HTTPStatusError for any other refusal.
    """
    body = {"scheduled_before": before.isoformat(), "limit": limit, "work_queue_names": sorted(queues)}
    try:
        answer = await client._client.post(f"/work_pools/{work_pool}/get_scheduled_flow_runs", json=body)
    except httpx.HTTPStatusError as refusal:
        if refusal.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise
    return WorkerFlowRunResponse.model_validate_list(answer.json())


async def cancelled_among(client: PrefectClient | None, flow_run_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these runs somebody cancelled, as far as Prefect can be asked."""
    if not flow_run_ids or client is None:
        return []
    asked = FlowRunFilter(
        id=FlowRunFilterId(any_=list(flow_run_ids)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])),
    )
    try:
        return [flow_run.id for flow_run in await client.read_flow_runs(flow_run_filter=asked)]
    except (httpx.HTTPError, PrefectException, RuntimeError):
        logger.debug("Prefect can't be reached; cancellations are asked for again")
        return []
