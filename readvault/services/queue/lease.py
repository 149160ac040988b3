"""The lease: how a worker keeps a claimed job while it works on it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col

from readvault.db.clock import now
from readvault.db.tables import Job
from readvault.domain.errors import LeaseLost
from readvault.domain.status import JobState
from readvault.failpoints import failpoint
from readvault.services.house import House
from readvault.services.queue.fence import Claim, is_finished_by

logger = logging.getLogger(__name__)


class _Answer(Enum):
    RENEWED = auto()
    DONE = auto()
    LOST = auto()
    NONE = auto()
    """The database is locked or can't be reached."""


class Lease:
    """Keeps a claim alive from a thread of its own, as long as the `with` block lasts.

    A renewal that meets a locked or unreachable database is tried again, until the lease has really
    run out by this machine's own monotonic clock. `lost` is set once the job is no longer ours.
    """

    def __init__(self, house: House, claim: Claim, *, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self.lost = threading.Event()
        self._house = house
        self._claim = claim
        self._limits = house.settings.worker
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.job_id}", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost when the job is no longer ours, or what else stands against going on with it."""
        self._check()
        if self.lost.is_set():
            raise LeaseLost(f"job {self._claim.job_id} is no longer held by attempt {self._claim.attempt}")

    def _keep(self) -> None:
        held_since = time.monotonic()
        wait = 0.0
        while not self._stopped.wait(wait):
            asked_at = time.monotonic()
            answer = self._renew()
            if answer is _Answer.DONE:
                return
            if answer is _Answer.RENEWED:
                held_since, wait = asked_at, self._limits.renew_every
            elif answer is _Answer.NONE and time.monotonic() - held_since < self._limits.lease:
                wait = min(1.0, self._limits.renew_every / 4)
            else:
                logger.warning("job %s attempt %d: the lease is lost", self._claim.job_id, self._claim.attempt)
                self.lost.set()
                return

    def _renew(self) -> _Answer:
        mine = (col(Job.id) == self._claim.job_id, col(Job.attempt) == self._claim.attempt)
        renewal = (
            update(Job)
            .where(*mine, col(Job.state) == JobState.RUNNING.value)
            .values(lease_until=now() + self._limits.lease)
            .returning(col(Job.id))
            .execution_options(synchronize_session=False)
        )
        try:
            with self._house.sessions.begin() as session:
                if session.execute(renewal).first() is not None:
                    failpoint("renew-before-commit")
                    return _Answer.RENEWED
                job = session.get(Job, self._claim.job_id)
                return _Answer.DONE if job is not None and is_finished_by(job, self._claim) else _Answer.LOST
        except SQLAlchemyError as fault:
            cause = type(fault).__name__
            logger.warning("job %s: renewing its lease will be tried again: %s", self._claim.job_id, cause)
            return _Answer.NONE
