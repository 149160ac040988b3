"""What got lost comes back: jobs of dead workers, deliveries that never arrived, uploads nobody finished."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import artifacts, endings


@flow(name="recover", persist_result=False)
def recover() -> State[Any]:
    """Hand back jobs without a lease, deliver what waits, expire old uploads."""
    try:
        counts = worker_house().recover()
    except Exception as fault:
        return endings.failed(fault)
    artifacts.show_counts("recover", counts)
    return Completed(message=", ".join(f"{name}: {count}" for name, count in counts.items()))
