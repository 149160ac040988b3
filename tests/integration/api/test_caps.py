"""Bodies and parameters that are too much or not what they say: refused, quickly, never a server error."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import BYTES_OF_JSON, create_app
from tests.integration.api.matrix.scene import Scene

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
PARTS = "multipart/form-data; boundary=b"
BODIES: dict[str, tuple[str, bytes]] = {
    "deep list": (JSON, b"[" * 100_000),
    "deep and whole": (JSON, b"[" * 900 + b"]" * 900),
    "deep objects": (JSON, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "long number": (JSON, b'{"groupId": ' + b"9" * 5000 + b"}"),
    "infinite number": (JSON, b'{"groupId": 1e999, "version": Infinity, "size": NaN}'),
    "half a character": (JSON, b'{"accession": "\\ud800", "\\udfff": 1}'),
    "no UTF-8": (JSON, b'{"accession": "\xff\xfe"}'),
    "UTF-16": (JSON, '{"accession": "A"}'.encode("utf-16")),
    "byte order mark": (JSON, b'\xef\xbb\xbf{"accession": "A"}'),
    "text": (JSON, b'"text"'),
    "nothing": (JSON, b"null"),
    "repeated key": (JSON, b'{"scope": "ALL", "scope": {}, "groupId": 1, "groupId": []}'),
    "plain text": ("text/plain", b'{"scope": "ALL"}'),
    "odd type": ("application/json; charset=utf-7", b"+AHsAfQ-"),
    "broken type": ("///;=", b"{}"),
    "XML": ("application/xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    "form of NUL": (FORM, b"groupId=%00&pipelineVersion=%00"),
    "form, no UTF-8": (FORM, b"groupId=%ff%fe&%ff=1&\xff\xfe"),
    "form of many fields": (FORM, b"a=1&" * 5000),
    "form, repeated": (FORM, b"groupId=1&groupId=2&groupId=x"),
    "parts without boundary": (MULTIPART, b"--b\r\n"),
    "parts that never end": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="metadataFile"; filename="m.tsv"\r\n',
    ),
    "part without name": (PARTS, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
    "part of an odd charset": (
        "multipart/form-data; boundary=b; charset=rot13",
        b'--b\r\nContent-Disposition: form-data; name="groupId"\r\n\r\n1\r\n--b--\r\n',
    ),
    "text where a file belongs": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="metadataFile"\r\n\r\nid\tdate\r\n--b--\r\n',
    ),
    "file where text belongs": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="groupId"; filename="1"\r\n\r\n1\r\n--b--\r\n',
    ),
    "many parts": (PARTS, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1500 + b"--b--\r\n"),
    "many files": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n1\r\n' * 30 + b"--b--\r\n",
    ),
    "long field": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="groupId"\r\n\r\n' + b"1" * 2_000_000 + b"\r\n--b--\r\n",
    ),
    "long header of a part": (PARTS, b"--b\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\nx\r\n--b--\r\n"),
    "lines": ("application/x-ndjson", b"{}\nnull\n[]\n{\n" + b"[" * 2000 + b"\n"),
}
LISTS = {
    "/files/request-uploads": b'{"groupId": 1, "files": [%s]}',
    "/files/complete-multipart-upload": b"[%s]",
    "/sars-cov-2/approve-processed-data": b'{"scope": "ALL", "accessionVersionsFilter": [%s]}',
    "/sars-cov-2/send-back": b'{"reason": "r", "accessionVersions": [%s]}',
    "/sars-cov-2/revoke": b'{"accessions": [%s]}',
}


@pytest.fixture(scope="module")
def app(scene: Scene, issuer: EmbeddedIssuer) -> FastAPI:
    return create_app(scene.house, Identity(issuer))


@pytest.fixture(scope="module")
def client(app: FastAPI, portal: BlockingPortal) -> TestClient:
    opened = TestClient(app, follow_redirects=False, raise_server_exceptions=False)
    opened.portal = portal
    return opened


def written(app: FastAPI, scene: Scene) -> list[tuple[str, str]]:
    """Every route that takes a body, on what the scene has."""
    found = set()
    for route in iter_route_contexts(app.routes):
        for method in (route.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            found.add(
                (method, re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: str(scene.values.get(m[1], "x")), str(route.path)))
            )
    return sorted(found)


def assert_refusal(answer: httpx.Response, *, where: str) -> None:
    """A refusal of the one shape; OAuth's at the token endpoint."""
    told = f"{where}: {answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500, told
    if answer.status_code >= 400 and "openid-connect" not in where:
        assert answer.headers["content-type"] == "application/problem+json", told
        assert set(answer.json()) >= {"type", "title", "status", "detail", "instance"}, told


