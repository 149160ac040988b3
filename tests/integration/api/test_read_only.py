"""Read-only mode: people look and log in, nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from fastapi.testclient import TestClient

from readvault.adapters.identity import REALM, EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.services.house import House
from readvault.services.people import accounts
from tests.houses import ALICE, group_of
from tests.integration.api.problems import assert_problem

TEXT = "This Loculus instance is in read-only mode; write requests are disabled."


@pytest.fixture
def frozen(house: House, issuer: EmbeddedIssuer, portal: BlockingPortal) -> TestClient:
    house.settings.read_only_mode = True
    client = TestClient(create_app(house, Identity(issuer)), follow_redirects=False, raise_server_exceptions=False)
    client.portal = portal
    return client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/groups"),
        ("PUT", "/groups/1"),
        ("PUT", "/groups/1/users/bob"),
        ("DELETE", "/groups/1/users/bob"),
        ("POST", "/files/request-upload?groupId=1"),
        ("POST", "/sars-cov-2/submit"),
        ("POST", "/sars-cov-2/approve-processed-data"),
        ("DELETE", "/sars-cov-2/delete-sequence-entry-versions"),
        ("POST", "/user/tokens"),
        ("POST", "/admin/entries/A/1/withdraw"),
        ("PATCH", "/no/such/path"),
    ],
)
def test_whatever_could_change_something_is_refused(frozen: TestClient, headers: Any, method: str, path: str) -> None:
    answer = frozen.request(method, path, headers=headers(ALICE))
    assert assert_problem(answer, 503) == TEXT
    assert answer.headers["retry-after"]


def test_people_still_look_and_log_in(frozen: TestClient, house: House, headers: Any) -> None:
    accounts.create_account(house, "alice", "wonderland")
    group_id = group_of(house, ALICE)
    for path in ("/", "/loculus-info", f"/groups/{group_id}", "/user/groups", "/sars-cov-2/get-sequences"):
        assert frozen.get(path, headers=headers(ALICE)).status_code == 200
    form = {"grant_type": "password", "client_id": "backend-client", "username": "alice", "password": "wonderland"}
    token = frozen.post(f"{REALM}/protocol/openid-connect/token", data=form)
    assert token.status_code == 200
    assert frozen.options("/groups").status_code < 500


def test_strangers_learn_nothing_more_by_it(frozen: TestClient) -> None:
    assert_problem(frozen.post("/groups", json={}), 401)


def test_without_it_nothing_is_refused_for_that(api: TestClient, headers: Any) -> None:
    assert_problem(api.post("/groups", json={}, headers=headers(ALICE)), 400)
