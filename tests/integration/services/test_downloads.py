"""Who may download which file, and that a released one never becomes another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from readvault.db.tables import FileAccess, Job, Manifest, StoredObject, UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden, Gone, NotFound, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import Dehumanize, Originals, Pipeline
from readvault.domain.status import JobState
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release.downloads import file_url, released_file_url
from readvault.services.release.interventions import intervene
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from tests.fakes import MemoryStore
from tests.houses import ALICE, BOB, MAINTAINER, organism
from tests.integration.services.published import make_current, processed_again, released
from tests.integration.services.scenes import (
    ORGANISM,
    change,
    claimed,
    entry,
    group,
    of_next_pipeline,
    processed,
    result,
)


def _url(house: House, actor: Actor | None, name: AccessionVersion, category: str = "consensus") -> str:
    file = {"consensus": "consensus.fasta", "dehumanizedReads": "dehumanized.fastq.gz"}[category]
    return file_url(house, actor, name.accession, name.version, category, file)


def _pinned(house: House, content: bytes) -> str:
    with house.sessions.read() as session:
        objects = session.exec(select(StoredObject)).all()
    (stored,) = (each for each in objects if house.store.versions[each.key][0][1] == content)  # type: ignore[attr-defined]
    return f"memory://{stored.key}?versionId={stored.version_id}"


def test_before_release_only_the_group_and_maintainers_download(house: House) -> None:
    name, _ = processed(house, group(house, "alice"))
    for actor in (ALICE, MAINTAINER):
        assert _url(house, actor, name).startswith(_pinned(house, b">main\nACGT\n"))
    with pytest.raises(Unauthenticated, match=r"^Authentication needed: the file is not public$"):
        _url(house, None, name)
    with pytest.raises(Forbidden, match="User bob is not a member"):
        _url(house, BOB, name)


def test_after_release_everybody_downloads(house: House) -> None:
    name, _ = processed(house, group(house, "alice"), reads=b"screened reads")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    for actor in (None, BOB, ALICE):
        assert _url(house, actor, name).startswith(_pinned(house, b">main\nACGT\n"))
        assert _url(house, actor, name, "dehumanizedReads").startswith(_pinned(house, b"screened reads"))


def test_a_head_request_gets_a_url_for_head(house: House) -> None:
    name, _ = processed(house, group(house, "alice"))
    url = file_url(house, ALICE, name.accession, name.version, "consensus", "consensus.fasta", head=True)
    assert url.endswith("method=HEAD")


@pytest.mark.parametrize(
    ("version", "category", "file"),
    [
        (2, "consensus", "consensus.fasta"),
        (1, "alignment", "consensus.fasta"),
        (1, "consensus", "other.fasta"),
        (1, "rawReads", "reads_0.fastq"),
    ],
)
def test_what_is_not_there_is_not_found_whoever_asks(house: House, version: int, category: str, file: str) -> None:
    """Originals are not downloaded here, not even the group's own."""
    name, _ = processed(house, group(house, "alice"))
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    for actor in (None, BOB, ALICE):
        with pytest.raises(NotFound, match=r"^File not found$"):
            file_url(house, actor, name.accession, version, category, file)


@pytest.mark.parametrize("visibility", ["group", "public_if_no_hits"])
def test_no_original_of_a_released_version_is_public(house: House, tmp_path: Path, visibility: Any) -> None:
    """Neither as a file of its own, nor by any URL that a released version gives to those outside the group."""
    rules = Pipeline(dehumanize=Dehumanize(originals=Originals(visibility=visibility)))
    house = replace(house, organisms={ORGANISM: organism(tmp_path, pipeline=rules)})
    name, _ = processed(house, group(house, "alice"), reads=b"screened reads")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    with house.sessions.read() as session:
        (original,) = session.exec(select(UploadedFile)).all()
    for actor in (None, BOB, MAINTAINER):
        for file in ("reads_0.fastq", original.id):
            with pytest.raises(NotFound):
                file_url(house, actor, name.accession, name.version, "rawReads", file)
    public = json.dumps(list(released_data(house, ORGANISM)))
    assert name.accession in public
    assert original.key not in public
    assert original.id not in public


def test_an_unprocessed_entry_has_no_files(house: House) -> None:
    name, _ = entry(house, group(house, "alice"))
    with pytest.raises(NotFound):
        _url(house, ALICE, name)


def test_a_new_pipeline_version_changes_no_released_files_while_its_results_wait(house: House) -> None:
    group_id = group(house, "alice")
    released, _ = processed(house, group_id)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    unreleased, _ = processed(house, group_id)
    for name in (released, unreleased):
        with house.sessions.read() as session:
            job_id = session.exec(
                select(Job.id).where(Job.accession == name.accession, Job.kind == "process-submission")
            ).one()
        change(house, job_id, state=JobState.QUEUED.value)
        later = of_next_pipeline(house, switch="byMaintainer" if name == released else "byRule")
        claim = claimed(later, job_id)
        jobs.register(later, claim, result(house, claim, text=b">main\nTTTT\n"))
    assert _url(house, None, released).startswith(_pinned(house, b">main\nACGT\n"))
    assert _url(house, ALICE, unreleased).startswith(_pinned(house, b">main\nTTTT\n"))


