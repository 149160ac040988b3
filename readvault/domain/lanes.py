"""Lanes: jobs of one size share places, so that a small one never waits behind a big one, nor behind housekeeping."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """How big a job is, by what it reads."""

    SMALL = "small"
    LARGE = "large"
    """It has places of its own in every worker."""
    HUGE = "huge"
    """It gets a machine of its own, where one is configured; else it is large."""
    HOUSEKEEPING = "housekeeping"
    """No job's: what goes through all that is stored, for hours perhaps, while nobody waits for it."""

    @classmethod
    def of(cls, input_bytes: int, *, large: int, huge: int | None) -> Lane:
        """The lane of a job that reads so many bytes; `large` and `huge` are where those begin, None is never."""
        if huge is not None and input_bytes >= huge:
            return cls.HUGE
        return cls.LARGE if input_bytes >= large else cls.SMALL


class Queue(StrEnum):
    """Where a job waits for a place. The work queues of Prefect have the same names."""

    DEFAULT = "default"
    BACKGROUND = "background"
    """Small jobs that nobody waits for: begun when `default` is empty."""
    LARGE = "large"
    LARGE_BACKGROUND = "large-background"
    HUGE = "huge"
    HOUSEKEEPING = "housekeeping"

    @classmethod
    def of(cls, lane: Lane, *, background: bool) -> Queue:
        """The queue of a job of this lane."""
        if lane is Lane.HUGE:
            return cls.HUGE
        if lane is Lane.LARGE:
            return cls.LARGE_BACKGROUND if background else cls.LARGE
        return cls.BACKGROUND if background else cls.DEFAULT


QUEUES_OF = {
    Lane.SMALL: (Queue.DEFAULT, Queue.BACKGROUND),
    Lane.LARGE: (Queue.LARGE, Queue.LARGE_BACKGROUND),
    Lane.HOUSEKEEPING: (Queue.HOUSEKEEPING,),
}
"""The queues that feed the places of a lane, the most urgent one first."""
