"""Organism files that change while a process runs: looked for, loaded as a whole, taken or refused as a whole."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from readvault.counters import ORGANISM_FILES_REFUSED, ORGANISM_RELOADS
from readvault.domain.errors import NotReady
from readvault.domain.organism.loaded import LiveOrganisms, OrganismSet
from readvault.organisms import admission, loading
from readvault.services.house import House
from readvault.services.housekeeping import organisms_in_use

logger = logging.getLogger(__name__)

READ_AGAIN_EVERY = 60.0
"""Seconds after which contents are compared although no size and no time has changed."""
STOPS_WITHIN = 5.0


class OrganismWatch:
    """Keeps the organisms of a house as their files are.

    A changed set counts at once and as a whole, or not at all: then the old one stays, the log tells
    why and so does the set's standing. `on_change` is called with each new set after it counts. `every`: seconds
    between two looks; 0 looks only when it is asked to.
    """

    def __init__(
        self,
        house: House,
        live: LiveOrganisms,
        *,
        on_change: Callable[[OrganismSet], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._house = house
        self._live = live
        self._on_change = on_change
        self._clock = clock
        self._every = house.settings.organisms_reload_every
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._forever, name="organism-files", daemon=True)
        self._stats = loading.stats(house.settings)
        self._read_at = time.monotonic()
        self._seen = live.now.digest
        self._looked_at = live.now.digest

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; a set that is being loaded is finished or given up within seconds."""
        self._stopping = True
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join(STOPS_WITHIN)

    def ask(self) -> None:
        """Look now, also at what was refused before. May be called by a signal's handler."""
        self._asked.set()

    def look(self, *, insist: bool = False) -> bool:
        """Look once; whether another set counts now. A change is taken up at the second look that finds it alike.

        `insist` takes it up at once, and looks again at what was refused.
        """
        with self._lock:
            digest = self._digest(insist)
            settled, self._seen = digest == self._seen, digest
            if digest == self._live.now.digest:
                self._looked_at = digest
                self._forget_refusal()
                return False
            if not insist and (not settled or digest == self._looked_at):
                return False
            return self._take_up(digest)

    def _digest(self, insist: bool) -> str:
        """The digest of what lies there; contents are read only when something may have changed."""
        stats = loading.stats(self._house.settings)
        stale = time.monotonic() - self._read_at >= READ_AGAIN_EVERY
        if not insist and not stale and stats == self._stats:
            return self._seen
        self._stats, self._read_at = stats, time.monotonic()
        return loading.digest(self._house.settings)

    def _take_up(self, digest: str) -> bool:
        settings, before = self._house.settings, self._live.now
        following: OrganismSet | None = None
        reasons: list[str] | None
        try:
            following, reasons = self._examined(before)
        except loading.StillChanging:
            reasons = None
        if reasons is None or loading.digest(settings) != digest:  # examined may have been half of a change
            self._seen, self._stats = "", ()
            return False
        self._looked_at = digest
        if following is None:
            self._refuse(reasons)
            return False
        told = admission.warnings(before, following)
        self._live.replace(following, self._clock(), tuple(told))
        ORGANISM_FILES_REFUSED.set(0)
        ORGANISM_RELOADS.labels("taken").inc()
        logger.info("changed organism files count from now on: %s", ", ".join(following))
        for each in told:
            logger.warning("%s", each)
        self._on_change(following)
        return True

    def _examined(self, before: OrganismSet) -> tuple[OrganismSet | None, list[str]]:
        """The set that lies there, or why it can't count."""
        settings = self._house.settings
        if reasons := admission.mistakes(settings):
            return None, reasons
        try:
            following = loading.load(settings)
        except loading.StillChanging:
            raise
        except NotReady as fault:
            return None, [str(fault)]
        reasons = list(admission.refusals(self._house, before, following))
        return (None if reasons else following), reasons

    def _refuse(self, reasons: list[str]) -> None:
        self._live.standing = replace(self._live.standing, refused=tuple(reasons), refused_at=self._clock())
        ORGANISM_FILES_REFUSED.set(1)
        ORGANISM_RELOADS.labels("refused").inc()
        logger.error("changed organism files are refused, and what counted before still does: %s", "; ".join(reasons))

    def _forget_refusal(self) -> None:
        if self._live.standing.refused:
            self._live.standing = replace(self._live.standing, refused=(), refused_at=None)
            ORGANISM_FILES_REFUSED.set(0)
            logger.info("the organism files are again as they count")

    def tell_what_has_no_file(self) -> None:
        """Note and log which organisms have entries and no file: at a start nothing refuses that."""
        lacking = organisms_in_use.without_file(self._house)
        self._live.standing = replace(self._live.standing, without_file=tuple(lacking))
        for name in lacking:
            logger.error("there are entries of organism %s, but no file speaks of it: nobody sees them", name)

    def _forever(self) -> None:
        told = False
        while not self._stopping:
            asked = self._asked.is_set()
            self._asked.clear()
            try:
                if not told:
                    self.tell_what_has_no_file()
                    told = True
                self.look(insist=asked)
            except Exception as fault:  # whatever it is: what counts now goes on
                logger.warning("organism files can't be looked at: %s", type(fault).__name__)
            self._asked.wait(self._every or None)
