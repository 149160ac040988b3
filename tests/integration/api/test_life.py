"""An entry's later life over HTTP, as Loculus's clients ask for it: revise, revoke, edit, delete, read again, terms."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import pytest
import zstandard
from fastapi.testclient import TestClient

from readvault.domain.identifiers import AccessionVersion
from readvault.services.house import House
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.api.problems import assert_problem
from tests.integration.services.life import METADATA, counts, files_of, release, released, status, version
from tests.integration.services.scenes import ERROR, entry, processed

ORGANISM = "/sars-cov-2"


@pytest.fixture
def mine(house: House) -> int:
    return group_of(house, ALICE)


def _metadata(*rows: dict[str, str], name: str = "metadata.tsv") -> dict[str, tuple[str, bytes]]:
    return {"metadataFile": (name, tsv(*[{"id": f"s{n}", **METADATA, **row} for n, row in enumerate(rows)]))}


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


# Submit and revise


@pytest.mark.parametrize("where", ["query", "form"])
def test_a_dry_run_of_a_submission(api: TestClient, headers: Any, house: House, mine: int, where: str) -> None:
    (file_id,) = upload(house, ALICE, mine, b"reads")
    row = {"files.rawReads": f"r.fq:{file_id}"}
    before = counts(house)
    asked = {"groupId": str(mine), "dryRun": "true"}
    sent: dict[str, Any] = {"params": asked} if where == "query" else {"data": asked}
    answer = api.post(f"{ORGANISM}/submit", files=_metadata(row, row), headers=headers(ALICE), **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == [{"accession": None, "version": 1, "submissionId": f"s{n}"} for n in range(2)]
    assert counts(house) == before
    bad = api.post(f"{ORGANISM}/submit", files=_metadata({"date": "x"}), headers=headers(ALICE), **sent)
    assert_problem(bad, 422, "column 'date'")


def test_a_submission_that_is_sent_again_is_done_once(api: TestClient, headers: Any, house: House, mine: int) -> None:
    (file_id,) = upload(house, ALICE, mine, b"reads")

    def submit(key: str, **row: str) -> Any:
        files = _metadata({"files.rawReads": f"r.fq:{file_id}", **row})
        return api.post(f"{ORGANISM}/submit", data={"groupId": mine}, files=files, headers=headers(ALICE) | _key(key))

    first = submit("a")
    assert first.status_code == 200, first.text
    assert submit("a").json() == first.json()
    assert submit("b").json() != first.json()
    assert_problem(submit("a", country="CH"), 422, "Idempotency-Key was used for another request")
    assert len(api.get(f"{ORGANISM}/get-sequences", headers=headers(ALICE)).json()["sequenceEntries"]) == 2


def test_a_revision(api: TestClient, headers: Any, house: House, mine: int) -> None:
    name = released(house, mine)
    files = {
        **_metadata({"accession": name.accession}),
        "sequenceFile": ("s.fasta.zst", zstandard.compress(b">s0\nAC\n")),
    }
    sent = {"files": files, "headers": headers(ALICE) | _key("once")}
    tried = api.post(f"{ORGANISM}/revise?dryRun=true", files=files, headers=headers(ALICE))
    answer = api.post(f"{ORGANISM}/revise", **sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == [{"accession": name.accession, "version": 2, "submissionId": "s0"}] == tried.json()
    assert api.post(f"{ORGANISM}/revise", **sent).json() == answer.json()
    second = AccessionVersion(name.accession, 2)
    assert version(house, second).submitted_sequences == {"s0": "AC"}
    assert files_of(house, second) == files_of(house, name)


@pytest.mark.parametrize(
    ("files", "code", "text"),
    [
        ({"notMetadata": ("metadata.tsv", b"x")}, 400, "Required part 'metadataFile' is not present."),
        (_metadata({"accession": "1"}, name="metadata.xls"), 400, "Metadata file has wrong extension."),
        (_metadata({"accession": "1"}), 422, "Accessions 1 do not exist"),
        (_metadata({}), 422, "The revised metadata file does not contain the header 'accession'"),
        (
            {**_metadata({"accession": "1"}), "sequenceFile": ("s.doc", b">s0\nA\n")},
            400,
            "Sequence file has wrong extension.",
        ),
    ],
)
def test_bad_revisions(api: TestClient, headers: Any, mine: int, files: Any, code: int, text: str) -> None:
    assert_problem(api.post(f"{ORGANISM}/revise", files=files, headers=headers(ALICE)), code, text)


def test_all_faults_of_a_revision_have_their_row_and_column(
    api: TestClient, headers: Any, house: House, mine: int
) -> None:
    name = released(house, mine)
    rows = [{"accession": name.accession, "date": "x"}, {"accession": name.accession, "files.rawReads": "nothing"}]
    problem = api.post(f"{ORGANISM}/revise", files=_metadata(*rows), headers=headers(ALICE))
    assert_problem(problem, 422, "column 'date'")
    listed = {(fault["row"], fault["line"], fault["column"]) for fault in problem.json()["errors"]}
    assert {(1, 2, "date"), (2, 3, "files.rawReads")} <= listed


# Revoke, edit, delete


def test_a_revocation(api: TestClient, headers: Any, house: House, mine: int) -> None:
    name = released(house, mine, submission_id="custom0")
    body = {"accessions": [name.accession], "versionComment": "mixed up", "unknown": 1}
    for _ in range(2):
        answer = api.post(f"{ORGANISM}/revoke", json=body, headers=headers(ALICE) | _key("once"))
        assert answer.status_code == 200, answer.text
        assert answer.json() == [{"accession": name.accession, "version": 2, "submissionId": "custom0"}]
    approval = {"scope": "ALL", "accessionVersionsFilter": [{"accession": name.accession, "version": 2}]}
    assert api.post(f"{ORGANISM}/approve-processed-data", json=approval, headers=headers(ALICE)).status_code == 200
    lines = api.get(f"{ORGANISM}/get-released-data").text.splitlines()
    told = {line["version"]: line["versionStatus"] for line in (json.loads(line)["metadata"] for line in lines)}
    assert told[1] == "REVOKED"
    missing = api.post(f"{ORGANISM}/revoke", json={"accessions": ["123"]}, headers=headers(ALICE))
    assert_problem(missing, 422, "Accessions 123 do not exist")
    assert_problem(api.post(f"{ORGANISM}/revoke", json={}, headers=headers(ALICE)), 400, "accessions")


def test_an_edit(api: TestClient, headers: Any, house: House, mine: int) -> None:
    name, _ = processed(house, mine, errors=(ERROR,))
    (new,) = upload(house, ALICE, mine, b"new")
    data: dict[str, Any] = {
        "metadata": {**METADATA, "country": None},
        "unalignedNucleotideSequences": {"main": "ACGT", "other": None},
        "files": {"rawReads": [{"fileId": new.upper(), "name": "r.fq", "url": "ignored"}], "alignment": []},
    }
    body = {"accession": name.accession, "version": 1, "data": data}
    answer = api.post(f"{ORGANISM}/submit-edited-data", json=body, headers=headers(ALICE))
    assert (answer.status_code, answer.content) == (204, b"")
    assert status(house, name) == "RECEIVED"
    assert files_of(house, name) == {"rawReads": [("r.fq", new)]}
    assert version(house, name).submitted_sequences == {"main": "ACGT"}
    release(house, name)
    again = api.post(f"{ORGANISM}/submit-edited-data", json=body, headers=headers(ALICE))
    text = f"Accession versions are not in one of the states [PROCESSED]: {name} - APPROVED_FOR_RELEASE"
    assert_problem(again, 422, text)


def _with_file(file_id: str) -> dict[str, Any]:
    files = {"rawReads": [{"fileId": file_id, "name": "r.fq"}]}
    return {"metadata": METADATA, "unalignedNucleotideSequences": {}, "files": files}


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"version": 2}, 422, "do not exist"),
        ({"data": None}, 400, "data"),
        ({"data": {"metadata": METADATA}}, 400, "unalignedNucleotideSequences"),
        (
            {"data": {"metadata": {}, "unalignedNucleotideSequences": {}, "files": {"rawReads": [{"fileId": "x"}]}}},
            400,
            "fileId",
        ),
        ({"data": _with_file(f"drop:{'a' * 26}")}, 422, f"do not exist: drop:{'a' * 26}"),
        ({"data": _with_file(f"drop:{'A' * 26}")}, 400, "fileId"),
        ({"data": {"metadata": {"date": 1}, "unalignedNucleotideSequences": {}}}, 400, "date"),
        ({"data": {"metadata": {"a\u0000": "x"}, "unalignedNucleotideSequences": {}}}, 400, "NUL"),
    ],
)
def test_bad_edits(
    api: TestClient, headers: Any, house: House, mine: int, change: dict[str, Any], code: int, text: str
) -> None:
    name, _ = processed(house, mine)
    data = {"metadata": METADATA, "unalignedNucleotideSequences": {}}
    body = {"accession": name.accession, "version": 1, "data": data, **change}
    assert_problem(api.post(f"{ORGANISM}/submit-edited-data", json=body, headers=headers(ALICE)), code, text)


def test_a_deletion_has_its_body(api: TestClient, headers: Any, house: House, mine: int) -> None:
    first, _ = entry(house, mine)
    second, _ = processed(house, mine, errors=(ERROR,))
    path = f"{ORGANISM}/delete-sequence-entry-versions"

    def delete(body: Any) -> Any:
        return api.request("DELETE", path, json=body, headers=headers(ALICE))

    assert delete({"scope": "PROCESSED_WITH_ERRORS"}).json() == [{"accession": second.accession, "version": 1}]
    chosen = {"accession": first.accession, "version": 1, "submissionId": "ignored"}
    answer = delete({"scope": "ALL", "accessionVersionsFilter": [chosen], "groupIdsFilter": None})
    assert (answer.status_code, answer.json()) == (200, [{"accession": first.accession, "version": 1}])
    assert_problem(delete({"scope": "ALL", "accessionVersionsFilter": [chosen]}), 422, f"{first} do not exist")
    assert_problem(delete({"scope": "SOME"}), 400, "scope")
    assert_problem(delete({}), 400, "scope")


# Reading what was submitted


def test_submitted_metadata_are_a_counted_stream(api: TestClient, headers: Any, house: House, mine: int) -> None:
    name, _ = entry(house, mine, submitted_metadata={"a": "1", "b": "ü"})
    entry(house, group_of(house, BOB))
    path = f"{ORGANISM}/get-submitted-metadata"
    plain = api.get(path, headers=headers(ALICE))
    assert plain.headers["content-type"] == "application/x-ndjson"
    assert plain.headers["x-total-records"] == "1"
    (line,) = plain.text.splitlines()
    assert json.loads(line)["submittedMetadata"] == {"a": "1", "b": "ü"}
    filters = {"fields": "b,c", "groupIdsFilter": mine, "statusesFilter": "RECEIVED,PROCESSED", "compression": "zstd"}
    packed = api.get(path, params=filters, headers=headers(ALICE))
    assert packed.headers["content-encoding"] == "zstd"
    data = packed.content
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert json.loads(data) == {
        "accession": name.accession, "version": 1, "submitter": "alice", "isRevocation": False, "status": "RECEIVED",
        "submittedMetadata": {"b": "ü", "c": None},
    }  # fmt: skip
    none = api.get(path, params={"statusesFilter": "PROCESSED"}, headers=headers(ALICE))
    assert (none.text, none.headers["x-total-records"]) == ("", "0")
    assert_problem(api.get(path, params={"groupIdsFilter": mine}, headers=headers(BOB)), 403, "is not a member")
    bad = api.get(path, params={"accessionVersionsFilter": "x"}, headers=headers(ALICE))
    assert_problem(bad, 422, "no accession version")
    assert_problem(api.get(path, params={"statusesFilter": "LOST"}, headers=headers(ALICE)), 400, "statusesFilter")


def test_submitted_data_are_downloaded_changed_and_sent_back(
    api: TestClient, headers: Any, house: House, mine: int
) -> None:
    name = released(house, mine, submitted_metadata=METADATA, submitted_sequences={"seq": "ACGT"})
    answer = api.post(f"{ORGANISM}/get-submitted-data", json={"groupId": mine}, headers=headers(ALICE))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    pattern = r'attachment; filename="sars-cov-2_submitted_data_[0-9]{8}T[0-9]{6}Z\.zip"'
    assert re.fullmatch(pattern, answer.headers["content-disposition"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        metadata, sequences = archive.read("metadata.tsv"), archive.read("sequences.fasta")
    changed = metadata.replace(b"ILLUMINA", b"OXFORD_NANOPORE")
    for files in (
        {"metadataFile": ("metadata.tsv", changed), "sequenceFile": ("sequences.fasta", sequences)},
        {"metadataFile": ("metadata.tsv", changed)},
    ):
        tried = api.post(f"{ORGANISM}/revise", data={"dryRun": "true"}, files=files, headers=headers(ALICE))
        assert tried.json()[0]["version"] == 2, tried.text
    revised = api.post(f"{ORGANISM}/revise", files=files, headers=headers(ALICE))
    assert revised.status_code == 200, revised.text
    second = AccessionVersion(name.accession, 2)
    assert version(house, second).submitted_metadata == {**METADATA, "platform": "OXFORD_NANOPORE", "country": ""}
    assert version(house, second).submitted_sequences == {"seq": "ACGT"}
    assert files_of(house, second) == files_of(house, name)


def test_who_may_read_submitted_data(api: TestClient, headers: Any, house: House, mine: int) -> None:
    path = f"{ORGANISM}/get-submitted-data"
    assert_problem(api.post(path, json={"groupId": mine}, headers=headers(BOB)), 403, "is not a member")
    assert_problem(api.post(path, json={"groupId": 77}, headers=headers(MAINTAINER)), 404, "do(es) not exist")
    assert_problem(api.post(path, json={}, headers=headers(ALICE)), 400, "groupId")


# Data use terms


def test_data_use_terms(api: TestClient, headers: Any, house: House, mine: int) -> None:
    name = released(house, mine)
    body = {"accessions": [name.accession], "newDataUseTerms": {"type": "OPEN"}}
    already = api.put("/data-use-terms", json=body, headers=headers(ALICE))
    assert_problem(already, 422, "The data use terms have already been set to 'Open'")
    restricted = {**body, "newDataUseTerms": {"type": "RESTRICTED", "restrictedUntil": "2999-01-01"}}
    assert_problem(
        api.put("/data-use-terms", json=restricted, headers=headers(ALICE)), 400, "up to a maximum of 1 year"
    )
    (told,) = api.get(f"/data-use-terms/{name.accession}").json()
    assert set(told) == {"accession", "changeDate", "dataUseTerms", "userName"}
    assert told["dataUseTerms"] == {"type": "OPEN"}
    assert_problem(api.get("/data-use-terms/123"), 404, "Accession 123 not found")
    assert api.put("/data-use-terms", json=body).status_code == 401
    assert_problem(api.put("/data-use-terms", json={"accessions": []}, headers=headers(ALICE)), 400, "newDataUseTerms")
