"""What clients are told about the instance and its organisms, and the empty metadata file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from readvault.adapters.identity import Identity
from readvault.api.app import create_app
from readvault.domain.organism import CandidateReference, FileCategory, MetadataField, Submission
from readvault.services.house import House
from tests.houses import ALICE, group_of, organism

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

FIELDS = (
    MetadataField.model_validate(
        {
            "name": "date",
            "type": "date",
            "required": True,
            "range": ["2019-12-01", "today"],
            "displayName": "Collection date",
            "guidance": "The day of sampling.",
            "example": "2024-05-06",
        }
    ),
    MetadataField.model_validate({"name": "age", "type": "int", "range": [0, 120]}),
    MetadataField.model_validate({"name": "host", "options": ["Homo sapiens", "Mus musculus"]}),
    MetadataField.model_validate({"name": "label", "pattern": "[A-Z]+", "requiredWhen": ["host=Homo sapiens"]}),
)


@pytest.fixture
def house(house: House, tmp_path: Path) -> House:
    changed = organism(tmp_path, metadata=FIELDS, submission=Submission(files={"rawReads": FileCategory()}))
    return replace(house, organisms={changed.name: changed})


def test_loculus_info_tells_hosts_and_the_rules_of_every_field(api: TestClient) -> None:
    info = api.get("/loculus-info").json()
    assert info["hosts"]["backend"] == info["hosts"]["website"] == "http://127.0.0.1:8079"
    assert info["hosts"]["lapis"] == {"sars-cov-2": "http://127.0.0.1:8079/sars-cov-2/lapis"}
    described = info["organisms"]["sars-cov-2"]
    schema = described["schema"]
    assert schema["primaryKey"] == "accessionVersion"
    assert schema["tableColumns"] == ["date", "age", "host", "label"]
    fields = {field["name"]: field for field in schema["metadata"]}
    assert fields["date"] == {
        "name": "date",
        "type": "date",
        "required": True,
        "displayName": "Collection date",
        "rangeSearch": True,
        "requiredWhen": [],
        "range": ["2019-12-01", "today"],
        "guidance": "The day of sampling.",
        "example": "2024-05-06",
    }
    assert fields["age"]["range"] == [0, 120]
    assert fields["host"]["options"] == ["Homo sapiens", "Mus musculus"]
    assert fields["label"]["pattern"] == "[A-Z]+"
    assert fields["label"]["requiredWhen"] == ["host=Homo sapiens"]
    assert fields["accessionVersion"]["noInput"] is True
    assert [field["name"] for field in schema["inputFields"]] == ["id", "date", "age", "host", "label"]
    assert described["referenceGenomes"] == [{"name": "main", "references": [{"name": "singleReference"}]}]


def test_segments_tell_which_genomes_have_them(house: House, tmp_path: Path, issuer: object, portal: object) -> None:
    for name, segments in (("a", "L S"), ("b", "S")):
        (tmp_path / f"{name}.fasta").write_text("".join(f">{segment}\nACGT\n" for segment in segments.split()))
    several = tuple(CandidateReference(name=name, fasta=tmp_path / f"{name}.fasta") for name in "ab")
    changed = organism(tmp_path, reference=None, references=several)
    app = create_app(replace(house, organisms={changed.name: changed}), Identity(issuer))  # type: ignore[arg-type]
    from fastapi.testclient import TestClient

    client = TestClient(app)
    client.portal = portal  # type: ignore[assignment]
    assert client.get("/loculus-info").json()["organisms"]["sars-cov-2"]["referenceGenomes"] == [
        {"name": "L", "references": [{"name": "a"}]},
        {"name": "S", "references": [{"name": "a"}, {"name": "b"}]},
    ]


def test_the_template_has_every_column(api: TestClient) -> None:
    empty = api.get("/sars-cov-2/metadata-template")
    assert empty.headers["content-type"].startswith("text/tab-separated-values")
    assert empty.headers["content-disposition"] == 'attachment; filename="sars-cov-2-metadata.tsv"'
    assert empty.text == "id\tdate\tage\thost\tlabel\tfiles.rawReads\tfastaIds\n"
    revision = api.get("/sars-cov-2/metadata-template", params={"revise": True})
    assert revision.text.split("\t")[:2] == ["id", "accession"]


def test_an_unknown_organism_has_no_template(api: TestClient) -> None:
    answer = api.get("/other/metadata-template")
    assert answer.status_code == 400
    assert "Invalid organism: other, possible values are: [sars-cov-2]" in answer.json()["detail"]


def test_the_example_can_be_submitted(api: TestClient, house: House, headers: object) -> None:
    group = group_of(house, ALICE)
    text = api.get("/sars-cov-2/metadata-template", params={"example": True}).text
    text = text.replace("Homo sapiens", "Mus musculus")
    answer = api.post(
        "/sars-cov-2/submit",
        headers=headers(ALICE),  # type: ignore[operator]
        data={"groupId": group},
        files={"metadataFile": ("m.tsv", text), "sequenceFile": ("s.fasta", ">sample-1\nACGT\n")},
    )
    assert answer.status_code == 200, answer.text


def test_every_fault_of_a_table_comes_with_row_line_and_column(api: TestClient, house: House, headers: object) -> None:
    group = group_of(house, ALICE)
    text = (
        "id\tdate\tage\thost\tlabel\tfiles\n"
        "a\t2019-01-01\t7\t\t\tx.fastq\n"
        "b\t\t121\tHomo sapiens\t\t\n"
        "c\t2020-01-01\t\tRattus\tabc\t\n"
    )
    answer = api.post(
        "/sars-cov-2/submit",
        headers=headers(ALICE),  # type: ignore[operator]
        data={"groupId": group},
        files={"metadataFile": ("m.tsv", text)},
    )
    assert answer.status_code == 422
    found = [(fault["row"], fault["line"], fault["column"]) for fault in answer.json()["errors"]]
    assert {
        (1, 2, "files.rawReads"),
        (1, 2, "date"),
        (2, 3, "date"),
        (2, 3, "age"),
        (2, 3, "label"),
        (3, 4, "host"),
        (3, 4, "label"),
    } <= set(found)
    messages = [fault["message"] for fault in answer.json()["errors"]]
    assert all(message in answer.json()["detail"] for message in messages)
    assert "The day of sampling." in next(m for m in messages if "2019-01-01" in m)
    assert any("'host=Homo sapiens'" in message for message in messages)


def test_what_processing_adds_can_be_searched_but_not_submitted(api: TestClient) -> None:
    schema = api.get("/loculus-info").json()["organisms"]["sars-cov-2"]["schema"]
    (depth,) = (field for field in schema["metadata"] if field["name"] == "depthOfCoverage")
    assert (depth["type"], depth["rangeSearch"], depth["noInput"]) == ("number", True, True)
    assert "depthOfCoverage" not in {field["name"] for field in schema["inputFields"]}
