"""Originals for everybody: two maintainers open them, one closes them, and every doubt keeps them closed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from readvault.db import clock
from readvault.db.tables import CurrentResult, EntryFile, Job, Manifest, OriginalOpening, Screening, UploadedFile
from readvault.domain import openings
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, Gone, NotFound, Unauthenticated, Unprocessable
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.openings import State
from readvault.domain.organism import Dehumanize, Organism, Originals, Pipeline
from readvault.domain.status import JobKind, JobState
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.queue.fence import Claim
from readvault.services.release import opening, publication
from readvault.services.release.downloads import file_url, released_file_url
from readvault.services.release.interventions import intervene
from readvault.services.release.manifest_list import Question, matching
from readvault.services.release.manifests import results
from readvault.services.review.approval import Scope, approve
from readvault.services.screening import withholding
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, organism
from tests.integration.services import scenes
from tests.integration.services.scenes import ORGANISM

WHY = "the group wants its raw data to be used"
INDEX, NEW = "a" * 64, "b" * 64
OTHER = replace(MAINTAINER, name="another")
SECRET = "patient-7.FASTQ.gz"


def wanting(folder: Path, **changes: Any) -> Organism:
    """An organism whose originals may be public."""
    fields: dict[str, Any] = {"index": "panhuman", "sha256": INDEX}
    originals = Originals(visibility="public_if_no_hits")
    return organism(folder, pipeline=Pipeline(dehumanize=Dehumanize(**fields | {"originals": originals} | changes)))


@pytest.fixture
def open_house(house: House, tmp_path: Path) -> House:
    return replace(house, organisms={ORGANISM: wanting(tmp_path)})


def released(house: House, group_id: int | None = None, *, screen: dict[str, Any] | None = None) -> AccessionVersion:
    """An entry that is released with a clean screen of its one file of 1000 reads."""
    group_id = group_id or scenes.group(house, "alice")
    name, job_id = scenes.entry(house, group_id)
    with house.sessions.begin() as session:
        mine = (EntryFile.accession == name.accession, EntryFile.version == name.version)
        session.execute(update(EntryFile).where(*mine).values(name=SECRET))
    claim = scenes.claimed(house, job_id)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, register(house, claim, screen))])
    return name


def register(house: House, claim: Claim, screen: dict[str, Any] | None = None, index: str = INDEX) -> str:
    made = scenes.result(house, claim, reads=b"clean reads", text=f">main\n{claim.pipeline_version}\n".encode())
    clean = {"files": 1, "formats": ["FASTQ"], "reads": 1000, "kept": 1000, "human": 0, "tooShort": 0}
    provenance = {**made.manifest["provenance"], "hostIndexSha256": index, "screen": clean | (screen or {})}
    return jobs.register(house, claim, replace(made, manifest={**made.manifest, "provenance": provenance}))


@pytest.fixture
def name(open_house: House) -> AccessionVersion:
    return released(open_house)


def opened(house: House, name: AccessionVersion) -> None:
    opening.request(house, MAINTAINER, [name], WHY)
    opening.confirm(house, OTHER, [name])


def url(house: House, actor: Actor | None, name: AccessionVersion, label: str = "original_1.fastq.gz") -> str:
    return file_url(house, actor, name.accession, name.version, "rawReads", label)


def state(house: House, name: AccessionVersion) -> State:
    (found,) = [each for each in opening.page(house, MAINTAINER) if each.name == name]
    return found.state


@pytest.mark.parametrize("actor", [None, BOB, ALICE, PIPELINE, MAINTAINER], ids=str)
def test_two_maintainers_open_originals_under_a_name_of_ours(
    open_house: House, name: AccessionVersion, actor: Actor | None
) -> None:
    house = open_house
    with pytest.raises(NotFound):
        url(house, actor, name)
    before = released_etag(house, ORGANISM)
    opening.request(house, MAINTAINER, [name], WHY)
    with pytest.raises(NotFound):
        url(house, actor, name)
    assert "originals" not in results(house, actor, ORGANISM, name)
    (done,) = opening.confirm(house, OTHER, [name])
    assert (done.state, done.actor, done.reason, done.files) == (State.OPEN, "another", WHY, 1)
    assert url(house, actor, name).startswith("memory://incoming/")
    assert released_file_url(house, name.accession, 1, 1, "rawReads", "original_1.fastq.gz", actor=actor)
    for label in (SECRET, "original_2.fastq.gz", "original_1.fastq"):
        with pytest.raises(NotFound):
            url(house, actor, name, label)
    (listed,) = results(house, actor, ORGANISM, name)["originals"]
    assert listed["url"].endswith(f"/files/get/{name.accession}/1/rawReads/original_1.fastq.gz")
    (entry,) = matching(house, ORGANISM, Question())
    assert [file["name"] for file in entry["files"] if file["category"] == "rawReads"] == ["original_1.fastq.gz"]
    assert SECRET not in json.dumps([listed, entry])
    assert released_etag(house, ORGANISM) != before
    actions = [(row.actor, row.action) for row in scenes.audit_log(house) if "opening" in row.action]
    assert actions == [("maintainer", "request opening"), ("another", "confirm opening")]


def test_nobody_opens_alone_and_nobody_but_maintainers(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    opening.request(house, MAINTAINER, [name], WHY)
    with pytest.raises(Forbidden, match="Another maintainer"):
        opening.confirm(house, MAINTAINER, [name])
    with pytest.raises(Forbidden, match="token"):
        opening.confirm(house, replace(OTHER, scopes=frozenset({"maintain"})), [name])
    for actor in (ALICE, BOB, PIPELINE):
        with pytest.raises(Forbidden):
            opening.request(house, actor, [name], WHY)
        with pytest.raises(Forbidden):
            opening.confirm(house, actor, [name])
        with pytest.raises(Forbidden):
            opening.close(house, actor, [name], WHY)
        with pytest.raises(Forbidden):
            opening.page(house, actor)
        with pytest.raises(Forbidden):
            opening.candidates(house, actor, ORGANISM)
    with pytest.raises(Unauthenticated):
        opening.request(house, None, [name], WHY)
    assert state(house, name) is State.REQUESTED


def test_one_maintainer_closes_and_everybody_is_told_why(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    opened(house, name)
    opening.close(house, MAINTAINER, [name], "the group changed its mind")
    for actor in (None, ALICE, MAINTAINER):
        with pytest.raises(Gone, match="changed its mind"):
            url(house, actor, name)
    assert "originals" not in results(house, None, ORGANISM, name)
    with pytest.raises(NotFound):
        url(house, None, name, "original_9.fastq")
    with pytest.raises(Conflict):
        opening.close(house, MAINTAINER, [name], WHY)
    opening.request(house, OTHER, [name], WHY)
    with pytest.raises(Gone):
        url(house, None, name)
    opening.confirm(house, MAINTAINER, [name])
    assert url(house, None, name)


def test_a_request_that_nobody_confirms_is_void(
    open_house: House, name: AccessionVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = open_house
    opening.request(house, MAINTAINER, [name], WHY)
    with pytest.raises(Conflict):
        opening.request(house, OTHER, [name], WHY)
    with house.sessions.read() as session:
        assert opening.waiting(session) == 1
    assert [each.name for each in opening.page(house, MAINTAINER, state=State.REQUESTED)] == [name]
    monkeypatch.setattr(openings, "CONFIRM_WITHIN", -1.0)
    with pytest.raises(Conflict):
        opening.confirm(house, OTHER, [name])
    with house.sessions.read() as session:
        assert opening.waiting(session) == 0
    assert [each.name for each in opening.page(house, MAINTAINER, state=State.CLOSED)] == [name]
    assert opening.page(house, MAINTAINER, state=State.REQUESTED) == []
    opening.request(house, OTHER, [name], WHY)


def test_a_refused_request_was_never_public(open_house: House, name: AccessionVersion) -> None:
    opening.request(open_house, MAINTAINER, [name], WHY)
    opening.close(open_house, OTHER, [name], "not while the paper is under review")
    with pytest.raises(NotFound):
        url(open_house, None, name)


@pytest.mark.parametrize(
    "screen", [{"human": 1}, {"tooShort": 1}, {"files": 2}, {"formats": ["BAM"]}, {"kept": 999}], ids=str
)
def test_what_no_clean_screen_has_seen_is_not_opened(open_house: House, screen: dict[str, Any]) -> None:
    name = released(open_house, screen=screen)
    with pytest.raises(Conflict, match=str(name)):
        opening.request(open_house, MAINTAINER, [name], WHY)
    assert opening.candidates(open_house, MAINTAINER, ORGANISM) == ([], None)


@pytest.mark.parametrize(
    "changes",
    [
        {"originals": Originals()},
        {"originals": Originals(visibility="public_if_no_hits", shred_after_days=9)},
        {"sha256": NEW},
        {"index": None, "off": "no people are near the samples"},
    ],
    ids=["for the group", "to be shredded", "another index", "not screened any more"],
)
def test_when_the_organism_thinks_otherwise_open_originals_are_closed(
    open_house: House, name: AccessionVersion, tmp_path: Path, changes: dict[str, Any]
) -> None:
    house = replace(open_house, organisms={ORGANISM: wanting(tmp_path, **changes)})
    with pytest.raises(Conflict):
        opening.request(house, MAINTAINER, [name], WHY)
    opened(open_house, name)
    with pytest.raises(Gone, match="are closed"):
        url(house, None, name)
    assert "originals" not in results(house, None, ORGANISM, name)
    (found,) = opening.page(house, MAINTAINER)
    assert found.obstacle is not None


def seen(house: House, name: AccessionVersion, **changes: Any) -> None:
    """A later screening of the released reads."""
    with house.sessions.begin() as session:
        (number,) = session.exec(select(Manifest.id).where(Manifest.accession == name.accession)).all()
        fields: dict[str, Any] = {"by_processing": False, "reads": 1000, "hits": 0, "too_short": 0}
        session.add(
            Screening(organism=ORGANISM, accession=name.accession, version=name.version, manifest_id=number or 0,
                      index_sha256=NEW, category="dehumanizedReads", at=clock.read(session), **fields | changes)
        )  # fmt: skip


def test_the_index_of_today_may_have_seen_the_released_reads_since(
    open_house: House, name: AccessionVersion, tmp_path: Path
) -> None:
    opened(open_house, name)
    house = replace(open_house, organisms={ORGANISM: wanting(tmp_path, sha256=NEW)})
    with pytest.raises(Gone):
        url(house, None, name)
    seen(house, name)
    assert url(house, None, name)


@pytest.mark.parametrize("changes", [{"hits": 1}, {"reads": 998}, {"too_short": 1}], ids=str)
def test_a_later_screening_that_is_not_clean_closes(
    open_house: House, name: AccessionVersion, tmp_path: Path, changes: dict[str, int]
) -> None:
    opened(open_house, name)
    house = replace(open_house, organisms={ORGANISM: wanting(tmp_path, sha256=NEW)})
    seen(house, name, **changes)
    with pytest.raises(Gone):
        url(house, None, name)


def test_one_read_that_may_be_human_closes_for_the_old_index_too(open_house: House, name: AccessionVersion) -> None:
    opened(open_house, name)
    seen(open_house, name, hits=1)
    with pytest.raises(Gone, match="may be human"):
        url(open_house, None, name)


def test_withheld_reads_and_a_later_result_with_hits_close(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    opened(house, name)
    withholding.withhold(house, MAINTAINER, name, 1, "somebody wrote to us")
    with pytest.raises(Gone, match="withheld"):
        url(house, None, name)
    withholding.give_again(house, MAINTAINER, name, 1, "it was another entry")
    assert url(house, None, name)
    with house.sessions.read() as session:
        query = select(Job.id).where(Job.accession == name.accession, Job.kind == "process-submission")
        job_id = session.exec(query).one()
    scenes.change(house, job_id, state=JobState.QUEUED.value)
    later = scenes.of_next_pipeline(house)
    digest = register(later, scenes.claimed(later, job_id), {"human": 2, "kept": 998})
    with house.sessions.begin() as session:
        row = session.exec(select(Manifest).where(Manifest.digest == digest)).one()
        session.add(
            CurrentResult(accession=name.accession, version=name.version, manifest_id=row.id or 0, since=1.0,
                          actor="readvault", reason="a better pipeline")
        )  # fmt: skip
    with pytest.raises(Gone, match="found human reads"):
        url(house, None, name)


def test_a_result_with_hits_closes_while_it_waits_for_a_maintainer(open_house: House, name: AccessionVersion) -> None:
    opened(open_house, name)
    with open_house.sessions.read() as session:
        job_id = session.exec(select(Job.id).where(Job.kind == JobKind.PROCESS_SUBMISSION.value)).one()
    scenes.change(open_house, job_id, state=JobState.QUEUED.value)
    house = scenes.of_next_pipeline(open_house, switch="byMaintainer")
    register(house, scenes.claimed(house, job_id), {"human": 2, "kept": 998})
    with house.sessions.read() as session:
        assert session.exec(select(CurrentResult)).all() == []
    with pytest.raises(Gone, match="found human reads"):
        url(house, None, name)


def test_suppressed_withdrawn_unreleased_unknown(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    intervene(house, MAINTAINER, name, Step.SUPPRESS, WHY)
    with pytest.raises(Conflict, match="SUPPRESSED"):
        opening.request(house, MAINTAINER, [name], WHY)
    intervene(house, MAINTAINER, name, Step.RESTORE, WHY)
    opened(house, name)
    intervene(house, MAINTAINER, name, Step.SUPPRESS, WHY)
    assert url(house, None, name), "who has the accession still reads it"
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "consent was taken back")
    for actor in (None, BOB, ALICE):
        with pytest.raises(Gone, match="consent"):
            url(house, actor, name)
    unreleased, _ = scenes.processed(house, scenes.group(house, "alice"))
    with pytest.raises(Unprocessable):
        opening.request(house, MAINTAINER, [unreleased], WHY)
    with pytest.raises(NotFound):
        opening.request(house, MAINTAINER, [AccessionVersion("LOC_NONE", 1)], WHY)
    for names, reason in (([], WHY), ([name], "no"), ([AccessionVersion("A", n) for n in range(1, 1002)], WHY)):
        with pytest.raises(BadRequest):
            opening.request(house, MAINTAINER, names, reason)


def test_open_originals_are_locked_like_released_files(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    opened(house, name)
    with house.sessions.read() as session:
        [original] = session.exec(select(UploadedFile.key)).all()
        [job_id, *_] = session.exec(
            select(Job.id).where(Job.kind == JobKind.RELEASE.value).order_by(col(Job.created_at).desc())
        ).all()
    publication.publish(house, scenes.claimed(house, job_id))
    assert original in {key for key, _ in house.store.locked}  # type: ignore[attr-defined]


def test_all_of_a_group_page_by_page(open_house: House) -> None:
    house = open_house
    ours = scenes.group(house, "alice")
    good = sorted(released(house, ours) for _ in range(3))
    released(house, ours, screen={"human": 1})
    released(house)
    found: list[AccessionVersion] = []
    page, after = opening.candidates(house, MAINTAINER, ORGANISM, group_id=ours, size=2)
    while after is not None:
        found += page
        page, after = opening.candidates(house, MAINTAINER, ORGANISM, group_id=ours, after=after, size=2)
    assert sorted(found + page) == good
    opening.request(house, MAINTAINER, good, WHY)
    assert [each.state for each in opening.confirm(house, OTHER, good)] == [State.OPEN] * 3
    assert opening.candidates(house, MAINTAINER, ORGANISM, group_id=ours)[0] == []
    first, rest = opening.page(house, MAINTAINER, size=1), opening.page(house, MAINTAINER, size=9)
    assert opening.page(house, MAINTAINER, before=first[0].id, size=9) == rest[1:]


def test_of_two_who_confirm_at_once_one_does(open_house: House, name: AccessionVersion) -> None:
    house = open_house
    opening.request(house, MAINTAINER, [name], WHY)
    both, ended = threading.Barrier(2), []

    def attempt(step: Callable[[], object]) -> None:
        both.wait()
        try:
            step()
        except Conflict:
            ended.append("refused")
        else:
            ended.append("done")

    threads = [
        threading.Thread(target=attempt, args=(lambda who=who: opening.confirm(house, who, [name]),))
        for who in (OTHER, replace(MAINTAINER, name="a third"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["done", "refused"]
    with house.sessions.read() as session:
        steps = session.exec(select(OriginalOpening.step).order_by(col(OriginalOpening.id))).all()
    assert steps == ["request", "confirm"]
