"""How many submissions an hour: `python -m benchmarks.throughput` (`make bench-throughput`).

A whole stack is started with `readvault up`. Files are uploaded first; then every submission is a
request of its own, and the clock runs from the first request to the last version that is PROCESSED.
Afterwards Prefect is asked whether each submission is a completed flow run under its name.
CPU seconds are those between the first submit and the end, uploads not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from sqlmodel import col, func, select

from benchmarks import process_usage
from readvault import bootstrap
from readvault.adapters.inline_orchestrator import NoOrchestrator
from readvault.db.tables import Job, Manifest
from readvault.domain.status import JobState
from readvault.reads.simulate import simulation
from readvault.services.house import House
from tests import postgres_server
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack

SAMPLED_EVERY = 0.5
EARLY = 50
"""After so many results the memory is compared with that at the end."""
SECONDS_EACH = 60.0
"""How long a submission may take on average before the benchmark gives up."""
AIMS = {"sqlite": 2400, "postgresql": 4000}
PARTS = ("worker", "prefect", "api", "s3")


@dataclass
class Figures:
    """What one run took. CPU is in seconds a submission, memory in bytes."""

    submissions: int
    pairs: int
    concurrency: int
    prefect_database: str
    seconds: float = 0.0
    per_hour: float = 0.0
    submitting_seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    memory_early: int = 0
    memory_end: int = 0
    memory_peak: int = 0
    flow_runs_completed: int = 0
    flow_runs_missing: int = 0
    flow_runs_to_a_submission: float = 0.0
    locked_lines: int = 0
    failures: int = 0
    load: tuple[float, float] = (0.0, 0.0)


def main() -> None:
    """Run, print a table and a line of JSON; fail when a submission or its flow run is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--submissions", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=1000, help="of each submission")
    parser.add_argument("--length", type=int, default=150, help="of a read")
    parser.add_argument("--concurrency", type=int, default=None, help="jobs at once; by default what readvault has")
    parser.add_argument("--postgres", action="store_true", help="Prefect keeps its database on PostgreSQL")
    parser.add_argument("--batch", type=int, default=1, help="rows in a submit request")
    parser.add_argument("--keep", type=Path, default=None, help="keep the stack's directory here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readvault-throughput-") as place, _database(chosen.postgres) as extra:
        folder = chosen.keep.absolute() if chosen.keep else Path(place)
        if chosen.concurrency is not None:
            extra["READVAULT_WORKER__CONCURRENCY"] = str(chosen.concurrency)
        stack = Stack(folder / "stack", prefect=PrefectDatabase(folder / "prefect-made"), environment=extra)
        stack.start()
        try:
            figures = _measure(stack, folder, chosen)
        finally:
            stack.stop()
        log = (folder / "stack/logs/prefect.log").read_text(errors="replace").splitlines()
        figures.locked_lines = sum("database is locked" in line for line in log)
    print(_table(figures))
    print(json.dumps(asdict(figures)))
    if figures.failures or figures.flow_runs_missing:
        sys.exit("not every submission was processed, or seen in Prefect")


@contextmanager
def _database(postgres: bool) -> Iterator[dict[str, str]]:
    """The environment that says where Prefect keeps its database."""
    if not postgres:
        yield {}
        return
    with postgres_server.server() as url:
        yield {"READVAULT_PREFECT__SERVER_DATABASE_URL": url.replace("+psycopg", "+asyncpg")}


def _measure(stack: Stack, folder: Path, chosen: Any) -> Figures:
    house = bootstrap.house(stack.settings, NoOrchestrator())
    figures = Figures(
        chosen.submissions,
        chosen.pairs,
        chosen.concurrency or house.settings.worker.concurrency,
        "postgresql" if chosen.postgres else "sqlite",
    )
    lab = stack.lab()
    _warm_up(stack, lab, folder, chosen.length)
    print(f"simulating and uploading {chosen.submissions} x {chosen.pairs} pairs", flush=True)
    cells = _uploaded(stack, lab, folder / "reads", chosen)
    pids: dict[str, int] = {name: stack.addresses["pids"][name] for name in PARTS}
    before = {name: process_usage.cpu(process_usage.family(pid)) for name, pid in pids.items()}
    load, begun = os.getloadavg()[0], time.time()
    done_before = _processed(house)
    watch = _Watch(house, pids["worker"], done_before)
    watch.start()
    names: list[tuple[str, int]] = []
    for at in range(0, len(cells), chosen.batch):
        names += lab.submit(*cells[at : at + chosen.batch])
    figures.submitting_seconds = time.time() - begun
    _wait(house, len(names), done_before, SECONDS_EACH * len(names))
    watch.stop()
    figures.cpu = {
        name: (process_usage.cpu(process_usage.family(pid)) - before[name]) / len(names) for name, pid in pids.items()
    }
    figures.seconds = _last_result(house) - begun
    figures.per_hour = len(names) / figures.seconds * 3600
    figures.memory_early, figures.memory_end, figures.memory_peak = watch.memory(len(names))
    figures.load = (load, os.getloadavg()[0])
    figures.failures = _failed(house) + len(names) - (_processed(house) - done_before)
    _ask_prefect(stack, names, figures)
    house.sessions.close()
    return figures


def _warm_up(stack: Stack, lab: Lab, folder: Path, length: int) -> None:
    """One submission from end to end, so that everything is loaded when the clock starts."""
    cell = lab.upload(*_simulated(stack, folder / "warm", 100, length, 10**6))
    [name] = lab.submit(cell)
    lab.processed(*name)


