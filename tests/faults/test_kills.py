"""Whatever is killed, wherever: the job ends PROCESSED with the manifest of an undisturbed, fresh stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from readvault import demo_organism
from readvault.failpoints import VARIABLE
from readvault.pipeline import LOCAL, STEPS
from readvault.reads.simulate import simulation
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack, new_database

EVERY_FAIL_POINT = [
    "worker-claimed",
    *(f"worker-{step}" for step in STEPS),
    *(f"child-{step}" for step in LOCAL),
    "stage-between-files",
    "register-before-commit",
    "register-after-commit",
]
ONE_OF_EACH_CLASS = [
    "worker-claimed",
    "worker-align",
    "child-dehumanize",
    "stage-between-files",
    "register-before-commit",
    "register-after-commit",
]
REPEATS = int(os.environ.get("READVAULT_FAULT_REPEATS", "0"))
FAIL_POINTS = EVERY_FAIL_POINT * REPEATS or ONE_OF_EACH_CLASS
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 + 600 * REPEATS)]
ENVIRONMENT = {
    "READVAULT_WORKER__RETRY_AFTER": "[0.2]",
    "READVAULT_WORKER__LEASE": "4",
    "READVAULT_WORKER__RENEW_EVERY": "1",
    "READVAULT_WORKER__DISPATCH_EVERY": "0.3",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("reads")
    host = place / "host.fasta"
    simulation.synthetic_host(host, length=demo_organism.HOST_LENGTH, seed=demo_organism.SEED)
    simulated = simulation.simulate(
        Path("deployments/references/NC_045512.2.fasta"),
        place,
        pairs=1500,
        length=150,
        seed=3,
        substitutions=5,
        host=host,
        host_pairs=50,
    )
    assert simulated.r2 is not None
    return [simulated.r1, simulated.r2]


@pytest.fixture(scope="module")
def undisturbed(sample: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The manifest digest of each accession version of a stack in which nothing was killed."""
    stack = Stack(tmp_path_factory.mktemp("undisturbed"), prefect=None, environment=new_database())
    stack.start()
    try:
        lab = stack.lab()
        cell = lab.upload(*sample)
        return {
            f"{accession}.{version}": lab.processed(accession, version)["manifestDigest"]
            for accession, version in lab.submit(*[cell] * len(FAIL_POINTS))
        }
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def fail_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fail-points")


@pytest.fixture(scope="module")
def stack(fail_points: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = ENVIRONMENT | {VARIABLE: str(fail_points)} | new_database()
    running = Stack(tmp_path_factory.mktemp("disturbed"), prefect=None, environment=environment)
    running.start()
    yield running
    running.stop()


def test_a_job_survives_a_kill_at_every_fail_point(
    stack: Stack, fail_points: Path, sample: list[Path], undisturbed: dict[str, str]
) -> None:
    lab = stack.lab()
    cell = lab.upload(*sample)
    digests = {}
    for name in FAIL_POINTS:
        armed = fail_points / name
        armed.touch()
        [(accession, version)] = lab.submit(cell)
        review = lab.processed(accession, version, seconds=240)
        assert not armed.exists(), f"nothing was killed at {name}"
        assert review["processingResult"] != "HAS_ERRORS", (name, review["errors"])
        digests[f"{accession}.{version}"] = review["manifestDigest"]
    assert digests == undisturbed


def test_with_prefect_a_killed_worker_is_replaced_and_its_job_delivered_again(
    fail_points: Path,
    sample: list[Path],
    undisturbed: dict[str, str],
    prefect_database: PrefectDatabase,
    tmp_path: Path,
) -> None:
    environment = ENVIRONMENT | {VARIABLE: str(fail_points)} | new_database()
    stack = Stack(tmp_path, prefect=prefect_database, environment=environment)
    stack.start()
    try:
        lab = stack.lab()
        armed = fail_points / "worker-consensus"
        armed.touch()
        [(accession, version)] = lab.submit(lab.upload(*sample))
        review = lab.processed(accession, version, seconds=240)
        assert not armed.exists()
        assert review["manifestDigest"] == undisturbed[f"{accession}.{version}"]
    finally:
        stack.stop()


def test_kill_of_everything_and_a_restart_lose_nothing(
    stack: Stack, sample: list[Path], undisturbed: dict[str, str]
) -> None:
    lab: Lab = stack.lab()
    [(accession, version)] = lab.submit(lab.upload(*sample))
    stack.kill()
    stack.start()
    client = stack.anyone()
    client.login(stack.addresses["login"]["user"], stack.addresses["login"]["password"])
    review = client.wait_until_processed("demo", accession, version, seconds=240, every=0.3)
    assert review["processingResult"] != "HAS_ERRORS"
    first = next(iter(undisturbed))
    assert client.review("demo", *_parsed(first))["manifestDigest"] == undisturbed[first]


def _parsed(accession_version: str) -> tuple[str, int]:
    accession, _, version = accession_version.rpartition(".")
    return accession, int(version)
