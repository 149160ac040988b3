"""Watches write transactions in tests: while one is open nobody may wait for S3, or everybody waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from readvault.db.engine import Sessions

_of_thread = threading.local()
_begin = Sessions.begin


@contextmanager
def _watched(sessions: Sessions) -> Iterator[Any]:
    with _begin(sessions) as session:
        _of_thread.open = writing() + 1
        try:
            yield session
        finally:
            _of_thread.open -= 1


def writing() -> int:
    """How many write transactions this thread has open."""
    return getattr(_of_thread, "open", 0)


def watch() -> None:
    """Count them from now on, in every house of this process."""
    Sessions.begin = _watched  # type: ignore[method-assign]


def refuse_to_wait(operation: str) -> None:
    """Fail the test when S3 is asked for something inside a write transaction."""
    # To sign takes no request.
    assert operation.startswith("sign_") or not writing(), f"{operation} is asked of S3 inside a write transaction"