def _uploaded(stack: Stack, lab: Lab, folder: Path, chosen: Any) -> list[str]:
    def one(number: int) -> str:
        files = _simulated(stack, folder / f"{number}", chosen.pairs, chosen.length, number)
        cell = lab.upload(*files)
        for path in files:
            path.unlink()
        return cell

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(one, range(chosen.submissions)))


def _simulated(stack: Stack, folder: Path, pairs: int, length: int, seed: int) -> tuple[Path, Path]:
    (reference,) = stack.organism().candidates
    made = simulation.simulate(
        reference.fasta, folder, pairs=pairs, length=length, seed=seed, substitutions=20, insertions=2, deletions=2
    )
    assert made.r2 is not None
    return made.r1, made.r2


class _Watch(threading.Thread):
    """Looks at the worker's memory while it works."""

    def __init__(self, house: House, worker: int, done_before: int) -> None:
        super().__init__(daemon=True)
        self._house, self._worker, self._before = house, worker, done_before
        self._over = threading.Event()
        self._samples: list[tuple[int, int]] = []
        self._peak = 0

    def run(self) -> None:
        while not self._over.wait(SAMPLED_EVERY):
            done = _processed(self._house) - self._before
            self._samples.append((done, process_usage.memory(process_usage.lasting(self._worker))))
            self._peak = max(self._peak, process_usage.memory(process_usage.family(self._worker)))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def memory(self, submissions: int) -> tuple[int, int, int]:
        """Of worker and nursery around the early result and around the last ones, and of all with jobs at its most."""
        spread = max(10, submissions // 20)
        early = [size for done, size in self._samples if abs(done - min(EARLY, submissions // 2)) <= spread] or [0]
        end = [size for done, size in self._samples if done >= submissions - spread] or [0]
        return int(median(early)), int(median(end)), self._peak


def _wait(house: House, submissions: int, done_before: int, seconds: float) -> None:
    end, told = time.monotonic() + seconds, time.monotonic()
    while (done := _processed(house) - done_before) < submissions and time.monotonic() < end:
        if _failed(house):
            return
        if time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"{done} of {submissions} are processed", flush=True)
        time.sleep(0.3)


def _processed(house: House) -> int:
    with house.sessions.read() as session:
        return session.exec(select(func.count()).select_from(Manifest)).one()


def _failed(house: House) -> int:
    with house.sessions.read() as session:
        stuck = select(func.count()).select_from(Job).where(col(Job.state) == JobState.NEEDS_ATTENTION.value)
        return session.exec(stuck).one()


def _last_result(house: House) -> float:
    with house.sessions.read() as session:
        return session.exec(select(func.max(col(Manifest.created_at)))).one() or 0.0


def _ask_prefect(stack: Stack, names: list[tuple[str, int]], figures: Figures) -> None:
    """How many submissions are a completed flow run; the last ones may need a moment to end."""
    wanted = {f"{accession}.{version}" for accession, version in names}
    user, _, password = stack.addresses["prefectAuth"].partition(":")
    with httpx.Client(base_url=stack.addresses["prefectApi"], auth=(user, password), timeout=30) as prefect:
        end = time.monotonic() + 60
        while True:
            runs = list(_flow_runs(prefect))
            completed = {run["name"] for run in runs if run["state_type"] == "COMPLETED"} & wanted
            if completed == wanted or time.monotonic() > end:
                break
            time.sleep(1)
    figures.flow_runs_completed, figures.flow_runs_missing = len(completed), len(wanted - completed)
    figures.flow_runs_to_a_submission = sum(run["name"] in wanted for run in runs) / len(wanted)


def _flow_runs(prefect: httpx.Client) -> Iterator[dict[str, Any]]:
    flows = {"name": {"any_": ["process-submission"]}}
    for offset in range(0, 10**6, 200):
        query = {"flows": flows, "sort": "ID_DESC", "limit": 200, "offset": offset}
        page = prefect.post("/flow_runs/filter", json=query).raise_for_status().json()
        yield from page
        if len(page) < 200:
            return


def _table(figures: Figures) -> str:
    cpu, early = figures.cpu, min(EARLY, figures.submissions // 2)
    rows = [
        ("submissions an hour", f"{figures.per_hour:,.0f}   (aim {AIMS[figures.prefect_database]:,})"),
        ("wall time", f"{figures.seconds:.1f} s, of which submitting {figures.submitting_seconds:.1f} s"),
        ("completed flow runs", f"{figures.flow_runs_completed} of {figures.submissions}"),
        ("flow runs a submission", f"{figures.flow_runs_to_a_submission:.3f}"),
        *((f"CPU a submission, {name}", f"{cpu[name]:.3f} s ({cpu[name] / sum(cpu.values()):.0%})") for name in PARTS),
        ("memory of worker and nursery", f"{figures.memory_early / 1e6:.0f} MB at the {early}th,"
         f" {figures.memory_end / 1e6:.0f} MB at the last; {figures.memory_peak / 1e6:.0f} MB with jobs at most"),
        ("'database is locked' in Prefect's log", f"{figures.locked_lines} lines"),
        ("failures", str(figures.failures)),
        ("load average", f"{figures.load[0]:.1f} before, {figures.load[1]:.1f} after, {os.cpu_count()} cores"),
    ]  # fmt: skip
    head = (
        f"{figures.submissions} submissions of {figures.pairs} pairs, {figures.concurrency} at once,"
        f" Prefect on {figures.prefect_database}"
    )
    return "\n".join([head, *(f"  {what:<38} {value}" for what, value in rows)])


if __name__ == "__main__":
    main()