@pytest.mark.parametrize("name", BODIES)
def test_no_body_is_a_server_error(name: str, app: FastAPI, scene: Scene, client: TestClient) -> None:
    scene.restore()
    media_type, body = BODIES[name]
    headers = {**(scene.headers("maintainer") or {}), "Content-Type": media_type}  # who gets furthest
    routes = written(app, scene)
    assert len(routes) > 15
    for method, path in routes:
        answer = client.request(method, path, content=body, headers=headers)
        assert_refusal(answer, where=f"{method} {path} {name}")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_a_million_bad_items_costs_nothing(path: str, scene: Scene, client: TestClient) -> None:
    body = LISTS[path] % (b"{}," * 1_000_000 + b"{}")
    headers = {**(scene.headers("same_group") or {}), "Content-Type": JSON}
    before = time.process_time()
    answer = client.post(path, content=body, headers=headers)
    assert_refusal(answer, where=path)
    assert answer.status_code == 400
    assert len(answer.content) < 20_000
    assert time.process_time() - before < 8, "each bad item became a fault of its own"


@pytest.mark.parametrize("declared", ["-1", "1e3", "9" * 30, "9" * 6000, str(BYTES_OF_JSON + 1), "0x10", "+5", " "])
def test_a_declared_length_that_lies_is_refused(declared: str, scene: Scene, client: TestClient) -> None:
    headers = {**(scene.headers("same_group") or {}), "Content-Type": JSON, "Content-Length": declared}
    answer = client.post("/groups", content=iter([b"{}"]), headers=headers)
    assert_refusal(answer, where=declared)
    assert answer.status_code in (400, 413)


def test_of_a_repeated_parameter_the_first_counts_in_query_and_form(scene: Scene, client: TestClient) -> None:
    """So that who checks and who acts never read two different values."""
    headers = scene.headers("same_group")
    ours, theirs = scene.ours.group_id, scene.theirs.group_id
    foreign = client.post(f"/files/request-upload?groupId={theirs}", data={"groupId": str(ours)}, headers=headers)
    assert foreign.status_code == 403
    own = client.post(f"/files/request-upload?groupId={ours}&groupId={theirs}", headers=headers)
    assert own.status_code == 200
    listed = client.get(f"/sars-cov-2/get-sequences?groupIdsFilter={ours}&groupIdsFilter={theirs}", headers=headers)
    assert listed.status_code == 403


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PUT", "PROPFIND", "X" * 30])
def test_a_method_that_a_path_lacks_is_a_problem(method: str, scene: Scene, client: TestClient) -> None:
    for path in ("/sars-cov-2/submit", "/user/groups", "/actuator/health"):
        answer = client.request(method, path, headers=scene.headers("same_group"))
        assert_refusal(answer, where=f"{method} {path}")
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]


def test_a_slash_too_many_is_no_route_and_no_redirect(scene: Scene, client: TestClient) -> None:
    for path in ("/groups/", "/user/groups/", "/sars-cov-2/get-sequences/", "/groups/1/"):
        answer = client.get(path, headers=scene.headers("same_group"))
        assert answer.status_code in (400, 404), path
        assert "location" not in answer.headers


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/xml", "", "application/json;q=0", "a" * 5000])
def test_what_is_accepted_changes_no_answer(accept: str, scene: Scene, client: TestClient) -> None:
    headers = {**(scene.headers("same_group") or {}), "Accept": accept}
    assert client.get("/user/groups", headers=headers).headers["content-type"] == JSON
    assert client.get("/groups/4711", headers=headers).headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("bearer", ["Bearer ", "Bearer", "bearer", "Bearer  ", "Basic YTpi", "Bearer a b c", "\xff"])
def test_no_odd_authorization_gets_in(bearer: str, client: TestClient) -> None:
    answer = client.get("/user/groups", headers=[(b"Authorization", bearer.encode("latin-1"))])
    # An empty bearer gets 403 from Loculus, and so it does here.
    assert answer.status_code == (403 if bearer.strip().lower() == "bearer" else 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_root_says_what_loculus_root_says(client: TestClient) -> None:
    answer = client.get("/", headers={"Accept": JSON})
    assert list(answer.json()) == ["name", "status", "documentation", "isInDebugMode"]
    assert (answer.status_code, answer.json()["status"]) == (200, "Healthy")


def test_many_bad_items_are_told_within_bounds(scene: Scene, client: TestClient) -> None:
    body: dict[str, Any] = {"groupId": scene.group_id, "files": [{"name": "x" * 300, "size": -1}] * 9000}
    answer = client.post(
        "/files/request-uploads",
        content=json.dumps(body),
        headers={**(scene.headers("same_group") or {}), "Content-Type": JSON},
    )
    assert answer.status_code == 400
    assert len(answer.content) < 20_000
