"""Who runs beside whom in one worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Places:
    """Lets jobs run side by side, except one that must run alone: it goes before those that come after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone = 0
        """Jobs that run alone or wait to."""

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        """Wait for a place and hold it."""
        with self._changed:
            self._alone += alone
            self._changed.wait_for(lambda: not self._running or not (alone or self._alone))
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._alone -= alone
                self._changed.notify_all()
