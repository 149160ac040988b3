"""A newer host index, the real screen in the nursery, and what everybody gets over HTTP afterwards."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlmodel import col, select

from readvault import demo_organism
from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.config import Settings
from readvault.db.tables import Job, Manifest, ManifestFile, Screening, StoredObject
from readvault.domain.actor import Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Dehumanize, Organism, Qc
from readvault.domain.status import JobKind, JobState
from readvault.nursery import Nursery
from readvault.ports import Delivery
from readvault.reads.dehumanize import host_index
from readvault.reads.simulate import simulation
from readvault.services.exports.form import ExportSilo
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from readvault.worker.house import WorkerHouse
from tests.houses import ALICE, BOB, MAINTAINER
from tests.integration.services.scenes import ORGANISM, entry, group

with warnings.catch_warnings():
    # Starlette wants another HTTP library for its test client; the installed one works.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

REPOSITORY = Path(__file__).resolve().parents[2]
HOST_PAIRS, PAIRS = 8, 40


@dataclass(frozen=True)
class Ground:
    """An organism before and after it names a better index, reads that only the better one knows, a nursery."""

    folder: Path
    before: Organism
    after: Organism
    reads: tuple[bytes, ...]
    nursery: Nursery


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The first index lacks the part of the host's genome that the sample's host reads come from."""
    folder = tmp_path_factory.mktemp("screen-job")
    settings = Settings(
        data_dir=folder, organisms_dir=REPOSITORY / "deployments" / "organisms", load_demo_organism=True
    )
    rules = demo_organism.prepare(settings).model_copy(update={"name": ORGANISM})
    host = demo_organism.host_genome(settings)
    title, *lines = host.read_text().splitlines()
    genome, half = "".join(lines), demo_organism.HOST_LENGTH // 2
    known, unknown = folder / "known.fasta", folder / "unknown.fasta"
    known.write_text(f"{title}\n{genome[:half]}\n")
    unknown.write_text(f"{title}\n{genome[half:]}\n")
    made = simulation.simulate(
        REPOSITORY / "deployments" / "references" / demo_organism.REFERENCE,
        folder / "reads", pairs=PAIRS, length=150, seed=3, substitutions=3, host=unknown, host_pairs=HOST_PAIRS,
    )  # fmt: skip
    assert made.r2 is not None
    older = settings.host_indexes / "older.idx"
    host_index.build(known, older)
    outdated = Dehumanize(index="older", sha256=host_index.digest(older))
    pipeline = rules.pipeline.model_copy(update={"dehumanize": outdated, "qc": Qc(rules=())})
    before = rules.model_copy(update={"pipeline": pipeline})
    newer = settings.host_index(rules)
    assert newer is not None
    nursery = Nursery(settings.worker, {"older": older, "newer": newer})
    nursery.start()
    yield Ground(folder, before, rules, (made.r1.read_bytes(), made.r2.read_bytes()), nursery)
    nursery.stop()


def worker(house: House, ground: Ground, rules: Organism) -> WorkerHouse:
    """A worker of the house while its organism's file says this."""
    settings = house.settings.model_copy(update={"data_dir": ground.folder})
    made = WorkerHouse(replace(house, organisms={ORGANISM: rules}, settings=settings))
    made.nursery = ground.nursery
    return made


def do(worker: WorkerHouse, kind: JobKind) -> None:
    """Let the worker do the one job of this kind."""
    with worker.house.sessions.read() as session:
        open_one = (Job.kind == kind.value, Job.state == JobState.QUEUED.value)
        job = session.exec(select(Job).where(*open_one).order_by(col(Job.created_at))).one()
    worker.run(Delivery(job.id, 1, kind, f"{job.accession}.{job.version}"))


