"""Pulling with a real S3 on both sides: a lab's bucket behind https, and ours."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlmodel import select

from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.foreign_s3 import ForeignS3
from readvault.adapters.s3 import S3Store
from readvault.adapters.s3_client import client
from readvault.config import UrlSettings
from readvault.db.engine import Sessions, create_engine
from readvault.db.tables import Job, UploadedFile
from readvault.domain.errors import BytesLost, StoreUnavailable
from readvault.domain.pulls import PullState, Refusal, SourceState
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, ForeignBucket, ForeignKeys
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.pulls import access, pulling, requests
from readvault.services.pulls.asked import PullView, WantedPull, WantedSource
from readvault.services.pulls.referenced_store import StoreWithReferenced
from readvault.services.queue.lease import Lease
from readvault.worker.house import WorkerHouse
from tests import foreign
from tests.conftest import MigratedDatabases
from tests.fakes import RecordingOrchestrator
from tests.foreign import HOST, Authority
from tests.houses import ALICE, build_house, group_of

MIB = 2**20
LARGE = random.Random(7).randbytes(11 * MIB)
BODIES = {"run7/a.fastq": b"@a\nAC\n+\nII\n", "run7/large.bam": LARGE, "run7/deep/empty.txt": b"", "run8/b.fastq": b"b"}


@dataclass
class Site:
    """A lab's bucket behind https, and a house with a bucket of its own."""

    house: House
    bucket: ForeignBucket
    lab: Any
    inside: str
    """The address of the lab's server without TLS."""
    group_id: int

    def work(self) -> None:
        with self.house.sessions.begin() as session:
            job = session.exec(
                select(Job).where(Job.kind == JobKind.IMPORT.value, Job.state != JobState.DONE.value)
            ).one()
            job.not_before = 0
        claim = jobs.claim(self.house, job.id, "worker", ())
        assert claim is not None
        with Lease(self.house, claim) as lease:
            try:
                pulling.pull(self.house, claim, lease)
            except StoreUnavailable as fault:
                jobs.give_up(self.house, claim, str(fault), counted=False)
                raise

    def asked(self, wanted: WantedPull) -> PullView:
        return requests.request_pull(self.house, ALICE, self.group_id, wanted)

    def seen(self, view: PullView) -> PullView:
        return access.look_up(self.house, ALICE, view.pull.id)

    def key_of(self, file_id: str | None) -> str:
        with self.house.sessions.read() as session:
            return session.get_one(UploadedFile, str(file_id)).key


