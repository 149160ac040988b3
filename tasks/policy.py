"""How Prefect treats each step: whether it is worth trying again at once.

Only steps that talk to somebody else (S3, the database) are tried again inside a run, because what
they failed by may be over in seconds. A local step isn't: the child that held its files may be dead,
so the whole job goes back to the database and is claimed anew. Time limits are the nursery's: a
limit of Prefect's can't interrupt native code, only a kill can.

Tasks have no tags: Prefect asks its server for a slot of each tag before a task and gives it back
after it, which on SQLite made a run of 0.8 s one of 2.5 s. What the tags would limit (memory of the
host index, S3 connections) the worker's concurrency limits already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

FAILED = "Failed"
REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Policy:
    """`retry_after` are seconds, one for each further try."""

    retry_after: tuple[float, ...] = ()


POLICIES: dict[str, Policy] = {
    "fetch": Policy(retry_after=(2, 20)),
    "validate": Policy(),
    "dehumanize": Policy(),
    "align": Policy(),
    "consensus": Policy(),
    "check": Policy(),
    "silo": Policy(),
    "stage": Policy(retry_after=(2, 20)),
    "register": Policy(retry_after=(2,)),
}


def may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether another try could end differently: only after a failure of ours, never after a refusal."""
    return state.name == FAILED
