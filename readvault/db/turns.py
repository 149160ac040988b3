"""Turns: who waits longest comes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock for the threads of one process that is given out in the order of asking.

    SQLite lets those who wait try again now and then and prefers nobody, so that under a steady load
    one of them can wait until its time is up.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    @contextmanager
    def turn(self, timeout: float) -> Iterator[None]:
        """Wait for one's turn, but no longer than `timeout` seconds: then go on all the same."""
        mine = self._take(timeout)
        try:
            yield
        finally:
            if mine:
                self._pass_on()

    def _take(self, timeout: float) -> bool:
        called = threading.Event()
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            self._waiting.append(called)
        if called.wait(timeout):
            return True
        with self._guard:
            if called.is_set():
                return True
            self._waiting.remove(called)
            return False

    def _pass_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
