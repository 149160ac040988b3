"""What a process does again and again beside its work: steps on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)


class Rounds:
    """Does steps, each some seconds after it ended the last time, on one thread until `stopping` is set.

    `steps` are pairs of those seconds and what to do. A step that fails is tried again in its turn.
    """

    def __init__(
        self,
        name: str,
        stopping: threading.Event,
        steps: Sequence[tuple[float, Callable[[], object]]],
        *,
        first_after: float = 0.0,
    ) -> None:
        self._stopping = stopping
        self._steps = steps
        self._first_after = first_after
        self._thread = threading.Thread(target=self._forever, name=name, daemon=True)

    def start(self) -> None:
        """Begin; every step for the first time `first_after` seconds from now."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the step that is under way has ended, but not longer than so many seconds."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _forever(self) -> None:
        due = [time.monotonic() + self._first_after] * len(self._steps)
        while not self._stopping.wait(max(0.0, min(due) - time.monotonic())):
            number = due.index(min(due))
            every, step = self._steps[number]
            try:
                step()
            except Exception as fault:  # whatever it is: it must not keep the others from their work
                logger.warning("%s failed and will be tried again: %s", self._thread.name, type(fault).__name__)
            due[number] = time.monotonic() + every
