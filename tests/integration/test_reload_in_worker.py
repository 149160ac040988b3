"""A worker whose organism changes in the middle of a job ends that job by the rules that it was claimed with."""

from __future__ import annotations

import functools
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from readvault.config import WorkerSettings
from readvault.domain.errors import RuleViolation
from readvault.domain.organism.loaded import LiveOrganisms
from readvault.domain.reports import Report
from readvault.domain.status import JobKind
from readvault.nursery import Nursery
from readvault.organisms import loading
from readvault.organisms.watch import OrganismWatch
from readvault.pipeline import Body
from readvault.ports import Delivery
from readvault.reads import references
from readvault.reads.simulate import simulation
from readvault.services.house import House
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.worker.house import WorkerHouse
from tests.houses import ALICE
from tests.integration.services.scenes import ORGANISM, entry, group, manifests

GENOME = "".join(random.Random(6).choices("ACGT", k=2000))
CHANGED = GENOME[:1000] + ("A" if GENOME[1000] != "A" else "C") + GENOME[1001:]


def write(folder: Path, *, bases: str, version: int, depth: int, qc: str = "default") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "reference.fasta").write_text(f">main\n{bases}\n")
    rules = f"dehumanize: {{off: simulated reads of nobody}}, platforms: {{ILLUMINA: {{minDepth: {depth}}}}}, qc: {qc}"
    text = f"name: {ORGANISM}\nreference: {{fasta: reference.fasta}}\n"
    (folder / "organism.yaml").write_text(text + f"pipeline: {{version: {version}, {rules}}}\n")


@pytest.fixture
def living(house: House, tmp_path: Path) -> House:
    folder = tmp_path / "organisms"
    write(folder, bases=GENOME, version=1, depth=10)
    settings = house.settings.model_copy(update={"organisms_dir": folder, "data_dir": tmp_path / "data"})
    return replace(house, settings=settings, organisms=LiveOrganisms(loading.load(settings), 1.0))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Without host indexes, and started once: that takes seconds."""
    made = Nursery(WorkerSettings(scratch=tmp_path_factory.mktemp("nursery")), {})
    made.start()
    yield made
    made.stop()


@pytest.fixture
def worker(living: House, nursery: Nursery) -> WorkerHouse:
    made = WorkerHouse(living)
    made.nursery = nursery
    return made


@pytest.fixture
def reads(living: House, tmp_path: Path) -> tuple[bytes, ...]:
    reference = living.settings.organisms_dir / "reference.fasta"
    made = simulation.simulate(reference, tmp_path / "reads", pairs=200, length=100, seed=1)
    assert made.r2 is not None
    return made.r1.read_bytes(), made.r2.read_bytes()


def result_of(house: House, name: Any) -> tuple[int, str, int]:
    """The pipeline version of the one result, the reference that it lies on, and the depth that was asked for."""
    (row,) = manifests(house, name)
    provenance = {**json.loads(row.body)["provenance"], **json.loads(row.private_body or "{}").get("provenance", {})}
    depth = provenance["parameters"]["platforms"]["ILLUMINA"]["minDepth"]
    return row.pipeline_version, provenance["referenceSha256"], depth


def test_a_job_ends_by_the_rules_with_which_it_began(
    living: House, worker: WorkerHouse, reads: tuple[bytes, ...]
) -> None:
    folder = living.settings.organisms_dir
    mine = group(living, "alice")
    (first, first_job), (second, second_job) = (entry(living, mine, files=reads) for _ in range(2))
    reference = living.organism(ORGANISM).reference
    assert reference is not None
    before = references.digest(reference.fasta)
    assert isinstance(living.organisms, LiveOrganisms)
    watch = OrganismWatch(living, living.organisms, on_change=worker.reload)
    validated, changed = threading.Event(), threading.Event()

    def paused(step: str, body: Body) -> Report:
        done = body()
        if step == "validate":
            validated.set()
            assert changed.wait(30)
        return done

    delivery = Delivery(first_job, 1, JobKind.PROCESS_SUBMISSION, str(first))
    thread = threading.Thread(target=worker.run, args=(delivery, paused))
    thread.start()
    assert validated.wait(30)
    write(folder, bases=CHANGED, version=2, depth=3)
    assert watch.look(insist=True)
    changed.set()
    thread.join()
    assert result_of(living, first) == (1, before, 10)
    worker.run(Delivery(second_job, 1, JobKind.PROCESS_SUBMISSION, str(second)))
    after = references.digest(folder / "reference.fasta")
    assert before != after
    assert result_of(living, second) == (2, after, 3)


def test_an_organism_that_comes_is_processed_and_a_refused_change_changes_nothing(
    living: House, worker: WorkerHouse
) -> None:
    assert isinstance(living.organisms, LiveOrganisms)
    watch = OrganismWatch(living, living.organisms, on_change=worker.reload)
    folder = living.settings.organisms_dir
    write(folder, bases="nonsense!", version=2, depth=3)
    assert not watch.look(insist=True)
    assert (worker.ready, living.organism(ORGANISM).pipeline.version) == ({ORGANISM}, 1)
    write(folder, bases=GENOME, version=2, depth=3)
    (folder / "other.yaml").write_text(
        "name: other\nreference: {fasta: reference.fasta}\npipeline: {dehumanize: {off: simulated reads of nobody}}\n"
    )
    assert watch.look(insist=True)
    assert worker.ready == {ORGANISM, "other"}


@pytest.mark.parametrize("on_error", ["block", "label"])
def test_what_fails_its_quality_rules_is_blocked_or_labelled(
    living: House, worker: WorkerHouse, reads: tuple[bytes, ...], on_error: str
) -> None:
    assert isinstance(living.organisms, LiveOrganisms)
    watch = OrganismWatch(living, living.organisms, on_change=worker.reload)
    rules = f'{{onError: {on_error}, rules: [{{metric: mappedReads, error: "< 1000000", message: too few}}]}}'
    write(living.settings.organisms_dir, bases=GENOME, version=2, depth=10, qc=rules)
    assert watch.look(insist=True)
    name, job_id = entry(living, group(living, "alice"), files=reads)
    worker.run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION, str(name)))
    (row,) = manifests(living, name)
    metadata = row.processed_data["metadata"]
    assert metadata["qualityControlDetermination"] == "FAIL"
    assert "fewMappedReads" in metadata["qualityControlIssues"]
    approved = functools.partial(approve, living, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)])
    if on_error == "block":
        assert row.processing_result == "HAS_ERRORS"
        with pytest.raises(RuleViolation):
            approved()
        return
    assert row.processing_result == "HAS_WARNINGS"
    assert any("too few" in warning["message"] for warning in row.warnings)
    assert "'onError': 'label'" in str(json.loads(row.body)["provenance"])
    approved()
    (line,) = released_data(living, ORGANISM)
    assert line["metadata"]["qualityControlDetermination"] == "FAIL"
