"""Many workers on one PostgreSQL: `python -m benchmarks.claims` (`make bench-claims`).

Worker processes with dispatchers of their own, and without Prefect, do tiny jobs: each finds jobs in
the database, claims them and ends them, as `readvault worker` does. Afterwards every job must have
been claimed and ended exactly once. The rate is told for each tenth of the queue, since it must not
depend on how much is left; and the plans of all statements are looked at with a million jobs done.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlmodel import func, select

from benchmarks.api import database, house_of
from benchmarks.claims_scene import fill_queue
from readvault.db.tables import Job
from readvault.domain.status import JobState
from readvault.ports import Delivery, RunState
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.queue import deliveries
from tests import postgres_server
from tests.fakes import MemoryStore

READY = frozenset({"bench"})
PASS = 0.1
"""Seconds of one pass of a worker's dispatcher: then it does what it has delivered to itself."""
TENTHS = 10
WALKS = ("Seq Scan on job", "SCAN job")


class Hand:
    """An orchestrator that only notes what is delivered: its worker does it next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.delivered: list[str] = []

    def deliver(self, delivery: Delivery) -> str | None:
        self.delivered.append(delivery.job_id)
        return f"{self._name}-{delivery.job_id}-{delivery.number}"

    def waiting_among(self, run_ids: Sequence[str]) -> frozenset[str]:
        """All of them, as Prefect would say."""
        return frozenset(run_ids)

    def state_of(self, run_id: str) -> RunState | None:
        return RunState.WAITING


def main() -> None:
    """Print the figures; fail when a job was done twice or not at all, or a statement walks over all jobs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[8])
    parser.add_argument("--done", type=int, default=1_000_000, help="jobs in the database when plans are looked at")
    chosen = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="readvault-claims-") as place, postgres_server.server() as server:
        for workers in chosen.workers:
            with database(Path(place), server) as url:
                wrong += _drain(url, Path(place), workers, chosen.jobs)
        if chosen.done:
            for where in (None, server):
                with database(Path(place), where) as url:
                    wrong += _plans(url, Path(place), chosen.jobs, chosen.done)
    if wrong:
        sys.exit("\n".join(wrong))


def _drain(url: str, folder: Path, workers: int, queued: int) -> list[str]:
    """Let workers empty the queue; what went wrong."""
    house = _house(url, folder)
    fill_queue(house.sessions, queued=queued, done=0)
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        works = pool.starmap(_work, [(url, folder, f"worker-{number}") for number in range(workers)])
    ended = sorted(at for work in works for _, at in work["done"])
    times = Counter(job_id for work in works for job_id, _ in work["done"])
    rates = [len(part) / (part[-1] - part[0]) for part in _parts(ended)]
    cpu = sum(work["cpu"] for work in works)
    figures = {
        "jobs": queued,
        "workers": workers,
        "seconds": round(time.monotonic() - begun, 1),
        "jobs a second by tenths of the queue": [round(rate) for rate in rates],
        "first tenth to last": round(rates[0] / rates[-1], 2),
        "worker CPU a job, ms": round(1000 * cpu / queued, 2),
        "claims that found nothing": sum(work["in_vain"] for work in works),
        "jobs of the least and the most busy worker": [f([len(w["done"]) for w in works]) for f in (min, max)],
        "load average": round(os.getloadavg()[0], 1),
    }
    print(f"{queued} jobs, {workers} workers, PostgreSQL", flush=True)
    for what, value in figures.items():
        print(f"  {what:<44} {value}")
    print(json.dumps(figures), flush=True)
    with house.sessions.read() as session:
        done = select(func.count()).where(Job.state == JobState.DONE.value, Job.attempt == 1)
        once = session.exec(done).one()
    house.sessions.close()
    wrong = []
    if once != queued or len(times) != queued or max(times.values()) != 1:
        wrong.append(
            f"{workers} workers: {once} of {queued} jobs were done by one attempt, {len(ended)} ends were told"
        )
    return wrong