@pytest.fixture
def site(
    seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory, migrated_databases: MigratedDatabases
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ours, theirs = (seaweed.provision(f"test-{uuid.uuid4().hex[:16]}") for _ in range(2))
    authority = Authority(folder)
    lab = client(theirs.worker, identity="worker", endpoint=theirs.endpoint, region=theirs.region)
    for key, body in BODIES.items():
        lab.put_object(Bucket=theirs.bucket, Key=key, Body=body)
    sessions = Sessions(create_engine(migrated_databases.sqlite()))
    with foreign.tls_front(authority, urlsplit(theirs.endpoint).port or 0) as port:
        chosen = foreign.settings(port)
        house = build_house(sessions, S3Store(ours), RecordingOrchestrator(), folder)
        settings = house.settings.model_copy(update={"pulls": chosen, "urls": UrlSettings(part_size=5 * MIB)})
        out = ForeignS3(chosen, foreign.egress(chosen, authority))
        house = replace(house, settings=settings, foreign=out)
        keys = ForeignKeys(theirs.worker.access_key, theirs.worker.secret_key.get_secret_value())
        bucket = ForeignBucket(f"https://{HOST}:{port}", theirs.region, theirs.bucket, keys)
        yield Site(house, bucket, lab, theirs.endpoint, group_of(house, ALICE))
    sessions.close()


@pytest.mark.slow
def test_a_prefix_is_pulled_with_credentials(site: Site) -> None:
    view = site.asked(WantedPull(bucket=site.bucket, prefix="run7/", category="rawReads"))
    site.work()
    seen = site.seen(view)
    assert [(each.place, each.state) for each in seen.sources] == [
        (key, SourceState.DONE) for key in sorted(BODIES) if key.startswith("run7/")
    ]
    for each in seen.sources:
        body = BODIES[each.place]
        assert each.sha256 == hashlib.sha256(body).hexdigest()
        assert each.version_id is not None, "it was pinned by its version"
        (stored,) = site.house.store.list_versions(site.key_of(each.file_id))
        assert site.house.store.sha256_of(stored, expected=each.sha256) == each.sha256
    assert seen.pull.secret is None


@pytest.mark.slow
def test_pre_signed_urls_are_pulled_and_what_is_replaced_meanwhile_fails(site: Site) -> None:
    def signed(key: str) -> str:
        names = {"Bucket": site.bucket.bucket, "Key": key}
        outside = client(
            replaced_keys(site), identity="worker", endpoint=site.bucket.endpoint, region=site.bucket.region
        )
        return outside.generate_presigned_url("get_object", Params=names, ExpiresIn=600)

    sources = tuple(WantedSource(signed(key)) for key in ("run7/large.bam", "run8/b.fastq"))
    view = site.asked(WantedPull(sources))
    read = site.house.foreign.read  # type: ignore[union-attr]
    seen_ranges = 0

    def replaces(*given: Any) -> bytes:
        nonlocal seen_ranges
        seen_ranges += 1
        if seen_ranges == 2:  # the small one came first, then the first part
            site.lab.put_object(Bucket=site.bucket.bucket, Key="run7/large.bam", Body=LARGE[::-1])
        return read(*given)

    site.house.foreign.read = replaces  # type: ignore[union-attr, method-assign]
    site.work()
    states = {each.name: each for each in site.seen(view).sources}
    assert states["b.fastq"].state == SourceState.DONE
    assert (states["large.bam"].state, states["large.bam"].refusal) == (SourceState.FAILED, Refusal.CHANGED)
    assert list(site.house.store.list_versions("incoming/")) == list(
        site.house.store.list_versions(site.key_of(states["b.fastq"].file_id))
    )


def replaced_keys(site: Site) -> Any:
    from readvault.config import S3Credentials

    keys = site.bucket.keys
    assert keys is not None
    return S3Credentials.model_validate({"access_key": keys.access_key, "secret_key": keys.secret_key})


@pytest.mark.slow
def test_a_file_that_stays_is_read_as_it_was_pinned_whatever_lies_over_it(site: Site, tmp_path: Path) -> None:
    pulls = site.house.settings.pulls.model_copy(update={"references": True})
    settings = site.house.settings.model_copy(update={"pulls": pulls})
    store = StoreWithReferenced(site.house.store, site.house.sessions, pulls, site.house.foreign)
    site = replace(site, house=replace(site.house, settings=settings, store=store))
    view = site.asked(WantedPull((WantedSource("run7/large.bam"),), site.bucket, by_reference=True))
    site.work()
    (source,) = site.seen(view).sources
    (stored,) = store.list_versions(site.key_of(source.file_id))
    site.lab.put_object(Bucket=site.bucket.bucket, Key="run7/large.bam", Body=LARGE[::-1])
    assert store.fetch(stored, tmp_path / "large.bam") == source.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert (tmp_path / "large.bam").read_bytes() == LARGE
    url = store.sign_get(stored.key, stored.version_id, name="groß 1.bam", expires=60)
    assert urlsplit(url).hostname == HOST
    path, inside = url.partition(f":{urlsplit(url).port}")[2], urlsplit(site.inside)
    answer = httpx.get(f"http://{inside.netloc}{path}", headers={"Host": urlsplit(url).netloc})
    assert answer.content == LARGE
    assert "attachment" in answer.headers["content-disposition"]
    site.lab.delete_object(Bucket=site.bucket.bucket, Key="run7/large.bam", VersionId=source.version_id)
    with pytest.raises(BytesLost):
        store.sha256_of(stored)


@pytest.mark.slow
def test_a_broken_off_pull_goes_on_with_the_parts_that_s3_lists(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256(LARGE).hexdigest()
    view = site.asked(WantedPull((WantedSource("run7/large.bam", sha256=sha256),), site.bucket))
    store = site.house.store
    put_part = store.put_part

    def breaks(key: str, upload_id: str, number: int, body: bytes) -> Any:
        if number == 3:
            raise StoreUnavailable("upload", "S3 is away")
        return put_part(key, upload_id, number, body)

    monkeypatch.setattr(store, "put_part", breaks)
    with pytest.raises(StoreUnavailable):
        site.work()
    sent: list[int] = []

    def counts(key: str, upload_id: str, number: int, body: bytes) -> Any:
        sent.append(number)
        return put_part(key, upload_id, number, body)

    monkeypatch.setattr(store, "put_part", counts)
    site.work()
    (source,) = site.seen(view).sources
    assert (source.state, source.sha256) == (SourceState.DONE, sha256)
    assert 3 in sent
    (stored,) = store.list_versions(site.key_of(source.file_id))
    assert store.sha256_of(stored, expected=sha256) == sha256


@pytest.mark.slow
@pytest.mark.parametrize("point", ["import-part-stored", "import-copied-before-commit"])
def test_a_worker_that_is_killed_loses_nothing(site: Site, point: str, tmp_path: Path) -> None:
    """kill -9 of a process that is at it; another one goes on when the lease has run out."""
    sha256 = hashlib.sha256(LARGE).hexdigest()
    view = site.asked(WantedPull((WantedSource("run7/large.bam"), WantedSource("run8/b.fastq")), site.bucket))
    with site.house.sessions.read() as session:
        delivery = Delivery(session.exec(select(Job.id)).one(), 1, JobKind.IMPORT, "import-files")
    site.house.sessions.close()
    (tmp_path / point).touch()
    child = os.fork()
    if child == 0:
        os.environ["READVAULT_FAILPOINTS"] = str(tmp_path)
        try:
            WorkerHouse(site.house).run(delivery)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    worker = WorkerHouse(site.house)
    worker.run(delivery)  # its lease is not over yet: nothing to do
    assert site.seen(view).state is PullState.OPEN
    with site.house.sessions.begin() as session:
        session.get_one(Job, delivery.job_id).lease_until = 1.0
    worker.run(delivery)
    seen = site.seen(view)
    assert [each.state for each in seen.sources] == [SourceState.DONE] * 2
    assert seen.sources[0].sha256 == sha256
    (stored,) = site.house.store.list_versions(site.key_of(seen.sources[0].file_id))
    assert site.house.store.sha256_of(stored, expected=sha256) == sha256
    assert seen.pull.secret is None


@pytest.mark.slow
def test_wrong_credentials_are_the_submitter_s_error(site: Site) -> None:
    wrong = replace(site.bucket, keys=ForeignKeys("nobody", "nothing"))
    view = site.asked(WantedPull(bucket=wrong, prefix="run7/"))
    site.work()
    seen = site.seen(view)
    (source,) = seen.sources
    assert (seen.state, source.refusal) == (PullState.DONE, Refusal.DENIED)
