"""The words of reprocessing: how far an order is, and what became of a new result."""

from __future__ import annotations

from enum import StrEnum


class OrderState(StrEnum):
    """How far an order to reprocess entries is."""

    REQUESTED = "requested"
    """A named maintainer has to confirm it."""
    RUNNING = "running"
    PAUSED = "paused"
    """Nothing more is begun, not even what was queued; what is under way ends."""
    DONE = "done"
    CANCELLED = "cancelled"


class ResultState(StrEnum):
    """What became of a result of a newer pipeline version."""

    SWITCHED = "switched"
    """It is no worse by rule and stands for the entry since it was registered."""
    WAITS = "waits"
    """A maintainer decides; the older result stands."""
    KEPT = "kept"
    """A maintainer decided that the older result stays."""
    ACCEPTED = "accepted"
    """A maintainer decided that it stands for the entry."""
    ROLLED_BACK = "rolled back"
    """It stood for the entry until a maintainer went back to an older one."""
    REPLACED = "replaced"
    """Another result of the same pipeline version came."""


NOT_STANDING = (ResultState.WAITS, ResultState.KEPT, ResultState.ROLLED_BACK)
"""A result in one of these states never stands for an entry by being the newest."""
TAKEN = (ResultState.SWITCHED, ResultState.ACCEPTED)
"""A result in one of these states took the older one's place."""