def _work(url: str, folder: Path, name: str) -> dict[str, Any]:
    """In a process of its own: do jobs until there are none; which, when, and what it took."""
    hand = Hand(name)
    house = _house(url, folder, hand)
    done: list[tuple[str, float]] = []
    in_vain = 0
    before = time.process_time()
    while _is_queued(house):
        deliveries.dispatch(house, READY, budget_seconds=PASS)
        idle = not hand.delivered
        for job_id in hand.delivered:
            claim = jobs.claim(house, job_id, name, READY)
            if claim is None:
                in_vain += 1
                continue
            jobs.complete(house, claim)
            done.append((job_id, time.time()))
        hand.delivered.clear()
        if idle:
            time.sleep(0.2)
    house.sessions.close()
    return {"done": done, "in_vain": in_vain, "cpu": time.process_time() - before}


def _is_queued(house: House) -> bool:
    with house.sessions.read() as session:
        return session.exec(select(Job.id).where(Job.state == JobState.QUEUED.value).limit(1)).first() is not None


def _parts(ended: Sequence[float]) -> Iterator[Sequence[float]]:
    size = max(2, len(ended) // TENTHS)
    for at in range(0, size * TENTHS, size):
        yield ended[at : at + size]


def _plans(url: str, folder: Path, queued: int, done: int) -> list[str]:
    """How the database does what a worker asks while that much is queued, half of it delivered, and done."""
    hand = Hand("plans")
    house = _house(url, folder, hand)
    fill_queue(house.sessions, queued=queued, done=done, delivered=0.5)
    print(f"plans with {queued} jobs queued and {done} done, {house.sessions.dialect}", flush=True)
    wrong = []
    with house.sessions.read() as session:
        job_id = session.exec(select(Job.id).where(Job.state == JobState.QUEUED.value).limit(1)).one()
    steps: dict[str, Callable[[], object]] = {
        "dispatch": lambda: deliveries.dispatch(house, READY, budget_seconds=0.05),
        "claim": lambda: jobs.claim(house, job_id, "plans", READY),
        "reap": lambda: housekeeping.reap(house),
        "take back": lambda: housekeeping.hand_back_worker(house, "plans"),
    }
    for name, step in steps.items():
        statements = _statements_of(house, step)
        begun = time.monotonic()
        step()
        seconds = time.monotonic() - begun
        plans = {statement: _plan(house, statement, parameters) for statement, parameters in statements}
        walks = [line for plan in plans.values() for line in plan if any(walk in line for walk in WALKS)]
        indexes = sorted({word.rstrip(")") for plan in plans.values() for line in plan for word in line.split()
                          if word.startswith(("ix_job", "job_pkey", "sqlite_autoindex_job"))})  # fmt: skip
        print(f"  {name:<10} {seconds * 1000:7.1f} ms, {len(plans)} statements, by {', '.join(indexes)}")
        wrong += [f"{house.sessions.dialect}, {name}: {walk.strip()}" for walk in walks]
    house.sessions.close()
    return wrong


def _statements_of(house: House, step: Callable[[], object]) -> list[tuple[str, Any]]:
    """The statements about jobs that a step sends."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: Any) -> None:
        if "job" in statement and statement.lstrip().startswith(("SELECT", "UPDATE")):
            found.append((statement, parameters))

    event.listen(house.sessions.engine, "before_cursor_execute", note)
    try:
        step()
    finally:
        event.remove(house.sessions.engine, "before_cursor_execute", note)
    return found


def _plan(house: House, statement: str, parameters: Any) -> list[str]:
    explain = "EXPLAIN QUERY PLAN " if house.sessions.dialect == "sqlite" else "EXPLAIN "
    with house.sessions.read() as session:
        rows = session.connection().exec_driver_sql(explain + statement, parameters).all()
        session.execute(text("SELECT 1"))
    return [" ".join(str(each) for each in row) for row in rows]


def _house(url: str, folder: Path, hand: Hand | None = None) -> House:
    return replace(house_of(url, MemoryStore(), folder), orchestrator=hand or Hand("nobody"))


if __name__ == "__main__":
    main()
