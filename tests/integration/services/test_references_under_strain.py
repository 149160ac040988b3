"""Referenced files beside everything else: slow and silent stores, the API, pipelines, odd requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import select
from typer.testing import CliRunner

from readvault import bootstrap
from readvault.cli.main import app
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import (
    AuditEntry,
    ComparedResult,
    EntryVersion,
    FixityCheck,
    Job,
    Manifest,
    Pull,
    ReferencedFile,
    StoredObject,
    UploadedFile,
    UploadUsage,
)
from readvault.domain.errors import BadRequest, BytesLost, LeaseLost, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.pulls import SourceState
from readvault.domain.reprocessing import ResultState
from readvault.domain.status import JobKind, JobState
from readvault.pipeline import run
from readvault.ports import ForeignStores, StoredVersion
from readvault.services.house import House
from readvault.services.housekeeping import day, desk
from readvault.services.processing import jobs, pipeline_versions
from readvault.services.pulls import ending, pulling, ranges, referenced
from readvault.services.pulls.referenced_store import StoreWithReferenced
from readvault.services.queue.lease import Lease
from readvault.services.review import review
from readvault.services.review.approval import Scope, approve
from readvault.services.storage.erasing import shred_dates, shredding
from readvault.services.storage.garbage import collection
from readvault.services.storage.integrity import references, verification
from readvault.services.storage.integrity.fsck import fsck
from readvault.services.storage.rebuilding.rebuild import rebuild
from readvault.services.storage.rebuilding.records import export
from readvault.services.submission import deletion
from readvault.services.uploads import file_states
from readvault.worker.server_job import ServerJob
from tasks import endings
from tests.fakes import MemoryStore
from tests.foreign import Authority
from tests.houses import ALICE, MAINTAINER, group_of, upload
from tests.integration.services import pipeline_scenes, pull_scenes
from tests.integration.services.pull_scenes import Lab, lab, seen_through
from tests.integration.services.scenes import ORGANISM, claimed, of_next_pipeline, result

NAMES = [f"r{number}.fastq" for number in range(6)]


def body_of(name: str) -> bytes:
    return f"@{name}\nACGT\n+\nIIII\n".encode()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PAUSES", ())


@pytest.fixture
def scene(house: House, authority: Authority) -> Iterator[Lab]:
    with lab(house, authority, group_of(house, ALICE), connections=1, references=True) as made:
        made.shop.objects |= {f"/lab/{name}": body_of(name) for name in NAMES}
        made.shop.keys.add("LAB")
        yield seen_through(made)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Sessions]:
    """Another database, empty."""
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    migrate(url)
    sessions = Sessions(create_engine(url))
    yield sessions
    sessions.close()


def own_bucket(scene: Lab) -> MemoryStore:
    store = scene.house.store
    assert isinstance(store, StoreWithReferenced)
    assert isinstance(store._own, MemoryStore)
    return store._own


def kept(scene: Lab, *names: str) -> list[str]:
    """Files that stay where they are, in an entry; their IDs."""
    pull = scene.referenced(*names, category="rawReads").pull
    scene.work()
    ids = [str(source.file_id) for source in scene.seen(pull.id).sources]
    entry(scene, *ids)
    return ids


def entry(scene: Lab, *ids: str) -> AccessionVersion:
    cell = " ".join(f"{number}.fastq:{file_id}" for number, file_id in enumerate(ids))
    made = pull_scenes.submitted(scene, {"files.rawReads": cell})
    return AccessionVersion(made.accession, made.version)


def processed(scene: Lab) -> tuple[AccessionVersion, str]:
    """The only entry, with a result; its name and the digest."""
    (job,) = (job for job in rows(scene, Job) if job.kind == JobKind.PROCESS_SUBMISSION)
    claim = claimed(scene.house, job.id)
    with scene.house.sessions.begin() as session:
        (file,) = session.exec(select(UploadedFile)).all()
        file.sha256 = file.declared_sha256
    made = jobs.register(scene.house, claim, result(replace(scene.house, store=own_bucket(scene)), claim))
    return claim.accession_version, made


def rows(scene: Lab, table: Any) -> list[Any]:
    with scene.house.sessions.read() as session:
        return list(session.exec(select(table)).all())


def asked_for(scene: Lab) -> list[str]:
    """The objects that were asked for since, each once, in their order."""
    return list(dict.fromkeys(path.partition("?")[0] for path, _ in scene.shop.asked))


def silent(handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
    handler.say(503, b"")  # type: ignore[attr-defined]
    return True


# Verification


def test_a_silent_store_costs_a_few_requests_and_what_is_ours_is_read(scene: Lab) -> None:
    kept(scene, *NAMES)
    (ours,) = upload(replace(scene.house, store=own_bucket(scene)), ALICE, scene.group_id, b"@ours\nA\n+\nI\n")
    entry(scene, ours)
    scene.shop.odd = silent
    scene.shop.asked.clear()
    done = verification.verify(scene.house, days=-1)
    assert (done.unreachable, done.checked, done.finished) == (len(NAMES), 1, True)
    assert len(asked_for(scene)) == references.PATIENCE


def test_whom_one_run_had_no_time_for_the_next_one_asks_first(scene: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(scene, *NAMES)
    scene.shop.odd = silent
    tried = []
    for _ in range(2):
        scene.shop.asked.clear()
        stopped = threading.Event()

        def second_is_the_last(pinned: Any, stopped: threading.Event = stopped) -> str:
            if len(asked_for(scene)) >= 2:
                stopped.set()
            return pinned.key

        monkeypatch.setattr(references.Tour, "_bucket_of", lambda _, pinned, last=second_is_the_last: last(pinned))
        assert not verification.verify(scene.house, days=-1, stopped=stopped.is_set).finished
        tried.append(asked_for(scene))
    assert [len(each) for each in tried] == [2, 2]
    assert not set(tried[0]) & set(tried[1])


def test_a_store_that_drips_is_left_in_time(scene: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(scene, *NAMES)

    def drip(handler: BaseHTTPRequestHandler, body: bytes | None) -> bool:
        if body is None or not handler.headers.get("If-Match"):
            return False
        handler.send_response(206)
        size = len(body)
        path = handler.path.partition("?")[0]
        for name, value in {
            "Content-Length": size, "Content-Range": f"bytes 0-{size - 1}/{size}", "ETag": scene.shop.etag(path),
        }.items():  # fmt: skip
            handler.send_header(name, str(value))
        handler.end_headers()
        for at in range(size):
            handler.wfile.write(body[at : at + 1])
            handler.wfile.flush()
            time.sleep(0.05)
        return True

    monkeypatch.setattr(references, "PATIENCE_WITH_A_FILE", 0.1)
    scene.shop.odd = drip
    began = time.monotonic()
    done = verification.verify(scene.house, days=-1)
    assert (done.unreachable, done.references_lost, done.finished) == (len(NAMES), 0, True)
    assert time.monotonic() - began < 2


def test_references_have_a_share_of_the_time_until_all_else_is_done(
    scene: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(scene, *NAMES)
    (ours,) = upload(replace(scene.house, store=own_bucket(scene)), ALICE, scene.group_id, b"@ours\nA\n+\nI\n")
    entry(scene, ours)
    order = []
    store = scene.house.store
    monkeypatch.setattr(verification, "SHARE_OF_REFERENCES", 0.0)
    real = store.sha256_of

    def noted(stored: StoredVersion, **told: Any) -> str:
        order.append(stored.key.partition("/")[0])
        return real(stored, **told)

    monkeypatch.setattr(store, "sha256_of", noted)
    assert verification.verify(scene.house, days=-1, budget_seconds=60).finished
    assert order == ["incoming", *["referenced"] * len(NAMES)]


def test_a_lost_reference_of_a_deleted_entry_alarms_nobody(scene: Lab) -> None:
    kept(scene, NAMES[0])
    scene.shop.objects.clear()
    assert verification.verify(scene.house, days=-1).references_lost == 1
    with scene.house.sessions.begin() as session:
        (row,) = session.exec(select(FixityCheck)).all()
        row.key, row.checked_at = "referenced/gone/gone", 0.0
    verification.verify(scene.house)
    assert [row.key for row in rows(scene, FixityCheck) if row.key.endswith("gone")] == []


def test_a_version_that_went_counts_by_the_bytes_that_are_there_now(scene: Lab) -> None:
    """A versioned bucket whose owner put the same bytes back after the pinned version was deleted."""
    (file_id,) = kept(scene, NAMES[0])
    store = scene.house.store
    with scene.house.sessions.begin() as session:
        row, file = session.get_one(ReferencedFile, file_id), session.get_one(UploadedFile, file_id)
        stored = StoredVersion(file.key, file.version_id, file.size or 0)
        values = row.model_dump() | {"version_id": "v1"}
        session.delete(row)
        session.flush()
        session.add(ReferencedFile(**values))

    def without_versions(handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
        if "versionId" in handler.path:
            handler.say(404, b"<Error><Code>NoSuchVersion</Code></Error>")  # type: ignore[attr-defined]
            return True
        return False

    scene.shop.odd = without_versions
    assert store.sha256_of(stored) == file.declared_sha256
    scene.shop.objects[f"/lab/{NAMES[0]}"] = body_of("rX.fastq")
    with pytest.raises(BytesLost):
        store.sha256_of(stored)


@pytest.mark.parametrize("status", [200, 302, 418])
def test_answers_that_are_none_are_the_groups_matter_and_no_retry(scene: Lab, status: int) -> None:
    kept(scene, NAMES[0])

    def odd(handler: BaseHTTPRequestHandler, body: bytes | None) -> bool:
        handler.say(status, body or b"", {"ETag": scene.shop.etag(handler.path.partition("?")[0])})  # type: ignore[attr-defined]
        return True

    scene.shop.odd = odd
    done = verification.verify(scene.house, days=-1)
    assert (done.references_lost, done.unreachable) == (1, 0)


def test_a_clock_that_is_wrong_loses_nobody_a_file(scene: Lab) -> None:
    kept(scene, NAMES[0])

    def skewed(handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
        handler.say(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")  # type: ignore[attr-defined]
        return True

    scene.shop.odd = skewed
    done = verification.verify(scene.house, days=-1)
    assert (done.references_lost, done.unreachable) == (0, 1)


# The API and pipelines


@dataclass
class _SignsOnly:
    """What the API may do with foreign stores: nothing that asks them."""

    real: ForeignStores

    def __getattr__(self, name: str) -> Any:
        if name in ("check", "address_in", "sign_get"):
            return getattr(self.real, name)
        raise AssertionError(f"{name}: a foreign store was asked")


def test_the_api_never_asks_a_foreign_store(scene: Lab) -> None:
    pull = scene.referenced(*NAMES, category="rawReads").pull
    scene.work()
    ids = [str(source.file_id) for source in scene.seen(pull.id).sources]
    house, asks = scene.house, len(scene.shop.asked)
    assert house.foreign is not None
    signs = _SignsOnly(house.foreign)
    store = StoreWithReferenced(own_bucket(scene), house.sessions, house.settings.pulls, signs)  # type: ignore[arg-type]
    front = replace(scene, house=replace(house, store=store, foreign=signs))  # type: ignore[arg-type]
    name = entry(front, *ids)
    review.overview(front.house, ALICE, ORGANISM, name)
    review.review(front.house, ALICE, ORGANISM, name)
    url = review.file_url(front.house, ALICE, ORGANISM, name, ids[0])
    assert f"/lab/{NAMES[0]}?" in url
    assert "X-Amz-Signature=" in url
    assert [file_states.file_state(front.house, ALICE, file_id).state for file_id in ids] == ["sealed"] * len(ids)
    assert len(referenced.references_of_group(front.house, ALICE, scene.group_id)) == len(ids)
    assert referenced.renew_credentials(front.house, ALICE, scene.group_id, scene.bucket("NEW")) == len(ids)
    assert len(scene.shop.asked) == asks


def test_nobody_waits_for_a_foreign_store_in_a_transaction(scene: Lab, tmp_path: Path) -> None:
    house = scene.house
    inside: list[str] = []
    depth = {"now": 0}

    class Watching(Sessions):
        def __init__(self) -> None:
            self.__dict__.update(house.sessions.__dict__)

        @contextmanager
        def begin(self) -> Iterator[Any]:
            with house.sessions.begin() as session:
                depth["now"] += 1
                try:
                    yield session
                finally:
                    depth["now"] -= 1

    def watched(_handler: BaseHTTPRequestHandler, _: bytes | None) -> bool:
        if depth["now"]:
            inside.append(_handler.path)
        return False

    scene.shop.odd = watched
    sessions = Watching()
    store = StoreWithReferenced(own_bucket(scene), sessions, house.settings.pulls, house.foreign)
    mine = replace(scene, house=replace(house, store=store, sessions=sessions))
    kept(mine, *NAMES[:2])
    verification.verify(mine.house, days=-1)
    scene.shop.objects[f"/lab/{NAMES[0]}"] = b"other"
    assert verification.verify(mine.house, days=-1).references_lost == 1
    assert scene.shop.asked
    assert inside == []


def test_a_host_that_left_the_list_is_our_matter_and_breaks_no_page(scene: Lab) -> None:
    (file_id,) = kept(scene, NAMES[0])
    (job,) = (row for row in rows(scene, Job) if row.kind == JobKind.PROCESS_SUBMISSION)
    name = AccessionVersion(job.accession, job.version)
    (file,) = rows(scene, UploadedFile)
    assert scene.house.foreign is not None
    scene.house.foreign._egress._settings = scene.house.settings.pulls.model_copy(update={"hosts": ()})  # type: ignore[attr-defined]
    with pytest.raises(ProcessingFailure, match="may not be asked any more"):
        review.file_url(scene.house, ALICE, ORGANISM, name, file_id)
    (listed,) = review.review(scene.house, ALICE, ORGANISM, name)["submittedData"]["files"]["rawReads"]
    assert listed["url"] is None
    done = verification.verify(scene.house, days=-1)
    assert (done.unreachable, done.references_lost) == (1, 0)
    assert file.key.startswith("referenced/")


def test_one_reference_keeps_no_pipeline_from_other_entries(scene: Lab) -> None:
    pipeline_scenes.attach(scene.house)
    (file_id,) = kept(scene, NAMES[0])
    (ours,) = upload(replace(scene.house, store=own_bucket(scene)), ALICE, scene.group_id, b"@ours\nA\n+\nI\n")
    other = entry(scene, ours)
    assert scene.house.foreign is not None
    off = StoreWithReferenced(own_bucket(scene), scene.house.sessions, scene.house.settings.pulls, None)
    lines = pipeline_scenes.ask(replace(scene.house, store=off))
    assert pipeline_scenes.names_of(lines) == [other]
    waiting = [job for job in rows(scene, Job) if job.state == JobState.NEEDS_ATTENTION]
    assert len(waiting) == 1
    assert file_id not in (waiting[0].last_error or "")


def test_what_waited_for_a_lost_reference_goes_on_when_it_is_back(scene: Lab) -> None:
    pipeline_scenes.attach(scene.house)
    kept(scene, NAMES[0])
    scene.shop.objects.clear()
    assert verification.verify(scene.house, days=-1).references_lost == 1
    assert pipeline_scenes.ask(scene.house) == []
    (job,) = (job for job in rows(scene, Job) if job.kind == JobKind.EXTERNAL_PROCESSING)
    assert job.state == JobState.NEEDS_ATTENTION
    scene.shop.objects[f"/lab/{NAMES[0]}"] = body_of(NAMES[0])
    assert verification.verify(scene.house, days=-1).mended == 1
    (job,) = (job for job in rows(scene, Job) if job.kind == JobKind.EXTERNAL_PROCESSING)
    assert job.state == JobState.QUEUED
    assert len(pipeline_scenes.ask(scene.house)) == 1


def test_a_pipeline_that_passes_an_original_on_makes_no_result_of_it(scene: Lab) -> None:
    """Else bytes that lie elsewhere would stand for all files of the group that are the same, public ones too."""
    pipeline_scenes.attach(scene.house)
    (file_id,) = kept(scene, NAMES[0])
    (line,) = pipeline_scenes.ask(scene.house)
    name = AccessionVersion(line["accession"], line["version"])
    with scene.house.sessions.begin() as session:
        file = session.get_one(UploadedFile, file_id)
        file.sha256 = file.declared_sha256
    pipeline_scenes.answer(scene.house, pipeline_scenes.sent(name, files=(("rawReads", "a.fastq", file_id),)))
    assert pipeline_scenes.look(scene.house, name)["processedData"]["files"] == {}
    assert rows(scene, StoredObject) == []


def test_a_group_that_loses_its_own_files_rings_no_alarm(
    scene: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(scene, *NAMES[:2])
    scene.shop.objects.clear()
    monkeypatch.setattr(bootstrap, "settings", lambda: scene.house.settings)
    monkeypatch.setattr(bootstrap, "house", lambda *_: scene.house)
    told = CliRunner().invoke(app, ["verify-integrity", "--days", "0"])
    assert told.exit_code == 0, told.output
    assert told.output.count("lost\treferenced/") == 2
    assert "damaged\t" not in told.output
    assert not [each for each in caplog.records if each.levelname == "ERROR" or "integrity:" in each.message]
    assert desk.desk(scene.house, MAINTAINER).damaged == 0
    today = day.in_figures(scene.house, days_ago=0)
    assert (today.damaged, today.standing.objects_damaged, today.standing.references_lost) == (0, 0, 2)
    assert endings.verified(verification.verify(scene.house)).is_completed()


# Odd requests, keys


def test_nothing_is_uploaded_in_a_referenced_files_place(scene: Lab) -> None:
    pull = scene.referenced(NAMES[0], category="rawReads").pull
    scene.work()
    (source,) = scene.seen(pull.id).sources
    with pytest.raises(BadRequest, match="nothing of it is uploaded"):
        file_states.sign_again(scene.house, ALICE, str(source.file_id))
    assert file_states.file_state(scene.house, ALICE, str(source.file_id)).state == "uploaded"


def test_what_no_key_opens_keeps_no_other_from_the_new_one(scene: Lab, caplog: pytest.LogCaptureFixture) -> None:
    kept(scene, *NAMES)
    with scene.house.sessions.begin() as session:
        first = min(rows(scene, ReferencedFile), key=lambda row: row.file_id)
        session.get_one(ReferencedFile, first.file_id).secret = "v1.00000000.AAAA"
    new = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    chosen = type(scene.house.settings.pulls)
    old = scene.house.settings.pulls.secret_keys[0].get_secret_value()
    both = seen_through(scene, secret_keys=chosen(secret_keys=(new, old)).secret_keys)
    assert referenced.encrypt_anew(both.house) == len(NAMES) - 1
    assert "1 referenced files open with none" in caplog.text


# What is broken off, what is lost


@pytest.mark.parametrize("point", ["import-copied-before-commit", "import-before-commit", "import-after-commit"])
def test_a_worker_that_dies_leaves_each_file_referenced_once(
    scene: Lab, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def dies(name: str) -> None:
        if name == point:
            raise Died

    pull = scene.referenced(*NAMES[:2], category="rawReads").pull
    with monkeypatch.context() as patched:
        patched.setattr(pulling, "failpoint", dies)
        with pytest.raises(Died):
            scene.work()
    if point != "import-after-commit":
        scene.due()
        assert scene.work().files == 2
    assert {row.file_id for row in rows(scene, ReferencedFile)} == {row.id for row in rows(scene, UploadedFile)}
    assert len(rows(scene, ReferencedFile)) == 2
    assert {each.state for each in scene.seen(pull.id).sources} == {SourceState.DONE}
    assert [row.secret for row in rows(scene, Pull)] == [None]


@pytest.mark.parametrize("after", [5, 9, 14])
def test_a_cancel_that_races_with_the_worker_leaves_no_half_reference(scene: Lab, after: int) -> None:
    pull = scene.referenced(*NAMES, category="rawReads").pull
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
    asked.release(after)
    canceller.join()
    done = {each.file_id for each in scene.seen(pull.id).sources if each.state == SourceState.DONE}
    assert {row.file_id for row in rows(scene, ReferencedFile)} == done
    assert [row.secret for row in rows(scene, Pull)] == [None]
    assert scene.job().state == JobState.DONE


def test_without_our_key_nothing_is_kept_and_no_source_is_blamed(scene: Lab) -> None:
    pull = scene.referenced(NAMES[0], category="rawReads").pull
    new = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    chosen = type(scene.house.settings.pulls)
    lost = seen_through(scene, secret_keys=chosen(secret_keys=(new,)).secret_keys)
    with pytest.raises(ProcessingFailure, match="not in the settings"):
        lost.work()
    assert rows(scene, ReferencedFile) == []
    assert [each.state for each in scene.seen(pull.id).sources] == [SourceState.WAITING]
    scene.due()
    assert scene.work().files == 1


def test_a_lost_database_knows_again_where_files_lie_and_no_credential(
    scene: Lab, tmp_path: Path, empty: Sessions
) -> None:
    ids = kept(scene, *NAMES[:2])
    before = sorted((row.file_id, row.place, row.etag, row.bucket) for row in rows(scene, ReferencedFile))
    export(scene.house)
    house = scene.house
    store = StoreWithReferenced(own_bucket(scene), empty, house.settings.pulls, house.foreign)
    new = replace(scene, house=replace(house, sessions=empty, store=store))
    asks, said = len(scene.shop.asked), list[str]()
    rebuild(new.house, MAINTAINER, say=said.append)
    assert said == []
    assert len(scene.shop.asked) == asks
    assert sorted((row.file_id, row.place, row.etag, row.bucket) for row in rows(new, ReferencedFile)) == before
    assert [row.secret for row in rows(new, ReferencedFile)] == [None, None]
    assert list(fsck(new.house)) == []
    assert verification.verify(new.house, days=-1).references_lost == len(ids)
    assert referenced.renew_credentials(new.house, ALICE, scene.group_id, scene.bucket()) == len(ids)
    assert verification.verify(new.house, days=-1).mended == len(ids)


def test_a_lost_database_does_not_know_again_where_shredded_files_lay(scene: Lab, empty: Sessions) -> None:
    kept(scene, NAMES[0])
    name, digest = processed(scene)
    approve(scene.house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    export(scene.house)
    old = scene.house.organisms[ORGANISM]
    rules = old.pipeline.dehumanize.originals.model_copy(update={"shred_after_days": 0})
    dehumanize = old.pipeline.dehumanize.model_copy(update={"originals": rules})
    organism = old.model_copy(update={"pipeline": old.pipeline.model_copy(update={"dehumanize": dehumanize})})
    house = replace(scene.house, organisms={ORGANISM: organism})
    with house.sessions.begin() as session:
        session.execute(update(Job).values(state=JobState.DONE.value))
    assert shred_dates.shred_due(house) == 1
    assert shredding.carry_on_all(house) == 1
    assert rows(scene, ReferencedFile) == []
    assert f"/lab/{NAMES[0]}" in scene.shop.objects
    export(house)
    new = replace(scene, house=replace(house, sessions=empty, store=own_bucket(scene)))
    rebuild(new.house, MAINTAINER, say=lambda _: None)
    assert rows(new, UploadedFile) != []
    assert rows(new, ReferencedFile) == []


def test_a_lost_reference_takes_no_good_results_place(scene: Lab, tmp_path: Path) -> None:
    kept(scene, NAMES[0])
    name, _ = processed(scene)
    (good,) = rows(scene, Manifest)
    newer = of_next_pipeline(scene.house)
    pipeline_versions.upgrade_all(newer)
    with newer.sessions.begin() as session:
        again = Job(
            id="again", kind=JobKind.PROCESS_SUBMISSION.value, organism=ORGANISM, accession=name.accession,
            version=name.version, pipeline_version=2, created_at=0.0, not_before=0.0,
        )  # fmt: skip
        session.add(again)
    scene.shop.objects.clear()
    claim = claimed(newer, "again")
    with Lease(newer, claim) as lease:
        job = ServerJob(newer, claim, lease, tmp_path, lambda _: nullcontext())  # type: ignore[arg-type, return-value]
        run(job)
    (compared,) = rows(scene, ComparedResult)
    assert compared.state == ResultState.WAITS
    assert compared.compared_manifest_id == good.id


@pytest.mark.parametrize("order", [None, 1])
def test_a_store_that_stays_silent_is_the_groups_matter_at_last(scene: Lab, tmp_path: Path, order: int | None) -> None:
    """A maintainer could do nothing about it; but an order to process anew is a maintainer's."""
    kept(scene, NAMES[0])
    scene.shop.odd = silent
    (queued,) = (job for job in rows(scene, Job) if job.kind == JobKind.PROCESS_SUBMISSION)
    attempts = scene.house.settings.worker.max_attempts
    for attempt in range(1, attempts + 1):
        with scene.house.sessions.begin() as session:
            job = session.get_one(Job, queued.id)
            job.not_before, job.reprocessing_id = 0.0, order
        claim = claimed(scene.house, queued.id)
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with Lease(scene.house, claim) as lease:
            doing = ServerJob(scene.house, claim, lease, folder, lambda _: nullcontext())  # type: ignore[arg-type, return-value]
            if attempt == attempts and order is None:
                run(doing)
                break
            with pytest.raises(ProcessingFailure, match="can't be reached"):
                run(doing)
            jobs.give_up(scene.house, claim, "away", counted=True)
    (done,) = (job for job in rows(scene, Job) if job.kind == JobKind.PROCESS_SUBMISSION)
    assert done.state == (JobState.NEEDS_ATTENTION if order else JobState.DONE)
    told = [error for each in rows(scene, Manifest) for error in each.errors]
    assert ["tried several times" in json.dumps(error) for error in told] == ([] if order else [True])
    assert [row.damage for row in rows(scene, FixityCheck)] == []


