"""Somebody puts other bytes in the place of those that were uploaded, at each instant of an entry's life."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from botocore.exceptions import ClientError
from sqlmodel import select

from readvault import pipeline
from readvault.adapters.s3 import S3Store
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import EntryFile, Manifest, Release, UploadedFile
from readvault.domain.errors import ProcessingFailure, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reports import CheckReport, OutputFile
from readvault.domain.status import JobKind
from readvault.pipeline import Hands
from readvault.ports import SignedRequest, StoredVersion
from readvault.reads.local_result import LocalResult
from readvault.reads.sample import Sample
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.queue.lease import Lease
from readvault.services.release import publication
from readvault.services.release.downloads import file_url
from readvault.services.review.approval import Scope, approve
from readvault.services.submission.new_entries import submit
from readvault.services.uploads import multipart, upload_requests
from readvault.worker.server_job import ServerJob
from tests.fakes import RecordingOrchestrator
from tests.faults.campaign import Campaign, Outcome
from tests.faults.s3_trials import shared_server
from tests.houses import ALICE, build_house, group_of, tsv
from tests.integration.services.scenes import ORGANISM, READY

INSTANTS = (
    "before submit",
    "between two listings",
    "between inspect and seal",
    "after submit",
    "after the claim",
    "while fetch runs",
    "after fetch",
    "between stage and register",
    "before approve",
    "in approve",
    "after approve",
    "after publication",
)
CATEGORY, NAME = "consensus", "consensus.fasta"


@dataclass
class _Life:
    """One entry on its way, and what an attacker may know of its file."""

    house: House
    worker: Any
    bucket: str
    group: int
    body: bytes
    dice: random.Random
    instant: str
    trick: Callable[[_Life], None]
    put: SignedRequest | None = None
    key: str = ""
    first: StoredVersion | None = None
    name: AccessionVersion | None = None
    swapped: bool = False
    answers: list[int] = field(default_factory=list)

    def at(self, instant: str) -> None:
        """Whatever the attacker does at this instant."""
        if instant == self.instant and not self.swapped:
            self.swapped = True
            self.trick(self)

    @property
    def other(self) -> bytes:
        """Other bytes of the same size."""
        return self.dice.randbytes(len(self.body))


# --- what an attacker does ------------------------------------------------------------------------


def use_the_url_again(life: _Life) -> None:
    """The pre-signed PUT, once more."""
    assert life.put is not None
    answer = httpx.put(life.put.url, headers=life.put.headers, content=life.other)
    life.answers.append(answer.status_code)
    assert 400 <= answer.status_code < 500, f"a used URL took other bytes: {answer.status_code}"


def write_a_second_version(life: _Life) -> None:
    """With a worker's stolen keys: other bytes of the same size."""
    life.worker.put_object(Bucket=life.bucket, Key=life.key, Body=life.other)


def write_another_size(life: _Life) -> None:
    """With a worker's stolen keys: more bytes."""
    life.worker.put_object(Bucket=life.bucket, Key=life.key, Body=life.other + b"x")


def hide(life: _Life) -> None:
    """A delete marker."""
    life.worker.delete_object(Bucket=life.bucket, Key=life.key)


def hide_and_write(life: _Life) -> None:
    """A delete marker, and other bytes on top, with the URL as well as with stolen keys."""
    hide(life)
    assert life.put is not None
    life.answers.append(httpx.put(life.put.url, headers=life.put.headers, content=life.other).status_code)
    write_a_second_version(life)


def destroy_and_write(life: _Life) -> None:
    """The version itself is deleted with stolen keys, and another one written."""
    with contextlib.suppress(ClientError):  # a lock holds it once it is released
        life.worker.delete_object(Bucket=life.bucket, Key=life.key, VersionId=_first(life).version_id)
    write_a_second_version(life)


def replace_outputs(life: _Life) -> None:
    """Other bytes under the key in the vault that the output has, or will have."""
    key = f"vault/{life.group}/{hashlib.sha256(life.body).hexdigest()}"
    life.worker.put_object(Bucket=life.bucket, Key=key, Body=life.other)
    life.worker.delete_object(Bucket=life.bucket, Key=key)


