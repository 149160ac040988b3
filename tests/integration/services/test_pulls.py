"""Pulls: what a submitter has elsewhere becomes an upload, whole and unchanged, or fails with a reason."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from sqlmodel import col, select

from readvault.config import LimitSettings
from readvault.db.tables import AuditEntry, EntryFile, IdempotentRequest, Job, Pull, PullSource, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import (
    BadRequest,
    LeaseLost,
    NotFound,
    ProcessingFailure,
    StoreUnavailable,
    TooLarge,
    TooMany,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.pulls import PullState, Refusal, SourceState
from readvault.domain.status import JobKind, JobState
from readvault.ports import Delivery, ForeignBucket, ForeignKeys
from readvault.services.house import House
from readvault.services.idempotency import Once
from readvault.services.people import accounts, groups
from readvault.services.processing import jobs
from readvault.services.pulls import access, copying, ending, ranges, requests
from readvault.services.pulls.asked import WantedPull, WantedSource
from readvault.services.queue.fence import held
from readvault.services.storage.erasing import erasure
from readvault.services.submission.new_entries import submit
from readvault.services.uploads import multipart
from readvault.worker.house import WorkerHouse
from tests.fakes import MemoryStore
from tests.foreign import Authority
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.services.drop_scenes import with_account
from tests.integration.services.pull_scenes import PART, Lab, lab

SMALL = b"@read\nACGT\n+\nIIII\n"
LARGE = random.Random(5).randbytes(2 * PART + 17)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(multipart, "SMALLEST_PART", PART)


@pytest.fixture
def scene(house: House, authority: Authority) -> Iterator[Lab]:
    with lab(house, authority, group_of(house, ALICE), connections=1) as made:
        made.shop.objects |= {"/b/small.fastq": SMALL, "/b/large.fastq": LARGE, "/b/empty.fastq": b""}
        yield made


def stored(scene: Lab, file_id: str | None) -> bytes:
    """The bytes that our S3 has of a file."""
    assert file_id is not None
    with scene.house.sessions.read() as session:
        key = session.get_one(UploadedFile, file_id).key
    store = scene.house.store
    assert isinstance(store, MemoryStore)
    ((_, body),) = store.versions[key]
    return body


def submitted(scene: Lab, row: dict[str, str]) -> None:
    told: dict[str, Any] = {"group_id": scene.group_id, "metadata": tsv(row), "metadata_name": "metadata.tsv"}
    submit(scene.house, ALICE, "sars-cov-2", **told)


def secrets_left(scene: Lab) -> int:
    with scene.house.sessions.read() as session:
        rows = [*session.exec(select(Pull.secret)), *session.exec(select(PullSource.secret))]
    return sum(each is not None for each in rows)


def the_refusal(scene: Lab, pull_id: str) -> str | None:
    """Why the one source failed; nothing of it is usable in our bucket."""
    view = scene.seen(pull_id)
    (source,) = view.sources
    assert (view.state, source.state, source.file_id) == (PullState.DONE, SourceState.FAILED, None)
    assert source.reason
    assert secrets_left(scene) == 0
    store = scene.house.store
    assert isinstance(store, MemoryStore)
    assert store.versions == {}
    assert store.uploads == {} or source.refusal != Refusal.WRONG_HASH
    return source.refusal


def test_files_are_pulled_hashed_and_submitted_like_uploads(scene: Lab) -> None:
    asked = scene.asked("/b/small.fastq", "/b/large.fastq", "/b/empty.fastq", category="rawReads")
    assert asked.state is PullState.OPEN
    assert secrets_left(scene) == 3
    pulled = scene.work()
    assert (pulled.files, pulled.failed, pulled.size) == (3, 0, len(SMALL) + len(LARGE))
    view = scene.seen(asked.pull.id)
    assert view.state is PullState.DONE
    assert view.bytes_done == view.size == len(SMALL) + len(LARGE)
    for source, body in zip(view.sources, (SMALL, LARGE, b""), strict=True):
        assert (source.state, source.sha256, source.size) == (SourceState.DONE, digest(body), len(body))
        assert stored(scene, source.file_id) == body
    assert secrets_left(scene) == 0
    assert scene.job().state == JobState.DONE
    # From here on they are uploads: submitted, sealed, and with the SHA-256 that fetch will insist on.
    cell = f"small.fastq:{view.sources[0].file_id} large.fastq:{view.sources[1].file_id}"
    row = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": cell}
    submitted(scene, row)
    with scene.house.sessions.read() as session:
        sealed = {file.id: file for file in session.exec(select(UploadedFile).join(EntryFile))}
    for source in view.sources[:2]:
        file = sealed[str(source.file_id)]
        assert file.sealed_at is not None
        assert file.declared_sha256 == source.sha256
        assert file.version_id is not None


def test_what_a_worker_does_with_it(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq").pull
    worker = WorkerHouse(scene.house)
    delivery = Delivery(scene.job().id, 1, JobKind.IMPORT, "import-files")
    worker.run(delivery)
    worker.run(delivery)  # a second delivery finds nothing to do
    view = scene.seen(pull.id)
    assert [each.state for each in view.sources] == [SourceState.DONE]
    assert scene.job().attempt == 1


def test_the_job_waits_among_the_large_ones_and_names_nothing(scene: Lab) -> None:
    scene.asked("/b/small.fastq")
    (delivery,) = scene.house.orchestrator.deliveries  # type: ignore[attr-defined]
    assert delivery.queue == "large"
    assert delivery.label == f"import-files {scene.job().id[:8]}"


def test_a_public_source_needs_a_challenge_object_beside_it(scene: Lab) -> None:
    scene.shop.public |= {"/b/small.fastq", "/b/challenge"}
    wanted = WantedPull((WantedSource(scene.url("/b/small.fastq", "")),))
    view = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    assert view.state is PullState.AWAITS_PROOF
    assert view.pull.job_id is None
    challenge = view.challenge
    assert challenge is not None
    assert challenge.folders == (scene.url("/b/", ""),)
    requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    assert the_refusal(scene, view.pull.id) == Refusal.NO_PROOF
    again = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    assert again.challenge is not None
    path = f"/b/{again.challenge.name}"
    scene.shop.objects[path] = again.challenge.content.encode() + b"\n"
    scene.shop.public.add(path)
    assert requests.start(scene.house, ALICE, again.pull.id).state is PullState.OPEN
    scene.work()
    assert [each.state for each in scene.seen(again.pull.id).sources] == [SourceState.DONE]


def test_a_challenge_of_another_content_is_none(scene: Lab) -> None:
    scene.shop.public.add("/b/small.fastq")
    wanted = WantedPull((WantedSource(scene.url("/b/small.fastq", "")),))
    view = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    assert view.challenge is not None
    path = f"/b/{view.challenge.name}"
    scene.shop.objects[path], scene.shop.public = b"index of /b", {"/b/small.fastq", path}
    requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    assert the_refusal(scene, view.pull.id) == Refusal.NO_PROOF


def test_a_query_is_no_credential_where_everybody_can_read(scene: Lab) -> None:
    scene.shop.public.add("/b/small.fastq")
    pull = scene.asked("/b/small.fastq").pull
    scene.work()
    assert the_refusal(scene, pull.id) == Refusal.NO_PROOF


def test_challenge_objects_under_a_prefix_are_no_files(scene: Lab) -> None:
    def odd(handler: Any, _body: bytes | None) -> bool:
        if "list-type=2" not in handler.path:
            return False
        names = sorted(path.removeprefix("/lab/") for path in scene.shop.objects if path.startswith("/lab/"))
        keys = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names)
        handler.say(200, f"<ListBucketResult>{keys}</ListBucketResult>".encode())
        return True

    scene.shop.odd = odd
    bucket = ForeignBucket(scene.url("", ""), "us-east-1", "lab")
    view = requests.request_pull(scene.house, ALICE, scene.group_id, WantedPull(bucket=bucket, prefix="run/"))
    assert view.challenge is not None
    scene.shop.objects |= {"/lab/run/a.fastq": SMALL, "/lab/run/readvault-challenge-of-an-earlier-pull.txt": b"x"}
    scene.shop.objects[f"/lab/run/{view.challenge.name}"] = view.challenge.content.encode()
    scene.shop.public |= set(scene.shop.objects)
    requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    assert [(each.place, each.state) for each in scene.seen(view.pull.id).sources] == [
        ("run/a.fastq", SourceState.DONE)
    ]


@pytest.mark.parametrize("query", ["versionId=old", "versionId=old&signature=right&response-content-type=x"])
def test_a_query_that_chooses_what_everybody_can_read_is_none_either(scene: Lab, query: str) -> None:
    def odd(handler: Any, _body: bytes | None) -> bool:
        if not handler.path.startswith("/b/gone.fastq?versionId=old"):
            return False
        if "response-" in handler.path and "signature" not in handler.path:
            handler.say(400, b"")
        else:
            handler.ranged(SMALL, '"old"')
        return True

    scene.shop.odd = odd
    wanted = WantedPull((WantedSource(scene.url("/b/gone.fastq", query)),))
    view = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    if view.state is PullState.AWAITS_PROOF:
        requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    assert the_refusal(scene, view.pull.id) == Refusal.NO_PROOF


def test_a_query_that_is_no_credential_needs_the_challenge_object(scene: Lab) -> None:
    scene.shop.public.add("/b/small.fastq")
    wanted = WantedPull((WantedSource(scene.url("/b/small.fastq", "download=1")),))
    view = requests.request_pull(scene.house, ALICE, scene.group_id, wanted)
    assert view.state is PullState.AWAITS_PROOF
    assert view.challenge is not None
    path = f"/b/{view.challenge.name}"
    scene.shop.objects[path] = view.challenge.content.encode()
    scene.shop.public.add(path)
    requests.start(scene.house, ALICE, view.pull.id)
    scene.work()
    assert [each.state for each in scene.seen(view.pull.id).sources] == [SourceState.DONE]


@pytest.mark.parametrize(
    ("told", "refusal"),
    [
        ({"sha256": "0" * 64}, Refusal.WRONG_HASH),
        ({"size": 3}, Refusal.WRONG_SIZE),
    ],
)
@pytest.mark.parametrize("path", ["/b/small.fastq", "/b/large.fastq"])
def test_other_bytes_than_declared_are_not_kept(scene: Lab, path: str, told: dict[str, Any], refusal: Refusal) -> None:
    pull = scene.asked(path, **told).pull
    scene.work()
    assert the_refusal(scene, pull.id) == refusal


def test_a_source_that_does_not_exist_or_refuses_us(scene: Lab) -> None:
    gone = scene.asked("/b/none.fastq").pull
    scene.work()
    assert the_refusal(scene, gone.id) == Refusal.MISSING
    wanted = WantedPull((WantedSource(scene.url("/b/small.fastq", "signature=wrong")),))
    refused = requests.request_pull(scene.house, ALICE, scene.group_id, wanted).pull
    scene.work()
    assert the_refusal(scene, refused.id) == Refusal.DENIED
    assert "HTTP 403, AccessDenied" in str(scene.seen(refused.id).sources[0].reason)


def replaced_after(scene: Lab, ranges: int, then: Callable[[Any, bytes], None]) -> None:
    """Let the server do something else with its large object once it has sent so many ranges of it."""

    def odd(handler: BaseHTTPRequestHandler, body: bytes | None) -> bool:
        if body is None or len(body) < PART or scene.shop.ranges < ranges:
            return False
        then(handler, body)
        return True

    scene.shop.odd = odd


OTHER = bytes(len(LARGE))
CHANGES: dict[str, tuple[Callable[[Any, bytes], None], Refusal]] = {
    "other content": (lambda handler, _: handler.ranged(OTHER, '"other"'), Refusal.CHANGED),
    "other content, pin ignored": (
        lambda handler, _: handler.ranged(OTHER, '"other"', ignore_pin=True),
        Refusal.CHANGED,
    ),
    "shorter": (lambda handler, _: handler.ranged(OTHER[:PART], '"other"', ignore_pin=True), Refusal.CHANGED),
    "gone": (lambda handler, _: handler.say(404, b""), Refusal.MISSING),
    "whole instead of a range": (lambda handler, body: handler.say(200, body), Refusal.BAD_ANSWER),
    "redirect": (
        lambda handler, _: handler.say(302, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}),
        Refusal.REDIRECT,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_in_the_middle_fails(scene: Lab, change: str) -> None:
    then, refusal = CHANGES[change]
    replaced_after(scene, 1, then)
    pull = scene.asked("/b/large.fastq").pull
    scene.work()
    assert the_refusal(scene, pull.id) == refusal


def test_same_pin_and_other_bytes_are_found_by_the_declared_hash(scene: Lab) -> None:
    etag = scene.shop.etag("/b/large.fastq")
    replaced_after(scene, 1, lambda handler, _: handler.ranged(OTHER, etag, ignore_pin=True))
    pull = scene.asked("/b/large.fastq", sha256=digest(LARGE)).pull
    scene.work()
    assert the_refusal(scene, pull.id) == Refusal.WRONG_HASH


def test_a_source_that_is_away_is_tried_again_and_then_fails(scene: Lab) -> None:
    scene.shop.odd = lambda handler, _: handler.say(503, b"") or True  # type: ignore[attr-defined]
    pull = scene.asked("/b/small.fastq").pull
    for _ in range(2):
        with pytest.raises(ProcessingFailure, match="can't be reached"):
            scene.work()
        scene.due()
    scene.work()
    assert the_refusal(scene, pull.id) == Refusal.AWAY


def test_one_bad_source_takes_no_other_down(scene: Lab) -> None:
    pull = scene.asked("/b/none.fastq", "/b/large.fastq", "/b/small.fastq").pull
    pulled = scene.work()
    assert (pulled.files, pulled.failed) == (2, 1)
    assert [each.state for each in scene.seen(pull.id).sources] == [
        SourceState.FAILED, SourceState.DONE, SourceState.DONE,
    ]  # fmt: skip


def test_a_pull_that_was_broken_off_goes_on_with_the_parts_that_are_there(
    scene: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = scene.asked("/b/large.fastq", sha256=digest(LARGE)).pull
    store = scene.house.store
    assert isinstance(store, MemoryStore)
    put_part = store.put_part

    def breaks(key: str, upload_id: str, number: int, body: bytes) -> Any:
        if number == 3:
            raise StoreUnavailable("upload", "S3 is away")
        return put_part(key, upload_id, number, body)

    monkeypatch.setattr(store, "put_part", breaks)
    with pytest.raises(StoreUnavailable):
        scene.work()
    monkeypatch.setattr(store, "put_part", put_part)
    scene.due()
    before = scene.shop.ranges
    scene.work()
    assert scene.shop.ranges - before == 1  # the third part alone
    assert store.calls.count("sha256_of") == 1
    (source,) = scene.seen(pull.id).sources
    assert (source.state, source.sha256) == (SourceState.DONE, digest(LARGE))
    assert stored(scene, source.file_id) == LARGE


@pytest.mark.parametrize("point", ["import-stored", "import-copied-before-commit", "import-before-commit"])
@pytest.mark.parametrize("path", ["/b/small.fastq", "/b/large.fastq"])
def test_what_was_stored_and_not_noted_is_read_back(
    scene: Lab, point: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from readvault.services.pulls import pulling

    class Died(Exception):
        pass

    def dies(name: str) -> None:
        if name == point:
            raise Died

    pull = scene.asked(path).pull
    monkeypatch.setattr(copying, "failpoint", dies)
    monkeypatch.setattr(pulling, "failpoint", dies)
    with pytest.raises(Died):
        scene.work()
    for module in (copying, pulling):
        monkeypatch.setattr(module, "failpoint", lambda _: None)
    scene.due()
    scene.work()
    (source,) = scene.seen(pull.id).sources
    body = scene.shop.objects[path]
    assert (source.state, source.sha256) == (SourceState.DONE, digest(body))
    assert stored(scene, source.file_id) == body


def test_who_lost_the_job_writes_nothing_more(scene: Lab) -> None:
    pull = scene.asked("/b/large.fastq").pull
    calls = 0

    def cancels(handler: Any, body: bytes | None) -> bool:
        nonlocal calls
        calls += 1
        if calls == 4:
            ending.cancel(scene.house, ALICE, pull.id)
        return False

    scene.shop.odd = cancels
    with pytest.raises(LeaseLost):
        scene.work()
    view = scene.seen(pull.id)
    assert view.state is PullState.CANCELLED
    assert [each.state for each in view.sources] == [SourceState.CANCELLED]
    assert secrets_left(scene) == 0
    assert scene.job().state == JobState.DONE
    with scene.house.sessions.read() as session:
        (file,) = session.exec(select(UploadedFile))
    assert file.expires_at <= view.pull.ended_at  # type: ignore[operator]


@pytest.mark.parametrize("after", [1, 7, 14, 20])
def test_a_cancel_that_races_with_the_worker_leaves_one_truth(scene: Lab, after: int) -> None:
    """Whoever comes first: the pull is over, no credential is left, and what counts as done is whole."""
    paths = [f"/b/{number}.fastq" for number in range(6)]
    scene.shop.objects |= {path: SMALL + path.encode() for path in paths}
    pull = scene.asked(*paths).pull
    asked = threading.Semaphore(0)
    scene.shop.odd = lambda _handler, _body: bool(asked.release())

    def cancels() -> None:
        for _ in range(after):
            asked.acquire(timeout=10)
        ending.cancel(scene.house, ALICE, pull.id)

    canceller = threading.Thread(target=cancels)
    canceller.start()
    with contextlib.suppress(LeaseLost):
        scene.work()
    asked.release(after)  # the work may have asked less often
    canceller.join()
    view = scene.seen(pull.id)
    assert view.state in (PullState.CANCELLED, PullState.DONE)
    assert secrets_left(scene) == 0
    assert scene.job().state == JobState.DONE
    for source in view.sources:
        assert source.state in (SourceState.DONE, SourceState.CANCELLED)
        if source.state == SourceState.DONE:
            assert stored(scene, source.file_id) == scene.shop.objects[f"/b/{source.name}"]


def test_cancelling_twice_and_after_the_end_changes_nothing(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq").pull
    scene.work()
    assert ending.cancel(scene.house, ALICE, pull.id).state is PullState.DONE
    other = scene.asked("/b/small.fastq").pull
    assert ending.cancel(scene.house, ALICE, other.id).state is PullState.CANCELLED
    assert ending.cancel(scene.house, ALICE, other.id).state is PullState.CANCELLED


def test_what_remembers_a_request_tells_nobody_its_credentials(scene: Lab) -> None:
    """The memory of a request outlives its pull: a weak secret key must not be found by trying."""

    def asked(secret: str) -> str:
        bucket = ForeignBucket("", "eu-central-1", "lab-reads", ForeignKeys("lab", secret))
        wanted = WantedPull(bucket=bucket, prefix="x/")
        pull = requests.request_pull(scene.house, ALICE, scene.group_id, wanted, key="the key").pull
        plain = Once.of("the key", "request-pull", scene.group_id, requests._asked(wanted))
        with scene.house.sessions.read() as session:
            (known,) = session.exec(select(IdempotentRequest)).all()
        assert known.fingerprint != plain.fingerprint
        return pull.id

    assert asked("weak") == asked("weak")
    with pytest.raises(Unprocessable):
        asked("other")


def test_a_pull_ends_with_its_time(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq").pull
    assert ending.expire(scene.house) == 0
    with scene.house.sessions.begin() as session:
        session.get_one(Pull, pull.id).expires_at = 1.0
    assert ending.expire(scene.house) == 1
    view = scene.seen(pull.id)
    assert view.state is PullState.EXPIRED
    assert view.sources[0].refusal == Refusal.EXPIRED
    assert secrets_left(scene) == 0
    assert scene.job().state == JobState.DONE


@pytest.mark.parametrize("how", ["membership", "account"])
def test_a_pull_ends_with_who_asked_for_it(scene: Lab, how: str) -> None:
    pull = scene.asked("/b/small.fastq").pull
    if how == "membership":
        elsewhere = group_of(scene.house, ALICE)
        groups.remove_member(scene.house, ALICE, elsewhere, ALICE.name)
        with scene.house.sessions.read() as session:
            assert session.get_one(Pull, pull.id).state == PullState.OPEN
        groups.remove_member(scene.house, ALICE, scene.group_id, ALICE.name)
    else:
        with_account(scene.house, ALICE)
        accounts.disable_account(scene.house, MAINTAINER, ALICE.name)
    assert secrets_left(scene) == 0
    with scene.house.sessions.read() as session:
        assert session.get_one(Pull, pull.id).state == PullState.CANCELLED
        newest = session.exec(select(AuditEntry).order_by(col(AuditEntry.id).desc()).limit(1)).one()
        assert (newest.action, newest.subject) == ("cancel pull", pull.id)
    assert scene.job().state == JobState.DONE
    assert ending.expire(scene.house) == 0


def test_who_leaves_while_others_cancel_and_a_worker_begins_waits_in_no_circle(scene: Lab) -> None:
    pulls = [scene.asked("/b/small.fastq", "/b/large.bam").pull for _ in range(6)]
    with scene.house.sessions.begin() as session:
        session.get_one(Pull, pulls[0].id).expires_at = 1.0
    failed: list[Exception] = []

    def begin() -> None:
        for pull in pulls:
            claim = jobs.claim(scene.house, str(pull.job_id), "worker", ())
            with contextlib.suppress(LeaseLost), scene.house.sessions.begin() as session:
                if claim is not None:
                    held(session, claim)
                    session.get_one(Pull, pull.id, with_for_update=True)

    def cancel() -> None:
        for pull in reversed(pulls):
            ending.cancel(scene.house, MAINTAINER, pull.id)

    def guarded(do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as fault:
            failed.append(fault)

    leave = functools.partial(groups.remove_member, scene.house, MAINTAINER, scene.group_id, ALICE.name)
    racers = (begin, cancel, leave, functools.partial(ending.expire, scene.house))
    threads = [threading.Thread(target=guarded, args=(racer,)) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert secrets_left(scene) == 0
    with scene.house.sessions.read() as session:
        assert {each.state for each in session.exec(select(Pull))} <= {PullState.CANCELLED, PullState.EXPIRED}
        assert {each.state for each in session.exec(select(Job))} == {JobState.DONE}


def test_what_a_pull_named_is_forgotten_a_month_after_its_end(scene: Lab) -> None:
    old, young = scene.asked("/b/small.fastq").pull.id, scene.asked("/b/small.fastq").pull.id
    for each in (old, young):
        ending.cancel(scene.house, ALICE, each)
    assert ending.forget_old(scene.house) == 0
    with scene.house.sessions.begin() as session:
        session.get_one(Pull, old).ended_at = 1.0
    assert ending.forget_old(scene.house) == 1
    with pytest.raises(NotFound):
        scene.seen(old)
    assert scene.seen(young).sources
    with scene.house.sessions.read() as session:
        assert len(session.exec(select(PullSource)).all()) == 1


def test_an_erasure_forgets_what_the_bucket_called_it(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq", category="rawReads").pull
    scene.work()
    file_id = scene.seen(pull.id).sources[0].file_id
    submitted(scene, {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": f"a.fq:{file_id}"})
    with scene.house.sessions.read() as session:
        name = AccessionVersion(session.exec(select(EntryFile.accession)).one(), 1)
    asked, _ = erasure.request(scene.house, MAINTAINER, [name], "consent")
    assert asked.id is not None
    second = Actor("other-maintainer", MAINTAINER.roles)
    erasure.confirm(scene.house, second, asked.id, objects=asked.objects, code=asked.code)
    (source,) = scene.seen(pull.id).sources
    assert (source.name, source.place) == ("erased", "erased")


def test_the_quota_counts_what_is_pinned(scene: Lab) -> None:
    limits = LimitSettings(bytes_per_group=len(LARGE) + 5)
    tight = replace(scene.house, settings=scene.house.settings.model_copy(update={"limits": limits}))
    pull = scene.asked("/b/large.fastq", "/b/small.fastq").pull
    scene.work(tight)
    states = {each.name: each for each in scene.seen(pull.id).sources}
    assert sorted(each.state for each in states.values()) == ["done", "failed"]
    (failed,) = (each for each in states.values() if each.state == SourceState.FAILED)
    assert failed.refusal == Refusal.LIMIT


def test_what_can_not_fit_is_refused_at_once(scene: Lab) -> None:
    def under(**limits: Any) -> House:
        settings = scene.house.settings.model_copy(update={"limits": LimitSettings(**limits)})
        return replace(scene.house, settings=settings)

    def pulls(**changes: Any) -> House:
        chosen = scene.house.settings.pulls.model_copy(update=changes)
        return replace(scene.house, settings=scene.house.settings.model_copy(update={"pulls": chosen}))

    one = WantedPull((WantedSource(scene.url("/b/small.fastq"), size=100),))
    with pytest.raises(TooLarge, match="may store 99 bytes"):
        requests.request_pull(under(bytes_per_group=99), ALICE, scene.group_id, one)
    with pytest.raises(TooLarge, match="One pull may have 99 bytes"):
        requests.request_pull(pulls(bytes_per_request=99), ALICE, scene.group_id, one)
    two = WantedPull(one.sources * 2)
    with pytest.raises(TooLarge, match="One pull may name 1 files"):
        requests.request_pull(pulls(objects_per_request=1), ALICE, scene.group_id, two)
    requests.request_pull(scene.house, ALICE, scene.group_id, one)
    with pytest.raises(TooMany, match="1 pulls at a time"):
        requests.request_pull(pulls(open_per_group=1), ALICE, scene.group_id, one)


def test_bytes_beyond_the_request_are_not_pulled(scene: Lab) -> None:
    chosen = scene.house.settings.pulls.model_copy(update={"bytes_per_request": len(SMALL) + 3})
    tight = replace(scene.house, settings=scene.house.settings.model_copy(update={"pulls": chosen}))
    scene.shop.objects["/b/second.fastq"] = SMALL
    pull = scene.asked("/b/small.fastq", "/b/second.fastq").pull
    assert scene.work(tight).files == 1
    assert Refusal.LIMIT in {each.refusal for each in scene.seen(pull.id).sources}


def test_the_group_has_it_already(scene: Lab) -> None:
    (file_id,) = upload(scene.house, ALICE, scene.group_id, SMALL)
    row = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": f"a.fastq:{file_id}"}
    submitted(scene, row)
    with scene.house.sessions.begin() as session:
        session.get_one(UploadedFile, file_id).sha256 = digest(SMALL)
    pull = scene.asked("/b/small.fastq", sha256=digest(SMALL)).pull
    scene.work()
    (source,) = scene.seen(pull.id).sources
    assert (source.state, source.file_id) == (SourceState.DONE, file_id)
    assert scene.shop.ranges == 0


BAD_ADDRESSES = [
    "http://s3.lab.example/b/x",
    "https://elsewhere.example/b/x",
    "https://127.0.0.1/b/x",
    "https://[::1]/b/x",
    "ftp://s3.lab.example/b/x",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_bad_address_is_refused_when_it_is_asked_for(scene: Lab, address: str) -> None:
    wanted = WantedPull((WantedSource(address),))
    with pytest.raises(BadRequest):
        requests.request_pull(scene.house, ALICE, scene.group_id, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        WantedPull(),
        WantedPull(prefix="x"),
        WantedPull(bucket=ForeignBucket("", "us-east-1", "Bucket", ForeignKeys("a", "b")), prefix=""),
        WantedPull(bucket=ForeignBucket("", "us east", "bucket", ForeignKeys("a", "b")), prefix=""),
        WantedPull(bucket=ForeignBucket("https://elsewhere.example", "r", "bucket"), prefix=""),
        WantedPull(bucket=ForeignBucket("https://s3.amazonaws.com/x", "r", "bucket"), prefix=""),
        WantedPull((WantedSource("../b"),), ForeignBucket("", "us-east-1", "bucket")),
        WantedPull((WantedSource("a\nb"),), ForeignBucket("", "us-east-1", "bucket")),
        WantedPull((WantedSource("folder/"),), ForeignBucket("", "us-east-1", "bucket")),
        WantedPull((WantedSource("a", sha256="z"),), ForeignBucket("", "us-east-1", "bucket")),
    ],
)
def test_what_makes_no_sense_is_refused(scene: Lab, wanted: WantedPull) -> None:
    with pytest.raises(BadRequest):
        requests.request_pull(scene.house, ALICE, scene.group_id, wanted)


def test_pulls_of_others_do_not_exist(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq").pull
    group_of(scene.house, BOB)
    for call in (access.look_up, requests.start, ending.cancel):
        with pytest.raises(NotFound) as foreign_one:
            call(scene.house, BOB, pull.id)
        with pytest.raises(NotFound) as unknown:
            call(scene.house, BOB, "none")
        assert str(foreign_one.value).replace(pull.id, "none") == str(unknown.value)
    assert access.look_up(scene.house, MAINTAINER, pull.id).pull.id == pull.id
    assert [view.pull.id for view in access.pulls_of_group(scene.house, ALICE, scene.group_id)] == [pull.id]
    assert [view.pull.id for view in access.all_pulls(scene.house, MAINTAINER)] == [pull.id]


def test_the_same_request_with_the_same_key_is_one(scene: Lab) -> None:
    wanted = WantedPull((WantedSource(scene.url("/b/small.fastq")),))
    first = requests.request_pull(scene.house, ALICE, scene.group_id, wanted, key="k")
    again = requests.request_pull(scene.house, ALICE, scene.group_id, wanted, key="k")
    assert again.pull.id == first.pull.id
    with scene.house.sessions.read() as session:
        assert len(session.exec(select(Job)).all()) == 1


def test_where_it_is_switched_off_nothing_is_pulled(scene: Lab) -> None:
    off = replace(scene.house, foreign=None)
    with pytest.raises(NotFound, match="does not pull"):
        requests.request_pull(off, ALICE, scene.group_id, WantedPull((WantedSource(scene.url("/b/x")),)))
    scene.asked("/b/small.fastq")
    with pytest.raises(ProcessingFailure, match="this worker pulls no files"):
        scene.work(off)


def test_a_maintainer_cancels_for_a_reason(scene: Lab) -> None:
    pull = scene.asked("/b/small.fastq").pull
    ending.cancel_any(scene.house, MAINTAINER, pull.id, "too much traffic")
    assert scene.seen(pull.id).state is PullState.CANCELLED
    with scene.house.sessions.read() as session:
        rows = {row.action: row for row in session.exec(select(AuditEntry))}
    assert rows["cancel pull"].details == {"reason": "too much traffic"}
    assert rows["request pull"].details == {"group": scene.group_id, "sources": 1}
