"""Prefect is away for ten minutes and comes back with an empty database, while people submit."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlmodel import select

from readvault.adapters.ports import reserve_port
from readvault.db.tables import Job, Manifest
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.services.people import accounts
from tests.faults import invariants
from tests.faults.campaign import Campaign, Outcome
from tests.faults.lab_over_http import Lab
from tests.faults.prefect_server import AS_SHIPPED, PrefectServer
from tests.faults.rig import LAB, ORGANISM, Reads, Rig, Site, until

OUTAGE = float(os.environ.get("FAULTS_OUTAGE_SECONDS", "600"))
EARLY = 8
"""One in so many jobs is delivered before Prefect goes away."""
LAG = 60.0
"""Seconds after Prefect answers again within which all jobs are delivered to it and the first ones are begun."""
SECONDS_PER_JOB = 6.0
"""How long the last job may take for each job in the queue."""
PASSWORD = "a password of a test"


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """`trials` jobs, most of them submitted while Prefect is away."""
    if not trials:
        return Outcome(0, [], "nothing was run")
    with Rig(folder) as rig, PrefectServer(folder / "prefect") as prefect:
        site = rig.site("disturbed", **AS_SHIPPED, **prefect.environment)
        accounts.create_account(site.house, LAB.name, PASSWORD, [])
        port, ready = reserve_port(), folder / "worker-is-ready"
        processes = [site.api(port), site.worker(READVAULT_READY_FILE=str(ready))]
        until(lambda: _answers(port), "the API answers")
        until(ready.exists, "the worker is ready")
        person = _Person(site, port, Reads(folder / "reads", site.settings))
        early = [person.submit(seed + number) for number in range(max(1, trials // EARLY))]
        until(lambda: any(job.attempt for job in _jobs(site, early)), "the first job is begun")
        prefect.kill()
        names = early + _submitted_meanwhile(person, seed + len(early), trials - len(early))
        prefect.wipe()
        waiting = [job.id for job in _jobs(site, names) if job.state == JobState.QUEUED]
        prefect.start()
        drain = _watch(site, names, waiting)
        failures = [*person.failures, *drain.failures(), *_judged(site, names)]
        failures += invariants.check(site.house, open_jobs=bool(drain.open))
        for process in processes:
            process.kill()
    return Outcome(
        trials, failures, f"{site.database}, Prefect on SQLite {drain}, slowest submit {person.slowest:.1f} s"
    )


@dataclass
class _Person:
    """Somebody who submits over HTTP and wants each answer at once."""

    site: Site
    port: int
    reads: Reads
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._lab = Lab(f"http://127.0.0.1:{self.port}", LAB.name, PASSWORD)

    def submit(self, number: int) -> AccessionVersion:
        """One entry with two files of fifty reads each."""
        cell = self._lab.upload(self.site.group, f"upload-{number}", self.reads.pairs(number))
        metadata = f"id\tdate\tcountry\tfiles.rawReads\nsample-{number}\t2026-01-02\tSwitzerland\t{cell}\n"
        form = {"groupId": str(self.site.group), "dataUseTermsType": "OPEN"}
        files = {"metadataFile": ("metadata.tsv", metadata)}
        before, begun = self._lab.repeated, time.monotonic()
        [answer] = self._lab.ask("POST", f"/{ORGANISM}/submit", f"submit-{number}", data=form, files=files)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if self._lab.repeated > before:
            self.failures.append(f"submission {number} was not answered at the first try")
        return AccessionVersion(answer["accession"], answer["version"])


@dataclass
class _Drain:
    """When the jobs that waited for Prefect were delivered to it, begun and done; seconds since it answers."""

    waiting: Sequence[str]
    delivered: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    last_done: float = 0.0
    open: int = 0

    def failures(self) -> list[str]:
        """What took too long."""
        found = [f"{self.open} jobs never ended"] if self.open else []
        late = sum(self.delivered.get(job, LAG + 1) > LAG for job in self.waiting)
        if late:
            found.append(f"{late} of {len(self.waiting)} jobs were not delivered within {LAG:.0f} s")
        if min(self.begun.values(), default=LAG + 1) > LAG:
            found.append(f"no job was begun within {LAG:.0f} s")
        return found

    def __str__(self) -> str:
        delivered, begun = sorted(self.delivered.values()), sorted(self.begun.values())
        told = f"killed for {OUTAGE:.0f} s, then with an empty database; {len(self.waiting)} jobs waited"
        if not (delivered and begun):
            return told
        return (
            f"{told}; since it answers again: delivered p50 {_share(delivered, 0.5):.0f} s, p99"
            f" {_share(delivered, 0.99):.0f} s; begun first {begun[0]:.0f} s, p50 {_share(begun, 0.5):.0f} s, p99"
            f" {_share(begun, 0.99):.0f} s; all done {self.last_done:.0f} s (two cores, busy with other tests)"
        )


def _share(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _submitted_meanwhile(person: _Person, first: int, count: int) -> list[AccessionVersion]:
    """Submit evenly over the outage, and wait for its end."""
    begun, names = time.monotonic(), []
    for number in range(count):
        time.sleep(max(0.0, begun + OUTAGE * number / count - time.monotonic()))
        names.append(person.submit(first + number))
    time.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
    return names


def _watch(site: Site, names: Sequence[AccessionVersion], waiting: Sequence[str]) -> _Drain:
    """Look on until all are done, or it takes too long."""
    drain, since = _Drain(waiting), time.monotonic()
    before = {job.id: job.deliveries for job in _jobs(site, names)}
    while True:
        jobs, at = _jobs(site, names), time.monotonic() - since
        for job in jobs:
            if job.id not in waiting:
                continue
            if job.attempt or (job.run_id is not None and job.deliveries > before[job.id]):
                drain.delivered.setdefault(job.id, at)
            if job.attempt:
                drain.begun.setdefault(job.id, at)
        drain.last_done, drain.open = at, sum(job.state in invariants.OPEN for job in jobs)
        if not drain.open or at > LAG + SECONDS_PER_JOB * len(names):
            return drain
        time.sleep(0.2)


def _jobs(site: Site, names: Sequence[AccessionVersion]) -> list[Job]:
    wanted = {(name.accession, name.version) for name in names}
    with site.house.sessions.read() as session:
        jobs = session.exec(select(Job).where(Job.kind == JobKind.PROCESS_SUBMISSION.value)).all()
    return [job for job in jobs if (job.accession, job.version) in wanted]


def _judged(site: Site, names: Sequence[AccessionVersion]) -> list[str]:
    """Each is done by one job, without a failure, with one manifest."""
    jobs = _jobs(site, names)
    failures = [
        f"{job.accession}: {job.state}, {job.failures} failures, {job.last_error}"
        for job in jobs
        if job.state != JobState.DONE or job.failures
    ]
    if len(jobs) != len(names):
        failures.append(f"{len(names)} submissions have {len(jobs)} jobs")
    with site.house.sessions.read() as session:
        made = [AccessionVersion(row.accession, row.version) for row in session.exec(select(Manifest)).all()]
    failures += [f"{name} has {made.count(name)} manifests" for name in names if made.count(name) != 1]
    return failures


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").is_success
    except httpx.TransportError:
        return False


CAMPAIGN = Campaign(
    name="prefect_outage",
    promise="P6 A submission that was answered is processed, whatever becomes of Prefect",
    how="Prefect's server, as `readvault up` starts it (`readvault.adapters.prefect_server`), is killed with jobs under"
    " way, people submit for ten minutes, it comes back with an empty database; every submission"
    " is answered at the first try, delivered within 60 s of its return and done once",
    full=400,
    run=run,
    unit="jobs",
    part=80,
    tiny=0,
)