@pytest.fixture
def name(house: House, ground: Ground) -> AccessionVersion:
    """A released entry with host reads that the first index let through."""
    early = worker(house, ground, ground.before)
    name, _ = entry(house, group(house, "alice"), files=ground.reads)
    do(early, JobKind.PROCESS_SUBMISSION)
    with house.sessions.read() as session:
        digest = session.exec(select(Manifest.digest).where(Manifest.accession == name.accession)).one()
    approve(early.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    do(early, JobKind.RELEASE)
    return name


@pytest.mark.slow
def test_host_reads_that_got_out_are_withheld_over_http_until_a_maintainer_gives_them_again(
    house: House, ground: Ground, name: AccessionVersion, tmp_path: Path
) -> None:
    late = worker(house, ground, ground.after)
    issuer = EmbeddedIssuer(tmp_path / "identity-key.pem", url="http://testserver", token_minutes=10)
    client = TestClient(create_app(late.house, Identity(issuer)), follow_redirects=False)

    def asked(path: str, actor: Actor | None = None) -> int:
        headers = {} if actor is None else {"Authorization": f"Bearer {issuer.tokens(actor)['access_token']}"}
        return client.get(path, headers=headers).status_code

    def listed() -> str | None:
        (line,) = (client.get(f"/{ORGANISM}/get-released-data").json(),)
        found: str | None = line["metadata"]["dehumanizedReads"]
        return found

    place = f"{name.accession}/{name.version}"
    reads = [f"dehumanizedReads/dehumanized_R{mate}.fastq.gz" for mate in (1, 2)]
    everywhere = [f"/files/{room}/{file}" for file in reads for room in (f"get/{place}", f"released/{place}/1")]
    assert [asked(path) for path in everywhere] == [307] * 4
    assert listed() is not None
    exported = late.export_silo(ExportSilo())[ORGANISM].figures
    assert exported["samples"] == exported["new"] == 1
    assert 0 < exported["reads"] <= PAIRS, "a line is a fragment that aligns"
    assert asked(f"/{ORGANISM}/get-silo-reads/latest/reads.ndjson.zst") == 307
    leaked = _reads_of(house, HOST_PAIRS + PAIRS)
    assert late.feed_screening() == 1
    do(late, JobKind.SCREEN)
    with house.sessions.read() as session:
        row = session.exec(select(Screening).where(~col(Screening.by_processing))).one()
    assert (row.reads, row.hits, row.too_short) == (leaked, 2 * HOST_PAIRS, 0)
    for path in everywhere:
        answer = client.get(path)
        assert answer.status_code == 410
        assert f"{2 * HOST_PAIRS} of {leaked} reads may be human" in answer.json()["detail"]
        assert [asked(path, actor) for actor in (BOB, ALICE, MAINTAINER)] == [410, 307, 307]
    assert asked(f"/files/get/{place}/consensus/consensus.fasta") == 307
    assert listed() is None
    assert asked(f"/{ORGANISM}/get-silo-reads") == 503, "nobody gets the export that has them"
    assert late.export_silo(ExportSilo())[ORGANISM].figures["dropped"] == 1
    assert client.get(f"/{ORGANISM}/get-silo-reads").json()["counts"]["reads"] == 0
    files = client.get(f"/{ORGANISM}/manifests", params={"accession": name.accession}).json()[0]["files"]
    assert "dehumanizedReads" not in {file["category"] for file in files}
    maintainer = {"Authorization": f"Bearer {issuer.tokens(MAINTAINER)['access_token']}"}
    said = client.get("/metrics", headers=maintainer).text
    assert "readvault_reads_withheld 1" in said
    (waiting,) = client.get("/admin/withheld-reads?undecided=true", headers=maintainer).json()["results"]
    assert (waiting["hits"], waiting["isCurrent"], waiting["isDecided"]) == (2 * HOST_PAIRS, True, False)
    again = f"/admin/entries/{place}/reads/1/give-again"
    assert client.post(again, headers=maintainer, json={"reason": "it is a phage"}).status_code == 200
    assert [asked(path) for path in everywhere] == [307] * 4
    assert listed() is not None
    assert late.screen_anew() == 0, "the same index has nothing new to say"


def _reads_of(house: House, pairs: int) -> int:
    """How many reads were released, which the older index let nearly all through."""
    query = select(StoredObject.key).join(ManifestFile, col(ManifestFile.stored_object_id) == col(StoredObject.id))
    with house.sessions.read() as session:
        keys = session.exec(query.where(ManifestFile.category == "dehumanizedReads")).all()
    bodies = [house.store.versions[key][-1][1] for key in keys]  # type: ignore[attr-defined]
    counted = sum(gzip.decompress(body).count(b"\n+\n") for body in bodies)
    assert counted == 2 * pairs
    return counted
