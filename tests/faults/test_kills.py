"""What the campaigns of kills leave out: processes started as users start them, a real Prefect, a whole stack killed.

Each fail point is killed at in `campaign_failpoints.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from readvault import bootstrap, demo_organism
from readvault.config import S3Credentials, S3Settings
from readvault.failpoints import VARIABLE
from readvault.reads.simulate import simulation
from tests.faults import invariants
from tests.prefect_database import PrefectDatabase
from tests.stack import Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
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
        pairs=50,
        length=150,
        seed=3,
        substitutions=3,
        host=host,
        host_pairs=5,
    )
    assert simulated.r2 is not None
    return [simulated.r1, simulated.r2]


@pytest.fixture(scope="module")
def fail_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fail-points")


def test_with_prefect_a_killed_worker_is_replaced_and_so_is_all_of_it(
    fail_points: Path, sample: list[Path], prefect_database: PrefectDatabase, tmp_path: Path
) -> None:
    """The first kill hits the worker in the middle of a job, the second everything at once, Prefect too."""
    environment = ENVIRONMENT | {VARIABLE: str(fail_points)} | new_database()
    stack = Stack(tmp_path, prefect=prefect_database, environment=environment)
    stack.start()
    try:
        lab = stack.lab()
        cell = lab.upload(*sample)
        armed = fail_points / "worker-consensus"
        armed.touch()
        [(accession, version)] = lab.submit(cell)
        first = lab.processed(accession, version)
        assert not armed.exists()
        [(accession, version)] = lab.submit(cell)
        stack.kill()
        stack.start()
        client = stack.anyone()
        client.login(stack.addresses["login"]["user"], stack.addresses["login"]["password"])
        second = client.wait_until_processed("demo", accession, version, seconds=240, every=0.3)
        for review in (first, second):
            assert review["processingResult"] != "HAS_ERRORS", review["errors"]
        house = bootstrap.house(stack.settings.model_copy(update={"s3": _s3_of(stack)}))
        assert invariants.check(house, open_jobs=True) == []
        house.sessions.close()
    finally:
        stack.stop()


def _s3_of(stack: Stack) -> S3Settings:
    """The worker's keys to the stack's bucket."""
    secrets = json.loads((stack.data_dir / "secrets.json").read_text())
    keys = S3Credentials(access_key=secrets["s3_worker_access_key"], secret_key=secrets["s3_worker_secret_key"])
    return S3Settings(endpoint=stack.addresses["s3"], worker=keys, read_signer=keys, upload_signer=keys)
