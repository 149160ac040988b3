"""Queries of released entries, as Loculus's command line sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release import queries
from readvault.services.review import approval
from tests.houses import ALICE, group_of
from tests.integration.services import scenes

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

PLACES = [("Switzerland", "2020-01-01", 30), ("Switzerland", "2020-06-01", 4), ("Italy", "2021-01-01", None)]


@pytest.fixture
def released(house: House) -> list[AccessionVersion]:
    """Three released entries, and one that is not."""
    group = group_of(house, ALICE)
    names = [_processed(house, group, *place) for place in PLACES]
    approval.approve(
        house, ALICE, scenes.ORGANISM, scope=approval.Scope.ALL, accession_versions=[(name, None) for name in names]
    )
    _processed(house, group, "Secretland", "2020-01-01", 1)
    return names


def _processed(house: House, group: int, country: str, date: str, age: int | None) -> AccessionVersion:
    name, job_id = scenes.entry(house, group)
    claim = scenes.claimed(house, job_id)
    made = scenes.result(house, claim)
    made.processed_data["metadata"] |= {"country": country, "date": date, "age": age}
    made.processed_data["alignedNucleotideSequences"] = {"main": "AC-T"}
    jobs.register(house, claim, made)
    return name


def query(api: TestClient, what: str, **parameters: Any) -> Any:
    answer = api.get(f"/{scenes.ORGANISM}/lapis/sample/{what}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [0, 1, 2]),
        ({"country": "Switzerland"}, [0, 1]),
        ({"country": "switzerland"}, []),
        ({"country": "Secretland"}, []),
        ({"dateFrom": "2020-06-01"}, [1, 2]),
        ({"dateFrom": "2020-02-01", "dateTo": "2020-12-31"}, [1]),
        ({"ageFrom": "5"}, [0]),
        ({"ageTo": "30"}, [0, 1]),
        ({"age": ""}, [2]),
        ({"isRevocation": "false", "version": "1"}, [0, 1, 2]),
        ({"isRevocation": "TRUE"}, []),
        ({"versionStatus": "LATEST_VERSION", "limit": "2"}, [0, 1]),
        ({"limit": "2", "offset": "1"}, [1, 2]),
        ({"orderBy": "age"}, [2, 1, 0]),
        ({"orderBy": "age", "limit": "1", "offset": "1"}, [1]),
        ({"limit": "0"}, []),
    ],
)
def test_details_are_filtered_ordered_and_paged(
    api: TestClient, released: list[AccessionVersion], filters: dict[str, str], found: list[int]
) -> None:
    entries = query(api, "details", **filters)
    assert [entry["accessionVersion"] for entry in entries] == [str(released[n]) for n in found]


def test_details_have_the_fields_that_were_asked_for(api: TestClient, released: list[AccessionVersion]) -> None:
    assert query(api, "details", accession=released[0].accession, fields="country,age") == [
        {"country": "Switzerland", "age": 30}
    ]


def test_entries_are_counted_by_fields(api: TestClient, released: list[AccessionVersion]) -> None:
    assert query(api, "aggregated") == [{"count": 3}]
    for name in ("groupBy", "fields"):
        assert query(api, "aggregated", **{name: "country"}) == [
            {"country": "Switzerland", "count": 2},
            {"country": "Italy", "count": 1},
        ]


@pytest.mark.parametrize("segment", ["", "/main", "/None"])
def test_sequences_come_as_fasta(api: TestClient, released: list[AccessionVersion], segment: str) -> None:
    for kind, bases in (("unaligned", "ACGT"), ("aligned", "AC-T")):
        answer = api.get(
            f"/{scenes.ORGANISM}/lapis/sample/{kind}NucleotideSequences{segment}", params={"country": "Italy"}
        )
        assert answer.headers["content-type"].startswith("text/x-fasta")
        assert answer.text == f">{released[2]}\n{bases}\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("details?nothing=1", 400),
        ("details?fields=nothing", 400),
        ("details?orderBy=nothing", 400),
        ("details?ageFrom=x", 400),
        ("details?country=a&country=b", 400),
        ("details?limit=-1", 400),
        ("aggregated?fields=nothing", 400),
        ("unalignedNucleotideSequences/other", 404),
    ],
)
def test_what_can_not_be_answered_is_refused(
    api: TestClient, released: list[AccessionVersion], path: str, status: int
) -> None:
    assert api.get(f"/{scenes.ORGANISM}/lapis/sample/{path}").status_code == status


def test_nothing_released_is_no_fault(api: TestClient) -> None:
    assert query(api, "details", country="Italy") == []
    assert query(api, "aggregated") == [{"count": 0}]


def test_an_answer_has_so_many_entries_at_most(
    api: TestClient, released: list[AccessionVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_ENTRIES", 2)
    answer = api.get(f"/{scenes.ORGANISM}/lapis/sample/details")
    assert answer.status_code == 400
    assert "More than 2 entries match" in answer.json()["detail"]
    assert len(query(api, "details", limit=2)) == 2


def test_so_many_bases_are_one_answer_at_most(
    api: TestClient, released: list[AccessionVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/{scenes.ORGANISM}/lapis/sample/unalignedNucleotideSequences"
    monkeypatch.setattr(queries, "MAX_BASES", 11)
    refused = api.get(path)
    assert (refused.status_code, "More than 11 bases match" in refused.text) == (400, True)
    assert api.get(path, params={"limit": 2}).text.count(">") == 2
    assert api.get(path, params={"orderBy": "date"}).status_code == 400
    monkeypatch.setattr(queries, "MAX_BASES", 12)
    assert api.get(path).text.count(">") == 3
