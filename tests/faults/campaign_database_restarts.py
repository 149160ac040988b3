"""PostgreSQL is stopped at once and started again, in the middle of jobs and of requests."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlmodel import col, func, select

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.adapters.inline_orchestrator import InlineOrchestrator
from readvault.api.app import create_app
from readvault.db.engine import migrate
from readvault.db.tables import Group, Job
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reports import Report
from readvault.domain.status import JobState
from readvault.reads.sample import Sample
from readvault.services.house import House
from readvault.services.queue import deliveries
from readvault.worker.house import WorkerHouse
from tests.faults import fake_pipeline
from tests.faults.campaign import Campaign, Outcome
from tests.faults.ground import LEASE, WORKER, Ground, of_scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants another HTTP library; the installed one works
    from fastapi.testclient import TestClient
from tests.faults.invariants import check
from tests.houses import ALICE, BOB
from tests.integration.services.scenes import entry, group, manifests
from tests.postgres_server import Postgres, running

JOBS = 6
"""Under way or waiting at each restart."""
AT_ONCE = 3
SECONDS_TO_FINISH = 90.0
LONG = LEASE * 1.5
"""Seconds of an outage in which every lease runs out; each fifth is such a one."""
CONDITIONS = (
    f"PostgreSQL stopped as by `pg_ctl stop -m immediate`, lease {LEASE:.0f} s, inline orchestrator,"
    f" {JOBS} jobs with made-up local steps and a user who sends requests all the while"
)


class _Slow(fake_pipeline.FakeNursery):
    """Children that take their time, so that an outage meets every step."""

    def start(self) -> None:
        """Nothing is needed."""

    def stop(self) -> None:
        """Nothing is left."""

    @contextmanager
    def child(self, sample: Sample) -> Iterator[_SlowHands]:  # type: ignore[override]
        """A child for one sample."""
        yield _SlowHands(sample, self.word)


class _SlowHands(fake_pipeline._Hands):
    def run(self, step: str) -> Report:
        time.sleep(random.uniform(0.02, 0.12))
        return super().run(step)


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """So many restarts."""
    if not trials:
        return Outcome(0, [], CONDITIONS)
    dice = random.Random(seed)
    failures: list[str] = []
    with running() as postgres:
        migrate(postgres.url)
        ground = Ground(postgres.url, folder)
        house = ground.house()
        group_id = group(house, ALICE.name)
        with _working(ground), _User(ground) as user:
            for number in range(trials):
                names = [entry(house, group_id, files=(f"reads {seed} {number} {n}".encode(),)) for n in range(JOBS)]
                time.sleep(dice.uniform(0.0, 0.8))
                _restart(postgres, house, LONG if number % 5 == 4 else dice.uniform(0.0, 1.0))
                failures += [f"restart {number}: {fault}" for fault in _ended(house, names)]
        failures += user.faults()
        failures += of_scenes(check(house))
        for each in ground.houses:
            each.sessions.close()
    return Outcome(trials, failures, CONDITIONS)


def _restart(postgres: Postgres, house: House, seconds: float) -> None:
    postgres.stop(at_once=True)
    time.sleep(seconds)
    postgres.start()
    end = time.monotonic() + SECONDS_TO_FINISH
    while not house.sessions.answers() and time.monotonic() < end:  # it replays its log first
        time.sleep(0.1)


@contextmanager
def _working(ground: Ground) -> Iterator[None]:
    """A worker with all its threads, and jobs in threads of this process."""
    limits = WORKER.model_copy(update={"max_attempts": 3, "max_handbacks": 10, "pending_limit": 2.0})
    before, deliveries.IN_FLIGHT = deliveries.IN_FLIGHT, 2.0
    worker: WorkerHouse
    orchestrator = InlineOrchestrator(lambda delivery: worker.run(delivery), AT_ONCE)
    worker = fake_pipeline.worker(replace(ground.house(worker=limits), orchestrator=orchestrator), "worker")
    worker.name = worker.scratch.name
    worker.nursery = _Slow()  # type: ignore[assignment]
    worker.look_at_indexes = lambda: None  # type: ignore[method-assign]
    worker.start()
    try:
        yield
    finally:
        orchestrator.stop()
        worker.stop()
        deliveries.IN_FLIGHT = before


class _User:
    """Founds one group after the other and reads the list of them: each answer is 200 or 503, and 200 is true."""

    def __init__(self, ground: Ground) -> None:
        self._house = ground.house()
        issuer = EmbeddedIssuer(ground.folder / "identity-key.pem", url="http://testserver", token_minutes=600)
        self._headers = {"Authorization": f"Bearer {issuer.tokens(BOB)['access_token']}"}
        self._client = TestClient(create_app(self._house, Identity(issuer)), raise_server_exceptions=False)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._answers: list[tuple[str, int, bool]] = []
        self._founded: set[int] = set()

    def __enter__(self) -> _User:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(60)

    def _ask(self) -> None:
        wanted = {
            "groupName": "A group",
            "institution": "Institution",
            "address": {"line1": "1 Way", "city": "Basel", "postalCode": "4000", "country": "Switzerland"},
            "contactEmail": "group@example.org",
        }
        while not self._stopped.wait(0.05):
            made = self._client.post("/groups", json=wanted, headers=self._headers)
            if made.status_code == 200:
                self._founded.add(made.json()["groupId"])
            listed = self._client.get("/user/groups", headers=self._headers)
            for name, answer in (("POST", made), ("GET", listed)):
                self._answers.append((name, answer.status_code, "retry-after" in answer.headers))

    def faults(self) -> list[str]:
        """What should not have been answered, and groups that were answered and are not there."""
        wrong = {each for each in self._answers if each[1:] not in ((200, False), (503, True))}
        with self._house.sessions.read() as session:
            there = set(session.exec(select(Group.id).where(col(Group.id).in_(self._founded))))
        lost = self._founded - there
        found = [f"a request was answered {each}" for each in sorted(wrong)]
        if not self._founded or self._thread.is_alive():
            found.append("the user got nothing done")
        return found + [f"group {each} was answered and is lost" for each in sorted(lost)]


def _ended(house: House, names: list[tuple[AccessionVersion, str]]) -> Iterator[str]:
    """What is wrong with these jobs, once they had time enough."""
    ids = [job_id for _, job_id in names]
    end = time.monotonic() + SECONDS_TO_FINISH
    while time.monotonic() < end:
        with house.sessions.read() as session:
            done = col(Job.id).in_(ids), Job.state == JobState.DONE.value
            if session.exec(select(func.count()).select_from(Job).where(*done)).one() == len(ids):
                break
        time.sleep(0.1)
    with house.sessions.read() as session:
        jobs = [session.get_one(Job, job_id) for job_id in ids]
    for (name, _), job in zip(names, jobs, strict=True):
        if (job.state, job.failures) != (JobState.DONE, 0):
            yield f"{name}: {job.state} after {job.failures} failures, {job.handbacks} hand-backs: {job.last_error}"
        elif len(manifests(house, name)) != 1:
            yield f"{name}: {len(manifests(house, name))} manifests"


CAMPAIGN = Campaign(
    name="database_restarts",
    promise="P4 A delivery may come any number of times; its effect comes once",
    how="PostgreSQL is stopped at once and started again in the middle of jobs; every job ends without a failure"
    " counted, each fifth time after its lease has run out; requests meanwhile get 200 or 503, and what was"
    " answered with 200 is there",
    full=100,
    run=run,
    unit="restarts",
    part=10,
    tiny=0,
)
