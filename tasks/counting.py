"""Figures of a run that takes long, in Prefect's UI while it goes on: counts only, no key and no name."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks import artifacts

logger = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two looks of Prefect's: a run may read a million objects."""


class Counting:
    """Shows how far a run came every ten seconds, and its counts at the end. A UI out of reach harms nothing."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._shown = time.monotonic()
        self._artifact: UUID | None = None
        self._figures: dict[str, int] = {}

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._figures:
            artifacts.show_counts(self._key, self._figures)
        if self._artifact is not None and kind is None:
            self._show(100.0)

    def verification(self, done: Any) -> None:
        """Take what a verification has done so far."""
        self._figures = {name.replace("_", " "): int(value) for name, value in asdict(done).items()}
        if time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            # How much is left is known only at the end: the figure moves, and never reaches its end before.
            self._show(100.0 * (1 - 1 / (1 + done.checked / 1000)))

    def _show(self, share: float) -> None:
        told = ", ".join(f"{name}: {value}" for name, value in self._figures.items())
        try:
            if self._artifact is None:
                made = create_progress_artifact(share, key=f"{self._key}-progress", description=told)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, share, description=told)
        except Exception as fault:
            logger.warning("the figures of a run can't be shown: %s", type(fault).__name__)
