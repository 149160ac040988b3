"""Workers that hold jobs die or stop answering under a real Prefect, with the leases that readvault has by default."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlmodel import select

from readvault.db.tables import Job, Manifest
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from tests.faults import held, invariants
from tests.faults.campaign import Campaign, Outcome
from tests.faults.prefect_server import AS_SHIPPED, PrefectServer
from tests.faults.rig import Process, Reads, Rig, Site, until

HOLDERS = 5
"""Workers that go at once, each with as many jobs as it takes (two)."""
BATCH = 10
P99, P50 = 150.0, 75.0
"""Seconds from the death of a worker until somebody else has claimed its job."""
RENEWED_EVERY = 15.0
PATIENCE = 300.0
ELSEWHERE = "holder"


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """`trials` jobs whose worker dies or stops, in batches."""
    if not trials:
        return Outcome(0, [], "nothing was run")
    with Rig(folder) as rig, PrefectServer(folder / "prefect") as prefect:
        site = rig.site("disturbed", **AS_SHIPPED, **prefect.environment)
        batches = _Batches(site, Reads(folder / "reads", site.settings), random.Random(seed), seed)
        batches.start()
        for first in range(0, trials, BATCH):
            batches.one(min(BATCH, trials - first))
        batches.end()
        failures = [*batches.failures, *invariants.check(site.house)]
        lags = sorted(batches.lags)
        p50, p99 = (lags[min(len(lags) - 1, int(part * len(lags)))] for part in (0.5, 0.99))
        failures += [f"{lag:.0f} s until a job was claimed again" for lag in lags if lag > P99]
        if p50 > P50:
            failures.append(f"p50 {p50:.0f} s until jobs were claimed again")
    conditions = (
        f"{site.database}, Prefect on SQLite, lease 60 s renewed every 15 s, {batches.killed} jobs of workers killed"
        f" with SIGKILL and {batches.stopped} of workers stopped with SIGSTOP (outside of a transaction) and continued"
        f" later, two jobs a worker, one standby worker on another host name with a place for each job;"
        f" claimed again after p50 {p50:.0f} s, p99 {p99:.0f} s"
    )
    return Outcome(len(lags), failures, conditions)


@dataclass
class _Batches:
    """Workers that hold jobs, and one that takes over."""

    site: Site
    reads: Reads
    dice: random.Random
    sample: int
    lags: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    killed: int = 0
    stopped: int = 0
    _holders: dict[str, Process] = field(default_factory=dict)
    """Workers by the name under which they hold jobs."""
    _hosts: int = 0

    def start(self) -> None:
        """Start the workers; the one that stands by is up before the others are."""
        ready = self.site.folder / "standby-is-ready"
        self._standby = self._worker(
            "standby", READVAULT_READY_FILE=str(ready), READVAULT_WORKER__CONCURRENCY=str(BATCH)
        )
        until(ready.exists, "the worker that stands by is ready", PATIENCE)

    def one(self, count: int) -> None:
        """Let so many jobs lose their worker, and look how they go on."""
        self._refill()
        self._stop(self._standby)  # it takes no job before the others hold theirs
        names = [self._submit() for _ in range(count)]
        until(lambda: self._all_held(names), "all jobs are held", PATIENCE, 0.2)
        time.sleep(self.dice.uniform(0, RENEWED_EVERY))  # any moment between two renewals
        self._standby.send(signal.SIGCONT)
        time.sleep(1.0)
        stopped = self._hit(names)
        self._take_times(names, time.monotonic())
        until(lambda: all(self.site.is_done(name) for name in names), "all jobs are done", PATIENCE, 0.2)
        self._continue(stopped, names)

    def end(self) -> None:
        """Kill all that is left."""
        for process in (*self._holders.values(), self._standby):
            process.kill()

    def _worker(self, host: str, **environment: str) -> Process:
        return self.site.worker(host, "tests.faults.held:LocalRun", **environment)

    def _refill(self) -> None:
        self._holders = {name: process for name, process in self._holders.items() if process.alive}
        while len(self._holders) < HOLDERS:
            self._hosts += 1
            # A host name of its own: no worker that starts here may take over what another one left.
            process = self._worker(f"{ELSEWHERE}{self._hosts}")
            self._holders[f"{ELSEWHERE}{self._hosts}-{process.pid}"] = process

    def _submit(self) -> AccessionVersion:
        self.sample += 1
        return self.site.submit(self.sample, self.site.upload(*self.reads.pairs(self.sample)))

    def _all_held(self, names: Sequence[AccessionVersion]) -> bool:
        jobs = _jobs(self.site, names)
        wrong = [job for job in jobs if job.attempt > 1]
        assert not wrong, [(job.accession, job.attempt, job.last_error) for job in wrong]
        return all(job.state == JobState.RUNNING and job.lease_owner in self._holders for job in jobs)

    def _hit(self, names: Sequence[AccessionVersion]) -> list[str]:
        """Kill three in five of those that hold jobs and stop the others, all at once; who was stopped."""
        owners = [job.lease_owner for job in _jobs(self.site, names) if job.lease_owner is not None]
        order = sorted(set(owners))
        self.dice.shuffle(order)
        stopped = order[: len(order) * 2 // 5]
        for name in order:
            if name in stopped:
                self._stop(self._holders[name])
            else:
                self._holders[name].send(signal.SIGKILL)
        self.stopped += sum(owner in stopped for owner in owners)
        self.killed += sum(owner not in stopped for owner in owners)
        return stopped

    def _stop(self, process: Process) -> None:
        """Stop a process outside of its transactions: SQLite has one lock, and nobody could write any more."""
        process.send(signal.SIGSTOP)
        while not _can_be_written(self.site):
            process.send(signal.SIGCONT)
            time.sleep(0.05)
            process.send(signal.SIGSTOP)

    def _take_times(self, names: Sequence[AccessionVersion], since: float) -> None:
        again: dict[str, float] = {}
        while len(again) < len(names) and time.monotonic() - since < P99 + PATIENCE:
            for job in _jobs(self.site, names):
                if job.attempt > 1:
                    again.setdefault(job.id, time.monotonic() - since)
            time.sleep(0.1)
        self.lags += again.values()
        if len(again) < len(names):
            self.failures.append(f"{len(names) - len(again)} jobs were never claimed again")
        print(f"  claimed again after {' '.join(f'{lag:.0f}' for lag in sorted(again.values()))} s", flush=True)

    def _continue(self, stopped: Sequence[str], names: Sequence[AccessionVersion]) -> None:
        """Let the stopped ones go on with what is not theirs any more: nothing of it may be written."""
        before = _written(self.site, names)
        go_on = self.site.settings.scratch / held.GO_ON
        go_on.touch()
        for name in stopped:
            self._holders[name].send(signal.SIGCONT)
        mine = [self.site.settings.scratch / name for name in stopped]
        until(lambda: not any(any(place.glob("[!.]*")) for place in mine), "the stopped ones let go", PATIENCE, 0.1)
        go_on.unlink()
        if (after := _written(self.site, names)) != before:
            self.failures.append(f"a worker that had lost its jobs wrote: {before} became {after}"[:300])


def _can_be_written(site: Site) -> bool:
    if site.house.sessions.dialect != "sqlite":
        return True
    with closing(sqlite3.connect(site.settings.data_dir / "readvault.sqlite", timeout=1.0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.rollback()
    return True


def _jobs(site: Site, names: Sequence[AccessionVersion]) -> list[Job]:
    wanted = {(name.accession, name.version) for name in names}
    with site.house.sessions.read() as session:
        jobs = session.exec(select(Job).where(Job.kind == JobKind.PROCESS_SUBMISSION.value)).all()
    return [job for job in jobs if (job.accession, job.version) in wanted]


def _written(site: Site, names: Sequence[AccessionVersion]) -> list[tuple[object, ...]]:
    """All that a worker writes at the end of these jobs."""
    accessions = {name.accession for name in names}
    with site.house.sessions.read() as session:
        manifests = [row for row in session.exec(select(Manifest)).all() if row.accession in accessions]
    jobs = [(job.accession, job.state, job.attempt, job.finished_at, job.failures) for job in _jobs(site, names)]
    return sorted(jobs) + sorted((row.accession, row.id, row.digest, row.superseded_at is None) for row in manifests)


CAMPAIGN = Campaign(
    name="real_lease",
    promise="P7 A dead worker is noticed: its jobs go on within 150 s (p99), within 75 s as a rule (p50)",
    how="five workers that hold ten jobs are killed or stopped at once under a real Prefect, with the default lease;"
    " the time until another worker has claimed each job, and no write of a stopped worker that goes on afterwards",
    full=100,
    run=run,
    unit="jobs of dead workers",
    part=20,
    tiny=0,
)
