"""Entries over HTTP: submit, list, review, approve, released data."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard
from fastapi.testclient import TestClient

from readvault.services.house import House
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.api.problems import assert_problem
from tests.integration.services import scenes

ORGANISM = "/sars-cov-2"


def _submit(api: TestClient, headers: Any, metadata: bytes, *, actor: Any = ALICE, **form: Any) -> Any:
    files = {"metadataFile": ("metadata.tsv", metadata)}
    return api.post(f"{ORGANISM}/submit", data=form, files=files, headers=headers(actor))


def test_a_submission_becomes_entries(api: TestClient, headers: Any, house: House) -> None:
    group_id = group_of(house, ALICE)
    (file_id,) = upload(house, ALICE, group_id, b"reads")
    row = {"id": "s1", "date": "2020-01-01", "platform": "ILLUMINA", "files.rawReads": f"r.fastq:{file_id}"}
    answer = _submit(api, headers, tsv(row, {**row, "id": "s2"}), groupId=group_id)
    assert answer.status_code == 200, answer.text
    assert answer.json() == [
        {"accession": "LOC_000001Y", "version": 1, "submissionId": "s1"},
        {"accession": "LOC_000002W", "version": 1, "submissionId": "s2"},
    ]
    listed = api.get(f"{ORGANISM}/get-sequences", headers=headers(ALICE)).json()
    assert listed["sequenceEntries"][0] == {
        "accession": "LOC_000001Y",
        "version": 1,
        "status": "RECEIVED",
        "processingResult": None,
        "groupId": group_id,
        "submitter": "alice",
        "isRevocation": False,
        "submissionId": "s1",
        "dataUseTerms": {"type": "OPEN"},
    }
    assert listed["statusCounts"] == {"RECEIVED": 2, "IN_PROCESSING": 0, "PROCESSED": 0, "APPROVED_FOR_RELEASE": 0}
    assert listed["processingResultCounts"] == {"NO_ISSUES": 0, "HAS_WARNINGS": 0, "HAS_ERRORS": 0}


def test_a_consensus_may_come_with_it_and_parameters_in_the_query(api: TestClient, headers: Any, house: House) -> None:
    group_id = group_of(house, ALICE)
    files = {
        "metadataFile": ("metadata.tsv", tsv({"id": "s1", "date": "2020-01-01"})),
        "sequenceFile": ("sequences.fasta", b">s1\nACGT\n"),
    }
    path = f"{ORGANISM}/submit?groupId={group_id}&dataUseTermsType=OPEN&restrictedUntil="
    answer = api.post(path, files=files, headers=headers(ALICE))
    assert answer.status_code == 200, answer.text
    (entry,) = answer.json()
    data = api.get(f"{ORGANISM}/get-data-to-edit/{entry['accession']}/1", headers=headers(ALICE)).json()
    assert data["submittedData"]["unalignedNucleotideSequences"] == {"s1": "ACGT"}
    assert data["submittedData"]["files"] is None


@pytest.mark.parametrize(
    ("form", "metadata", "status", "text"),
    [
        ({}, b"id\tdate\n", 400, "Required parameter 'groupId' is not present."),
        ({"groupId": "x"}, b"id\tdate\n", 400, "'groupId'"),
        ({"groupId": 1}, b"date\n2020-01-01\n", 422, "id"),
        ({"groupId": 77}, b"id\tdate\ns1\t2020-01-01\n", 404, "Group(s) 77 do(es) not exist."),
    ],
)
def test_bad_submissions(
    api: TestClient, headers: Any, house: House, form: dict[str, Any], metadata: bytes, status: int, text: str
) -> None:
    group_of(house, ALICE)
    assert_problem(_submit(api, headers, metadata, **form), status, text)


def test_a_submission_needs_its_metadata_and_its_group(api: TestClient, headers: Any, house: House) -> None:
    group_id = group_of(house, ALICE)
    nothing = api.post(f"{ORGANISM}/submit", data={"groupId": group_id}, headers=headers(ALICE))
    assert_problem(nothing, 400, "Required part 'metadataFile' is not present.")
    foreign = _submit(api, headers, tsv({"id": "s1", "date": "2020-01-01"}), actor=BOB, groupId=group_id)
    assert_problem(foreign, 403, f"User bob is not a member of group(s) {group_id}. Action not allowed.")


def test_filters_of_the_list(api: TestClient, headers: Any, house: House) -> None:
    group_id = scenes.group(house, "alice")
    scenes.entry(house, group_id)
    scenes.processed(house, group_id)
    scenes.processed(house, group_id, warnings=(scenes.WARNING,))

    def listed(**params: Any) -> list[str]:
        answer = api.get(f"{ORGANISM}/get-sequences", params=params, headers=headers(ALICE))
        assert answer.status_code == 200, answer.text
        return [entry["status"] for entry in answer.json()["sequenceEntries"]]

    assert listed() == ["RECEIVED", "PROCESSED", "PROCESSED"]
    assert listed(statusesFilter="PROCESSED,RECEIVED") == ["RECEIVED", "PROCESSED", "PROCESSED"]
    assert listed(statusesFilter=["PROCESSED"], processingResultFilter="HAS_WARNINGS") == ["PROCESSED"]
    assert listed(groupIdsFilter=group_id, page=1, size=2) == ["PROCESSED"]
    refused = api.get(f"{ORGANISM}/get-sequences", params={"groupIdsFilter": group_id}, headers=headers(BOB))
    assert_problem(refused, 403)
    odd = api.get(f"{ORGANISM}/get-sequences", params={"statusesFilter": "DONE"}, headers=headers(ALICE))
    assert_problem(odd, 400, "'statusesFilter.0'")


def test_review_has_urls_and_digest_and_loculus_shape_has_not(api: TestClient, headers: Any, house: House) -> None:
    name, digest = scenes.processed(house, scenes.group(house, "alice"), warnings=(scenes.WARNING,))
    place = f"{name.accession}/{name.version}"
    review = api.get(f"{ORGANISM}/review/{place}", headers=headers(ALICE)).json()
    assert (review["manifestDigest"], review["processingResult"]) == (digest, "HAS_WARNINGS")
    (original,) = review["submittedData"]["files"]["rawReads"]
    (consensus,) = review["processedData"]["files"]["consensus"]
    for file in (original, consensus):
        assert set(file) == {"fileId", "name", "url", "size", "sha256", "storage"}
        assert file["url"].startswith("memory://")
    edit = api.get(f"{ORGANISM}/get-data-to-edit/{place}", headers=headers(ALICE)).json()
    assert list(edit) == [
        "accession",
        "version",
        "status",
        "groupId",
        "processedData",
        "submittedData",
        "errors",
        "warnings",
        "submissionId",
    ]
    assert edit["processedData"]["files"] == {"consensus": [{k: consensus[k] for k in ("fileId", "name")}]}
    assert edit["submittedData"]["files"] == {"rawReads": [{k: original[k] for k in ("fileId", "name")}]}
    assert "memory://" not in json.dumps(edit)
    (warning,) = edit["warnings"]
    assert warning["message"] == scenes.WARNING.message
    assert warning["unprocessedFields"] == [{"type": "File", "name": "rawReads"}]


@pytest.mark.parametrize("kind", ["review", "get-data-to-edit"])
def test_who_may_look_at_an_entry(api: TestClient, headers: Any, house: House, kind: str) -> None:
    name, _ = scenes.processed(house, scenes.group(house, "alice"))
    path = f"{ORGANISM}/{kind}/{name.accession}"
    assert_problem(api.get(f"{path}/1"), 401)
    assert_problem(api.get(f"{path}/1", headers=headers(BOB)), 403)
    assert_problem(api.get(f"{path}/2", headers=headers(ALICE)), 422, f"{name.accession}.2")
    assert_problem(api.get(f"{path}/x", headers=headers(ALICE)), 400)


def test_a_maintainer_sees_an_entry_but_gets_no_address_of_its_originals(
    api: TestClient, headers: Any, house: House
) -> None:
    name, _ = scenes.processed(house, scenes.group(house, "alice"))
    review = api.get(f"{ORGANISM}/review/{name.accession}/1", headers=headers(MAINTAINER)).json()
    assert review["submittedData"]["files"]["rawReads"][0]["url"] is None


def _approve(api: TestClient, headers: Any, actor: Any = ALICE, **body: Any) -> Any:
    return api.post(f"{ORGANISM}/approve-processed-data", json={"scope": "ALL", **body}, headers=headers(actor))


def test_approval_with_and_without_digests(api: TestClient, headers: Any, house: House) -> None:
    group_id = scenes.group(house, "alice")
    name, digest = scenes.processed(house, group_id)
    chosen = {"accession": name.accession, "version": 1}
    other = "0" * 64
    assert_problem(_approve(api, headers, accessionVersionsFilter=[{**chosen, "manifestDigest": other}]), 409)
    assert_problem(_approve(api, headers, BOB, accessionVersionsFilter=[chosen]), 403)
    answer = _approve(api, headers, accessionVersionsFilter=[{**chosen, "manifestDigest": digest}])
    assert (answer.status_code, answer.json()) == (200, [chosen])
    again = _approve(api, headers, accessionVersionsFilter=[chosen])
    assert_problem(again, 422, "Accession versions are not in one of the states [PROCESSED]")
    second, _ = scenes.processed(house, group_id)
    assert _approve(api, headers).json() == [{"accession": second.accession, "version": 1}]


def test_a_malformed_approval(api: TestClient, headers: Any) -> None:
    missing = api.post(f"{ORGANISM}/approve-processed-data", json={}, headers=headers(ALICE))
    assert_problem(missing, 400, "Required parameter 'scope' is not present.")
    assert_problem(_approve(api, headers, scope="EVERYTHING"), 400, "'scope'")


def test_released_data_are_a_stream_for_everybody(api: TestClient, headers: Any, house: House) -> None:
    path = f"{ORGANISM}/get-released-data"
    empty = api.get(path)
    assert (empty.status_code, empty.content, empty.headers["x-total-records"]) == (200, b"", "0")
    group_id = scenes.group(house, "alice")
    names = sorted(scenes.processed(house, group_id)[0] for _ in range(3))
    assert api.get(path).headers["etag"] == empty.headers["etag"]
    _approve(api, headers)
    full = api.get(path)
    assert full.headers["content-type"] == "application/x-ndjson"
    assert full.headers["x-total-records"] == "3"
    lines = [json.loads(line) for line in full.text.splitlines()]
    assert [line["metadata"]["accessionVersion"] for line in lines] == [str(name) for name in names]
    assert lines[0]["unalignedNucleotideSequences"] == {"main": "ACGT"}


def test_released_data_are_sent_again_only_when_they_changed(api: TestClient, headers: Any, house: House) -> None:
    path = f"{ORGANISM}/get-released-data"
    group_id = scenes.group(house, "alice")
    scenes.processed(house, group_id)
    _approve(api, headers)
    etag = api.get(path).headers["etag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    same = api.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    scenes.processed(house, group_id)
    _approve(api, headers)
    changed = api.get(path, headers={"If-None-Match": etag})
    assert (changed.status_code, changed.headers["x-total-records"]) == (200, "2")


def test_released_data_compressed(api: TestClient, headers: Any, house: House) -> None:
    path = f"{ORGANISM}/get-released-data"
    scenes.processed(house, scenes.group(house, "alice"))
    _approve(api, headers)
    with api.stream("GET", path, params={"compression": "zstd"}) as answer:
        assert answer.headers["content-encoding"] == "zstd"
        packed = b"".join(answer.iter_raw())
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == api.get(path).content
    assert_problem(api.get(path, params={"compression": "lzw"}), 400, "'compression'")
