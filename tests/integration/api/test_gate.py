"""Who gets in: every route of the API is private unless it stands in this list."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.types import Message

from readvault.adapters.identity import Identity, PublishedKeys
from readvault.api.app import create_app
from readvault.services.house import House
from tests.houses import ALICE
from tests.integration.api.problems import assert_problem

PUBLIC = {
    ("GET", "/"),
    ("GET", "/actuator/health"),
    ("GET", "/actuator/health/liveness"),
    ("GET", "/actuator/health/readiness"),
    ("GET", "/api-docs"),
    ("GET", "/files/get/{accession}/{version}/{category}/{name}"),
    ("HEAD", "/files/get/{accession}/{version}/{category}/{name}"),
    ("GET", "/groups/{group_id}"),
    ("GET", "/loculus-info"),
    ("GET", "/realms/loculus/.well-known/openid-configuration"),
    ("GET", "/realms/loculus/protocol/openid-connect/certs"),
    ("POST", "/realms/loculus/protocol/openid-connect/token"),
    ("GET", "/{organism}/get-released-data"),
    ("GET", "/{organism}/get-silo-reads"),
    ("GET", "/{organism}/get-silo-reads/{export}/{name}"),
    ("HEAD", "/{organism}/get-silo-reads/{export}/{name}"),
    # A drop link's own token is asked for, and nothing is told without one.
    ("GET", "/drop"),
    ("POST", "/drop/files"),
    ("POST", "/drop/forms"),
    ("GET", "/drop/files/{object_name}"),
    ("POST", "/drop/files/{object_name}/url"),
    ("POST", "/drop/files/{object_name}/parts"),
    ("POST", "/drop/files/{object_name}/complete"),
    ("GET", "/data-use-terms/{accession}"),
    ("GET", "/files/released/{accession}/{version}/{pipeline_version}/{category}/{name}"),
    ("HEAD", "/files/released/{accession}/{version}/{pipeline_version}/{category}/{name}"),
    ("GET", "/{organism}/lapis/sample/aggregated"),
    ("GET", "/{organism}/lapis/sample/alignedNucleotideSequences"),
    ("GET", "/{organism}/lapis/sample/details"),
    ("GET", "/{organism}/lapis/sample/unalignedNucleotideSequences"),
    ("GET", "/{organism}/lapis/sample/alignedNucleotideSequences/{segment}"),
    ("GET", "/{organism}/lapis/sample/unalignedNucleotideSequences/{segment}"),
    ("GET", "/{organism}/manifest/{accession}/{version}"),
    ("GET", "/{organism}/manifests"),
    ("GET", "/{organism}/manifests/{accession}/{version}"),
    ("GET", "/{organism}/metadata-template"),
}
VALUES = {"organism": "sars-cov-2", "version": "1", "pipeline_version": "1", "group_id": "1"}


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Every method and path of the API, from its own description, and the hidden HEAD."""
    described = {(method.upper(), path) for path, each in app.openapi()["paths"].items() for method in each}
    return described | {("GET", "/api-docs")}


def _concrete(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: VALUES.get(match[1], "x"), path)


def test_anonymous_gets_into_what_is_public_and_nothing_else(app: FastAPI, api: TestClient) -> None:
    open_to_all = set()
    for method, path in sorted(routes(app)):
        response = api.request(method, _concrete(path))
        if response.status_code != 401 or "Authentication needed: the file is not public" in response.text:
            open_to_all.add((method, path))
        elif method != "HEAD" and "openid-connect" not in path:
            assert_problem(response, 401)
    assert open_to_all == PUBLIC


def test_a_bad_token_is_refused_even_where_none_is_needed(app: FastAPI, api: TestClient) -> None:
    for method, path in sorted(routes(app)):
        response = api.request(method, _concrete(path), headers={"Authorization": "Bearer forged"})
        assert (response.status_code, response.content) == (401, b""), path
        assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token", error_description="')


def test_a_strangers_body_is_never_read(app: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body of an anonymous request was read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/groups",
        "raw_path": b"/groups",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_what_isnt_a_route_is_private_too(api: TestClient, headers: Any) -> None:
    assert_problem(api.get("/admin/anything"), 401)
    assert_problem(api.get("/admin/anything", headers=headers(ALICE)), 404)


def test_with_an_outside_issuer_nobody_logs_in_here(house: House) -> None:
    app = create_app(house, Identity(PublishedKeys("http://127.0.0.1:9/certs")))
    with TestClient(app) as client:
        assert client.post("/realms/loculus/protocol/openid-connect/token").status_code == 404
    assert not [route for route in app.routes if isinstance(route, APIRoute) and "realms" in route.path]


def test_operation_ids_are_pretty_and_unique(app: FastAPI) -> None:
    ids = [operation["operationId"] for each in app.openapi()["paths"].values() for operation in each.values()]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z_]+", name) for name in ids)


def test_every_operation_is_listed_under_a_heading_that_says_what_it_is_about(app: FastAPI) -> None:
    described = app.openapi()
    operations = [operation for each in described["paths"].values() for operation in each.values()]
    headings = [tag["name"] for tag in described["tags"] if tag["description"]]
    assert {tuple(operation["tags"]) for operation in operations} == {(name,) for name in headings}
    assert all(operation["description"] for operation in operations)
