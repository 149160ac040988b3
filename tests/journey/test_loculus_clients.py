"""What Loculus's own clients send, on a real S3: its command line, its dummy and its nextclade pipeline.

The requests are theirs, to the header; the code is ours. Where they read a key without asking whether
it is there, so do these tests.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from tests.stack import ADDRESS, Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS = "/realms/loculus/protocol/openid-connect/token"
KEYS_OF_TOKENS = ("access_token", "refresh_token", "expires_in", "refresh_expires_in", "token_type")
MOCK = {"alignedNucleotideSequences": {"main": "NNACTG"}, "alignedAminoAcidSequences": {"S": "MF*", "ORF1a": "MESL"}}
"""As the dummy has them: always the same, without unaligned sequences."""
EMPTY = (
    "unalignedNucleotideSequences",
    "alignedNucleotideSequences",
    "nucleotideInsertions",
    "alignedAminoAcidSequences",
    "aminoAcidInsertions",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("loculus")
    shutil.copytree(REPOSITORY / "docs" / "examples" / "loculus-pipelines", folder / "organisms")
    (folder / "references").symlink_to(REPOSITORY / "deployments" / "references")
    running = Stack(folder / "data", prefect=None, environment=new_database(), organisms=folder / "organisms")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with stack.http() as client:
        client.timeout = httpx.Timeout(30)
        yield client


def tokens(http: httpx.Client, login: tuple[str, str]) -> dict[str, Any]:
    form = {"grant_type": "password", "client_id": "backend-client", "username": login[0], "password": login[1]}
    answer = http.post(TOKENS, data=form)
    assert answer.status_code == 200, answer.text
    return {key: answer.json()[key] for key in KEYS_OF_TOKENS}


def bearer(http: httpx.Client, login: tuple[str, str]) -> dict[str, str]:
    got = tokens(http, login)
    return {"Authorization": f"{got['token_type']} {got['access_token']}"}


@pytest.fixture(scope="module")
def user(stack: Stack, http: httpx.Client) -> dict[str, str]:
    return bearer(http, stack.new_user())


@pytest.fixture(scope="module")
def pipeline(stack: Stack, http: httpx.Client) -> dict[str, str]:
    return bearer(http, stack.new_user("preprocessing_pipeline"))


@pytest.fixture(scope="module")
def group(http: httpx.Client, user: dict[str, str]) -> int:
    wanted = {"groupName": "Lab", "institution": "I", "address": ADDRESS, "contactEmail": "lab@example.org"}
    answer = http.post("/groups", json=wanted, headers=user)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["groupId"])


def submit(http: httpx.Client, user: dict[str, str], organism: str, way: str, *rows: str, **more: Any) -> list[Any]:
    """As the command line does: numbers in form fields, both files as multipart."""
    metadata = "\n".join(rows) + "\n"
    fasta = "".join(f">{row.split(chr(9))[0]}\nACGTNN\n" for row in rows[1:])
    files = {
        "metadataFile": ("metadata.tsv", metadata, "text/tab-separated-values"),
        "sequenceFile": ("sequences.fasta", fasta, "text/plain"),
    }
    if not more.pop("sequences", True):
        del files["sequenceFile"]
    answer = http.post(f"/{organism}/{way}", data=more, files=files, headers=user)
    assert answer.status_code == 200, answer.text
    return [(entry["accession"], entry["version"], entry["submissionId"]) for entry in answer.json()]


def extract(
    http: httpx.Client, pipeline: dict[str, str], organism: str, etag: str | None = None, version: int = 1
) -> httpx.Response:
    """As both pipelines do: parameters as a form."""
    headers = pipeline | ({"If-None-Match": etag} if etag else {})
    form = {"numberOfSequenceEntries": "100", "pipelineVersion": str(version)}
    return http.post(f"/{organism}/extract-unprocessed-data", data=form, headers=headers)


def send_back(http: httpx.Client, pipeline: dict[str, str], organism: str, *processed: dict[str, Any]) -> None:
    answer = http.post(
        f"/{organism}/submit-processed-data",
        params={"pipelineVersion": 1},
        content="\n".join(map(json.dumps, processed)),
        headers=pipeline | {"Content-Type": "application/x-ndjson"},
    )
    assert answer.status_code == 204, answer.text


def dummy(http: httpx.Client, pipeline: dict[str, str], *, warnings: bool = False) -> int:
    """One turn of the dummy: fetch, add a lineage and the mock sequences, send; how many there were."""
    answer = extract(http, pipeline, "dummyOrganism")
    assert answer.status_code == 200, answer.text
    entries = [json.loads(line) for line in answer.text.split("\n") if line]
    processed = [
        {
            "accession": entry["accession"],
            "version": entry["version"],
            "data": {"metadata": entry["data"]["metadata"] | {"pangoLineage": "A.1"}, **MOCK},
            "errors": [],
            "warnings": [
                {"source": [{"name": "date", "type": "Metadata"}], "message": "This is a metadata warning"}
            ] * warnings,
        }
        for entry in entries
    ]  # fmt: skip
    if processed:
        send_back(http, pipeline, "dummyOrganism", *processed)
    return len(processed)


def listed(http: httpx.Client, user: dict[str, str], organism: str, **filters: Any) -> dict[str, Any]:
    asked = {"page": 0, "size": 50} | filters
    answer = http.get(f"/{organism}/get-sequences", params=asked, headers=user | {"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    for entry in body["sequenceEntries"]:
        for key in ("submissionId", "submitter", "groupId", "dataUseTerms", "isRevocation", "processingResult"):
            assert key in entry
    return body


def test_the_command_line_finds_hosts_and_schema(http: httpx.Client, stack: Stack) -> None:
    info = http.get("/loculus-info").json()
    assert info["title"]
    assert info["hosts"]["backend"] == stack.addresses["api"]
    assert info["hosts"]["keycloak"] == stack.addresses["identity"]
    for organism in ("dummyOrganism", "nextcladeOrganism", "demo"):
        schema = info["organisms"][organism]["schema"]
        assert schema["organismName"]
        assert schema["primaryKey"] == "accessionVersion"
        assert isinstance(schema["tableColumns"], list)
        assert all({"name", "type", "displayName"} <= set(field) for field in schema["metadata"])
        assert [len(segment["references"]) for segment in info["organisms"][organism]["referenceGenomes"]] == [1]
        assert info["hosts"]["lapis"][organism]


def test_the_command_line_logs_in_and_refreshes(http: httpx.Client, stack: Stack) -> None:
    login = stack.new_user()
    wrong = http.post(
        TOKENS,
        data={"grant_type": "password", "client_id": "backend-client", "username": login[0], "password": "wrong"},
    )
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_grant")
    got = tokens(http, login)
    assert got["expires_in"] > 300  # it renews tokens that live no longer than five minutes
    form = {"grant_type": "refresh_token", "client_id": "backend-client", "refresh_token": got["refresh_token"]}
    renewed = http.post(TOKENS, data=form)
    assert renewed.status_code == 200
    headers = {"Authorization": f"{renewed.json()['token_type']} {renewed.json()['access_token']}"}
    assert http.get("/user/groups", headers=headers).json() == []


def test_the_command_line_reads_every_key_of_a_group(http: httpx.Client, user: dict[str, str], group: int) -> None:
    (found,) = (each for each in http.get("/user/groups", headers=user).json() if each["groupId"] == group)
    assert isinstance(found["contactEmail"], str)
    assert all(isinstance(value, str) for value in found["address"].values())
    assert (found["groupName"], found["institution"]) == ("Lab", "I")


def test_a_refusal_says_why_where_the_command_line_looks(http: httpx.Client, user: dict[str, str], group: int) -> None:
    answer = http.post(
        "/dummyOrganism/submit",
        data={"groupId": str(group), "dataUseTermsType": "OPEN"},
        files={"metadataFile": ("metadata.tsv", "id\tdate\nx\t2024-13-01\n"), "sequenceFile": ("s.fasta", ">x\nA\n")},
        headers=user,
    )
    assert answer.status_code == 422
    assert "'2024-13-01' is no date" in answer.json()["detail"]
    assert answer.json()["errors"][0]["row"] == 1


def test_command_line_and_dummy_bring_an_entry_to_release_and_revise_it(
    http: httpx.Client, user: dict[str, str], pipeline: dict[str, str], group: int
) -> None:
    header = "id\tdate\tcountry"
    rows = (header, "a\t2024-01-01\tSwitzerland", "b\t2024-02-01\tItaly")
    entries = submit(http, user, "dummyOrganism", "submit", *rows, groupId=str(group), dataUseTermsType="OPEN")
    assert [(version, name) for _, version, name in entries] == [(1, "a"), (1, "b")]
    assert listed(http, user, "dummyOrganism", groupIdsFilter=str(group))["statusCounts"]["RECEIVED"] == 2

    assert dummy(http, pipeline, warnings=True) == 2
    assert dummy(http, pipeline) == 0
    ready = listed(
        http, user, "dummyOrganism", statusesFilter="PROCESSED", processingResultFilter="NO_ISSUES,HAS_WARNINGS"
    )
    assert {entry["accession"] for entry in ready["sequenceEntries"]} == {accession for accession, _, _ in entries}
    accession = entries[0][0]
    details = http.get(f"/dummyOrganism/get-data-to-edit/{accession}/1", headers=user).json()
    assert details["warnings"][0]["message"] == "This is a metadata warning"
    assert isinstance(details["warnings"][0]["processedFields"], list)
    assert details["processedData"]["metadata"]["pangoLineage"] == "A.1"
    assert details["processedData"]["alignedAminoAcidSequences"] == MOCK["alignedAminoAcidSequences"]

    release = {
        "groupIdsFilter": [group],
        "scope": "ALL",
        "accessionVersionsFilter": [{"accession": accession, "version": 1}],
    }
    approved = http.post("/dummyOrganism/approve-processed-data", json=release, headers=user)
    assert approved.json() == [{"accession": accession, "version": 1}]
    rest = {"groupIdsFilter": [group], "scope": "ALL"}
    assert len(http.post("/dummyOrganism/approve-processed-data", json=rest, headers=user).json()) == 1

    released = released_lines(http, "dummyOrganism")
    assert {line["metadata"]["country"] for line in released} == {"Switzerland", "Italy"}
    found = http.get("/dummyOrganism/lapis/sample/details", params={"accession": accession, "version": "1"}).json()
    assert [entry["pangoLineage"] for entry in found["data"]] == ["A.1"]
    fasta = http.get("/dummyOrganism/lapis/sample/alignedNucleotideSequences/None", headers={"Accept": "text/x-fasta"})
    assert f">{accession}.1\nNNACTG\n" in fasta.text

    revised = submit(
        http, user, "dummyOrganism", "revise", f"{header}\taccession", f"a\t2024-01-01\tFrance\t{accession}"
    )
    assert revised == [(accession, 2, "a")]
    assert dummy(http, pipeline) == 1
    release["accessionVersionsFilter"] = [{"accession": accession, "version": 2}]
    assert http.post("/dummyOrganism/approve-processed-data", json=release, headers=user).status_code == 200
    states = {line["metadata"]["accessionVersion"]: line["metadata"] for line in released_lines(http, "dummyOrganism")}
    assert states[f"{accession}.1"]["versionStatus"] == "REVISED"
    assert states[f"{accession}.2"]["country"] == "France"


def released_lines(http: httpx.Client, organism: str) -> list[dict[str, Any]]:
    """As the command line reads it: everything, compressed."""
    answer = http.get(f"/{organism}/get-released-data", params={"organism": organism, "compression": "zstd"})
    assert answer.status_code == 200
    content = answer.content
    if content.startswith(b"\x28\xb5\x2f\xfd"):  # not every httpx unpacks zstd by itself
        content = zstandard.ZstdDecompressor().stream_reader(content).read()
    lines = [json.loads(line) for line in content.splitlines()]
    assert len(lines) == int(answer.headers["x-total-records"])
    return lines


def test_nextclade_gets_files_sends_files_and_waits_by_etag(
    http: httpx.Client, user: dict[str, str], pipeline: dict[str, str], group: int
) -> None:
    reads = b"@r\nACGT\n+\nIIII\n"
    file_id = upload(http, user, group, reads)
    ((accession, version, _),) = submit(
        http, user, "nextcladeOrganism", "submit", "id\tdate\tcountry\tfiles", f"x\t2024\tItaly\tr.fastq:{file_id}",
        groupId=str(group), dataUseTermsType="OPEN", sequences=False,
    )  # fmt: skip

    answer = extract(http, pipeline, "nextcladeOrganism")
    (entry,) = (json.loads(line) for line in answer.text.splitlines())
    assert answer.headers["ETag"]
    assert (entry["accession"], entry["version"], entry["groupId"]) == (accession, version, group)
    assert isinstance(entry["submittedAt"], int)
    assert {"submissionId", "submitter"} <= set(entry)
    assert entry["data"]["metadata"] == {"date": "2024", "country": "Italy"}
    assert entry["data"]["unalignedNucleotideSequences"] == {}
    (file,) = entry["data"]["files"]["rawReads"]
    assert httpx.get(file["url"]).content == reads

    idle = extract(http, pipeline, "nextcladeOrganism")
    assert (idle.status_code, idle.text) == (200, "")
    unchanged = extract(http, pipeline, "nextcladeOrganism", etag=idle.headers["ETag"])
    assert unchanged.status_code == 304

    # It passes the file on as it got it, URL included, and empty maps for all that it can't align.
    send_back(http, pipeline, "nextcladeOrganism", {
        "accession": accession, "version": version, "errors": [],
        "warnings": [{"unprocessedFields": [{"name": "date", "type": "Metadata"}],
                      "processedFields": [{"name": "date", "type": "Metadata"}], "message": "The date is partial."}],
        "data": {"metadata": {"date": "2024", "country": "Italy", "length": 0}, "sequenceNameToFastaId": {},
                 "files": entry["data"]["files"], **{key: {} for key in EMPTY}},
    })  # fmt: skip
    details = processed(http, user, "nextcladeOrganism", accession)
    assert details["processedData"]["files"] == {"rawReads": [{"fileId": file_id, "name": "r.fastq"}]}
    assert details["warnings"][0]["processedFields"] == [{"type": "Metadata", "name": "date"}]
    there = f"/files/get/{accession}/1/rawReads/r.fastq"
    assert http.get(there).status_code == 401
    redirect = http.get(there, headers=user)
    assert redirect.status_code == 307
    assert httpx.get(redirect.headers["Location"]).content == reads

    release = {"groupIdsFilter": [group], "scope": "ALL"}
    assert http.post("/nextcladeOrganism/approve-processed-data", json=release, headers=user).json() == [
        {"accession": accession, "version": 1}
    ]
    assert http.get(there).status_code == 404, "reads that nobody screened stay with the group"
    assert "r.fastq" not in json.dumps(released_lines(http, "nextcladeOrganism"))


def test_a_pipeline_uploads_a_file_of_its_own_for_the_groups_entry(
    http: httpx.Client, user: dict[str, str], pipeline: dict[str, str], group: int
) -> None:
    rows = ("id\tdate\tcountry", "y\t2024-03-01\tItaly")
    ((accession, _, _),) = submit(
        http, user, "dummyOrganism", "submit", *rows, groupId=str(group), dataUseTermsType="OPEN"
    )
    (entry,) = (json.loads(line) for line in extract(http, pipeline, "dummyOrganism").text.splitlines())
    file_id = upload(http, pipeline, entry["groupId"], b"ID   embl")
    answer = http.post(
        "/dummyOrganism/submit-processed-data",
        params={"pipelineVersion": 1},
        content=json.dumps({
            "accession": accession, "version": 1, "errors": [], "warnings": [],
            "data": {"metadata": entry["data"]["metadata"], **MOCK,
                     "files": {"unknown": [{"fileId": file_id, "name": "a.embl"}]}},
        }),
        headers=pipeline,
    )  # fmt: skip
    assert answer.status_code == 422
    assert "configured output categories" in answer.json()["detail"]
    assert dummy(http, pipeline) == 0, "it is still claimed"
    send_back(http, pipeline, "dummyOrganism", {
        "accession": accession, "version": 1, "errors": [], "warnings": [],
        "data": {"metadata": entry["data"]["metadata"], **MOCK},
    })  # fmt: skip


def test_multipart_uploads_of_both_sides_and_an_edit_end_in_released_data(
    http: httpx.Client, user: dict[str, str], pipeline: dict[str, str], group: int
) -> None:
    parts = (b"A" * 5 * 2**20, b"and the rest")
    original = multipart(http, user, group, *parts)
    rows = ("id\tdate\tcountry\tfiles.rawReads", f"z\t2024-04-01\tItaly\tz.fastq:{original}")
    ((accession, _, _),) = submit(
        http, user, "dummyOrganism", "submit", *rows, groupId=str(group), dataUseTermsType="OPEN"
    )
    (entry,) = (json.loads(line) for line in extract(http, pipeline, "dummyOrganism").text.splitlines())
    (file,) = entry["data"]["files"]["rawReads"]
    assert httpx.get(file["url"]).content == b"".join(parts)
    fields = [{"name": "country", "type": "Metadata"}]
    error = {"unprocessedFields": fields, "processedFields": fields, "message": "Which town?"}
    name = {"accession": accession, "version": 1}
    data = {"metadata": entry["data"]["metadata"], **MOCK}
    send_back(http, pipeline, "dummyOrganism", name | {"data": data, "errors": [error], "warnings": []})
    details = processed(http, user, "dummyOrganism", accession)
    assert details["errors"][0]["processedFields"] == [{"type": "Metadata", "name": "country"}]
    refused = http.post(
        "/dummyOrganism/approve-processed-data", json={"scope": "ALL", "accessionVersionsFilter": [name]}, headers=user
    )
    assert refused.status_code == 422

    edited = details["submittedData"] | {"metadata": details["submittedData"]["metadata"] | {"country": "Malta"}}
    answer = http.post("/dummyOrganism/submit-edited-data", json=name | {"data": edited}, headers=user)
    assert answer.status_code == 204, answer.text
    (entry,) = (json.loads(line) for line in extract(http, pipeline, "dummyOrganism").text.splitlines())
    assert entry["data"]["metadata"]["country"] == "Malta"
    made = multipart(http, pipeline, entry["groupId"], parts[0], b"processed")
    data = {"metadata": entry["data"]["metadata"], **MOCK}
    data["files"] = {
        "rawReads": entry["data"]["files"]["rawReads"],
        "annotations": [{"fileId": made, "name": "z.embl"}],
    }
    send_back(http, pipeline, "dummyOrganism", name | {"data": data, "errors": [], "warnings": []})
    processed(http, user, "dummyOrganism", accession)
    release = {"scope": "ALL", "accessionVersionsFilter": [name]}
    assert http.post("/dummyOrganism/approve-processed-data", json=release, headers=user).json() == [name]
    (line,) = (
        each["metadata"] for each in released_lines(http, "dummyOrganism") if each["metadata"]["accession"] == accession
    )
    (listing,) = json.loads(line["annotations"])
    assert (listing["fileId"], listing["name"]) == (made, "z.embl")
    assert httpx.get(listing["url"], follow_redirects=True).content == parts[0] + b"processed"
    assert not line.get("rawReads"), "originals are not published"


def multipart(http: httpx.Client, who: dict[str, str], group: int, *parts: bytes) -> str:
    """As the website does: all parts signed at once, completed with their ETags."""
    asked = {"groupId": group, "numberFiles": 1, "numberParts": len(parts)}
    answer = http.post("/files/request-multipart-upload", params=asked, headers=who)
    assert answer.status_code == 200, answer.text
    (ticket,) = answer.json()
    etags = [httpx.put(url, content=part).headers["ETag"] for url, part in zip(ticket["urls"], parts, strict=True)]
    done = http.post(
        "/files/complete-multipart-upload", json=[{"fileId": ticket["fileId"], "etags": etags}], headers=who
    )
    assert done.status_code == 200, done.text
    return str(ticket["fileId"])


def upload(http: httpx.Client, who: dict[str, str], group: int, content: bytes) -> str:
    """As nextclade does: parameters in the query, one file, every header of the answer."""
    asked = {"groupId": group, "numberFiles": 1}
    answer = http.post("/files/request-upload", params=asked, headers=who)
    assert answer.status_code == 200, answer.text
    (ticket,) = answer.json()
    assert set(ticket) >= {"fileId", "url"}
    put = httpx.put(ticket["url"], content=content, headers=ticket.get("headers") or {})
    assert put.status_code == 200, put.text
    return str(ticket["fileId"])


def processed(http: httpx.Client, user: dict[str, str], organism: str, accession: str) -> dict[str, Any]:
    """What is to be reviewed, as soon as a worker has hashed what nobody had hashed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        details: dict[str, Any] = http.get(f"/{organism}/get-data-to-edit/{accession}/1", headers=user).json()
        if details["status"] == "PROCESSED":
            return details
        time.sleep(0.2)
    raise AssertionError(details)
