"""Answers that read all that is released: made on a few threads of their own, so that others find theirs free.

Everybody may ask for them, and each keeps a thread for as long as the reading takes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from anyio import CapacityLimiter, to_thread

AT_ONCE = 4
_THREADS = CapacityLimiter(AT_ONCE)


async def answered[T](question: Callable[[], T]) -> T:
    """What the question returns or raises, once its turn has come."""
    return await to_thread.run_sync(question, limiter=_THREADS)


async def pieces(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a stream, each made when the one before is sent; between two of them others have their turn."""
    while (piece := await answered(lambda: next(source, None))) is not None:
        yield piece
