"""A brake on guessing passwords, for the built-in issuer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_FAILURES = 10
WINDOW_SECONDS = 300.0
MAX_NAMES = 10_000


class LoginLimit:
    """After ten failed logins of a name within five minutes, that name waits until they are five minutes old.

    It lives in this process alone, like the issuer that it guards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, list[float]] = {}

    def seconds_to_wait(self, name: str) -> float:
        """How long this name has to wait before the next try; 0 when it may try now."""
        with self._lock:
            recent = self._recent(name)
            return 0.0 if len(recent) < MAX_FAILURES else recent[-MAX_FAILURES] + WINDOW_SECONDS - self._clock()

    def failed(self, name: str) -> None:
        """Count a failed login."""
        with self._lock:
            recent = [*self._recent(name), self._clock()]
            self._failures.pop(name, None)
            while len(self._failures) >= MAX_NAMES:
                self._failures.pop(next(iter(self._failures)))
            self._failures[name] = recent[-MAX_FAILURES:]

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name."""
        with self._lock:
            self._failures.pop(name, None)

    def _recent(self, name: str) -> list[float]:
        since = self._clock() - WINDOW_SECONDS
        return [moment for moment in self._failures.get(name, ()) if moment > since]
