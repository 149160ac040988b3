"""External pipelines over HTTP, spoken to as Loculus's containers do it; and updaters of external metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from readvault.domain.actor import EXTERNAL_METADATA_ROLE, Actor
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.organism import ExternalMetadataField
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, MAINTAINER, PIPELINE, group_of
from tests.integration.services import pipeline_scenes as scene
from tests.integration.services import scenes
from tests.integration.services.scenes import ORGANISM

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.integration.api.conftest import Headers

EXTRACT = f"/{ORGANISM}/extract-unprocessed-data"
SUBMIT = f"/{ORGANISM}/submit-processed-data"
TELL = f"/{ORGANISM}/submit-external-metadata"
UPDATER = Actor("ena-deposition", frozenset({EXTERNAL_METADATA_ROLE}))
ASKED = {"numberOfSequenceEntries": 10, "pipelineVersion": 1}


@pytest.fixture
def group_id(house: House) -> int:
    scene.attach(house)
    return group_of(house, ALICE)


@pytest.fixture
def as_pipeline(api: TestClient, headers: Headers) -> TestClient:
    """The API with a pipeline's token."""
    api.headers.update(headers(PIPELINE))
    return api


def line_for(name: AccessionVersion, **changes: Any) -> dict[str, Any]:
    """A result as Loculus's nextclade pipeline sends it: with what it was given, and more than we know."""
    data = {
        "metadata": {"date": "2020-01-01", "clade": "20A", "snps": 3},
        "unalignedNucleotideSequences": {"main": "ACGT"},
        "alignedNucleotideSequences": {"main": scene.SEQUENCE},
        "nucleotideInsertions": {"main": ["5:AC"]},
        "alignedAminoAcidSequences": {},
        "aminoAcidInsertions": {},
        "sequenceNameToFastaId": {"main": "seq"},
        "files": None,
    }
    whole = {"accession": name.accession, "version": name.version, "errors": [], "warnings": [], "submitter": "x"}
    return whole | {"data": data | changes.pop("data", {})} | changes


def send(api: TestClient, *lines: Any, **more: Any) -> Any:
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return api.post(SUBMIT, params={"pipelineVersion": 1}, content=body.encode(), **more)


@pytest.mark.parametrize("how", ["data", "params"])
def test_work_is_given_as_ndjson_by_query_or_form(
    as_pipeline: TestClient, house: House, group_id: int, how: str
) -> None:
    names = [scene.received(house, group_id, f"LOC_{n}", files=()) for n in (1, 2)]
    answer = as_pipeline.post(EXTRACT, **{how: ASKED})  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.headers["etag"].startswith('"')
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert scene.names_of(lines) == names
    assert set(lines[0]) == {
        "accession", "version", "data", "submissionId", "submitter", "groupId", "submittedAt",
    }  # fmt: skip


def test_304_comes_only_when_nothing_changed(as_pipeline: TestClient, house: House, group_id: int) -> None:
    (name,) = (scene.received(house, group_id, "LOC_1", files=()),)
    first = as_pipeline.post(EXTRACT, data=ASKED)
    second = as_pipeline.post(EXTRACT, data=ASKED, headers={"If-None-Match": first.headers["etag"]})
    assert (second.status_code, second.text) == (200, "")
    third = as_pipeline.post(EXTRACT, data=ASKED, headers={"If-None-Match": second.headers["etag"]})
    assert (third.status_code, third.headers["etag"], third.text) == (304, second.headers["etag"], "")
    assert send(as_pipeline, line_for(name)).status_code == 204
    fourth = as_pipeline.post(EXTRACT, data=ASKED, headers={"If-None-Match": second.headers["etag"]})
    assert fourth.status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"pipelineVersion": 1}, 400, "numberOfSequenceEntries"),
        ({"numberOfSequenceEntries": 1}, 400, "pipelineVersion"),
        ({"numberOfSequenceEntries": 100_001, "pipelineVersion": 1}, 400, "You can extract at max 100000"),
        ({"numberOfSequenceEntries": -1, "pipelineVersion": 1}, 400, "numberOfSequenceEntries"),
        ({"numberOfSequenceEntries": "many", "pipelineVersion": 1}, 400, "numberOfSequenceEntries"),
    ],
)
def test_what_a_pipeline_may_not_ask(
    as_pipeline: TestClient, group_id: int, asked: dict[str, Any], status: int, text: str
) -> None:
    answer = as_pipeline.post(EXTRACT, data=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert text in answer.json()["detail"]


def test_an_old_version_sleeps_on_422(as_pipeline: TestClient, house: House, group_id: int) -> None:
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house, version=2)
    scene.answer(house, scene.sent(name), version=2)
    answer = as_pipeline.post(EXTRACT, data=ASKED)
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "The processing pipeline version 1 is not accepted anymore. The current pipeline version is 2."
    )


