"""What people do every day never walks through everything that was ever released: `make bench-api` at a small size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel import col, select

from benchmarks.api_scene import Scene, fill
from readvault.db.tables import EntryVersion, Manifest
from readvault.domain.actor import Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.house import House
from readvault.services.housekeeping.figures import collect
from readvault.services.release.manifest_list import matching, question
from readvault.services.release.released_data import released_data
from readvault.services.review.approval import Scope, approve
from readvault.services.review.listing import list_entries
from readvault.services.storage.integrity import copies
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import request_uploads
from tests.houses import ALICE, BOB, MAINTAINER, group_of
from tests.integration.services.scenes import ORGANISM

RELEASED, OPEN = 600, 240
GROUPS = 20
BIG_TABLES = ("entry_version", "release", "manifest", "job", "manifest_file", "stored_object", "data_use_terms")
EVERYONE = [ALICE, BOB, MAINTAINER]
FILTERS: list[dict[str, Any]] = [
    {},
    {"statuses": [Status.RECEIVED, Status.IN_PROCESSING, Status.PROCESSED]},
    {"statuses": [Status.PROCESSED], "results": [ProcessingResult.HAS_ERRORS]},
    {"statuses": [Status.APPROVED_FOR_RELEASE]},
    {"statuses": list(Status)},
]


@pytest.fixture
def years_later(house: House) -> House:
    """Many released entries of twenty groups, and some open ones; Alice is in one group, Bob in three."""
    fill(house.sessions, Scene(ORGANISM, RELEASED, OPEN))
    return house


@contextmanager
def _plans(house: House) -> Iterator[list[str]]:
    """What SQLite says of how it finds the rows of each statement that runs meanwhile; nothing on PostgreSQL."""
    plans: list[str] = []
    if house.sessions.dialect != "sqlite":
        yield plans
        return

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(f"{row[3]} in {statement}" for row in cursor.fetchall())

    event.listen(house.sessions.engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(house.sessions.engine, "before_cursor_execute", explain)


def _walks(plans: list[str]) -> list[str]:
    """The steps that read a whole large table, or look for open entries among all that are released."""
    whole = re.compile(rf"SCAN ({'|'.join(BIG_TABLES)})\b")
    entries = re.compile(r"(SCAN|SEARCH) entry_version\b")
    by_what_is_open = re.compile(r".*INDEX (ix_entry_version_unreleased|sqlite_autoindex_entry_version_1)\b")
    looks_for_open = re.compile(r"NOT entry_version\.released|entry_version\.released = 0")
    return [
        plan
        for plan in plans
        if whole.match(plan)
        or (entries.match(plan) and looks_for_open.search(plan) and not by_what_is_open.match(plan))
    ]


def _names(answer: dict[str, Any]) -> list[tuple[str, int]]:
    return [(row["accession"], row["version"]) for row in answer["sequenceEntries"]]


@pytest.mark.parametrize("actor", EVERYONE, ids=lambda actor: actor.name)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_pages_are_parts_of_the_whole_list_in_order(years_later: House, actor: Actor, filters: dict[str, Any]) -> None:
    whole = list_entries(years_later, actor, ORGANISM, **filters)
    names = _names(whole)
    assert names == sorted(set(names))
    paged: list[tuple[str, int]] = []
    for page in range(len(names) // 50 + 2):
        answer = list_entries(years_later, actor, ORGANISM, page=page, size=50, **filters)
        assert answer["statusCounts"] == whole["statusCounts"]
        paged += _names(answer)
    assert paged == names
    groups = {"alice": 1, "bob": 3}.get(actor.name, GROUPS)
    share = (RELEASED + OPEN) * groups // GROUPS
    assert sum(whole["statusCounts"].values()) == share
    assert whole["statusCounts"]["APPROVED_FOR_RELEASE"] == RELEASED * groups // GROUPS
    if not filters or len(filters.get("statuses", ())) == len(Status):
        assert len(names) == share
    if filters.get("statuses"):
        assert {row["status"] for row in whole["sequenceEntries"]} <= {each.value for each in filters["statuses"]}


def test_a_page_beyond_the_end_and_one_of_nothing_are_empty(years_later: House) -> None:
    for page, size in ((10_000, 100), (2**31 - 1, 2**31 - 1), (0, 0)):
        answer = list_entries(years_later, ALICE, ORGANISM, page=page, size=size)
        assert answer["sequenceEntries"] == []
        assert answer["statusCounts"]["APPROVED_FOR_RELEASE"] == RELEASED // GROUPS


def test_who_is_in_no_group_gets_an_empty_list(years_later: House) -> None:
    answer = list_entries(years_later, Actor("nobody"), ORGANISM)
    assert answer["sequenceEntries"] == []
    assert set(answer["statusCounts"].values()) == set(answer["processingResultCounts"].values()) == {0}


@pytest.mark.parametrize("actor", EVERYONE, ids=lambda actor: actor.name)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_no_list_walks_through_everything(years_later: House, actor: Actor, filters: dict[str, Any]) -> None:
    if years_later.sessions.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by statistics: make bench-api measures it")
    with _plans(years_later) as plans:
        list_entries(years_later, actor, ORGANISM, page=0, size=20, **filters)
    assert plans
    assert _walks(plans) == []


def _approvable(house: House, number: int) -> list[tuple[AccessionVersion, str | None]]:
    query = (
        select(EntryVersion.accession, Manifest.digest)
        .join(Manifest, col(Manifest.accession) == col(EntryVersion.accession))
        .where(~col(EntryVersion.released), col(Manifest.processing_result) != "HAS_ERRORS")
    )
    with house.sessions.read() as session:
        return [(AccessionVersion(name, 1), digest) for name, digest in session.exec(query.limit(number))]


def test_no_approval_walks_through_everything(years_later: House) -> None:
    named = _approvable(years_later, 30)
    calls: list[Callable[[], list[AccessionVersion]]] = [
        lambda: approve(years_later, MAINTAINER, ORGANISM, scope=Scope.ALL, accession_versions=named),
        lambda: approve(years_later, MAINTAINER, ORGANISM, scope=Scope.ALL),
    ]
    for call, expected in zip(calls, (30, OPEN // 2 - 30), strict=True):
        with _plans(years_later) as plans:
            assert len(call()) == expected
        assert _walks(plans) == []


def test_figures_walk_through_what_is_open_only(years_later: House) -> None:
    if years_later.sessions.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by statistics: make bench-api measures it")
    with _plans(years_later) as plans:
        told = {(each.name, *each.labels): each.value for each in collect(years_later)}
    assert told["readvault_entries", ORGANISM, "APPROVED_FOR_RELEASE"] == RELEASED
    assert sum(value for key, value in told.items() if key[0] == "readvault_entries") == RELEASED + OPEN
    assert plans
    by_what_is_open = re.compile(r"SCAN entry_version USING (COVERING )?INDEX ix_entry_version_unreleased\b")
    assert [plan for plan in _walks(plans) if not by_what_is_open.match(plan)] == []
    growing = re.compile(r"SCAN (uploaded_file|audit_log|fixity_check(?! USING (COVERING )?INDEX))\b")
    assert [plan for plan in plans if growing.match(plan)] == []


def test_everything_released_is_read_page_by_page(years_later: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readvault.services.release.released_data.PAGE", 100)
    names = [line["metadata"]["accession"] for line in released_data(years_later, ORGANISM)]
    assert len(names) == RELEASED
    assert names == sorted(set(names))
    asked = question(years_later.organisms[ORGANISM], {"country": ["Switzerland"], "dateFrom": ["2024-01-01"]})
    assert [each["accession"] for each in matching(years_later, ORGANISM, asked)] == names


def test_whoever_asks_to_upload_does_not_wait_for_all_that_was_uploaded_before(house: House) -> None:
    if house.sessions.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by statistics: make bench-api measures it")
    group_id = group_of(house, ALICE)
    with _plans(house) as plans:
        request_uploads(house, ALICE, group_id, [WantedFile("r.fastq", 5, None)])
    still_open = [plan for plan in plans if "uploaded_file.sealed_at IS NULL" in plan]
    assert len(still_open) == 2
    assert all(re.match(r"SEARCH uploaded_file USING INDEX ix_uploaded_file_open_of_", plan) for plan in still_open)


def test_what_the_second_bucket_is_owed_is_looked_for_beyond_the_last_page_only(years_later: House) -> None:
    with years_later.sessions.read() as session, _plans(years_later) as plans:
        found = copies._released_after(session, ("LOC_1000300", 1))
    assert len(found) == copies.PAGE
    assert found[0][:2] == ("LOC_1000301", 1)
    assert _walks(plans) == []


def test_the_files_of_a_release_are_found_without_going_through_all_manifests(years_later: House) -> None:
    plans: list[str] = []
    explain = "EXPLAIN QUERY PLAN" if years_later.sessions.dialect == "sqlite" else "EXPLAIN"

    def explained(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(f"{explain} {statement}", parameters)
        plans.extend(str(row[-1]) for row in cursor.fetchall())

    with years_later.sessions.read() as session:
        if years_later.sessions.dialect == "postgresql":  # so few rows it would rather walk through
            session.execute(text("SET LOCAL enable_seqscan = off"))
        event.listen(years_later.sessions.engine, "before_cursor_execute", explained)
        try:
            keys = copies._keys_of(session, "LOC_1000300", 1)
        finally:
            event.remove(years_later.sessions.engine, "before_cursor_execute", explained)
    assert "vault/300" in keys
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN") or "hashed SubPlan" in plan]
