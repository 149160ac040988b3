"""Stopping: a worker that drains, a run that somebody cancels, and who must hear of it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from readvault.domain.errors import RunCancelled
from readvault.domain.lanes import Lane

CANCELLED = "cancelled in Prefect"
"""What maintainers read of a job whose run somebody cancelled."""


class Stop(threading.Event):
    """An event that also calls whoever must hear of it."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[object, Callable[[], None]] = {}
        self._changing = threading.Lock()

    def set(self) -> None:
        """Set it, and call everybody once."""
        super().set()
        with self._changing:
            hooks = list(self._hooks.values())
            self._hooks.clear()
        for hook in hooks:
            hook()

    @contextmanager
    def calls(self, hook: Callable[[], None]) -> Iterator[None]:
        """Have `hook` called when it is set, as long as the block lasts; at once when it is set already."""
        key = object()
        with self._changing:
            self._hooks[key] = hook
        if self.is_set():
            self.set()
        try:
            yield
        finally:
            with self._changing:
                self._hooks.pop(key, None)


class Run:
    """One run, as whoever started it sees it. `lane` is whose place it holds; None is its own place."""

    def __init__(self, lane: Lane | None = None) -> None:
        self.lane = lane
        self.cancelled = Stop()
        self.announced = False
        """Whether whoever may cancel it knows that it has begun here."""

    def check(self) -> None:
        """Raise RunCancelled when somebody cancelled it."""
        if self.cancelled.is_set():
            raise RunCancelled(CANCELLED)


_current: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def running(run: Run) -> Iterator[None]:
    """Make it the run of this thread."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


def current_run() -> Run:
    """The run of this thread; one that nobody can cancel where nobody made one."""
    return _current.get() or Run()


@contextmanager
def either(*stops: Stop) -> Iterator[Stop]:
    """A stop that is set as soon as one of these is."""
    first = Stop()
    with ExitStack() as stack:
        for stop in stops:
            stack.enter_context(stop.calls(first.set))
        yield first