def send_a_part_again(life: _Life) -> None:
    """A part of an upload that was put together, sent anew; otherwise the URL of the only piece."""
    use_the_url_again(life)


HARMLESS = (use_the_url_again, write_a_second_version, write_another_size, hide, hide_and_write, send_a_part_again)
"""Whatever the instant, these must change nothing, as the first version is the one that counts."""
TRICKS = (*HARMLESS, destroy_and_write, replace_outputs)


# --- a life ---------------------------------------------------------------------------------------


def _live(life: _Life) -> None:
    """From upload to a reader's download; raises AssertionError when any two of them see other bytes."""
    file_id = _upload(life)
    life.at("before submit")
    try:
        life.name = _submit(life, file_id)
        life.at("after submit")
        _process(life)
        life.at("before approve")
        _release(life)
    except (ProcessingFailure, Unprocessable) as refusal:
        if life.trick in HARMLESS:
            raise AssertionError(f"{life.trick.__name__} stopped an entry: {refusal}") from None
    _compare(life, file_id)


def _upload(life: _Life) -> str:
    if life.trick is send_a_part_again:
        [answer] = upload_requests.request_multipart_upload(life.house, ALICE, life.group, 1, 1)
        assert answer.multipart is not None
        life.put = answer.multipart.parts[0].request
    else:
        [answer] = upload_requests.request_upload(life.house, ALICE, life.group, 1)
        life.put = answer.put
    assert life.put is not None
    sent = httpx.put(life.put.url, headers=life.put.headers, content=life.body)
    assert sent.status_code == 200, sent.text
    if life.trick is send_a_part_again:
        multipart.complete_multipart_uploads(life.house, ALICE, [(answer.file_id, [sent.headers["etag"]])])
    with life.house.sessions.read() as session:
        life.key = session.get_one(UploadedFile, answer.file_id).key
    life.first = _first(life)
    return answer.file_id


def _first(life: _Life) -> StoredVersion:
    return next(iter(life.house.store.list_versions(life.key)))


