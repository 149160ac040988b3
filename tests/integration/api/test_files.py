"""Uploads and downloads over HTTP: shapes, and what stays secret."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.ports import SignedRequest
from readvault.services.house import House
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, BOB, MAINTAINER, group_of
from tests.integration.api.problems import assert_problem
from tests.integration.services import scenes

BODY = b"@r1\nACGT\n+\nIIII\n"
SHA256 = hashlib.sha256(BODY).hexdigest()
MEGABYTES_17 = 17 * 10**6


@pytest.fixture
def group_id(house: House) -> int:
    return group_of(house, ALICE)


def _ask(api: TestClient, headers: Any, group_id: int, actor: Any = ALICE, **change: Any) -> Any:
    file = {"name": "reads.fastq", "size": len(BODY), "sha256": SHA256, "category": "rawReads", "unknown": 1}
    body = {"groupId": group_id, "files": [file], **change}
    return api.post("/files/request-uploads", json=body, headers=headers(actor))


def _put(house: House, put: dict[str, Any], body: bytes) -> str:
    etag: str = house.store.put(SignedRequest(put["url"], put["headers"]), body)  # type: ignore[attr-defined]
    return etag


def test_a_declared_file_gets_one_signed_put(api: TestClient, headers: Any, house: House, group_id: int) -> None:
    (ticket,) = _ask(api, headers, group_id).json()
    assert set(ticket) == {"fileId", "name", "alreadyYours", "put", "multipart"}
    assert str(uuid.UUID(ticket["fileId"])) == ticket["fileId"]
    assert (ticket["name"], ticket["alreadyYours"], ticket["multipart"]) == ("reads.fastq", False, None)
    assert set(ticket["put"]) == {"url", "headers"}
    assert ticket["put"]["headers"]["If-None-Match"] == "*"
    _put(house, ticket["put"], BODY)
    state = api.get(f"/files/{ticket['fileId']}", headers=headers(ALICE)).json()
    assert state["declaredSha256"] == SHA256
    assert (state["groupId"], state["state"], state["declaredSize"]) == (group_id, "uploaded", len(BODY))


def test_a_multipart_upload_is_signed_resumed_and_put_together(
    api: TestClient, headers: Any, house: House, group_id: int
) -> None:
    body = b"ACGT" * (MEGABYTES_17 // 4)
    file = {"name": "big.bam", "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    (ticket,) = _ask(api, headers, group_id, files=[file], multipart=True).json()
    assert ticket["put"] is None
    plan = ticket["multipart"]
    assert set(plan) == {"partSize", "partCount", "parts"}
    assert [part["number"] for part in plan["parts"]] == list(range(1, plan["partCount"] + 1))
    path = f"/files/{ticket['fileId']}"
    (fresh,) = api.post(f"{path}/parts", json={"numbers": [1]}, headers=headers(ALICE)).json()
    assert set(fresh) == {"number", "url", "headers"}
    size = plan["partSize"]
    parts = {**{part["number"]: part for part in plan["parts"]}, 1: fresh}
    etags = [_put(house, parts[n], body[(n - 1) * size : n * size]) for n in sorted(parts)]
    state = api.get(path, headers=headers(ALICE)).json()
    assert [part["number"] for part in state["parts"]] == sorted(parts)
    done = api.post(
        "/files/complete-multipart-upload",
        json=[{"fileId": ticket["fileId"], "etags": etags}],
        headers=headers(ALICE),
    )
    assert (done.status_code, done.content) == (200, b"")
    assert api.get(path, headers=headers(ALICE)).json()["state"] == "completed"


def test_an_upload_can_be_given_up(api: TestClient, headers: Any, group_id: int) -> None:
    (ticket,) = _ask(api, headers, group_id).json()
    assert api.delete(f"/files/{ticket['fileId']}", headers=headers(ALICE)).status_code == 204


@pytest.mark.parametrize("place", ["query", "form", "multipart form", "both"])
def test_loculus_parameters_come_in_the_query_or_the_form(
    api: TestClient, headers: Any, group_id: int, place: str
) -> None:
    sent: dict[str, dict[str, Any]] = {
        "query": {"params": {"groupId": group_id, "numberFiles": 2}},
        "form": {"data": {"groupId": group_id, "numberFiles": 2}},
        "multipart form": {"files": {"groupId": (None, str(group_id)), "numberFiles": (None, "2")}},
        "both": {"params": {"groupId": group_id}, "data": {"numberFiles": 2}},
    }
    answer = api.post("/files/request-upload", headers=headers(ALICE), **sent[place])
    assert answer.status_code == 200, answer.text
    assert [set(each) for each in answer.json()] == [{"fileId", "url", "headers"}] * 2
    assert answer.json()[0]["headers"] == {"If-None-Match": "*"}


def test_loculus_multipart_urls_are_in_order_and_without_headers(api: TestClient, headers: Any, group_id: int) -> None:
    answer = api.post(
        "/files/request-multipart-upload", params={"groupId": group_id, "numberParts": 3}, headers=headers(ALICE)
    )
    (upload,) = answer.json()
    assert set(upload) == {"fileId", "urls"}
    assert len(upload["urls"]) == len(set(upload["urls"])) == 3


@pytest.mark.parametrize(
    ("path", "params", "text"),
    [
        ("request-upload", {}, "Required parameter 'groupId' is not present."),
        ("request-upload", {"groupId": ""}, "Required parameter 'groupId' is not present."),
        ("request-upload", {"groupId": "one"}, "'groupId'"),
        ("request-upload", {"groupId": 1, "numberFiles": 0}, "Number of files must be at least 1"),
        ("request-upload", {"groupId": 2**40}, "'groupId'"),
        ("request-multipart-upload", {"groupId": 1, "numberParts": 0}, "The number of parts must between 1 and 10000."),
        ("request-multipart-upload", {"groupId": 1, "numberParts": 10001}, "must between 1 and 10000."),
    ],
)
@pytest.mark.usefixtures("group_id")
def test_malformed_parameters(api: TestClient, headers: Any, path: str, params: dict[str, Any], text: str) -> None:
    assert_problem(api.post(f"/files/{path}", params=params, headers=headers(ALICE)), 400, text)


@pytest.mark.parametrize("path", ["request-upload", "request-multipart-upload"])
def test_foreign_and_unknown_groups(api: TestClient, headers: Any, group_id: int, path: str) -> None:
    asked = {"groupId": group_id}
    text = f"User bob is not a member of group(s) {group_id}. Action not allowed."
    assert_problem(api.post(f"/files/{path}", params=asked, headers=headers(BOB)), 403, text)
    unknown = {"groupId": 999}
    for actor in (ALICE, MAINTAINER):
        answer = api.post(f"/files/{path}", params=unknown, headers=headers(actor))
        assert_problem(answer, 404, "Group(s) 999 do(es) not exist.")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/files/{}", None),
        ("DELETE", "/files/{}", None),
        ("POST", "/files/{}/parts", {"numbers": [1]}),
        ("POST", "/files/complete-multipart-upload", [{"fileId": "{}", "etags": ["a"]}]),
    ],
)
def test_a_foreign_file_id_looks_like_an_unknown_one(
    api: TestClient, headers: Any, group_id: int, method: str, path: str, body: Any
) -> None:
    """File IDs are secret: nobody may learn from an answer that one exists."""
    (ticket,) = _ask(api, headers, group_id).json()
    unknown = str(uuid.uuid4())

    def answer(file_id: str) -> str:
        sent = None if body is None else _with(body, file_id)
        response = api.request(method, path.format(file_id), json=sent, headers=headers(BOB))
        assert_problem(response, 404)
        return response.text.replace(file_id, "ID")

    assert answer(ticket["fileId"]) == answer(unknown)


def _with(body: Any, file_id: str) -> Any:
    return [{**body[0], "fileId": file_id}] if isinstance(body, list) else body


@pytest.fixture
def consensus(house: House) -> str:
    """The path of a processed file that isn't released; alice's."""
    name, _ = scenes.processed(house, scenes.group(house, "alice"))
    return f"/files/get/{name.accession}/{name.version}/consensus/consensus.fasta"


def test_an_unreleased_file_is_for_its_group(api: TestClient, headers: Any, consensus: str) -> None:
    assert_problem(api.get(consensus), 401, "Authentication needed: the file is not public")
    assert_problem(api.get(consensus, headers=headers(BOB)), 403)
    answer = api.get(consensus, headers=headers(ALICE))
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["location"].startswith("memory://vault/")
    assert answer.headers["location"].endswith("method=GET")
    assert answer.headers["cache-control"] == "no-store"


def test_after_release_everybody_is_sent_to_the_file(api: TestClient, house: House, consensus: str) -> None:
    approve(house, MAINTAINER, scenes.ORGANISM, scope=Scope.ALL)
    answer = api.get(consensus)
    assert answer.status_code == 307
    assert answer.headers["location"].endswith("method=GET")
    assert api.head(consensus).headers["location"].endswith("method=HEAD")


@pytest.mark.parametrize("wrong", ["consensus/other.fasta", "reads/consensus.fasta"])
def test_an_unknown_file_is_not_found(api: TestClient, headers: Any, consensus: str, wrong: str) -> None:
    path = consensus.removesuffix("consensus/consensus.fasta") + wrong
    for sent in ({}, headers(ALICE), headers(BOB)):
        assert_problem(api.get(path, headers=sent), 404, "File not found")