def test_a_result_is_taken_with_blank_lines_and_unknown_properties(
    as_pipeline: TestClient, house: House, group_id: int
) -> None:
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house)
    line = line_for(name, warnings=[{"message": "odd", "unprocessedFields": [{"type": "File", "name": "rawReads"}]}])
    answer = send(as_pipeline, "", line, "")
    assert (answer.status_code, answer.content) == (204, b"")
    seen = scene.look(house, name)
    assert (seen["status"], seen["warnings"][0]["message"]) == ("PROCESSED", "odd")
    assert seen["processedData"]["sequenceNameToFastaId"] == {"main": "seq"}


def test_a_file_is_sent_with_the_url_that_came_with_it(as_pipeline: TestClient, house: House, group_id: int) -> None:
    name = scene.received(house, group_id, "LOC_1", files=(b"reads",))
    (work,) = [json.loads(line) for line in as_pipeline.post(EXTRACT, data=ASKED).text.splitlines()]
    assert send(as_pipeline, line_for(name, data={"files": work["data"]["files"]})).status_code == 204
    assert scene.look(house, name)["status"] == "IN_PROCESSING"


DEEP = '{"accession":"A","version":1,"data":{"metadata":' + "[" * 100_000 + "]" * 100_000 + "}}"
BROKEN = {
    "no JSON": "{",
    "a number": "17",
    "no metadata": '{"accession":"LOC_1","version":1,"data":{"noMetadata":null}}',
    "no accession": '{"version":1,"data":{"metadata":{}}}',
    "not a number": '{"accession":"LOC_1","version":1,"data":{"metadata":{"snps":NaN}}}',
    "NUL": '{"accession":"LOC_1","version":1,"data":{"metadata":{"country":"\\u0000"}}}',
    "half a character": '{"accession":"LOC_1","version":1,"data":{"metadata":{"country":"\\ud800"}}}',
    "a file ID that is none": (
        '{"accession":"LOC_1","version":1,"data":{"metadata":{},"files":{"annotations":[{"fileId":"x","name":"y"}]}}}'
    ),
    "an insertion that is none": (
        '{"accession":"LOC_1","version":1,"data":{"metadata":{},"nucleotideInsertions":{"main":["ACGT"]}}}'
    ),
    "too deep": DEEP,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_line_refuses_the_request_and_is_named(
    as_pipeline: TestClient, house: House, group_id: int, what: str
) -> None:
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house)
    answer = send(as_pipeline, line_for(name), BROKEN[what])
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Failed to deserialize NDJSON line 2: ")
    if what == "no metadata":
        assert "failed for JSON property data -> metadata" in answer.json()["detail"]
    assert scene.look(house, name)["status"] == "IN_PROCESSING"


def test_bytes_that_are_no_text(as_pipeline: TestClient, group_id: int) -> None:
    answer = as_pipeline.post(SUBMIT, params={"pipelineVersion": 1}, content=b"\xff\xfe{}")
    assert answer.status_code == 400


def test_odd_values_beside_errors_are_kept_and_harm_nobody(
    as_pipeline: TestClient, house: House, group_id: int
) -> None:
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house)
    odd = {
        "metadata": {"=1+1": {"deep": [1, None, "\u202e"]}, "big": 10**400},
        "alignedNucleotideSequences": {"x": "ÄÖ"},
    }
    error = {"message": "<script>", "processedFields": [{"type": "Metadata", "name": "date"}]}
    assert send(as_pipeline, line_for(name, data=odd, errors=[error])).status_code == 204
    seen = scene.look(house, name)
    assert (seen["processingResult"], seen["errors"][0]["message"]) == ("HAS_ERRORS", "<script>")


@pytest.mark.parametrize(("actor", "status"), [(None, 401), (ALICE, 403), (UPDATER, 403)])
def test_who_may_not(api: TestClient, headers: Headers, group_id: int, actor: Actor | None, status: int) -> None:
    sent = headers(actor) if actor else {}
    assert api.post(EXTRACT, data=ASKED, headers=sent).status_code == status
    assert api.post(SUBMIT, params={"pipelineVersion": 1}, content=b"", headers=sent).status_code == status
    for path in ("/admin/pipeline-statistics", "/admin/current-pipeline-versions"):
        assert api.get(path, headers=sent).status_code == status


