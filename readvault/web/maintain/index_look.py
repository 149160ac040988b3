"""Whether this process finds each organism's files, looked up beside the pages: an index of gigabytes takes a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from readvault.host_index_readiness import EXTERNAL, organism_readiness
from readvault.services.house import House

KEPT_FOR = 60.0
"""Seconds that an answer is good for."""
PATIENCE = 1.0
"""Seconds that a page waits for the first one."""


class IndexLook:
    """Why an organism can't be processed where this process runs; asked by one thread at a time, shared by all pages.

    Where the workers run on other machines, only they know how it is there.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._asked_at: float | None = None
        self._asking = False
        self._reasons: Mapping[str, str | None] | None = None

    def now(self) -> Mapping[str, str | None] | None:
        """For each organism why it can't be processed here, or None when it can; None while that isn't known yet."""
        with self._lock:
            due = self._asked_at is None or time.monotonic() - self._asked_at >= KEPT_FOR
            if due and not self._asking:
                self._asking, self._asked_at = True, time.monotonic()
                threading.Thread(target=self._look, name="index-look", daemon=True).start()
        self._answered.wait(PATIENCE)
        with self._lock:
            return self._reasons

    def _look(self) -> None:
        try:
            found = organism_readiness(self._house.settings, self._house.organisms)
            reasons = {name: None if reason == EXTERNAL else reason for name, reason in found.items()}
        except Exception as fault:
            reasons = dict.fromkeys(self._house.organisms, f"its files could not be looked at ({type(fault).__name__})")
        with self._lock:
            self._reasons, self._asking = reasons, False
        self._answered.set()