# What is counted, what is told


def test_a_file_of_two_entries_counts_once_and_is_freed_once(scene: Lab) -> None:
    storage = scene.house.settings.storage.model_copy(
        update={"garbage_older_than_hours": -1.0, "garbage_waits_hours": -1.0}
    )
    house = replace(scene.house, settings=scene.house.settings.model_copy(update={"storage": storage}))
    ids = kept(scene, *NAMES[:2])
    entry(scene, ids[0])
    size = len(body_of(NAMES[0]))

    def sealed() -> set[int]:
        return {row.sealed_bytes for row in rows(scene, UploadUsage)}

    assert sealed() == {2 * size}
    collection.collect(house, dry_run=False)
    names = sorted({AccessionVersion(row.accession, row.version) for row in rows(scene, EntryVersion)})
    deleted = {"scope": deletion.Scope.ALL}
    for name in names:
        deletion.delete_versions(house, ALICE, ORGANISM, accession_versions=[name], **deleted)  # type: ignore[arg-type]
    for _ in range(3):
        collection.collect(house, dry_run=False)
    assert sealed() == {0}
    assert rows(scene, ReferencedFile) == []


def test_nothing_secret_is_logged_whatever_happens(
    scene: Lab, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG")
    scene.shop.keys = {"HIDDENKEY"}
    pull = scene.referenced(NAMES[0], category="rawReads", access_key="HIDDENKEY").pull
    scene.work()
    (source,) = scene.seen(pull.id).sources
    name = entry(scene, str(source.file_id))
    url = review.file_url(scene.house, ALICE, ORGANISM, name, str(source.file_id))
    signature = url.partition("X-Amz-Signature=")[2]
    scene.shop.odd = silent
    verification.verify(scene.house, days=-1)
    (job,) = (job for job in rows(scene, Job) if job.kind == JobKind.PROCESS_SUBMISSION)
    claim = claimed(scene.house, job.id)
    with Lease(scene.house, claim) as lease:
        doing = ServerJob(scene.house, claim, lease, tmp_path, lambda _: nullcontext())  # type: ignore[arg-type, return-value]
        with pytest.raises(ProcessingFailure) as fault:
            doing.fetch()
    scene.shop.odd = lambda _handler, _body: False
    scene.shop.keys = set()
    verification.verify(scene.house, days=-1)
    told = [caplog.text, str(fault.value), *(str(row.details) for row in rows(scene, AuditEntry))]
    for secret in ("HIDDENKEY", signature, "X-Amz-", "Signature", NAMES[0]):
        assert secret
        assert [text for text in told if secret in text] == [], secret
    assert str(source.file_id) not in caplog.text  # the trail of who read it names it
