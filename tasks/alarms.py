"""Events for automations to wait for: counts only, since everybody with Prefect's password reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from prefect.events import emit_event

logger = logging.getLogger(__name__)

QUEUE_IS_OLD = "readvault.queue.old"
QUEUE = {"prefect.resource.id": "readvault.queue", "prefect.resource.name": "jobs"}


def if_queue_is_old(queue: Mapping[str, int], minutes: int) -> None:
    """Send an event when a job has been due for longer than so many minutes. A lost one is sent by the next run."""
    if queue["oldest_minutes"] <= minutes:
        return
    logger.warning("the oldest job has been due for %d minutes", queue["oldest_minutes"])
    try:
        emit_event(QUEUE_IS_OLD, resource=QUEUE, payload=dict(queue))
    except Exception as fault:
        logger.warning("an event can't be sent: %s", type(fault).__name__)
