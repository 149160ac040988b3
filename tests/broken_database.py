"""A database that breaks in the middle of things."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from readvault.db.engine import Sessions

BROKEN = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)"
VICTIM = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"


@contextmanager
def failing(sessions: Sessions, at: int, times: int = 1, instead: str = BROKEN) -> Iterator[Callable[[], int]]:
    """The statements number `at` and, until it was so `times`, of what comes then are broken; how many came.

    PostgreSQL really ends the connection or the transaction; SQLite has nothing like it, so it is said to.
    """
    came = 0
    left = times

    def break_it(connection: Any, cursor: Any, statement: str, parameters: Any, _: Any, many: bool) -> tuple[str, Any]:
        nonlocal came, left
        came += 1
        if came < at or not left:
            return statement, parameters
        left -= 1
        if sessions.dialect == "postgresql":
            return instead, [()] if many else ()
        fault = sqlite3.OperationalError("broken")
        raise OperationalError(statement, {}, fault, connection_invalidated=True)

    event.listen(sessions.engine, "before_cursor_execute", break_it, retval=True)
    try:
        yield lambda: came
    finally:
        event.remove(sessions.engine, "before_cursor_execute", break_it)
