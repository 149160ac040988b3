"""What nothing refers to leaves the bucket: condemned first, looked at again two days later, then deleted."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import artifacts, endings
from tasks.forms import CollectGarbage


@flow(name="collect-garbage", persist_result=False, validate_parameters=True)
def collect_garbage(chosen: CollectGarbage = CollectGarbage()) -> State[Any]:  # noqa: B008 - it is frozen
    """Delete what was condemned long enough ago, and condemn what nothing refers to now.

    Args:
        chosen: By hand it only counts.
    """
    try:
        counts = worker_house().collect_garbage(dry_run=chosen.dry_run).counts()
    except Exception as fault:
        return endings.failed(fault)
    artifacts.show_counts("collect-garbage", counts)
    name = "Counted" if chosen.dry_run else "Completed"
    return Completed(name=name, message=", ".join(_told(counts)) or "no garbage")


def _told(counts: dict[str, int]) -> list[str]:
    return [f"{name}: {count}" for name, count in counts.items() if count]
