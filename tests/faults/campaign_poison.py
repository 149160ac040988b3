"""One file that kills its child each time among many good ones, while the workers are restarted five times."""

from __future__ import annotations

import gzip
import random
import signal
import time
from pathlib import Path

from sqlmodel import select

from readvault.db.tables import Job
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from tests.faults import invariants, poison
from tests.faults.campaign import Campaign, Outcome
from tests.faults.rig import Process, Reads, Rig, Site, until

RESTARTS = 5
ATTEMPTS = 3
SECONDS_PER_JOB = 6.0
"""After which a job that is not done counts as stuck."""


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """`trials` good jobs with two poisonous ones among them."""
    with Rig(folder) as rig:
        site = rig.site("poisoned", READVAULT_WORKER__MEMORY_LIMIT="600000000")
        reads = Reads(folder / "reads", site.settings)
        dice = random.Random(seed)
        good, bad = _submitted(site, reads, trials, dice)
        restarts = min(RESTARTS, max(1, trials // 3))
        left = _restarted_while_it_works(site, [*good, *bad], restarts, dice)
        failures = [*_judged(site, good, bad), *(f"{name} never ended" for name in left)]
        failures += invariants.check(site.house, open_jobs=bool(left))
        conditions = (
            f"{site.database}, inline orchestrator, two jobs at once, among them one file that aborts its child and one"
            f" that takes all memory, {restarts} restarts of the worker (SIGTERM and SIGKILL in turn)"
        )
    return Outcome(trials, failures, conditions)


def _submitted(
    site: Site, reads: Reads, trials: int, dice: random.Random
) -> tuple[list[AccessionVersion], list[AccessionVersion]]:
    good: list[AccessionVersion] = []
    bad: list[AccessionVersion] = []
    places = dice.sample(range(trials + 2), 2)
    for number in range(trials + 2):
        bodies = reads.pairs(number)
        if number in places:
            mark = (poison.ABORTS, poison.DEVOURS)[places.index(number)]
            bodies = [gzip.compress(b"%s_%s" % (mark, gzip.decompress(body)[1:]), mtime=0) for body in bodies]
        name = site.submit(number, site.upload(*bodies))
        (bad if number in places else good).append(name)
    return good, bad


def _restarted_while_it_works(
    site: Site, names: list[AccessionVersion], restarts: int, dice: random.Random
) -> list[AccessionVersion]:
    """Let workers do all jobs, each stopped after its share; what didn't end."""
    worker = _worker(site)
    end = time.monotonic() + 30 + SECONDS_PER_JOB * len(names)
    for number in range(1, restarts + 1):
        share = len(names) * number // (restarts + 1)
        until(lambda share=share: _ended(site) >= share, f"{share} jobs", end - time.monotonic(), 0.05)  # type: ignore[misc]
        time.sleep(dice.random() * 0.5)  # somewhere in its work
        worker.send(signal.SIGTERM if number % 2 else signal.SIGKILL)
        assert worker.ended(60), "a worker that was asked to stop does not stop"
        worker = _worker(site)
    while _ended(site) < len(names) and time.monotonic() < end:
        time.sleep(0.1)
    worker.send(signal.SIGTERM)
    worker.ended(60)
    return [name for name in names if (job := site.job(name)) is None or job.state in invariants.OPEN]


def _worker(site: Site) -> Process:
    return site.worker(local_run="tests.faults.poison:LocalRun")


def _ended(site: Site) -> int:
    ended = (JobState.DONE.value, JobState.NEEDS_ATTENTION.value)
    with site.house.sessions.read() as session:
        states = session.exec(select(Job.state).where(Job.kind == JobKind.PROCESS_SUBMISSION.value))
        return sum(state in ended for state in states)


def _judged(site: Site, good: list[AccessionVersion], bad: list[AccessionVersion]) -> list[str]:
    failures = []
    for name in good:
        job = site.job(name)
        assert job is not None
        if job.state == JobState.NEEDS_ATTENTION or job.failures:
            failures.append(f"good {name}: {job.state}, {job.failures} failures, {job.last_error}")
    causes = []
    for name in bad:
        job = site.job(name)
        assert job is not None
        causes.append(job.last_error or "")
        if (job.state, job.failures) != (JobState.NEEDS_ATTENTION, ATTEMPTS):
            failures.append(f"poison {name}: {job.state} after {job.failures} failures, {job.last_error}")
    for wanted in ("SIGABRT", "memory limit"):
        if not any(wanted in cause for cause in causes):
            failures.append(f"no poisonous job says {wanted}: {causes}")
    return failures


CAMPAIGN = Campaign(
    name="poison",
    promise="P11 One bad file never takes its neighbours down",
    how="files that kill their child each time among good ones, with rolling restarts of the worker; no good job"
    " fails or needs attention, the poisonous ones need it after three attempts",
    full=200,
    run=run,
    unit="good jobs",
    part=200,
    tiny=4,
)
