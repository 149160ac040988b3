"""What Prefect's schedules start, where there is no Prefect: one thread that looks after the house."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from readvault.services.storage.choices import VerifyIntegrity
from readvault.worker_house import WorkerHouse

logger = logging.getLogger(__name__)

FIRST_AFTER = 60.0
RECOVER_EVERY = 300.0
VERIFY_EVERY = 3600.0
"""Seconds. A slice each hour has the time of a night's run together."""


class Upkeep:
    """Recovers every five minutes and verifies a slice of what is stored every hour, until it is stopped."""

    def __init__(self, house: WorkerHouse, *, first_after: float = FIRST_AFTER) -> None:
        self._stopping = threading.Event()
        self._house = house
        self._first_after = first_after
        self._thread = threading.Thread(target=self._forever, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin; the first time a minute after the start."""
        self._thread.start()

    def stop(self) -> None:
        """End between two steps; what is under way can be broken off at any point."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _forever(self) -> None:
        slice_of_an_hour = VerifyIntegrity(minutes=self._house.house.settings.storage.verify_minutes / 24)
        steps: list[tuple[float, Callable[[], object]]] = [
            (RECOVER_EVERY, self._house.recover),
            (VERIFY_EVERY, lambda: self._house.verify(slice_of_an_hour)),
        ]
        due = [time.monotonic() + self._first_after] * len(steps)
        while not self._stopping.wait(max(0.0, min(due) - time.monotonic())):
            number = due.index(min(due))
            every, step = steps[number]
            try:
                step()
            except Exception as fault:  # S3 or the database is out of reach: next time
                logger.warning("upkeep failed and will be tried again: %s", type(fault).__name__)
            due[number] = time.monotonic() + every
