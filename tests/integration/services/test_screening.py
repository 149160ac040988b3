"""Released reads meet a newer host index: what is screened, what is withheld, who gives it again, and what races."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from readvault import failpoints
from readvault.db.engine import Sessions, create_engine, migrate
from readvault.db.tables import (
    Bookmark,
    CurrentResult,
    EntryVersion,
    FixityCheck,
    Job,
    Manifest,
    Screening,
    Withholding,
)
from readvault.domain.actor import Actor
from readvault.domain.errors import (
    BadRequest,
    BytesLost,
    Conflict,
    Forbidden,
    Gone,
    LeaseLost,
    NotFound,
    ProcessingFailure,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import Dehumanize, Pipeline, Rescreen
from readvault.domain.reports import Report, ScreeningReport
from readvault.domain.status import JobKind, JobState, Priority
from readvault.reads.sample import Sample
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.queue.lease import Lease
from readvault.services.release.downloads import file_url, released_file_url
from readvault.services.release.interventions import intervene
from readvault.services.release.manifests import manifest, results
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.services.screening import feeding, withholding
from readvault.services.screening.progress import progress
from readvault.services.storage.erasing import erasure
from readvault.services.storage.rebuilding.rebuild import rebuild
from readvault.services.storage.rebuilding.records import export
from readvault.worker.screen_job import ScreenJob
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, organism
from tests.integration.services import scenes
from tests.integration.services.scenes import ORGANISM, READY

OLD, NEW, NEWER = "a" * 64, "b" * 64, "c" * 64
WHY = "a k-mer of a phage is in the index"
READS = ("dehumanizedReads", "dehumanized.fastq.gz")


def pinned(house: House, folder: Path, index: str, **rules: Any) -> House:
    """The house after its organism's file has named this index."""
    dehumanize = Dehumanize(index="panhuman", sha256=index, **rules)
    return replace(house, organisms={ORGANISM: organism(folder, pipeline=Pipeline(dehumanize=dehumanize))})


@pytest.fixture
def renewed(house: House, tmp_path: Path) -> House:
    """A house whose organism names the new index."""
    return pinned(house, tmp_path, NEW)


def released(house: House, *, index: str = OLD, reads: bytes | None = b"reads", **changes: Any) -> AccessionVersion:
    """A released entry whose reads were screened with an index when they were processed."""
    name, job_id = scenes.entry(house, changes.pop("group_id", None) or scenes.group(house, "alice"), **changes)
    claim = scenes.claimed(house, job_id)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, register(house, claim, index, reads))])
    return name


def register(house: House, claim: jobs.Claim, index: str, reads: bytes | None) -> str:
    made = scenes.result(house, claim, reads=reads, text=f">main\n{claim.pipeline_version}\n".encode())
    provenance = {**made.manifest["provenance"], "hostIndexSha256": index}
    return jobs.register(house, claim, replace(made, manifest={**made.manifest, "provenance": provenance}))


@dataclass
class Hands:
    """Stands for a child of the nursery: says of every sample how many of its 1000 reads hit."""

    hits: int = 0
    index: str = NEW
    too_short: int = 0
    meanwhile: Callable[[], object] = lambda: None
    read: list[bytes] = field(default_factory=list)

    @contextmanager
    def child(self, sample: Sample) -> Iterator[Hands]:
        self.read += [file.path.read_bytes() for file in sample.inputs]
        yield self

    def run(self, step: str) -> Report:
        assert step == "screen"
        self.meanwhile()
        return ScreeningReport(self.index, 1000, self.hits, self.too_short)

    def result(self) -> Any:
        raise AssertionError("a screening has no result to register")


def open_jobs(house: House) -> list[Job]:
    with house.sessions.read() as session:
        query = select(Job).where(Job.kind == JobKind.SCREEN.value, Job.state != JobState.DONE.value)
        return list(session.exec(query.order_by(col(Job.accession))))


def screen(house: House, folder: Path, hands: Hands, job: Job | None = None) -> ScreeningReport:
    """Feed, and do the one job."""
    if job is None:
        feeding.feed(house, READY)
        (job,) = open_jobs(house)
    claim = scenes.claimed(house, job.id)
    directory = folder / f"{claim.job_id}-{claim.attempt}"
    directory.mkdir()
    with Lease(house, claim) as lease:
        return ScreenJob(house, claim, lease, directory, hands.child).run()


