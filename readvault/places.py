"""Who runs beside whom in one worker: as many jobs as its memory is enough for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
"""Seconds after which a job that waits for memory goes before those that come after it."""
_LOOK_EVERY = 0.5
_SHARE = 0.75
_AT_LEAST = 300 * 10**6
_UNTIL_FULL = 300 * 10**6
"""Bytes of buffers, of which a small job fills only some."""
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(eq=False, slots=True)
class _Waiting:
    alone: bool
    need: int
    large: bool
    since: float


class Places:
    """Lets jobs run side by side while what they are expected to need fits into `budget` bytes.

    A job that needs more than all of it runs with nothing beside it, and so does one that must run
    alone: that goes before those that come after it. A small one never waits for two large ones, which
    don't fit beside each other.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._changed = threading.Condition()
        self._running: list[_Waiting] = []
        self._waiting: list[_Waiting] = []

    @contextmanager
    def taken(
        self, *, alone: bool = False, need: int = 0, large: bool = False, check: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Wait for a place and hold it. `need` is in bytes; `check` raises when waiting has become pointless."""
        mine = _Waiting(alone, need, large, time.monotonic())
        with self._changed:
            self._waiting.append(mine)
            try:
                while not self._changed.wait_for(lambda: self._may_run(mine), _LOOK_EVERY):
                    check()
                self._running.append(mine)
            finally:
                self._waiting.remove(mine)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(mine)
                self._changed.notify_all()

    def _may_run(self, mine: _Waiting) -> bool:
        if mine.alone:
            return not self._running
        if any(other.alone for other in (*self._running, *self._waiting)):
            return False
        if any(self._goes_before(other, mine) for other in self._waiting[: self._waiting.index(mine)]):
            return False
        return not self._running or sum(other.need for other in self._running) + mine.need <= self._budget

    def _goes_before(self, other: _Waiting, mine: _Waiting) -> bool:
        """Whether a job has waited so long that room is kept for it, and the end of small ones can give it room."""
        if time.monotonic() - other.since <= PATIENCE:
            return False
        before = (*self._running, *self._waiting[: self._waiting.index(other)])
        ahead = sum(each.need for each in before if each.large)
        waits_for_large = other.large and ahead > 0 and ahead + other.need > self._budget
        return mine.large or not waits_for_large


def need_of(input_bytes: int) -> int:
    """How much memory (bytes) a job is expected to need that reads so much.

    Measured with `readvault process` on pairs of 2 x 150: 0.3 GB for 3 MB of gzipped FASTQ, 0.5 for 32 MB,
    0.6 for 160 MB. From there on only what grows with the number of reads is added, as their names are told apart.
    """
    return _AT_LEAST + min(_UNTIL_FULL, 3 * input_bytes) + input_bytes // 10


def usual_budget() -> int:
    """Three quarters of the memory (bytes) of this machine, or of its container where that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(_SHARE * min([total, *_container_limits()]))


def _container_limits() -> Iterator[int]:
    for path in map(Path, _CGROUP):
        try:
            said = path.read_text().strip()
        except OSError:
            continue
        if said.isdecimal():  # "max" is no limit
            yield int(said)
