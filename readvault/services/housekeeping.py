"""What has to be done again and again: deliver jobs, take back those of dead workers, drop stale uploads."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readvault.services.house import House


def deliver_now(house: House, job_ids: Iterable[str], *, budget_seconds: float = 2.0) -> int:
    """Wake a worker for new jobs, right after the commit; how many were delivered.

    Whatever doesn't fit the budget, or meets an orchestrator that can't be reached, is delivered by `dispatch`.
    """
    raise NotImplementedError


def dispatch(house: House, ready: Container[str]) -> int:
    """Deliver every due job whose last delivery came to nothing; how many were delivered.

    Jobs that process submissions are delivered only for organisms in `ready`.
    """
    raise NotImplementedError


def reap(house: House) -> int:
    """Take back the jobs whose lease has run out; how many. Their worker is dead, so they next run alone."""
    raise NotImplementedError


def hand_back_worker(house: House, worker: str) -> int:
    """Take back at once what a dead worker of this name still holds; how many jobs. For a worker's start."""
    raise NotImplementedError


def expire_uploads(house: House) -> int:
    """Drop uploads that were never submitted and whose time is up; how many. Frees their quota."""
    raise NotImplementedError
