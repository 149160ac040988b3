"""What got lost comes back: jobs of dead workers, deliveries that never arrived, uploads nobody finished."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import alarms, artifacts, endings
from tasks.forms import Recover


@flow(name="recover", persist_result=False, validate_parameters=True)
def recover(chosen: Recover = Recover()) -> State[Any]:  # noqa: B008 - it is frozen
    """Hand back jobs without a lease, deliver what waits, expire old uploads.

    Args:
        chosen: When to tell that jobs wait for too long.
    """
    try:
        counts = worker_house().recover()
        alarms.if_queue_is_old(worker_house().queue(), chosen.alarm_after_minutes)
    except Exception as fault:
        return endings.failed(fault)
    artifacts.show_counts("recover", counts)
    return Completed(message=", ".join(f"{name}: {count}" for name, count in counts.items()))