def _submit(life: _Life, file_id: str) -> AccessionVersion:
    from readvault.services.uploads import sealing

    metadata = tsv({"id": "s", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fq:{file_id}"})
    listed, sealed = S3Store.list_versions, sealing.seal

    def listing(store: S3Store, prefix: str) -> Iterator[StoredVersion]:
        found = list(listed(store, prefix))
        life.at("between two listings")
        return iter(found)

    def sealing_now(*arguments: Any, **more: Any) -> None:
        life.at("between inspect and seal")
        sealed(*arguments, **more)

    with mock.patch.object(S3Store, "list_versions", listing), mock.patch.object(sealing, "seal", sealing_now):
        [entry] = submit(life.house, ALICE, ORGANISM, group_id=life.group, metadata=metadata, metadata_name="m.tsv")
    return AccessionVersion(entry.accession, entry.version)


def _process(life: _Life) -> None:
    """A worker's job; its steps put out what they were given."""
    assert life.name is not None
    claim = jobs.claim(life.house, jobs_of(life, JobKind.PROCESS_SUBMISSION), "worker", READY)
    assert claim is not None
    life.at("after the claim")
    folder = life.house.settings.scratch / uuid.uuid4().hex
    folder.mkdir(parents=True)

    def around(step: str, body: Callable[[], Any]) -> Any:
        attacker = threading.Thread(target=life.at, args=("while fetch runs",)) if step == "fetch" else None
        if step == "register":
            life.at("between stage and register")
        if attacker is not None:
            attacker.start()
        try:
            return body()
        finally:
            if attacker is not None:
                attacker.join()
                life.at("after fetch")

    job = ServerJob(life.house, claim, Lease(life.house, claim), folder, _CopyingHands)
    try:
        pipeline.run(job, around)
    except ProcessingFailure as failure:
        jobs.give_up(life.house, claim, str(failure), counted=True)
        raise


class _CopyingHands(contextlib.AbstractContextManager[Hands]):
    """Steps whose only output is what they were given."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, step: str) -> Any:
        return CheckReport((), {})

    def result(self) -> LocalResult:
        [given] = self._sample.inputs
        body = given.path.read_bytes()
        output = OutputFile(CATEGORY, NAME, len(body), hashlib.sha256(body).hexdigest())
        nothing: dict[str, Any] = dict.fromkeys(
            ("sequences", "called_sequences", "aligned_sequences", "insertions", "aligned_amino_acid_sequences")
        )
        return LocalResult(
            reports={"check": CheckReport((), {})},
            outputs=((output, given.path),),
            screened=True,
            consensus_source=None,
            amino_acid_insertions={},
            provenance={},
            **{name: {} for name in nothing},
        )


def _release(life: _Life) -> None:
    assert life.name is not None
    life.at("in approve")
    with life.house.sessions.read() as session:
        digest = session.exec(select(Manifest.digest).where(Manifest.accession == life.name.accession)).one()
    approve(life.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(life.name, digest)])
    life.at("after approve")
    claim = jobs.claim(life.house, jobs_of(life, JobKind.RELEASE), "worker", READY)
    assert claim is not None
    publication.publish(life.house, claim)
    life.at("after publication")


def jobs_of(life: _Life, kind: JobKind) -> str:
    """The ID of the entry's job of this kind."""
    from readvault.db.tables import Job

    assert life.name is not None
    with life.house.sessions.read() as session:
        return session.exec(select(Job.id).where(Job.accession == life.name.accession, Job.kind == kind.value)).one()


def _compare(life: _Life, file_id: str) -> None:
    """The bytes that were hashed, those that were released and those that a reader gets are the same."""
    if life.name is None:
        return
    with life.house.sessions.read() as session:
        released = session.get(Release, (life.name.accession, life.name.version))
        hashed = session.get_one(UploadedFile, file_id).sha256
        assert session.exec(select(EntryFile.file_id).where(EntryFile.accession == life.name.accession)).one()
    if released is None:
        assert life.trick not in HARMLESS, "the entry was not released"
        return
    url = file_url(life.house, None, str(life.name.accession), life.name.version, CATEGORY, NAME)
    got = httpx.get(url)
    if got.status_code != 200:  # what was destroyed is missed, but nothing else is given in its place
        assert life.trick in (destroy_and_write, replace_outputs), f"a reader gets {got.status_code}"
        return
    assert hashlib.sha256(got.content).hexdigest() == hashed, "a reader gets other bytes than were hashed"
    if life.trick in HARMLESS:
        assert got.content == life.body, "other bytes were released than were uploaded"


def run(trials: int, seed: int, folder: Path) -> Outcome:
    """One entry for each trial: instant by instant, trick by trick."""
    dice = random.Random(seed)
    server = shared_server()
    settings = server.provision(f"test-{uuid.uuid4().hex[:12]}")
    url = f"sqlite:///{folder / 'readvault.sqlite'}"
    migrate(url)
    engine = create_engine(url)
    house = build_house(Sessions(engine), S3Store(settings), RecordingOrchestrator(), folder)
    group = group_of(house, ALICE)
    worker = S3Store(settings)._worker
    failures = []
    plan = itertools.product(TRICKS, INSTANTS)
    for trick, instant in itertools.islice(itertools.cycle(plan), seed % 96, seed % 96 + trials):
        body = dice.randbytes(dice.choice((100, 2000, 50_000)))
        life = _Life(house, worker, settings.bucket, group, body, dice, instant, trick)
        try:
            _live(life)
            assert life.swapped or life.name is None, "the attacker had no chance"
        except AssertionError as wrong:
            failures.append(f"{trick.__name__} {instant}: {wrong}")
    house.sessions.close()
    return Outcome(trials, failures, "SeaweedFS, SQLite, steps that put out what they are given, each of 8 tricks")


CAMPAIGN = Campaign(
    name="swap",
    promise="P5 What was validated is what is released",
    how=f"at each of {len(INSTANTS)} instants from before submit to after the publication somebody puts other bytes in"
    " place: by the used URL, a part sent again, a second version, a delete marker, a version destroyed with stolen"
    " keys, other bytes under the output's key; the bytes hashed, released and downloaded must be the same",
    full=1200,
    run=run,
    unit="swap attempts",
    part=96,
    tiny=8,
)
