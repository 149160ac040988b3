"""What Prefect's schedules start, where there is no Prefect: one thread that looks after the house."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from readvault.rounds import Rounds
from readvault.services import housekeeping
from readvault.services.exports.form import ExportSilo
from readvault.services.housekeeping.day_as_text import headline
from readvault.services.queue.fence import SYSTEM
from readvault.services.reprocessing.form import Reprocess
from readvault.services.storage.integrity.choices import VerifyIntegrity
from readvault.worker.house import WorkerHouse

logger = logging.getLogger(__name__)

FIRST_AFTER = 60.0
RECOVER_EVERY = 300.0
VERIFY_EVERY = 3600.0
"""Seconds. A slice each hour has the time of a night's run together."""
COLLECT_EVERY = SUMMARIZE_EVERY = 86_400.0


class Upkeep:
    """Recovers every five minutes, verifies a slice of what is stored every hour, collects garbage every day.

    Once a day reprocessings that are done pick up what they passed over, released reads that the index of today
    has not seen are looked for, reads are exported for SILO, and the figures of the day before are logged. Of
    several workers one does each.
    """

    def __init__(self, house: WorkerHouse, *, first_after: float = FIRST_AFTER) -> None:
        self._stopping = threading.Event()
        self._house = house
        steps: tuple[tuple[float, Callable[[], object]], ...] = (
            (RECOVER_EVERY, house.recover),
            (VERIFY_EVERY, self._verify),
            (VERIFY_EVERY, self._collect),
            (VERIFY_EVERY, self._reprocess),
            (VERIFY_EVERY, self._screen),
            (VERIFY_EVERY, self._export),
            (VERIFY_EVERY, self._summarize),
        )
        self._rounds = Rounds("upkeep", self._stopping, steps, first_after=first_after)

    def start(self) -> None:
        """Begin; the first time a minute after the start."""
        self._rounds.start()

    def stop(self) -> None:
        """End after the step that is under way; drain the house first, then that is soon."""
        self._stopping.set()
        self._rounds.join(timeout=5)

    def _verify(self) -> None:
        if housekeeping.take_turn(self._house.house, "verify without Prefect", VERIFY_EVERY):
            minutes = self._house.house.settings.storage.verify_minutes * VERIFY_EVERY / COLLECT_EVERY
            self._house.verify(VerifyIntegrity(minutes=minutes))

    def _collect(self) -> None:
        if housekeeping.take_turn(self._house.house, "collect garbage without Prefect", COLLECT_EVERY):
            counts = self._house.collect_garbage(dry_run=False).counts()
            told = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
            logger.info("garbage was collected: %s", told or "there was none")

    def _reprocess(self) -> None:
        if housekeeping.take_turn(self._house.house, "reprocess without Prefect", COLLECT_EVERY):
            self._house.reprocess(Reprocess(), SYSTEM)

    def _screen(self) -> None:
        if housekeeping.take_turn(self._house.house, "screen without Prefect", COLLECT_EVERY):
            self._house.screen_anew()

    def _export(self) -> None:
        if housekeeping.take_turn(self._house.house, "export for SILO without Prefect", COLLECT_EVERY):
            for organism, done in self._house.export_silo(ExportSilo()).items():
                logger.info("exported for SILO: %s: %s", organism, done.told)

    def _summarize(self) -> None:
        if housekeeping.take_turn(self._house.house, "summarize without Prefect", SUMMARIZE_EVERY):
            logger.info("%s", headline(self._house.day_in_figures(days_ago=1)))
