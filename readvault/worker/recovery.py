"""What got lost comes back: one round of everything that was broken off, or that nobody asked for in time."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from readvault.services import housekeeping, idempotency
from readvault.services.drops import arrivals
from readvault.services.house import House
from readvault.services.processing import pipeline_versions
from readvault.services.pulls import ending, referenced
from readvault.services.release import ending_openings
from readvault.services.storage.erasing import shred_dates, shredding
from readvault.services.storage.garbage import collection, unfinished
from readvault.services.storage.rebuilding import records

logger = logging.getLogger(__name__)

RECORDS_FOR = 60.0
"""Seconds of a recovery that go into writing records: workers export them all the time."""


def recover(house: House, dispatch: Callable[[], int], check: Callable[[], None]) -> dict[str, int]:
    """Do each step once; how many rows it changed.

    A step that fails keeps no other from its work; its error is raised at the end. `check` raises between
    two steps to break off.
    """
    steps: dict[str, Callable[[], int]] = {
        "reaped": functools.partial(housekeeping.reap, house),
        "delivered": dispatch,
        "upgraded pipelines": functools.partial(pipeline_versions.upgrade_all, house),
        "drop links": functools.partial(arrivals.sweep, house),
        "expired pulls": functools.partial(ending.expire, house),
        "forgotten pulls": functools.partial(ending.forget_old, house),
        "credentials encrypted anew": functools.partial(referenced.encrypt_anew, house),
        "expired uploads": functools.partial(unfinished.expire_uploads, house),
        "closed originals": functools.partial(ending_openings.end_unwanted, house),
        "originals due": functools.partial(shred_dates.shred_due, house),
        "erasures": functools.partial(shredding.carry_on_all, house),
        "records": functools.partial(records.export, house, seconds=RECORDS_FOR),
        "finished deletions": functools.partial(collection.finish_quietly, house),
        "forgotten requests": functools.partial(idempotency.forget_old, house),
    }
    counts: dict[str, int] = {}
    failures: list[Exception] = []
    for name, step in steps.items():
        check()
        try:
            counts[name] = step()
        except Exception as fault:
            logger.warning("recovering, %s: %s", name, type(fault).__name__)
            failures.append(fault)
    if failures:
        raise failures[0]
    return counts
