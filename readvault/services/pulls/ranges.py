"""Reading one pinned object of a submitter's store, a few ranges at a time; at most a handful are in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from readvault.domain.pulls import SourceAway
from readvault.ports import ForeignAddress, ForeignObject, ForeignStores

RANGE = 16 * 2**20
"""Bytes that are asked for at a time of what is only hashed, or written to a local file."""
PAUSES = (0.5, 2.0, 5.0)
"""Seconds before a range is asked for again that broke off."""


class _StoppedError(Exception):
    """Reading was broken off elsewhere."""


class Ranges:
    """One object, in ranges of bytes. `check` raises to break off."""

    def __init__(
        self,
        foreign: ForeignStores,
        address: ForeignAddress,
        pinned: ForeignObject,
        *,
        connections: int,
        check: Callable[[], None],
    ) -> None:
        self._foreign = foreign
        self._address = address
        self._pinned = pinned
        self._connections = connections
        self._check = check
        self._stopped = Event()

    def each(self, wanted: Iterable[tuple[int, int]]) -> Generator[bytes, None, None]:
        """These ranges, (start, length) in bytes, in their order. Close it to stop reading ahead.

        Raises SourceRefused when the object is not the pinned one any more, SourceAway, and what `check` raises.
        """
        waiting = deque(wanted)
        reading: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(self._connections, thread_name_prefix="pull") as readers:
            try:
                while waiting or reading:
                    while waiting and len(reading) < self._connections:
                        reading.append(readers.submit(self.one, *waiting.popleft()))
                    yield reading.popleft().result()
            finally:
                self._stopped.set()
                readers.shutdown(cancel_futures=True)

    def one(self, start: int, length: int) -> bytes:
        """A single range; one that breaks off is asked for again, a few times."""
        for pause in (*PAUSES, None):
            self._go_on()
            try:
                return self._foreign.read(self._address, self._pinned, start, length, self._go_on)
            except SourceAway:
                if pause is None or self._stopped.wait(pause):
                    raise
        raise AssertionError

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._check()


def cut(size: int, part_size: int) -> list[tuple[int, int]]:
    """The ranges of an object in parts of so many bytes; the last one may be shorter.

    >>> cut(5, 2), cut(0, 2)
    ([(0, 2), (2, 2), (4, 1)], [])
    """
    return [(start, min(part_size, size - start)) for start in range(0, size, part_size)]