def rows(house: House, table: type[Any]) -> list[Any]:
    with house.sessions.read() as session:
        return list(session.exec(select(table).order_by(table.id)))


def url(house: House, actor: Actor | None, name: AccessionVersion) -> str:
    return file_url(house, actor, name.accession, name.version, *READS)


def stable(house: House, actor: Actor | None, name: AccessionVersion, pipeline_version: int = 1) -> str:
    return released_file_url(house, name.accession, name.version, pipeline_version, *READS, actor=actor)


def listed(house: House, name: AccessionVersion) -> Any:
    (line,) = (each for each in released_data(house, ORGANISM) if each["metadata"]["accession"] == name.accession)
    return line["metadata"][READS[0]]


def test_reads_that_hit_a_newer_index_are_withheld_from_all_but_their_group(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)
    before, exact = released_etag(house, ORGANISM), manifest(house, None, ORGANISM, name).body
    assert url(house, None, name)
    assert listed(house, name)
    hands = Hands(hits=12)
    assert screen(house, tmp_path, hands) == ScreeningReport(NEW, 1000, 12, 0)
    assert hands.read == [b"reads"]
    for actor in (None, BOB, PIPELINE):
        for read in (url, stable):
            with pytest.raises(Gone, match="12 of 1000 reads may be human"):
                read(house, actor, name)
    for actor in (ALICE, MAINTAINER):
        assert url(house, actor, name).startswith("memory://vault/")
        assert stable(house, actor, name).startswith("memory://vault/")
    # The consensus and the manifest in its approved bytes stay.
    assert file_url(house, None, name.accession, name.version, "consensus", "consensus.fasta")
    assert manifest(house, None, ORGANISM, name).body == exact
    assert listed(house, name) is None
    (told,) = results(house, None, ORGANISM, name)["results"]
    assert [file["category"] for file in told["files"]] == ["consensus"]
    assert told["readsWithheld"] == "12 of 1000 reads may be human, as a newer host index says."
    assert released_etag(house, ORGANISM) != before
    (row,) = rows(house, Screening)
    assert (row.index_sha256, row.category, row.by_processing, row.reads, row.hits) == (NEW, READS[0], False, 1000, 12)
    (held,) = rows(house, Withholding)
    assert (held.withheld, held.actor) == (True, "readvault")
    line = next(each for each in scenes.audit_log(house) if each.action == "withhold reads")
    assert (line.actor, line.subject, line.details["results"][0]["hits"]) == ("readvault", str(name), 12)
    reads = [each for each in scenes.audit_log(house) if each.action == "read files"]
    assert {each.actor for each in reads} == {"alice", "maintainer"}, "who read what is withheld is written down"


@pytest.mark.parametrize(
    ("limits", "hits", "over"),
    [
        (Rescreen(), 0, False),
        (Rescreen(max_human_reads=10, max_human_fraction=1), 10, False),
        (Rescreen(), 1, True),
    ],
    ids=str,
)
def test_only_what_is_over_the_limit_is_withheld(
    house: House, tmp_path: Path, limits: Rescreen, hits: int, over: bool
) -> None:
    house = pinned(house, tmp_path, NEW, rescreen=limits)
    name = released(house)
    screen(house, tmp_path, Hands(hits=hits))
    assert rows(house, Screening)[0].hits == hits
    assert bool(rows(house, Withholding)) is over
    if over:
        with pytest.raises(Gone):
            url(house, None, name)
    else:
        assert url(house, None, name)


