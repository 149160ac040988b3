"""All files of a question: what matches, what is listed of it, and in which forms."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.domain.organism import MetadataField
from readvault.services.house import House
from readvault.services.processing import jobs
from readvault.services.release import released_data
from readvault.services.release.interventions import intervene
from readvault.services.release.manifest_list import as_json, as_table, matching, question
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, MAINTAINER
from tests.integration.services.published import make_current, processed_again, released
from tests.integration.services.scenes import ORGANISM, claimed, entry, group, processed, result

METADATA: dict[str, dict[str, Any]] = {
    "LOC_A": {"date": "2020-01-01", "country": "Switzerland", "depthOfCoverage": 9.5, "totalReads": 90},
    "LOC_B": {"date": "2020-02-01", "country": "Germany", "depthOfCoverage": 30, "totalReads": 1000},
    "LOC_C": {"date": "2021-01-01", "country": "=1+1", "depthOfCoverage": None, "totalReads": None},
}


@pytest.fixture
def released_three(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Three released entries with metadata of their own, and one that is only processed."""
    monkeypatch.setattr(released_data, "PAGE", 2)
    group_id = group(house, "alice")
    for accession, metadata in METADATA.items():
        _, job_id = entry(house, group_id, accession=accession)
        claim = claimed(house, job_id)
        made = result(house, claim, reads=f"reads of {accession}".encode())
        made.processed_data["metadata"] = metadata
        jobs.register(house, claim, made)
    assert len(approve(house, ALICE, ORGANISM, scope=Scope.ALL)) == 3
    processed(house, group_id, accession="LOC_D")
    return house


def _found(house: House, categories: Sequence[str] = (), **asked: str | list[str]) -> list[dict[str, Any]]:
    texts = {name: [value] if isinstance(value, str) else value for name, value in asked.items()}
    return list(matching(house, ORGANISM, question(house.organisms[ORGANISM], texts, categories)))


def _names(house: House, **asked: str | list[str]) -> list[str]:
    return [each["accession"] for each in _found(house, **asked)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "ABC"),
        ({"country": "Germany"}, "B"),
        ({"country": ["Germany", "Switzerland"]}, "AB"),
        ({"country": "Germ"}, ""),
        ({"accession": ["LOC_C", "LOC_A", "LOC_D", "LOC_X"]}, "AC"),
        ({"dateFrom": "2020-02-01"}, "BC"),
        ({"dateFrom": "2020-01-02", "dateTo": "2020-12-31"}, "B"),
        ({"depthOfCoverageFrom": "10"}, "B"),
        ({"depthOfCoverageTo": "9.5"}, "A"),
        ({"totalReadsFrom": "100"}, "B"),
        ({"totalReadsFrom": "many"}, ""),
        ({"totalReads": "1000"}, "B"),
        ({"versionStatus": "LATEST_VERSION", "isRevocation": "false"}, "ABC"),
        ({"isRevocation": "true"}, ""),
        ({"pipelineVersion": "2"}, ""),
    ],
)
def test_entries_match_by_what_was_released_of_them(released_three: House, asked: Any, expected: str) -> None:
    assert _names(released_three, **asked) == [f"LOC_{letter}" for letter in expected]


@pytest.mark.parametrize("name", ["patientName", "countryFrom2", "From", "submittedMetadata", "depthofcoverage"])
def test_what_is_no_field_of_released_entries_cannot_be_asked_for(house: House, name: str) -> None:
    with pytest.raises(BadRequest, match="is not a field of the released entries"):
        question(house.organisms[ORGANISM], {name: ["x"]})


def test_one_request_names_a_thousand_accessions_at_most(house: House) -> None:
    with pytest.raises(BadRequest, match="1000 accessions"):
        question(house.organisms[ORGANISM], {"accession": [f"LOC_{n}" for n in range(1001)]})


def test_each_entry_has_its_digest_its_terms_and_its_files(released_three: House) -> None:
    settings = released_three.settings.model_copy(update={"data_use_terms": True})
    (found,) = _found(replace(released_three, settings=settings), accession="LOC_A")
    assert (found["accessionVersion"], found["pipelineVersion"], found["versionStatus"]) == (
        "LOC_A.1",
        1,
        "LATEST_VERSION",
    )
    assert (found["dataUseTerms"], found["dataUseTermsRestrictedUntil"]) == ("OPEN", None)
    assert found["metadata"]["country"] == "Switzerland"
    assert [(file["category"], file["size"], len(file["sha256"])) for file in found["files"]] == [
        ("consensus", 11, 64),
        ("dehumanizedReads", 14, 64),
    ]
    assert found["files"][0]["url"].endswith("/files/released/LOC_A/1/1/consensus/consensus.fasta")
    (few,) = _found(released_three, ("dehumanizedReads",), accession="LOC_A")
    assert [file["category"] for file in few["files"]] == ["dehumanizedReads"]


def test_json_is_one_array_also_of_nothing(released_three: House) -> None:
    whole = json.loads(b"".join(as_json(iter(_found(released_three)))))
    assert [each["accession"] for each in whole] == ["LOC_A", "LOC_B", "LOC_C"]
    assert json.loads(b"".join(as_json(iter(())))) == []


def test_a_table_is_exact_for_machines_and_harmless_in_spreadsheets(released_three: House) -> None:
    def table(**how: Any) -> list[dict[str, str]]:
        text = b"".join(as_table(iter(_found(released_three)), ["country", "depthOfCoverage"], **how)).decode()
        return list(csv.DictReader(text.splitlines(), delimiter="\t"))

    rows = table()
    assert len(rows) == 6
    assert {row["country"] for row in rows} == {"Switzerland", "Germany", "=1+1"}
    assert rows[0]["sha256"] != rows[1]["sha256"]
    assert (rows[0]["depthOfCoverage"], rows[5]["depthOfCoverage"]) == ("9.5", "")
    assert {row["country"] for row in table(for_spreadsheets=True)} == {"Switzerland", "Germany", "'=1+1"}


def test_suppressed_and_withdrawn_versions_are_not_found(released_three: House) -> None:
    intervene(released_three, MAINTAINER, AccessionVersion("LOC_A", 1), Step.SUPPRESS, "looked at again")
    intervene(released_three, MAINTAINER, AccessionVersion("LOC_B", 1), Step.WITHDRAW, "a mix-up")
    assert _names(released_three) == ["LOC_C"]
    assert _names(released_three, accession=["LOC_A", "LOC_B"]) == []


def test_the_current_result_is_the_one_that_is_listed(house: House) -> None:
    name, _ = released(house, group(house, "alice"))
    second = processed_again(house, name, b">main\nTTTT\n")
    make_current(house, name, second)
    (found,) = _found(house)
    assert (found["manifestDigest"], found["pipelineVersion"]) == (second, 2)
    assert "/1/2/consensus/" in found["files"][0]["url"]


def test_fields_of_the_organism_may_be_asked_for(house: House) -> None:
    fields = (*house.organisms[ORGANISM].metadata, MetadataField(name="host"))
    organism = house.organisms[ORGANISM].model_copy(update={"metadata": fields})
    assert question(organism, {"host": ["Homo sapiens"]}).values == {"host": ["Homo sapiens"]}
