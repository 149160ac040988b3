"""The same flow in a process of Prefect's own worker, which knows nothing of readvault: for huge jobs.

It takes two minutes: READVAULT_LONG=1 runs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from readvault.reads.simulate import simulation
from tests.prefect_database import PrefectDatabase
from tests.stack import Stack, new_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("READVAULT_LONG" not in os.environ, reason="takes two minutes; set READVAULT_LONG=1"),
]

POOL = "stock"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def stack(prefect_database: PrefectDatabase, tmp_path: Path) -> Iterator[Stack]:
    """A stack for which every job is huge."""
    environment = {
        **new_database(),
        "READVAULT_PREFECT__HUGE_WORK_POOL": POOL,
        "READVAULT_PREFECT__REGISTER_EVERY": "2",
        "READVAULT_WORKER__HUGE_BYTES": "1",
        "READVAULT_WORKER__PENDING_LIMIT": "900",  # a busy machine takes a minute to start a run's process
    }
    running = Stack(tmp_path / "stack", prefect=prefect_database, environment=environment)
    running.start()
    yield running
    running.stop()


def _environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _until[T](found: Callable[[], T], within: float = 120) -> T:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"nothing came within {within} s")


def test_a_stock_process_worker_does_a_huge_job(stack: Stack, tmp_path: Path) -> None:
    ours = _environment_of(stack.addresses["pids"]["worker"])
    user, _, password = ours["READVAULT_PREFECT__AUTH_STRING"].partition(":")
    prefect = httpx.Client(base_url=ours["READVAULT_PREFECT__API_URL"].rstrip("/") + "/", auth=(user, password))
    prefect.post("work_pools/", json={"name": POOL, "type": "process", "base_job_template": {}}).raise_for_status()
    deployment = _until(lambda: _found(prefect, "deployments/name/process-submission/huge"))
    assert deployment["work_pool_name"] == POOL
    home = tmp_path / "home"
    home.mkdir()
    environment = ours | {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": ours["READVAULT_PREFECT__API_URL"],
        "PREFECT_API_AUTH_STRING": ours["READVAULT_PREFECT__AUTH_STRING"],
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    sample = simulation.simulate(stack.organism().reference.fasta, tmp_path, pairs=500, length=150, seed=5)
    assert sample.r2 is not None
    lab = stack.lab()
    [name] = lab.submit(lab.upload(sample.r1, sample.r2))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        assert lab.processed(*name, seconds=900)["status"] == "PROCESSED", (tmp_path / "worker.log").read_text()
        runs = _until(lambda: _ended(prefect, deployment["id"]))
        assert [(run["state"]["type"], run["work_pool_name"]) for run in runs] == [("COMPLETED", POOL)]
        _until(lambda: not _below(worker.pid))
        scratch = stack.data_dir / "scratch"
        mark = f"-{stack.addresses['pids']['worker']}"
        left = [each.name for each in scratch.iterdir() if not each.name.endswith(mark)]
        assert not left, "the run's own worker house has ended, and its scratch with it"
    finally:
        worker.terminate()
        try:
            worker.wait(120)
        finally:
            worker.kill()


def _found(prefect: httpx.Client, path: str) -> dict[str, Any] | None:
    answer = prefect.get(path)
    found: dict[str, Any] = answer.json()
    return found if answer.is_success else None


def _ended(prefect: httpx.Client, deployment: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = prefect.post(
        "flow_runs/filter", json={"deployments": {"id": {"any_": [deployment]}}}
    ).json()
    return [run for run in runs if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")]


def _below(pid: int) -> list[str]:
    """The processes below this one."""
    return [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
