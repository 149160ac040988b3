"""Original files beyond their group: the glass that a maintainer breaks, and originals that may be public."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from readvault.db.tables import FileAccess
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Forbidden, NotFound, ProcessingFailure, Unauthenticated
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import Dehumanize, Organism, Originals, Pipeline
from readvault.services.house import House
from readvault.services.release.originals import open_originals
from readvault.services.release.public_originals import may_everyone_read
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, organism
from tests.integration.services import scenes

WHY = "a court asked for the raw data"
INDEX = "a" * 64
WANTED = Dehumanize(index="panhuman", sha256=INDEX, originals=Originals(visibility="public_if_no_hits"))
CLEAN: dict[str, Any] = {
    "screened": True,
    "provenance": {
        "hostIndexSha256": INDEX,
        "screen": {"files": 2, "formats": ["FASTQ"], "reads": 1000, "kept": 1000, "human": 0, "tooShort": 0},
    },
}


def accesses(house: House) -> list[FileAccess]:
    with house.sessions.read() as session:
        return list(session.exec(select(FileAccess).order_by(col(FileAccess.id))))


def test_a_maintainer_opens_originals_for_a_reason_that_stays_on_record(house: House) -> None:
    name, _ = scenes.entry(house, scenes.group(house, "alice"), files=(b"one", b"two"))
    opened = open_originals(house, MAINTAINER, name, f" {WHY} ")
    assert [(file.category, file.name, file.size) for file in opened] == [
        ("rawReads", "reads_0.fastq", 3),
        ("rawReads", "reads_1.fastq", 3),
    ]
    assert all(file.url.startswith("memory://incoming/") and "versionId=v" in file.url for file in opened)
    rows = accesses(house)
    assert [(r.actor, r.file_id, r.purpose, r.reason) for r in rows] == [
        ("maintainer", file.file_id, "break-glass", WHY) for file in opened
    ]
    line = scenes.audit_log(house)[-1]
    assert (line.actor, line.action, line.subject) == ("maintainer", "read files", str(name))
    assert line.details["reason"] == WHY
    assert "memory://" not in json.dumps(line.details)
    assert "reads_0" not in json.dumps(line.details)


@pytest.mark.parametrize(
    "actor",
    [ALICE, BOB, PIPELINE, replace(MAINTAINER, scopes=frozenset({"maintain", "review"}))],
    ids=["member", "stranger", "pipeline", "maintainer's narrow token"],
)
def test_nobody_else_breaks_the_glass(house: House, actor: Actor) -> None:
    name, _ = scenes.entry(house, scenes.group(house, "alice"))
    with pytest.raises(Forbidden):
        open_originals(house, actor, name, WHY)
    with pytest.raises(Unauthenticated):
        open_originals(house, None, name, WHY)
    assert accesses(house) == []


@pytest.mark.parametrize("reason", ["", " \n ", "why"])
def test_the_glass_needs_a_reason(house: House, reason: str) -> None:
    name, _ = scenes.entry(house, scenes.group(house, "alice"))
    with pytest.raises(BadRequest):
        open_originals(house, MAINTAINER, name, reason)
    assert accesses(house) == []


def test_an_unknown_version_has_no_originals(house: House) -> None:
    with pytest.raises(NotFound):
        open_originals(house, MAINTAINER, AccessionVersion("LOC_NONE", 1), WHY)


def test_what_could_not_be_signed_was_written_down_before(house: House) -> None:
    name, _ = scenes.entry(house, scenes.group(house, "alice"))
    house.store.down = True  # type: ignore[attr-defined]
    with pytest.raises(ProcessingFailure):
        open_originals(house, MAINTAINER, name, WHY)
    assert len(accesses(house)) == 1


@pytest.fixture
def wanting(tmp_path: Path) -> Organism:
    return organism(tmp_path, pipeline=Pipeline(dehumanize=WANTED))


def test_originals_of_which_all_is_known_are_for_everybody(wanting: Organism) -> None:
    assert may_everyone_read(wanting, CLEAN, submitted_files=2)


def _without(*path: str) -> dict[str, Any]:
    return _with(path, None, drop=True)


def _with(path: tuple[str, ...], value: Any, *, drop: bool = False) -> dict[str, Any]:
    manifest = copy.deepcopy(CLEAN)
    place: Any = manifest
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return manifest


SCREEN = ("provenance", "screen")
DOUBTFUL: dict[str, dict[str, Any]] = {
    "nothing is known": {},
    "not screened": _with(("screened",), False),
    "screened is a text": _with(("screened",), "true"),
    "screened is 1": _with(("screened",), 1),
    "no word of screening": _without("screened"),
    "no provenance": _without("provenance"),
    "provenance is a list": _with(("provenance",), []),
    "no figures": _without(*SCREEN),
    "figures are none": _with(SCREEN, None),
    "figures are a list": _with(SCREEN, [1000]),
    "another index": _with(("provenance", "hostIndexSha256"), "b" * 64),
    "no index": _with(("provenance", "hostIndexSha256"), None),
    "one human read": _with((*SCREEN, "human"), 1),
    "a human read of a billion": _with(SCREEN, {**CLEAN["provenance"]["screen"], "reads": 10**9, "human": 1}),
    "human is false": _with((*SCREEN, "human"), False),
    "human is 0.0": _with((*SCREEN, "human"), 0.0),
    "human is a text": _with((*SCREEN, "human"), "0"),
    "human is unknown": _without(*SCREEN, "human"),
    "a read too short to be screened": _with((*SCREEN, "tooShort"), 1),
    "short reads unknown": _without(*SCREEN, "tooShort"),
    "a read is not accounted for": _with((*SCREEN, "kept"), 999),
    "more kept than read": _with((*SCREEN, "kept"), 1001),
    "no reads at all": _with(SCREEN, {**CLEAN["provenance"]["screen"], "reads": 0, "kept": 0}),
    "reads unknown": _without(*SCREEN, "reads"),
    "one file was not screened": _with((*SCREEN, "files"), 1),
    "files unknown": _without(*SCREEN, "files"),
    "a BAM has more than reads": _with((*SCREEN, "formats"), ["BAM"]),
    "a CRAM among them": _with((*SCREEN, "formats"), ["CRAM", "FASTQ"]),
    "formats unknown": _without(*SCREEN, "formats"),
}


@pytest.mark.parametrize("manifest", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_every_doubt_keeps_originals_with_their_group(wanting: Organism, manifest: dict[str, Any]) -> None:
    assert not may_everyone_read(wanting, manifest, submitted_files=2)


@pytest.mark.parametrize("files", [0, 1, 3])
def test_every_submitted_file_must_have_been_screened(wanting: Organism, files: int) -> None:
    assert not may_everyone_read(wanting, CLEAN, submitted_files=files)


@pytest.mark.parametrize(
    "rules",
    [
        WANTED.model_copy(update={"originals": Originals()}),
        WANTED.model_copy(update={"originals": Originals(visibility="public_if_no_hits", shred_after_days=90)}),
        WANTED.model_copy(update={"sha256": "c" * 64}),
        Dehumanize(off="no human reads are possible", originals=Originals(visibility="public_if_no_hits")),
    ],
    ids=["not wanted", "to be shredded", "another index is pinned now", "no screen at all"],
)
def test_the_organism_must_want_it_and_pin_the_index(tmp_path: Path, rules: Dehumanize) -> None:
    assert not may_everyone_read(organism(tmp_path, pipeline=Pipeline(dehumanize=rules)), CLEAN, submitted_files=2)


@pytest.mark.parametrize("seen", [None, 0, 999, 1001, True])
def test_an_older_screen_counts_once_every_read_was_seen_again(wanting: Organism, seen: int | None) -> None:
    older = _with(("provenance", "hostIndexSha256"), "b" * 64)
    assert not may_everyone_read(wanting, older, submitted_files=2, seen_again=seen)
    assert may_everyone_read(wanting, older, submitted_files=2, seen_again=1000)
