"""Names are looked up in threads of their own, with an end: the machine's resolver has none that we could set.

A lookup can't be broken off. One that hangs keeps its thread until the resolver gives up, so there are only
so many threads at a time; while all of them hang, further lookups end unanswered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

LOOKED_UP_WITHIN = 10.0
"""Seconds for the addresses of a name."""
AT_ONCE = 16
"""Lookups under way; several of the same name are one."""

Resolve = Callable[[str, int], list[str]]
"""The IP addresses of a host."""


class TooSlow(Exception):
    """A name was not looked up in time."""


class Names:
    """The addresses of hosts, each in a bounded time. Safe to share between threads."""

    def __init__(self, resolve: Resolve, *, within: float = LOOKED_UP_WITHIN, at_once: int = AT_ONCE) -> None:
        self._resolve = resolve
        self._within = within
        self._places = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, int], Future[list[str]]] = {}

    def addresses(self, host: str, port: int, left: float) -> list[str]:
        """The addresses of a host, within `left` seconds at most.

        Raises TooSlow, and OSError for a name that can't be resolved.
        """
        end = time.monotonic() + min(self._within, left)
        answer = self._answer(host, port, end)
        try:
            return answer.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise TooSlow from None

    def _answer(self, host: str, port: int, end: float) -> Future[list[str]]:
        with self._lock:
            known = self._asked.get((host, port))
        if known is not None:
            return known
        if not self._places.acquire(timeout=max(0.0, end - time.monotonic())):
            raise TooSlow
        with self._lock:
            if (known := self._asked.get((host, port))) is not None:  # somebody was first while we waited
                self._places.release()
                return known
            answer = self._asked[host, port] = Future[list[str]]()
        # No pool's thread: a process may end while its resolver hangs.
        thread = threading.Thread(target=self._look_up, args=(host, port, answer), name="names", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more threads
            self._forget(host, port)
            answer.set_exception(TooSlow())
        return answer

    def _look_up(self, host: str, port: int, answer: Future[list[str]]) -> None:
        try:
            found = self._resolve(host, port)
        except Exception as fault:
            self._forget(host, port)
            answer.set_exception(fault)
        else:
            self._forget(host, port)
            answer.set_result(found)

    def _forget(self, host: str, port: int) -> None:
        with self._lock:
            del self._asked[host, port]
        self._places.release()