def test_what_the_index_has_seen_is_not_read_again(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house, index=NEW)
    released(house, reads=None)
    assert feeding.feed(house, READY) == 0
    (row,) = rows(house, Screening)
    assert (row.accession, row.by_processing, row.hits) == (name.accession, True, 0)
    other = released(house)
    assert feeding.begin_anew(house) == 1
    screen(house, tmp_path, Hands())
    feeding.begin_anew(house)
    assert feeding.feed(house, READY) == 0
    assert open_jobs(house) == []
    (line,) = progress(house, MAINTAINER)
    assert (line.index_sha256, line.is_current, line.results, line.screened, line.by_processing) == (NEW, True, 2, 2, 1)
    assert (line.hits, line.queued, line.needing_attention) == (0, 0, 0)
    assert line.walked_at is not None
    newer = pinned(house, tmp_path, NEWER)
    assert feeding.feed(newer, READY) == 2
    assert {job.accession for job in open_jobs(newer)} == {name.accession, other.accession}
    assert [(each.is_current, each.queued) for each in progress(newer, MAINTAINER)] == [(True, 2), (False, 0)]


def test_what_is_released_with_a_result_of_an_older_index_does_not_wait_for_the_night(renewed: House) -> None:
    house = renewed
    assert feeding.feed(house, READY) == 0
    clean, late = released(house, index=NEW), released(house)
    for name in (clean, late, late):
        feeding.after_release(house, name)
    assert [job.accession for job in open_jobs(house)] == [late.accession]
    assert [row.accession for row in rows(house, Screening)] == [clean.accession]
    released_without = released(house, reads=None)
    feeding.after_release(house, released_without)
    assert len(open_jobs(house)) == 1


def test_without_the_index_nothing_is_fed_claimed_or_given_out(renewed: House) -> None:
    house = renewed
    released(house)
    assert feeding.feed(house, frozenset()) == 0
    assert feeding.feed(house, READY) == 1
    (job,) = open_jobs(house)
    assert jobs.claim(house, job.id, "worker", frozenset()) is None


def test_an_index_that_was_exchanged_meanwhile_says_nothing(renewed: House, tmp_path: Path) -> None:
    released(renewed)
    with pytest.raises(ProcessingFailure, match="exchanged"):
        screen(renewed, tmp_path, Hands(index=OLD))
    assert rows(renewed, Screening) == []


