"""Prefect's server, with a database file whose writers wait for each other in turn.

On SQLite Prefect begins a transaction as a reader. One that wants to write when another one has
written meanwhile fails at once, whatever the busy timeout says: "database is locked", a 503, and
the same work once more. Here a transaction is a writer from its beginning, and takes its turn.

`python -m readvault.adapters.prefect_server` is `prefect server start`, with its settings. What is
replaced is no promise of Prefect's; `tests/integration/test_prefect_server.py` runs it against the
installed version. On PostgreSQL nothing is replaced.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any

SETTINGS = {
    # A row for each state of each task and its transaction cost more than all requests of a run together.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # A run that waits for a place isn't late; to call each of a long queue so would be a write for each.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "900",
}
"""What makes thousands of runs an hour cheaper; docs/throughput.md has the figures."""

Begin = Callable[..., AbstractAsyncContextManager[Any]]

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
_holds: ContextVar[list[bool] | None] = ContextVar("_holds", default=None)
"""Whether this task, or the one that made it, has its turn: a transaction within another must not wait for it."""


def in_turn(begin: Begin) -> Begin:
    """Like Prefect's `begin_transaction`, but nobody else can write before the transaction once it has begun."""

    @asynccontextmanager
    async def begin_in_turn(configuration: Any, session: Any, with_for_update: bool = False) -> AsyncIterator[Any]:
        outer = _holds.get()
        if outer is not None and outer[0]:
            async with begin(configuration, session, with_for_update) as transaction:
                yield transaction
            return
        async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            holds = [True]
            token = _holds.set(holds)
            try:
                async with begin(configuration, session, True) as transaction:
                    yield transaction
            finally:
                holds[0] = False
                _holds.reset(token)

    return begin_in_turn


def main() -> None:
    """Start the server; returns when it has stopped."""
    from prefect.cli import app
    from prefect.server.database.configurations import AioSqliteConfiguration

    AioSqliteConfiguration.begin_transaction = in_turn(AioSqliteConfiguration.begin_transaction)  # type: ignore[method-assign, assignment]
    sys.argv = ["prefect", "server", "start"]
    app()


if __name__ == "__main__":
    main()
