"""Faults of the database that pass by themselves: out of reach, locked, a deadlock's victim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import sqlalchemy.exc
from sqlalchemy.exc import DBAPIError, OperationalError

_UNDONE = ("40",)
"""SQLSTATE: the database rolled the whole transaction back (40P01 deadlock, 40001 serialization)."""
_PASSING = (*_UNDONE, "08", "25006", "25P03", "25P04", "53", "55P03", "57", "58")
"""Connection gone, standby, idle too long in a transaction, out of resources, lock, shut down, disk."""
_PAUSE = 0.2
"""Seconds before the first further try; each pause is twice the last one."""
_LONGEST_PAUSE = 2.0


def is_passing(fault: BaseException) -> bool:
    """Whether the same may well succeed a little later: the statement itself is not to blame."""
    if isinstance(fault, sqlalchemy.exc.TimeoutError):  # no connection of the pool became free
        return True
    if not isinstance(fault, DBAPIError):
        return False
    return fault.connection_invalidated or isinstance(fault, OperationalError) or _state(fault).startswith(_PASSING)


def is_undone(fault: BaseException) -> bool:
    """Whether the connection broke or the transaction was chosen as a victim: trying again at once makes sense.

    A lock that wasn't free in all the time that one waits for it is no such thing.
    """
    return isinstance(fault, DBAPIError) and (fault.connection_invalidated or _state(fault).startswith(_UNDONE))


def patiently[T](do: Callable[[], T], *, seconds: float) -> T:
    """Do what may be done twice, again and again while the database is out of reach, for so many seconds."""
    end, pause = time.monotonic() + seconds, _PAUSE
    while True:
        try:
            return do()
        except (DBAPIError, sqlalchemy.exc.TimeoutError) as fault:
            if not is_passing(fault) or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _state(fault: DBAPIError) -> str:
    return str(getattr(fault.orig, "sqlstate", None) or "")


@dataclass
class Watched:
    """What became of the transactions of one request so far."""

    may_have_written: bool = False
    """One of them has reached its commit, whether or not that succeeded."""


_watched: ContextVar[Watched | None] = ContextVar("readvault_watched_transactions", default=None)


@contextmanager
def watching() -> Iterator[Watched]:
    """Tells whether anything in this block, its threads included, may have been written."""
    watched = Watched()
    token = _watched.set(watched)
    try:
        yield watched
    finally:
        _watched.reset(token)


def commit_follows() -> None:
    """From here on nobody can know without looking whether the transaction was committed."""
    if (watched := _watched.get()) is not None:
        watched.may_have_written = True
