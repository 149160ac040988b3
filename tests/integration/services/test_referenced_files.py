"""Files that stay in a bucket of their group: read and hashed, processed like others, never ours to promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from readvault.db.tables import (
    CondemnedVersion,
    EntryFile,
    ErasedObject,
    FixityCheck,
    Job,
    Pull,
    ReferencedFile,
    SecondCopy,
    UploadedFile,
    UploadUsage,
)
from readvault.domain import manifest
from readvault.domain.actor import Actor
from readvault.domain.annotations import Reason
from readvault.domain.erasures import Kind
from readvault.domain.errors import (
    BadRequest,
    Damaged,
    Forbidden,
    InvalidSubmission,
    LeaseLost,
    NotFound,
    ProcessingFailure,
    StoreUnavailable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.pulls import PullState, SourceState
from readvault.domain.status import JobKind
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.pulls import ranges, referenced, requests
from readvault.services.pulls.asked import WantedPull, WantedSource
from readvault.services.pulls.referenced_store import StoreWithReferenced
from readvault.services.queue.lease import Lease
from readvault.services.release import publication
from readvault.services.review import review
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.erasing import erasure
from readvault.services.storage.garbage import collection
from readvault.services.storage.integrity import fsck, verification
from readvault.services.storage.rebuilding.records import export
from readvault.services.submission import deletion
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from readvault.worker.server_job import ServerJob
from tests import foreign
from tests.fakes import MemoryStore
from tests.foreign import Authority
from tests.houses import ALICE, BOB, MAINTAINER, group_of, upload
from tests.integration.services import pull_scenes
from tests.integration.services.pull_scenes import Lab, lab, seen_through
from tests.integration.services.scenes import ORGANISM, claimed, result

READS = b"@read\nACGT\n+\nIIII\n"
OTHER = b"@read\nTTTT\n+\nIIII\n"
KEPT = ("small.fastq", "more.fastq")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAUSES", ())


@pytest.fixture
def scene(house: House, authority: Authority) -> Iterator[Lab]:
    with lab(house, authority, group_of(house, ALICE), connections=1, references=True) as made:
        made.shop.objects |= {"/lab/small.fastq": READS, "/lab/more.fastq": OTHER}
        made.shop.keys.add("LAB")
        yield seen_through(made)


def own_bucket(scene: Lab) -> MemoryStore:
    store = scene.house.store
    assert isinstance(store, StoreWithReferenced)
    assert isinstance(store._own, MemoryStore)
    return store._own


def kept(scene: Lab, *keys: str) -> list[str]:
    """Files that stay where they are, read and hashed; their IDs."""
    pull = scene.referenced(*keys, category="rawReads").pull
    scene.work()
    return [str(source.file_id) for source in scene.seen(pull.id).sources]


def submitted(scene: Lab, *files: str) -> tuple[AccessionVersion, str]:
    """An entry with these files, and its job."""
    cell = " ".join(f"f{number}.fastq:{file_id}" for number, file_id in enumerate(files))
    made = pull_scenes.submitted(scene, {"files.rawReads": cell})
    name = AccessionVersion(made.accession, made.version)
    with scene.house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.kind == JobKind.PROCESS_SUBMISSION.value)
        return name, session.exec(query).one()


def rows(scene: Lab, *tables: Any) -> list[Any]:
    with scene.house.sessions.read() as session:
        return [row for table in tables for row in session.exec(select(table)).all()]


def fetched(scene: Lab, job_id: str, folder: Path) -> ServerJob:
    """A job of that entry whose originals are fetched."""
    with scene.house.sessions.begin() as session:
        session.get_one(Job, job_id).not_before = 0
    claim = claimed(scene.house, job_id)
    job = ServerJob(scene.house, claim, Lease(scene.house, claim), folder, lambda _: nullcontext())  # type: ignore[arg-type, return-value]
    job.fetch()
    return job


def released(scene: Lab, *files: str) -> AccessionVersion:
    """An entry with these files that is processed and approved."""
    name, job_id = submitted(scene, *files)
    own = replace(scene.house, store=own_bucket(scene))
    claim = claimed(scene.house, job_id)
    jobs.record_hashes(scene.house, claim, {file_id: digest_of(scene, file_id) for file_id in files})
    digest = jobs.register(scene.house, claim, result(own, claim))
    approve(scene.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def digest_of(scene: Lab, file_id: str) -> str:
    with scene.house.sessions.read() as session:
        return str(session.get_one(UploadedFile, file_id).declared_sha256)


def verified(scene: Lab) -> verification.Verification:
    """Everything read once more."""
    return verification.verify(scene.house, days=-1)


def test_a_file_that_stays_is_hashed_and_submitted_and_processed(scene: Lab, tmp_path: Path) -> None:
    asked = scene.referenced(*KEPT, category="rawReads")
    pulled = scene.work()
    assert (pulled.files, pulled.failed) == (2, 0)
    view = scene.seen(asked.pull.id)
    assert [(each.state, each.sha256) for each in view.sources] == [
        (SourceState.DONE, hashlib.sha256(body).hexdigest()) for body in (READS, OTHER)
    ]
    assert own_bucket(scene).versions == {}
    name, job_id = submitted(scene, *(str(each.file_id) for each in view.sources))
    job = fetched(scene, job_id, tmp_path)
    assert [path.read_bytes() for path in sorted((tmp_path / "originals").iterdir())] == [READS, OTHER]
    body = job._manifest(None, (), ())[manifest.PRIVATE]
    assert [(each["sha256"], each["storage"]) for each in body["inputs"]] == [
        (hashlib.sha256(each).hexdigest(), "group") for each in (READS, OTHER)
    ]
    assert all(file.sealed_at and file.sha256 for file in rows(scene, UploadedFile))
    (shown,) = review.overview(scene.house, ALICE, ORGANISM, name)["submittedData"]["files"].values()
    assert {(each["storage"], each["readable"]) for each in shown} == {("group", True)}


def test_credentials_stay_encrypted_for_as_long_as_the_file_is_referenced(scene: Lab) -> None:
    kept(scene, "small.fastq")
    assert [pull.secret for pull in rows(scene, Pull)] == [None]
    (row,) = rows(scene, ReferencedFile)
    assert row.secret.startswith("v1.")
    assert "LAB" not in row.secret
    session = scene.house.sessions.begin()
    with pytest.raises(DBAPIError, match="never changes"), session as opened:
        opened.get_one(ReferencedFile, row.file_id).place = "another"


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"references": False}, "keeps a copy"),
        ({"session_token": "t"}, "Temporary credentials"),
        ({"url": "signature=right"}, "query"),
    ],
)
def test_what_can_not_last_is_refused_when_it_is_asked_for(scene: Lab, wanted: dict[str, Any], told: str) -> None:
    scene = seen_through(scene, references=wanted.get("references", True))
    source = WantedSource("small.fastq")
    token = {"session_token": wanted["session_token"]} if "session_token" in wanted else {}
    asked = WantedPull((source,), scene.bucket(**token), by_reference=True)
    if "url" in wanted:
        asked = WantedPull((WantedSource(scene.url("/lab/small.fastq", wanted["url"])),), by_reference=True)
    with pytest.raises(BadRequest, match=told):
        requests.request_pull(scene.house, ALICE, scene.group_id, asked)


def test_a_public_file_needs_the_challenge_object_and_no_credential(scene: Lab) -> None:
    scene.shop.public |= {"/lab/small.fastq"}
    wanted = WantedPull((WantedSource(scene.url("/lab/small.fastq", "")),), by_reference=True)
    view = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    assert view.challenge is not None
    note = f"/lab/{view.challenge.name}"
    scene.shop.objects[note] = view.challenge.content.encode()
    scene.shop.public.add(note)
    requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    (row,) = rows(scene, ReferencedFile)
    assert (row.bucket, row.secret) == (None, None)
    (file,) = rows(scene, UploadedFile)
    assert scene.house.store.sign_get(file.key, None, name="a", expires=60) == scene.url("/lab/small.fastq", "")
    submitted(scene, file.id)
    assert verified(scene).references_lost == 0


def test_a_source_that_changes_while_it_is_read_fails(scene: Lab) -> None:
    def change(handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
        if handler.headers.get("If-Match"):
            scene.shop.objects["/lab/small.fastq"] = OTHER
        return False

    scene.shop.odd = change
    pull = scene.referenced("small.fastq").pull
    assert scene.work().failed == 1
    assert scene.seen(pull.id).sources[0].refusal == "changed meanwhile"
    assert rows(scene, ReferencedFile) == []


def test_a_worker_that_is_killed_reads_it_again_from_its_start(scene: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.referenced("small.fastq")

    def dies(*_: Any) -> None:
        raise LeaseLost("killed")

    with monkeypatch.context() as patched:
        patched.setattr(referenced, "keep", dies)
        with pytest.raises(LeaseLost):
            scene.work()
    assert rows(scene, ReferencedFile) == []
    assert [file.key[:11] for file in rows(scene, UploadedFile)] == ["referenced/"]
    scene.due()
    with scene.house.sessions.begin() as session:
        job = session.get_one(Job, scene.job().id)
        job.state, job.lease_until = "queued", None
    assert scene.work().files == 1
    assert len(rows(scene, ReferencedFile)) == len(rows(scene, UploadedFile)) == 1


def test_a_lost_reference_is_the_submitters_matter(scene: Lab, tmp_path: Path) -> None:
    name, job_id = submitted(scene, *kept(scene, *KEPT))
    scene.shop.objects["/lab/small.fastq"] = OTHER
    del scene.shop.objects["/lab/more.fastq"]
    with pytest.raises(InvalidSubmission) as fault:
        fetched(scene, job_id, tmp_path)
    assert [(each.reason, each.file) for each in fault.value.annotations] == [
        (Reason.REFERENCE_LOST, "f0.fastq"),
        (Reason.REFERENCE_LOST, "f1.fastq"),
    ]
    assert {row.damage for row in rows(scene, FixityCheck)} == {"reference lost"}
    for each in review.overview(scene.house, ALICE, ORGANISM, name)["submittedData"]["files"]["rawReads"]:
        with pytest.raises(Damaged, match="bucket of its group"):
            review.file_url(scene.house, ALICE, ORGANISM, name, each["fileId"])


def test_a_verification_finds_what_is_lost_and_what_came_back(scene: Lab) -> None:
    lost, _ = kept(scene, *KEPT)
    submitted(scene, *(row.file_id for row in rows(scene, ReferencedFile)))
    assert (verified(scene).references_lost, verified(scene).checked) == (0, 2)
    scene.shop.objects["/lab/small.fastq"] = OTHER
    done = verified(scene)
    assert (done.references_lost, done.damaged, done.finished) == (1, 0, True)
    (one,) = (each for each in referenced.references_of_group(scene.house, ALICE, scene.group_id) if each.damage)
    assert (one.where.file_id, one.damage) == (lost, "reference lost")
    (row,) = (row for row in rows(scene, FixityCheck) if row.damage)
    assert "bucket of its group" in (row.unrepaired or "")
    scene.shop.objects["/lab/small.fastq"] = READS
    assert verified(scene).mended == 1


def test_the_same_bytes_put_there_anew_are_as_good(scene: Lab, tmp_path: Path) -> None:
    _, job_id = submitted(scene, *kept(scene, "small.fastq"))
    scene.shop.written = "again"
    fetched(scene, job_id, tmp_path)
    assert (tmp_path / "originals" / "0000").read_bytes() == READS
    assert verified(scene).references_lost == 0


def test_a_store_that_does_not_answer_holds_nobody_up(scene: Lab, tmp_path: Path) -> None:
    _, job_id = submitted(scene, *kept(scene, "small.fastq"))
    scene.shop.odd = lambda handler, _: bool(handler.say(503, b"")) or True  # type: ignore[attr-defined]
    with pytest.raises(ProcessingFailure) as fault:
        fetched(scene, job_id, tmp_path)
    assert not isinstance(fault.value, StoreUnavailable)  # which would let all jobs wait
    done = verified(scene)
    assert (done.unreachable, done.references_lost, done.finished) == (1, 0, True)


def test_bytes_that_change_at_every_look_are_no_outage_of_ours(scene: Lab, tmp_path: Path) -> None:
    _, job_id = submitted(scene, *kept(scene, "small.fastq"))
    turns = iter([OTHER])

    def changing(handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
        if handler.headers.get("If-Match") and (body := next(turns, None)) is not None:
            handler.ranged(body, scene.shop.etag("/lab/small.fastq"))  # type: ignore[attr-defined]
            return True
        return False

    scene.shop.odd = changing
    with pytest.raises(ProcessingFailure) as fault:
        fetched(scene, job_id, tmp_path)
    assert not isinstance(fault.value, StoreUnavailable)


def test_keys_that_were_changed_are_renewed_by_the_group(scene: Lab) -> None:
    submitted(scene, *kept(scene, *KEPT))
    scene.shop.keys = {"NEW"}
    assert verified(scene).references_lost == 2
    with pytest.raises(Forbidden):
        referenced.renew_credentials(scene.house, BOB, scene.group_id, scene.bucket("NEW"))
    with pytest.raises(BadRequest, match="lasts"):
        referenced.renew_credentials(scene.house, ALICE, scene.group_id, scene.bucket("NEW", session_token="t"))
    other = replace(scene.bucket("NEW"), bucket="other")
    with pytest.raises(NotFound, match="references nothing"):  # else nobody would notice a slip of the pen
        referenced.renew_credentials(scene.house, ALICE, scene.group_id, other)
    spelled = scene.bucket("NEW")
    shouted = replace(spelled, endpoint=f"{spelled.endpoint.upper()}/")
    assert referenced.renew_credentials(scene.house, ALICE, scene.group_id, shouted) == 2
    assert verified(scene).mended == 2


def test_a_new_key_of_ours_replaces_the_old_one(scene: Lab) -> None:
    submitted(scene, *kept(scene, *KEPT))
    new = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    old, chosen = foreign.KEY, type(scene.house.settings.pulls)
    both = seen_through(scene, secret_keys=chosen(secret_keys=(new, old)).secret_keys)
    assert referenced.encrypt_anew(both.house) == 2
    assert referenced.encrypt_anew(both.house) == 0
    alone = seen_through(scene, secret_keys=chosen(secret_keys=(new,)).secret_keys)
    assert verified(alone).references_lost == 0


def test_who_uploads_the_same_file_wants_it_kept_here(scene: Lab) -> None:
    name, job_id = submitted(scene, *kept(scene, "small.fastq"))
    with scene.house.sessions.begin() as session:
        (file_id,) = session.exec(select(EntryFile.file_id).where(EntryFile.accession == name.accession))
        session.get_one(UploadedFile, file_id).sha256 = hashlib.sha256(READS).hexdigest()
    wanted = WantedFile("a", len(READS), hashlib.sha256(READS).hexdigest())
    (answer,) = request_uploads(scene.house, ALICE, scene.group_id, [wanted])
    assert answer.put is not None
    assert answer.file_id != file_id
    assert job_id


def test_a_release_promises_nothing_of_it(scene: Lab) -> None:
    second = MemoryStore()
    scene = replace(scene, house=replace(scene.house, second_store=second))
    name = released(scene, *kept(scene, "small.fastq"))
    scene.shop.objects.clear()  # nobody asks for it now
    with scene.house.sessions.read() as session:
        job = session.exec(select(Job).where(Job.kind == JobKind.RELEASE.value)).one()
    claim = jobs.claim(scene.house, job.id, "worker", ())
    assert claim is not None
    publication.publish(scene.house, claim)
    assert not any(key.startswith("referenced/") for key, _ in own_bucket(scene).locked)
    assert not any(row.key.startswith("referenced/") for row in rows(scene, SecondCopy))
    assert not any(key.startswith("referenced/") for key in second.versions)
    record = json.loads(next(v[-1][1] for k, v in own_bucket(scene).versions.items() if k.endswith("release.json")))
    assert [each["sha256"] for each in record["originals"]] == [hashlib.sha256(READS).hexdigest()]
    assert list(fsck.fsck(scene.house)) == []
    assert name.version == 1


def test_an_erasure_forgets_the_reference_and_touches_nothing_elsewhere(scene: Lab) -> None:
    name = released(scene, *kept(scene, "small.fastq"))
    asked, _ = erasure.request(scene.house, MAINTAINER, [name], "consent")
    assert asked.id is not None
    second = Actor("other-maintainer", MAINTAINER.roles)
    erasure.confirm(scene.house, second, asked.id, objects=asked.objects, code=asked.code)
    assert rows(scene, ReferencedFile) == []
    assert Kind.REFERENCED in {row.kind for row in rows(scene, ErasedObject)}
    asks = len(scene.shop.asked)
    verified(scene)
    assert len(scene.shop.asked) == asks
    assert scene.shop.objects["/lab/small.fastq"] == READS


def test_what_nobody_submits_or_uses_is_forgotten_with_its_credentials(scene: Lab) -> None:
    storage = scene.house.settings.storage.model_copy(
        update={"garbage_older_than_hours": -1.0, "garbage_waits_hours": -1.0}
    )
    limits = scene.house.settings.limits.model_copy(update={"window_hours": -1.0})
    settings = scene.house.settings.model_copy(update={"storage": storage, "limits": limits})
    house = replace(scene.house, settings=settings)
    unused, used = kept(scene, *KEPT)
    name, job_id = submitted(scene, used)
    claim = claimed(house, job_id)
    jobs.register(house, claim, result(replace(house, store=own_bucket(scene)), claim))
    with house.sessions.begin() as session:
        session.get_one(UploadedFile, unused).expires_at = 1.0
    collection.collect(house, dry_run=False)
    assert [row.file_id for row in rows(scene, ReferencedFile)] == [used]
    deletion.delete_versions(house, ALICE, ORGANISM, scope=deletion.Scope.ALL, accession_versions=[name])
    for _ in range(2):
        collection.collect(house, dry_run=False)
    assert rows(scene, ReferencedFile, UploadedFile) == []
    assert all(row.deleting_since or row.deleted_at for row in rows(scene, CondemnedVersion))
    assert "/lab/more.fastq" in scene.shop.objects


def test_records_name_where_it_lies_and_no_credential(scene: Lab) -> None:
    submitted(scene, *kept(scene, "small.fastq"))
    export(scene.house)
    told = [json.loads(body) for key, of in own_bucket(scene).versions.items() for _, body in of if "/state-" in key]
    (row,) = (row for each in told for row in each["rows"].get("referenced_file", ()))
    assert (row["bucket"], row["place"], row["secret"]) == ("lab", "small.fastq", None)


def test_without_pulls_it_can_not_be_read_and_says_why(scene: Lab) -> None:
    submitted(scene, *kept(scene, "small.fastq"))
    house = scene.house
    store = StoreWithReferenced(own_bucket(scene), house.sessions, house.settings.pulls, None)
    done = verified(replace(scene, house=replace(house, store=store)))
    assert (done.unreachable, done.references_lost) == (1, 0)


def test_a_pull_by_reference_costs_its_bytes_of_the_quota(scene: Lab) -> None:
    submitted(scene, *kept(scene, *KEPT))
    used = {row.scope: row.sealed_bytes for row in rows(scene, UploadUsage)}
    assert used[f"group:{scene.group_id}"] == len(READS) + len(OTHER)


def test_uploads_beside_it_are_as_ever(scene: Lab, tmp_path: Path) -> None:
    (stays,) = kept(scene, "small.fastq")
    own = replace(scene.house, store=own_bucket(scene))
    (here,) = upload(own, ALICE, scene.group_id, OTHER)
    _, job_id = submitted(scene, stays, here)
    job = fetched(scene, job_id, tmp_path)
    told = {each.get("storage") for each in job._manifest(None, (), ())[manifest.PRIVATE]["inputs"]}
    assert told == {"group", None}
    assert scene.seen(rows(scene, Pull)[0].id).state is PullState.DONE