def test_a_few_at_a_time_behind_new_submissions(
    renewed: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = renewed
    monkeypatch.setattr(feeding, "OPEN_AT_ONCE", 2)
    monkeypatch.setattr(feeding, "PAGE", 3)
    names = sorted(released(house) for _ in range(7))
    seen: list[str] = []
    for _ in range(4):
        assert feeding.feed(house, READY) == min(2, 7 - len(seen))
        assert feeding.feed(house, READY) == 0
        waiting = open_jobs(house)
        assert all((job.priority, job.input_bytes) == (Priority.BACKGROUND, 5) for job in waiting)
        seen += [job.accession for job in waiting]
        for job in waiting:
            screen(house, tmp_path, Hands(), job)
    assert seen == [name.accession for name in names]
    assert feeding.feed(house, READY) == 0
    (walk,) = [each for each in _bookmarks(house) if each.name.startswith(feeding.WALK)]
    assert walk.finished_at is not None


def _bookmarks(house: House) -> list[Bookmark]:
    with house.sessions.read() as session:
        return list(session.exec(select(Bookmark)))


def test_a_job_that_needs_attention_is_not_queued_a_second_time(renewed: House) -> None:
    house = renewed
    released(house)
    feeding.feed(house, READY)
    (job,) = open_jobs(house)
    scenes.change(house, job.id, state=JobState.NEEDS_ATTENTION.value)
    feeding.begin_anew(house)
    assert feeding.feed(house, READY) == 0
    assert [each.id for each in open_jobs(house)] == [job.id]


def test_two_feeders_make_one_job(renewed: House) -> None:
    house = renewed
    released(house)
    both = threading.Barrier(2)

    def feed() -> None:
        both.wait()
        feeding.feed(house, READY)

    threads = [threading.Thread(target=feed) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(open_jobs(house)) == 1


def test_a_feeder_that_was_slow_finds_the_walk_where_it_was_and_its_work_done(
    renewed: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look and its write another one goes round the whole walk, which then stands at its beginning."""
    house = renewed
    released(house)
    look = feeding._names

    def slow(*asked: Any) -> list[AccessionVersion]:
        monkeypatch.setattr(feeding, "_names", look)
        found = look(*asked)
        other = threading.Thread(target=feeding.feed, args=(house, READY))
        other.start()
        other.join()
        return found

    monkeypatch.setattr(feeding, "_names", slow)
    feeding.feed(house, READY)
    assert len(open_jobs(house)) == 1


def test_all_published_results_are_screened_together_and_equal_files_once(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)
    again(house, name, 2, reads=b"reads")
    again(house, name, 3, reads=b"other reads")
    hands = Hands(hits=500)
    screen(house, tmp_path, hands)
    assert sorted(hands.read) == [b"other reads", b"reads"]
    assert [(row.hits, row.index_sha256) for row in rows(house, Screening)] == [(500, NEW)] * 3
    assert len(rows(house, Withholding)) == 3
    for version in (1, 2, 3):
        with pytest.raises(Gone):
            stable(house, None, name, version)


def again(house: House, name: AccessionVersion, version: int, *, reads: bytes, index: str = OLD) -> None:
    """Another pipeline version has processed the released entry, and its result was published."""
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.kind == "process-submission")
        job_id = session.exec(query).one()
    scenes.change(house, job_id, state=JobState.QUEUED.value)
    rules = house.organism(ORGANISM)
    moved = rules.model_copy(update={"pipeline": rules.pipeline.model_copy(update={"version": version})})
    later = replace(house, organisms={ORGANISM: moved})
    claim = scenes.claimed(later, job_id)
    digest = register(later, claim, index, reads)
    with house.sessions.begin() as session:
        row = session.exec(select(Manifest).where(Manifest.digest == digest)).one()
        if session.exec(select(CurrentResult).where(CurrentResult.manifest_id == row.id)).first() is None:
            session.add(
                CurrentResult(accession=name.accession, version=name.version, manifest_id=row.id or 0,
                              since=1.0, actor="readvault", reason="a better pipeline")
            )  # fmt: skip


def test_a_result_of_the_new_index_brings_its_own_reads_back(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)
    screen(house, tmp_path, Hands(hits=500))
    again(house, name, 2, reads=b"cleaner reads", index=NEW)
    assert url(house, None, name)
    assert stable(house, None, name, 2)
    assert listed(house, name)
    with pytest.raises(Gone):
        stable(house, None, name, 1)
    assert withholding.page(house, MAINTAINER, undecided=True) == []
    assert [each.is_current for each in withholding.page(house, MAINTAINER)] == [False]


@pytest.mark.parametrize("reason", ["a screening", "a person"])
def test_the_same_reads_do_not_come_out_with_the_next_result(renewed: House, tmp_path: Path, reason: str) -> None:
    house = renewed
    name = released(house)
    if reason == "a person":
        withholding.withhold(house, MAINTAINER, name, 1, WHY)
    else:
        screen(house, tmp_path, Hands(hits=500))
    again(house, name, 2, reads=b"reads")
    for ask in (lambda: url(house, None, name), lambda: stable(house, None, name, 2)):
        with pytest.raises(Gone, match="withheld"):
            ask()
    assert listed(house, name) is None
    assert url(house, ALICE, name)
    (waits,) = (each for each in withholding.page(house, MAINTAINER) if each.is_current)
    assert waits.is_decided is (reason == "a person")
    again(house, name, 3, reads=b"cleaner reads", index=NEW)
    if reason == "a screening":
        assert url(house, None, name), "the index that found them has removed them"
    else:
        with pytest.raises(Gone, match=WHY):
            url(house, None, name)


def test_a_bam_is_screened_where_there_is_no_fastq(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name, job_id = scenes.entry(house, scenes.group(house, "alice"))
    claim = scenes.claimed(house, job_id)
    made = scenes.result(house, claim)
    staged = [
        scenes._staged(house, claim, "alignment", *each)
        for each in (("alignment.bam", b"bam"), ("alignment.bam.bai", b"bai"))
    ]
    listed_files = [
        *made.manifest["files"],
        *({"category": f.category, "name": f.name, "size": f.size, "sha256": f.sha256} for f in staged),
    ]
    files = sorted(listed_files, key=lambda each: (each["category"], each["name"]))
    digest = jobs.register(
        house, claim, replace(made, manifest={**made.manifest, "files": files}, files=(*made.files, *staged))
    )
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    hands = Hands(hits=500)
    screen(house, tmp_path, hands)
    assert hands.read == [b"bam"]
    assert rows(house, Screening)[0].category == "alignment"
    for label in ("alignment.bam", "alignment.bam.bai"):
        with pytest.raises(Gone):
            file_url(house, None, name.accession, 1, "alignment", label)


def test_lost_bytes_are_noted_and_nothing_is_believed(renewed: House, tmp_path: Path) -> None:
    house = renewed
    released(house)
    store: Any = house.store
    (key,) = [
        key for key, versions in store.versions.items() if versions[-1][1] == b"reads" and key.startswith("vault")
    ]
    store.versions[key] = [(store.versions[key][-1][0], b"READS")]
    with pytest.raises(BytesLost):
        screen(house, tmp_path, Hands())
    assert rows(house, Screening) == []
    with house.sessions.read() as session:
        assert session.get_one(FixityCheck, key).damage == "other bytes"


# --- maintainers ---------------------------------------------------------------------------------


@pytest.fixture
def held(renewed: House, tmp_path: Path) -> tuple[House, AccessionVersion]:
    """A released entry whose reads a screening has withheld."""
    name = released(renewed)
    screen(renewed, tmp_path, Hands(hits=12))
    return renewed, name


def test_a_maintainer_gives_the_reads_again_and_another_index_takes_them_again(
    held: tuple[House, AccessionVersion], tmp_path: Path
) -> None:
    house, name = held
    (waiting,) = withholding.page(house, MAINTAINER, undecided=True)
    assert (waiting.name, waiting.pipeline_version, waiting.reads, waiting.hits) == (name, 1, 1000, 12)
    withholding.give_again(house, MAINTAINER, name, 1, f" {WHY} ")
    assert url(house, None, name)
    assert stable(house, None, name)
    assert listed(house, name)
    assert "readsWithheld" not in results(house, None, ORGANISM, name)["results"][0]
    assert withholding.page(house, MAINTAINER) == []
    line = scenes.audit_log(house)[-1]
    assert (line.actor, line.action, line.details["reason"]) == ("maintainer", "give reads again", WHY)
    feeding.begin_anew(house)
    assert feeding.feed(house, READY) == 0, "the same index has nothing new to say"
    with pytest.raises(Conflict):
        withholding.give_again(house, MAINTAINER, name, 1, WHY)
    screen(pinned(house, tmp_path, NEWER), tmp_path, Hands(hits=13, index=NEWER))
    with pytest.raises(Gone, match="13 of 1000"):
        url(house, None, name)


def test_a_maintainer_who_lets_it_be_ends_the_alarm(held: tuple[House, AccessionVersion]) -> None:
    house, name = held
    with house.sessions.read() as session:
        assert withholding.waiting(session) == 1
    withholding.withhold(house, MAINTAINER, name, 1, "they are human indeed")
    with house.sessions.read() as session:
        assert withholding.waiting(session) == 0
    with pytest.raises(Gone, match="they are human indeed"):
        url(house, None, name)
    assert [each.is_decided for each in withholding.page(house, MAINTAINER)] == [True]
    with pytest.raises(Conflict):
        withholding.withhold(house, MAINTAINER, name, 1, "once more, with feeling")


def test_a_maintainer_withholds_reads_that_no_screening_minds(renewed: House) -> None:
    name = released(renewed)
    withholding.withhold(renewed, MAINTAINER, name, 1, WHY)
    with pytest.raises(Gone, match=WHY):
        url(renewed, None, name)


def test_a_machine_withholds_reads_but_does_not_give_them_again(held: tuple[House, AccessionVersion]) -> None:
    house, name = held
    robot = replace(MAINTAINER, scopes=frozenset({"maintain"}))
    with pytest.raises(Forbidden, match="not meant to decide what everybody gets"):
        withholding.give_again(house, robot, name, 1, WHY)
    withholding.withhold(house, robot, name, 1, WHY)


def test_what_is_withdrawn_is_no_alarm(held: tuple[House, AccessionVersion]) -> None:
    house, name = held
    intervene(house, MAINTAINER, name, Step.WITHDRAW, WHY)
    assert withholding.page(house, MAINTAINER, undecided=True) == []
    intervene(house, MAINTAINER, name, Step.RESTORE, WHY)
    with pytest.raises(Gone, match="may be human"):
        url(house, None, name)
    assert len(withholding.page(house, MAINTAINER, undecided=True)) == 1


@pytest.mark.parametrize("actor", [ALICE, BOB, PIPELINE])
def test_nobody_else_decides_or_looks(held: tuple[House, AccessionVersion], actor: Actor) -> None:
    house, name = held
    for use_case in (withholding.give_again, withholding.withhold):
        with pytest.raises(Forbidden):
            use_case(house, actor, name, 1, WHY)
    for look in (withholding.page, progress):
        with pytest.raises(Forbidden):
            look(house, actor)


def test_decisions_need_a_published_result_and_a_reason(held: tuple[House, AccessionVersion]) -> None:
    house, name = held
    with pytest.raises(BadRequest):
        withholding.give_again(house, MAINTAINER, name, 1, "no")
    with pytest.raises(NotFound):
        withholding.give_again(house, MAINTAINER, name, 2, WHY)
    with pytest.raises(NotFound):
        withholding.give_again(house, MAINTAINER, AccessionVersion("LOC_NONE", 1), 1, WHY)
    unreleased, _ = scenes.processed(house, scenes.group(house, "alice"))
    with pytest.raises(Unprocessable):
        withholding.withhold(house, MAINTAINER, unreleased, 1, WHY)


# --- what races ----------------------------------------------------------------------------------


def test_a_second_screening_changes_nothing(renewed: House, tmp_path: Path) -> None:
    """A worker that lost its job in the middle, and the one that took it: the first is fenced off."""
    house = renewed
    released(house)

    def taken_over() -> None:
        (job,) = open_jobs(house)
        scenes.change(house, job.id, state=JobState.QUEUED.value, not_before=0.0)
        screen(house, tmp_path, Hands(hits=500), job)

    with pytest.raises(LeaseLost):
        screen(house, tmp_path, Hands(hits=0, meanwhile=taken_over))
    assert [row.hits for row in rows(house, Screening)] == [500]
    assert len(rows(house, Withholding)) == 1


def test_an_answer_that_was_lost_is_no_second_finding(renewed: House, tmp_path: Path) -> None:
    house = renewed
    released(house)
    feeding.feed(house, READY)
    (job,) = open_jobs(house)
    claim = scenes.claimed(house, job.id)
    directory = tmp_path / "work"
    directory.mkdir()
    with Lease(house, claim) as lease:
        once = ScreenJob(house, claim, lease, directory, Hands(hits=500).child)
        once.run()
        once.run()
    assert len(rows(house, Screening)) == len(rows(house, Withholding)) == 1


def test_a_result_that_is_published_meanwhile_is_nobodys_until_it_is_screened_too(
    renewed: House, tmp_path: Path
) -> None:
    house = renewed
    name = released(house)
    screen(house, tmp_path, Hands(hits=500, meanwhile=lambda: again(house, name, 2, reads=b"late")))
    assert len(rows(house, Screening)) == 1
    for ask in (lambda: url(house, None, name), lambda: stable(house, None, name, 2)):
        with pytest.raises(Gone):
            ask()
    feeding.begin_anew(house)
    hands = Hands(hits=400)
    screen(house, tmp_path, hands)
    assert hands.read == [b"late"]
    assert len(rows(house, Withholding)) == 2


def test_a_withdrawal_meanwhile_keeps_both_rows(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)
    withdraw = Hands(hits=500, meanwhile=lambda: intervene(house, MAINTAINER, name, Step.WITHDRAW, WHY))
    screen(house, tmp_path, withdraw)
    with pytest.raises(Gone, match=WHY):
        url(house, None, name)
    assert len(rows(house, Withholding)) == 1


@pytest.mark.parametrize(
    "place", ["screen-fetched", "screen-before-commit", "screen-in-transaction", "screen-after-commit"]
)
def test_a_worker_that_is_killed_anywhere_leaves_all_or_nothing(
    renewed: House, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """kill -9 in the middle; whoever takes the job back finds, withholds and tells everything once."""
    house = renewed
    name = released(house)
    feeding.feed(house, READY)
    (job,) = open_jobs(house)
    armed = tmp_path / "fail-points"
    armed.mkdir()
    (armed / place).write_text("")
    monkeypatch.setenv(failpoints.VARIABLE, str(armed))
    house.sessions.close()
    child = os.fork()
    if child == 0:
        try:
            screen(replace(house, sessions=Sessions(create_engine(database_url))), tmp_path, Hands(hits=500), job)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    was_done = place == "screen-after-commit"
    assert len(rows(house, Withholding)) == len(rows(house, Screening)) == was_done
    assert (open_jobs(house) == []) is was_done
    if not was_done:
        scenes.change(house, job.id, lease_until=0.0)
        screen(house, tmp_path, Hands(hits=500), job)
    assert len(rows(house, Withholding)) == len(rows(house, Screening)) == 1
    assert [row.action for row in scenes.audit_log(house)].count("withhold reads") == 1
    with pytest.raises(Gone):
        url(house, None, name)


def test_a_feeder_that_is_killed_goes_on_where_it_was(
    renewed: House, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = renewed
    names = sorted(released(house) for _ in range(2))
    monkeypatch.setattr(feeding, "PAGE", 1)
    (tmp_path / "screen-feed-before-commit").write_text("2")
    monkeypatch.setenv(failpoints.VARIABLE, str(tmp_path))
    house.sessions.close()
    child = os.fork()
    if child == 0:
        try:
            feeding.feed(replace(house, sessions=Sessions(create_engine(database_url))), READY)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [job.accession for job in open_jobs(house)] == [names[0].accession]
    assert feeding.feed(house, READY) == 1
    assert [job.accession for job in open_jobs(house)] == [name.accession for name in names]


def test_an_erasure_meanwhile_ends_the_screening(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)

    def erase() -> None:
        row, _ = erasure.request(house, MAINTAINER, [name], WHY)
        erasure.confirm(house, replace(MAINTAINER, name="another"), row.id or 0, objects=row.objects, code=row.code)

    with pytest.raises(LeaseLost):
        screen(house, tmp_path, Hands(hits=500, meanwhile=erase))
    assert rows(house, Screening) == rows(house, Withholding) == []
    feeding.begin_anew(house)
    assert feeding.feed(house, READY) == 0
    with pytest.raises(Gone, match="erased"):
        withholding.withhold(house, MAINTAINER, name, 1, WHY)


def test_a_revision_meanwhile_is_another_version(renewed: House, tmp_path: Path) -> None:
    house = renewed
    name = released(house)

    def revise() -> None:
        with house.sessions.read() as session:
            ours = session.get_one(EntryVersion, (name.accession, 1)).group_id
        released(house, index=NEW, accession=name.accession, version=2, group_id=ours)

    screen(house, tmp_path, Hands(hits=500, meanwhile=revise))
    with pytest.raises(Gone):
        url(house, None, name)
    assert url(house, None, AccessionVersion(name.accession, 2))


def test_a_rebuilt_database_withholds_what_the_lost_one_did(
    held: tuple[House, AccessionVersion], tmp_path: Path
) -> None:
    house, name = held
    given = released(house)
    feeding.begin_anew(house)
    screen(house, tmp_path, Hands(hits=12))
    withholding.give_again(house, MAINTAINER, given, 1, WHY)
    export(house)
    migrate(place := f"sqlite:///{tmp_path / 'new.sqlite'}")
    new = replace(house, sessions=Sessions(create_engine(place)))
    rebuild(new, MAINTAINER)
    for table in (Screening, Withholding):
        assert [row.model_dump() for row in rows(new, table)] == [row.model_dump() for row in rows(house, table)]
    assert [(row.hits, row.accession) for row in rows(new, Screening)] == [(12, name.accession), (12, given.accession)]
    with pytest.raises(Gone, match="12 of 1000"):
        url(new, None, name)
    assert url(new, None, given)
    assert feeding.feed(new, READY) == 0
    new.sessions.close()