def test_statistics_for_maintainers(api: TestClient, headers: Headers, house: House, group_id: int) -> None:
    name = scene.received(house, group_id, "LOC_1", files=())
    scene.ask(house)
    scene.answer(house, scene.sent(name))
    asked = headers(MAINTAINER)
    assert api.get("/admin/pipeline-statistics", headers=asked).json() == {ORGANISM: {"1": 1}}
    assert api.get("/admin/current-pipeline-versions", headers=asked).json() == {ORGANISM: 1}


# External metadata


@pytest.fixture
def released(house: House, group_id: int) -> AccessionVersion:
    fields = (
        ExternalMetadataField(external_metadata_updater="ena", name="insdcAccessionFull"),
        ExternalMetadataField(external_metadata_updater="ena", name="insdcRuns", type="int"),  # type: ignore[arg-type]
        ExternalMetadataField(external_metadata_updater="other_db", name="otherAccession"),
    )
    house.organisms[ORGANISM] = house.organisms[ORGANISM].model_copy(  # type: ignore[index]
        update={"external_metadata": fields}
    )
    name, _ = scenes.processed(house, group_id, accession="LOC_5")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL)
    return name


def tell(api: TestClient, headers: dict[str, str], updater: str, *lines: dict[str, Any]) -> Any:
    body = "\n".join(map(json.dumps, lines)).encode()
    return api.post(TELL, params={"externalMetadataUpdater": updater}, content=body, headers=headers)


def published(api: TestClient) -> dict[str, Any]:
    (line,) = api.get(f"/{ORGANISM}/get-released-data").text.splitlines()
    metadata: dict[str, Any] = json.loads(line)["metadata"]
    return metadata


def test_what_updaters_say_is_published(
    api: TestClient, headers: Headers, house: House, released: AccessionVersion
) -> None:
    asked = headers(UPDATER)
    about = {"accession": released.accession, "version": 1}
    before = api.get(f"/{ORGANISM}/get-released-data").headers["etag"]
    assert published(api)["insdcAccessionFull"] is None
    answer = tell(api, asked, "ena", {**about, "externalMetadata": {"insdcAccessionFull": "GB1.1", "insdcRuns": 2}})
    assert answer.status_code == 204
    assert tell(api, asked, "other_db", {**about, "externalMetadata": {"otherAccession": "DB1"}}).status_code == 204
    found = published(api)
    assert (found["insdcAccessionFull"], found["insdcRuns"], found["otherAccession"]) == ("GB1.1", 2, "DB1")
    assert api.get(f"/{ORGANISM}/get-released-data").headers["etag"] != before
    assert tell(api, asked, "ena", {**about, "externalMetadata": {"insdcAccessionFull": "GB1.2"}}).status_code == 204
    assert (published(api)["insdcAccessionFull"], published(api)["insdcRuns"]) == ("GB1.2", None)


def test_what_updaters_may_not_say(
    api: TestClient, headers: Headers, house: House, group_id: int, released: AccessionVersion
) -> None:
    unreleased, _ = scenes.processed(house, group_id, accession="LOC_6")
    other, _ = scenes.processed(house, group_id, accession="LOC_7")
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(other, None)])
    about = {"accession": released.accession, "version": 1}
    fine = {**about, "externalMetadata": {"insdcAccessionFull": "GB1.1"}}
    first = {**fine, "accession": other.accession}
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("other_db", fine, 422, "Unknown fields in metadata: insdcAccessionFull"),
        ("ena", {**fine, "externalMetadata": {"insdcRuns": "two"}}, 422, "Expected type 'int' for field 'insdcRuns'"),
        ("ena", {**fine, "accession": "LOC_9"}, 422, "Accession versions LOC_9.1 do not exist"),
        ("ena", {**fine, "accession": unreleased.accession}, 422, "[APPROVED_FOR_RELEASE]: LOC_6.1"),
        ("ena", first, 400, "duplicate accession version"),
        ("ena", {**about}, 400, "externalMetadata"),
    ]
    for updater, line, status, text in cases:
        answer = tell(api, headers(UPDATER), updater, *((first, line) if updater == "ena" else (line,)))
        assert (answer.status_code, text in answer.json()["detail"]) == (status, True), answer.json()
    lines = api.get(f"/{ORGANISM}/get-released-data").text.splitlines()
    assert [json.loads(line)["metadata"]["insdcAccessionFull"] for line in lines] == [None, None]
    assert tell(api, headers(PIPELINE), "ena", fine).status_code == 403
    assert tell(api, {}, "ena", fine).status_code == 401
    assert api.post(TELL, content=b"", headers=headers(UPDATER)).status_code == 400