def test_a_newer_object_under_the_same_key_is_never_served(house: House, store: MemoryStore) -> None:
    name, _ = processed(house, group(house, "alice"))
    pinned = _pinned(house, b">main\nACGT\n")
    store.write(next(key for key in store.versions if key.startswith("vault/")), b"overwritten")
    assert _url(house, ALICE, name).startswith(pinned)


def test_reads_without_a_complete_screen_are_given_to_nobody(house: House) -> None:
    """Whatever the database says: here the manifest was altered behind the back of its own trigger."""
    name, _ = processed(house, group(house, "alice"), reads=b"screened reads")
    with house.sessions.begin() as session:
        manifest = session.exec(select(Manifest)).one()
        body = json.loads(manifest.body) | {"screened": False}
        on = "" if house.sessions.dialect == "sqlite" else "ON manifest"
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'manifest'"
        if on:
            names = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'manifest'::regclass"
        for trigger in session.execute(text(names)).scalars().all():
            session.execute(text(f'DROP TRIGGER "{trigger}" {on}'))
        manifest.body = json.dumps(body)
    for actor in (ALICE, MAINTAINER):
        with pytest.raises(NotFound):
            _url(house, actor, name, "dehumanizedReads")
        assert _url(house, actor, name)


def _stable(house: House, name: AccessionVersion, pipeline_version: int, category: str = "consensus") -> str:
    file = {"consensus": "consensus.fasta", "dehumanizedReads": "dehumanized.fastq.gz"}[category]
    return released_file_url(house, name.accession, name.version, pipeline_version, category, file)


def test_a_download_that_names_the_pipeline_version_never_changes(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    second = processed_again(house, name, b">main\nTTTT\n")
    with pytest.raises(NotFound):
        _stable(house, name, 2)
    make_current(house, name, second)
    assert _stable(house, name, 1).startswith(_pinned(house, b">main\nACGT\n"))
    assert _stable(house, name, 2).startswith(_pinned(house, b">main\nTTTT\n"))
    assert _url(house, None, name).startswith(_pinned(house, b">main\nTTTT\n"))


def test_lasting_downloads_are_of_released_public_files_only(house: House) -> None:
    name, _ = processed(house, group(house, "alice"))
    with pytest.raises(NotFound, match=r"^File not found$"):
        _stable(house, name, 1)
    with pytest.raises(NotFound, match=r"^File not found$"):
        _stable(house, AccessionVersion("LOC_NOBODY", 1), 1)


def test_what_was_withdrawn_is_gone_with_its_reason(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "looked at once more")
    assert _url(house, None, name)
    assert _stable(house, name, 1)
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "a mix-up of samples")
    for actor in (None, BOB, ALICE):
        with pytest.raises(Gone, match="a mix-up of samples"):
            _url(house, actor, name)
    with pytest.raises(Gone, match="a mix-up of samples"):
        _stable(house, name, 1)
    assert _url(house, MAINTAINER, name)
    intervene(house, MAINTAINER, name, Step.RESTORE, "it was none")
    assert _url(house, None, name)


def test_every_url_of_something_not_public_is_written_down(house: House) -> None:
    name, _ = processed(house, group(house, "alice"))
    for actor in (ALICE, MAINTAINER):
        _url(house, actor, name)
    with pytest.raises(Forbidden):
        _url(house, BOB, name)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    for reader in (None, ALICE, BOB):
        _url(house, reader, name)
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "a mix-up of samples")
    _url(house, MAINTAINER, name)
    with house.sessions.read() as session:
        rows = session.exec(select(FileAccess).order_by(col(FileAccess.id))).all()
    assert [(row.actor, row.accession, row.category, row.purpose) for row in rows] == [
        (actor, name.accession, "consensus", "download") for actor in ("alice", "maintainer", "maintainer")
    ]


def test_a_file_that_may_never_be_public_is_for_the_group_alone(house: House) -> None:
    name, job_id = entry(house, group(house, "alice"))
    claim = claimed(house, job_id)
    made = result(house, claim)
    (file,) = made.files
    private = made.manifest["private"]
    private["files"], made.manifest["files"] = made.manifest["files"], []
    jobs.register(house, claim, replace(made, files=(replace(file, may_be_public=False),)))
    for _ in range(2):  # before release, and after it
        assert _url(house, ALICE, name)
        for actor in (MAINTAINER, BOB, None):
            with pytest.raises((NotFound, Forbidden, Unauthenticated)):
                _url(house, actor, name)
        with pytest.raises(NotFound):
            _stable(house, name, 1)
        approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    for reader in (MAINTAINER, BOB, None):
        with pytest.raises(NotFound, match=r"^File not found$"):
            _url(house, reader, name)
    with house.sessions.read() as session:
        assert len(session.exec(select(FileAccess)).all()) == 2
    (line,) = released_data(house, ORGANISM)
    assert line["metadata"]["consensus"] is None
