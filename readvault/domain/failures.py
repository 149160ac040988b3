"""Why an attempt ended without a result, as one of a few words: what a log or an alarm may say of it."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """What stood in the way of a job."""

    WORKER_DIED = "workerDied"
    WORKER_STOPPED = "workerStopped"
    CANCELLED = "cancelled"
    CHILD_DIED = "childDied"
    MEMORY_LIMIT = "memoryLimit"
    TIME_LIMIT = "timeLimit"
    SCRATCH_FULL = "scratchFull"
    STORAGE = "storage"
    BYTES_LOST = "bytesLost"
    DATABASE = "database"
    HOST_INDEX = "hostIndex"
    EXTERNAL_PIPELINE = "externalPipeline"
    TOOL = "tool"
    """A step of ours or one of its tools failed in another way."""
    OTHER = "other"


_PHRASES: tuple[tuple[str, Failure], ...] = (
    ("external pipeline", Failure.EXTERNAL_PIPELINE),
    ("worker died", Failure.WORKER_DIED),
    ("worker stops", Failure.WORKER_STOPPED),
    ("the nursery", Failure.WORKER_STOPPED),
    (": cancelled", Failure.CANCELLED),
    ("memory limit", Failure.MEMORY_LIMIT),
    ("time limit", Failure.TIME_LIMIT),
    ("the child", Failure.CHILD_DIED),
    ("scratch disk is full", Failure.SCRATCH_FULL),
    ("database was", Failure.DATABASE),
    ("host index", Failure.HOST_INDEX),
    ("are damaged", Failure.BYTES_LOST),
    ("is damaged", Failure.BYTES_LOST),
    ("integrity:", Failure.BYTES_LOST),
    ("S3", Failure.STORAGE),
)
"""Words of the causes that jobs are given up for, the more telling ones first."""


def failure_of(cause: str | None) -> Failure:
    """Which kind of failure a job's cause tells.

    >>> failure_of("fetch: the scratch disk is full: no room").value, failure_of("align: OSError").value
    ('scratchFull', 'tool')
    """
    told = cause or ""
    for phrase, failure in _PHRASES:
        if phrase in told:
            return failure
    return Failure.TOOL if ": " in told else Failure.OTHER
