"""A worker keeps its job as long as it renews the lease, and knows when it has lost it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from readvault.config import WorkerSettings
from readvault.domain.errors import LeaseLost
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.processing.jobs import Claim
from readvault.services.queue.lease import Lease
from tests.integration.services.scenes import claimed, entry, group, job, let_lease_run_out, result


def _quick(house: House, **worker: float) -> House:
    settings = house.settings.model_copy(update={"worker": WorkerSettings(**worker)})
    return replace(house, settings=settings)


@pytest.fixture
def claim(house: House) -> Claim:
    return claimed(house, entry(house, group(house, "alice"), files=())[1])


def _within(seconds: float, condition: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_lease_is_renewed_by_the_databases_clock(house: House, claim: Claim) -> None:
    """Renewed at once and then again and again: a reaper that comes later takes nothing."""
    let_lease_run_out(house, claim.job_id)
    expired = job(house, claim.job_id).lease_until or 0
    with Lease(_quick(house, lease=60, renew_every=0.02), claim) as lease:
        assert _within(30, lambda: (job(house, claim.job_id).lease_until or 0) > expired + 100)
        first = job(house, claim.job_id).lease_until or 0
        assert _within(30, lambda: (job(house, claim.job_id).lease_until or 0) > first)
        lease.check()
        assert housekeeping.reap(house) == 0
    after = job(house, claim.job_id).lease_until
    time.sleep(0.05)
    assert job(house, claim.job_id).lease_until == after


def test_a_worker_that_lost_its_job_is_told(house: House, claim: Claim) -> None:
    with Lease(_quick(house, renew_every=0.02), claim) as lease:
        let_lease_run_out(house, claim.job_id)
        claimed_again = None
        while claimed_again is None:
            let_lease_run_out(house, claim.job_id)
            claimed_again = jobs.claim(house, claim.job_id, "other", frozenset({claim.organism}))
        assert lease.lost.wait(30)
        with pytest.raises(LeaseLost):
            lease.check()
    assert job(house, claim.job_id).lease_owner == "other"


def test_a_job_that_ended_is_not_a_lost_one(house: House, claim: Claim) -> None:
    with Lease(_quick(house, renew_every=0.01), claim) as lease:
        jobs.register(house, claim, result(house, claim))
        assert not lease.lost.wait(0.1)


class _Flaky:
    """Sessions of a database that answers only now and then."""

    def __init__(self, sessions: Any, failures: int) -> None:
        self.sessions, self.failures = sessions, failures

    @contextmanager
    def begin(self) -> Iterator[Any]:
        if self.failures > 0:
            self.failures -= 1
            raise OperationalError("UPDATE job", {}, Exception("database is locked"))
        with self.sessions.begin() as session:
            yield session


def test_a_locked_database_is_no_lost_lease(house: House, claim: Claim) -> None:
    before = job(house, claim.job_id).lease_until or 0
    flaky = _Flaky(house.sessions, failures=3)
    busy = replace(_quick(house, lease=60, renew_every=0.02), sessions=flaky)  # type: ignore[arg-type]
    with Lease(busy, claim) as lease:
        assert _within(30, lambda: (job(house, claim.job_id).lease_until or 0) > before)
        assert flaky.failures == 0
        lease.check()


def test_without_an_answer_the_lease_is_lost_when_its_time_is_up(house: House, claim: Claim) -> None:
    gone = replace(_quick(house, lease=0.2, renew_every=0.02), sessions=_Flaky(house.sessions, failures=10**6))  # type: ignore[arg-type]
    began = time.monotonic()
    with Lease(gone, claim) as lease:
        assert lease.lost.wait(30)
        assert time.monotonic() - began >= 0.2
