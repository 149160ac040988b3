"""What nothing refers to leaves the bucket: condemned first, looked at again two days later, then deleted."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from readvault.bootstrap import worker_house
from tasks import artifacts, endings


@flow(name="collect-garbage", persist_result=False)
def collect_garbage(dry_run: bool = True) -> State[Any]:
    """Delete what was condemned long enough ago, and condemn what nothing refers to now.

    Args:
        dry_run: Only count what is garbage. Switch it off to condemn and delete.
    """
    try:
        counts = worker_house().collect_garbage(dry_run=dry_run).counts()
    except Exception as fault:
        return endings.failed(fault)
    artifacts.show_counts("collect-garbage", counts)
    return Completed(name="Counted" if dry_run else "Completed", message=", ".join(_told(counts)) or "no garbage")


def _told(counts: dict[str, int]) -> list[str]:
    return [f"{name}: {count}" for name, count in counts.items() if count]
