"""A lost processed file is made again by the real pipeline, in the nursery, from the sealed originals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from readvault import demo_organism
from readvault.config import Settings
from readvault.db.tables import Job, Manifest, Repair, UploadedFile
from readvault.domain.errors import BytesLost, Damaged
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Dehumanize, Organism, Pipeline
from readvault.domain.status import JobKind, JobState
from readvault.nursery import Nursery
from readvault.ports import Delivery
from readvault.reads.simulate import simulation
from readvault.services.entries import damage
from readvault.services.house import House
from readvault.services.release.downloads import file_url
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.integrity import making_again
from readvault.services.storage.integrity.pinned import pinned_at, pinned_versions
from readvault.services.storage.integrity.verification import Verification, damaged, verify
from readvault.worker.house import WorkerHouse
from tests.fakes import MemoryStore
from tests.houses import ALICE, organism, upload
from tests.integration.services.published import processed_again, released
from tests.integration.services.scenes import ORGANISM, audit_log, entry, group, of_next_pipeline

REPOSITORY = Path(__file__).resolve().parents[2]
CONSENSUS = ("consensus", "consensus.fasta")


@dataclass(frozen=True)
class Ground:
    """What all tests here share, because it takes seconds: an organism, reads of a sample, a nursery."""

    folder: Path
    rules: Organism
    reads: tuple[bytes, ...]
    nursery: Nursery


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("repair-job")
    settings = Settings(
        data_dir=folder, organisms_dir=REPOSITORY / "deployments" / "organisms", load_demo_organism=True
    )
    rules = demo_organism.prepare(settings).model_copy(update={"name": ORGANISM})
    reference = REPOSITORY / "deployments" / "references" / demo_organism.REFERENCE
    host = demo_organism.host_genome(settings)
    made = simulation.simulate(
        reference, folder / "reads", pairs=50, length=150, seed=3, substitutions=3, host=host, host_pairs=5
    )
    assert made.r2 is not None
    index = settings.host_index(rules)
    assert index is not None
    nursery = Nursery(settings.worker, {ORGANISM: index})
    nursery.start()
    yield Ground(folder, rules, (made.r1.read_bytes(), made.r2.read_bytes()), nursery)
    nursery.stop()


@pytest.fixture
def real(house: House, ground: Ground) -> House:
    """A house with the organism of the ground."""
    settings = house.settings.model_copy(update={"data_dir": ground.folder})
    return replace(house, organisms={ORGANISM: ground.rules}, settings=settings)


@pytest.fixture
def name(real: House, ground: Ground) -> AccessionVersion:
    """A released entry that the pipeline processed."""
    house = real
    name, job_id = entry(house, group(house, "alice"), files=ground.reads)
    worker(house, ground).run(Delivery(job_id, 1, JobKind.PROCESS_SUBMISSION, str(name)))
    with house.sessions.read() as session:
        digest = session.exec(select(Manifest.digest).where(Manifest.accession == name.accession)).one()
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    do(house, JobKind.RELEASE, ground)
    return name


def worker(house: House, ground: Ground | None) -> WorkerHouse:
    """A worker with the nursery of the ground; without one no local step can be done."""
    made = WorkerHouse(house)
    if ground is not None:
        made.nursery = ground.nursery
    return made


def do(house: House, kind: JobKind, ground: Ground | None = None) -> Job:
    """Have a worker do the one job of a kind; how it stands afterwards."""
    with house.sessions.read() as session:
        waiting = session.exec(select(Job).where(Job.kind == kind.value, Job.state == JobState.QUEUED.value)).one()
    try:
        worker(house, ground).run(Delivery(waiting.id, 1, kind, f"{waiting.accession}.{waiting.version}"))
    finally:
        waiting = of_kind(house, kind)[-1]
    return waiting


def of_kind(house: House, kind: JobKind) -> list[Job]:
    with house.sessions.read() as session:
        return list(session.exec(select(Job).where(Job.kind == kind.value).order_by(col(Job.created_at))))


def lose(house: House, *rooms: str) -> dict[str, bytes]:
    """Remove all objects of these rooms from the store; what they held."""
    assert isinstance(house.store, MemoryStore)
    there = house.store.versions
    keys = [each.key for each in pinned_versions(house) if each.key.startswith(rooms) and each.key in there]
    return {key: there.pop(key)[-1][1] for key in keys}


def look(house: House) -> Verification:
    return verify(house, days=0, survey_every=0)


def url(house: House, name: AccessionVersion) -> str:
    return file_url(house, None, name.accession, name.version, *CONSENSUS)


@pytest.mark.slow
def test_all_processed_files_come_back_from_the_originals(real: House, ground: Ground, name: AccessionVersion) -> None:
    house = real
    pins = {each.key: each for each in pinned_versions(house)}
    lost = lose(house, "vault/")
    assert len(lost) > 3
    done = look(house)
    assert (done.damaged, done.repaired) == (len(lost), 0)
    with pytest.raises(Damaged):
        url(house, name)
    assert do(house, JobKind.REPAIR, ground).state == JobState.DONE
    assert url(house, name)
    assert damaged(house) == []
    assert do(house, JobKind.RELEASE).state == JobState.DONE
    for key, body in lost.items():
        pinned = pinned_at(house, key)
        assert pinned is not None
        assert pinned.stored.version_id != pins[key].stored.version_id
        assert house.store.read(pinned.stored) == body  # type: ignore[attr-defined]
        assert (key, pinned.stored.version_id) in house.store.locked  # type: ignore[attr-defined]
    with house.sessions.read() as session:
        assert sorted(row.key for row in session.exec(select(Repair))) == sorted(lost)
        assert {row.source for row in session.exec(select(Repair))} == {"made again"}
        assert len(session.exec(select(Manifest)).all()) == 1
    assert look(house).damaged == 0
    assert len(of_kind(house, JobKind.REPAIR)) == 1
    assert sorted(each.subject for each in audit_log(house) if each.action == "repair") == sorted(lost)


# --- where the pipeline is not asked, or has nothing to do ---------------------------------------


@pytest.fixture
def light(house: House, tmp_path: Path) -> tuple[House, AccessionVersion]:
    """A house without a nursery, and a released entry whose one processed file was written by hand."""
    rules = organism(tmp_path, pipeline=Pipeline(dehumanize=Dehumanize(off="a test without any host")))
    house = replace(house, organisms={ORGANISM: rules})
    return house, released(house, group(house, "alice"), files=(b"reads",), text=b">main\nACGT\n")[0]


def test_a_pipeline_that_moves_on_meanwhile_puts_nothing_back(light: tuple[House, AccessionVersion]) -> None:
    house, _ = light
    lose(house, "vault/")
    look(house)
    later = of_next_pipeline(house)
    with pytest.raises(BytesLost):
        do(later, JobKind.REPAIR)
    [job] = of_kind(house, JobKind.REPAIR)
    assert job.state == JobState.NEEDS_ATTENTION
    assert "moved on to another version" in (job.last_error or "")
    look(later)
    assert len(of_kind(house, JobKind.REPAIR)) == 1
    [row] = damaged(house)
    assert row.unrepaired == "it was made by pipeline version 1, and organism sars-cov-2 is at 2 now"


def test_originals_that_are_lost_too_wait_for_the_group(light: tuple[House, AccessionVersion]) -> None:
    """What the group uploads again lets the job that makes the rest again go on."""
    house, name = light
    lose(house, "vault/", "incoming/")
    look(house)
    with pytest.raises(BytesLost):
        do(house, JobKind.REPAIR)
    [job] = of_kind(house, JobKind.REPAIR)
    assert job.state == JobState.NEEDS_ATTENTION
    assert damage.IS_DAMAGED in (job.last_error or "")
    with pytest.raises(Damaged):
        url(house, name)
    with house.sessions.read() as session:
        [group_id] = session.exec(select(UploadedFile.group_id)).all()
    upload(house, ALICE, group_id, b"reads")
    assert look(house).repaired == 1
    [job] = of_kind(house, JobKind.REPAIR)
    assert job.state == JobState.QUEUED


def test_a_job_whose_loss_is_mended_already_does_no_step(light: tuple[House, AccessionVersion]) -> None:
    house, _ = light
    lost = lose(house, "vault/")
    look(house)
    for key, body in lost.items():
        assert isinstance(house.store, MemoryStore)
        house.store.write(key, body)
    assert look(house).repaired == 1
    assert do(house, JobKind.REPAIR).state == JobState.DONE


def test_what_another_pipeline_version_has_lost_is_not_this_ones_failure(
    light: tuple[House, AccessionVersion],
) -> None:
    """The files of an older result can't be made again: they keep no repair of the current ones from its end."""
    house, name = light
    old = lose(house, "vault/")
    processed_again(house, name, b">main\nACGTT\n")
    lose(house, "vault/")
    later = of_next_pipeline(house)
    look(later)
    assert making_again.still_lost(house, name.accession, name.version, 2) == 1
    assert making_again.still_lost(house, name.accession, name.version, 1) == 2
    [job] = of_kind(house, JobKind.REPAIR)
    assert job.pipeline_version == 2
    assert {row.key: row.unrepaired for row in damaged(house)}[next(iter(old))] == (
        "it was made by pipeline version 1, and organism sars-cov-2 is at 2 now"
    )
