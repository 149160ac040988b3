"""One delivery done several times at once, and workers that wake up after another has done their job."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlmodel import SQLModel, col, select

from readvault import failpoints
from readvault.db.tables import AuditEntry, Job
from readvault.domain.errors import LeaseLost
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery
from readvault.services import housekeeping
from readvault.services.house import House
from readvault.services.queue.lease import Lease
from readvault.services.review.approval import Scope, approve
from tests.faults.campaign import Outcome
from tests.faults.fake_pipeline import worker
from tests.faults.forge import Forge
from tests.faults.ground import LEASE, FailPoints, Ground, ground, of_scenes
from tests.faults.invariants import check
from tests.houses import ALICE
from tests.integration.services.scenes import ORGANISM, entry, group, manifests
from tests.postgres_server import available

IN_PROCESSING = (
    "worker-claimed",
    "worker-fetch",
    "hashes-after-commit",
    "worker-validate",
    "worker-check",
    "worker-stage",
    "stage-between-files",
    "worker-register",
    "register-document-written",
    "register-before-commit",
)
IN_RELEASE = (
    "release-before-verify",
    "release-verified",
    "release-between-locks",
    "release-before-record",
    "release-after-record",
)
SLEEPS = (*IN_PROCESSING, *IN_RELEASE)
ZOMBIES = 5
"""Workers that are stopped side by side."""
LEFT = "LeaseLost"
FORGES = 3


def _work(url: str, folder: str, job_id: str, kind: str, name: str, word: str = "", stops: bool = False) -> str:
    """In a process of its own: do what was delivered; how it ended."""
    if stops:
        _stop_at_fail_points()
    house = Ground(url, Path(folder)).house()
    try:
        worker(house, name, word).run(Delivery(job_id, 1, kind, "a job"))
    except LeaseLost:
        return LEFT
    return "done"


def _stop_at_fail_points() -> None:
    """Fail points stop this process with all its threads, instead of killing it.

    Never in the middle of a renewal: a writer that is stopped inside its transaction keeps a SQLite
    database for itself, and a row of PostgreSQL.
    """
    renewing = threading.Lock()
    renew = Lease._renew

    def guarded(lease: Lease) -> Any:
        with renewing:
            return renew(lease)

    def stop(pid: int, _: int) -> None:
        with renewing:
            os.kill(pid, signal.SIGSTOP)

    Lease._renew = guarded  # type: ignore[method-assign]
    failpoints.os = SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=stop)  # type: ignore[assignment]


OPERATIONS = {"work": _work}


def duplicates(trials: int, seed: int, folder: Path) -> Outcome:
    """So many deliveries, each done two to ten times at once, by threads or (every fifth) by processes."""
    chance = random.Random(seed)
    database = _database(seed)
    failures: list[str] = []
    with ground(folder, database) as there, ExitStack() as stack:
        house = there.house()
        group_id = group(house, ALICE.name)
        workers = [worker(there.house(), f"worker-{number}") for number in range(10)]
        forges = [stack.enter_context(Forge("tests.faults.deliveries")) for _ in range(FORGES)] if trials > 4 else []
        for number in range(trials):
            name, job_id = entry(house, group_id, files=(f"reads {seed} {number}".encode(),))
            if forges and number % 5 == 4:
                for place, forge in enumerate(forges):
                    forge.start("work", **_order(there, job_id, f"forged-{place}"))
                ends = [forge.ended() for forge in forges]
                failures += [f"{name}: a worker ended with {end}" for end in ends if end != (0, "done")]
            else:
                failures += _at_once(workers[: chance.randint(2, 10)], job_id)
            if number % 2:  # and once more, late
                workers[0].run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION, "a job"))
            failures += _done_once(house, name, job_id)
        failures += of_scenes(check(house))
    how = "threads, every fifth by processes" if trials > 4 else "threads"
    return Outcome(trials, failures, f"{database}, lease {LEASE:.0f} s, local steps made up, {how}")


def _order(there: Ground, job_id: str, name: str, **more: Any) -> dict[str, Any]:
    kind = JobKind.PROCESS_SUBMISSION.value
    return {"url": there.url, "folder": str(there.folder), "job_id": job_id, "kind": kind, "name": name, **more}


def _at_once(workers: list[Any], job_id: str) -> list[str]:
    start = threading.Barrier(len(workers))
    faults: list[str] = []

    def run(one: Any) -> None:
        start.wait(30)
        try:
            one.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION, "a job"))
        except Exception as fault:
            faults.append(f"{job_id}: {type(fault).__name__} {fault}"[:300])

    threads = [threading.Thread(target=run, args=(one,)) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return faults


def _done_once(house: House, name: AccessionVersion, job_id: str) -> list[str]:
    with house.sessions.read() as session:
        job = session.get_one(Job, job_id)
        written = session.exec(
            select(AuditEntry.id).where(AuditEntry.action == "register", AuditEntry.subject == str(name))
        ).all()
    found = (job.state, job.attempt, len(manifests(house, name)), len(written))
    return [] if found == (JobState.DONE, 1, 1, 1) else [f"{name}: state, attempts, manifests, registrations {found}"]


def zombies(trials: int, seed: int, folder: Path) -> Outcome:
    """So many workers stopped at a point of their job until another has done it, and then woken."""
    database = _database(seed)
    failures: list[str] = []
    with ground(folder, database) as there, ExitStack() as stack:
        house = there.house()
        group_id = group(house, ALICE.name)
        points = [FailPoints(folder / f"points-{number}") for number in range(min(ZOMBIES, trials))]
        forges = [stack.enter_context(Forge("tests.faults.deliveries", each)) for each in points]
        done = 0
        while done < trials:
            several = min(len(forges), trials - done)
            asleep = [SLEEPS[(seed + 7 * (done + n)) % len(SLEEPS)] for n in range(several)]
            failures += _wake_late(there, house, group_id, forges, points, asleep, seed + done)
            done += several
        failures += of_scenes(check(house))
    conditions = f"{database}, lease {LEASE:.0f} s, local steps made up, SIGSTOP of a worker's process"
    return Outcome(trials, failures, conditions)


def _wake_late(
    there: Ground,
    house: House,
    group_id: int,
    forges: list[Forge],
    points: list[FailPoints],
    asleep: list[str],
    number: int,
) -> list[str]:
    failures = []
    names, kinds, job_ids = [], [], []
    second = worker(house, "second", "second")
    for place, point in enumerate(asleep):
        name, job_id = entry(house, group_id, files=(f"reads {number} {place}".encode(),))
        kind = JobKind.PROCESS_SUBMISSION
        if point in IN_RELEASE:
            second.run(Delivery(job_id, 1, kind, "a job"))
            digest = manifests(house, name)[0].digest
            approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
            kind = JobKind.RELEASE
            with house.sessions.read() as session:
                job_id = session.exec(select(Job.id).where(Job.accession == name.accession, Job.kind == kind)).one()
        points[place].arm(point)
        order = _order(there, job_id, f"zombie-{place}", word=f"zombie {place % 2}", stops=True)
        forges[place].start("work", **(order | {"kind": kind.value}))
        names.append(name)
        kinds.append(kind)
        job_ids.append(job_id)
    for place, point in enumerate(asleep):
        if not _is_stopped(forges[place]):
            failures.append(f"{point}: nobody was stopped there")
    time.sleep(LEASE + 0.1)
    housekeeping.reap(house)
    for job_id, kind in zip(job_ids, kinds, strict=True):
        second.run(Delivery(job_id, 2, kind, "a job"))
    with house.sessions.read() as session:
        undone = session.exec(select(Job.id).where(col(Job.id).in_(job_ids), Job.state != JobState.DONE)).all()
    failures += [f"job {each} was not done by the second worker" for each in undone]
    before, lying = _rows(house), _lying(house)
    for forge in forges[: len(asleep)]:
        os.kill(forge.pid, signal.SIGCONT)
    ends = [forge.ended() for forge in forges[: len(asleep)]]
    failures += [f"{p}: it ended with {end}" for p, end in zip(asleep, ends, strict=True) if end != (0, LEFT)]
    failures += [f"{asleep}: rows of {table} changed" for table, rows in _rows(house).items() if rows != before[table]]
    after = _lying(house)
    failures += [f"{asleep}: {key} changed" for key, versions in lying.items() if after.get(key) != versions]
    mine = {f"records/{name.accession}/" for name in names}
    late = [key for key in after.keys() - lying.keys() if any(key.startswith(prefix) for prefix in mine)]
    return failures + [f"{asleep}: a late record {key}" for key in late]


def _is_stopped(forge: Forge) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end and forge.is_running:
        state = Path(f"/proc/{forge.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "T":
            return True
        time.sleep(0.01)
    return False


def _rows(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the database."""
    with house.sessions.read() as session:
        return {
            name: sorted((tuple(row) for row in session.connection().execute(table.select())), key=repr)
            for name, table in SQLModel.metadata.tables.items()
        }


def _lying(house: House) -> dict[str, list[str | None]]:
    """The versions under each key of the bucket."""
    found: dict[str, list[str | None]] = {}
    for stored in house.store.list_versions(""):
        found.setdefault(stored.key, []).append(stored.version_id)
    return found


def _database(seed: int) -> str:
    """SQLite and PostgreSQL in turns, where there is one."""
    return "postgresql" if seed // 25 % 2 and available() else "sqlite"
