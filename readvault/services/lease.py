"""The lease: how a worker keeps a claimed job while it works on it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readvault.services.house import House
    from readvault.services.processing import Claim


class Lease:
    """Keeps a claim alive from a thread of its own, as long as the `with` block lasts."""

    def __init__(self, house: House, claim: Claim) -> None:
        self.lost = threading.Event()

    def __enter__(self) -> Lease:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """Raise LeaseLost when another attempt owns the job now."""
        raise NotImplementedError
