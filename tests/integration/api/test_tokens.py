"""Machine tokens over HTTP, and accounts that are disabled while their tokens live."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.services.house import House
from readvault.services.people import accounts
from tests.houses import ALICE, GROUP, MAINTAINER, group_of
from tests.integration.api.problems import assert_problem

WISH: dict[str, Any] = {"name": "robot", "scopes": ["upload"], "expiresInDays": 7}


@pytest.fixture(autouse=True)
def alice(house: House) -> None:
    accounts.create_account(house, "alice", "wonderland")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_made_used_listed_and_revoked(api: TestClient, headers: Any, house: House) -> None:
    group_id = group_of(house, ALICE)
    made = api.post("/user/tokens", json={**WISH, "groupId": group_id}, headers=headers(ALICE))
    assert made.status_code == 200
    body = made.json()
    assert {"name": "robot", "scopes": ["upload"], "groupId": group_id, "revokedAt": None}.items() <= body.items()
    token = body.pop("token")
    assert api.get("/user/tokens", headers=headers(ALICE)).json() == [body]
    request = {"groupId": group_id, "numberFiles": 1}
    assert api.post("/files/request-upload", params=request, headers=bearer(token)).status_code == 200
    assert_problem(api.post("/groups", json={}, headers=bearer(token)), 400)
    assert_problem(api.get("/user/tokens", headers=bearer(token)), 403, "not meant")
    assert_problem(api.post("/user/tokens", json=WISH, headers=bearer(token)), 403, "not meant")
    assert api.delete(f"/user/tokens/{body['id']}", headers=headers(ALICE)).status_code == 204
    refused = api.post("/files/request-upload", params=request, headers=bearer(token))
    assert (refused.status_code, refused.content) == (401, b"")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert api.get("/user/tokens", headers=headers(ALICE)).json()[0]["revokedAt"] is not None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 101}, 400),
        ({"name": "\x00"}, 400),
        ({"scopes": []}, 400),
        ({"scopes": ["root"]}, 422),
        ({"scopes": "upload"}, 400),
        ({"expiresInDays": 366}, 400),
        ({"expiresInDays": 0}, 400),
        ({"groupId": 4711}, 404),
        ({"groupId": 2**40}, 400),
    ],
)
def test_bad_wishes(api: TestClient, headers: Any, change: dict[str, Any], status: int) -> None:
    assert_problem(api.post("/user/tokens", json=WISH | change, headers=headers(ALICE)), status)


def test_somebody_elses_token_and_an_unknown_one_get_one_answer(api: TestClient, headers: Any, house: House) -> None:
    made = api.post("/user/tokens", json=WISH, headers=headers(ALICE)).json()
    stranger = headers(Actor("mallory"))
    foreign = assert_problem(api.delete(f"/user/tokens/{made['id']}", headers=stranger), 404)
    assert foreign == assert_problem(api.delete("/user/tokens/unknown", headers=stranger), 404)


def test_the_same_key_makes_one_token(api: TestClient, headers: Any) -> None:
    key = {**headers(ALICE), "Idempotency-Key": "k1"}
    first = api.post("/user/tokens", json=WISH, headers=key).json()
    second = api.post("/user/tokens", json=WISH, headers=key).json()
    assert second == {**first, "token": None}
    assert_problem(api.post("/user/tokens", json={**WISH, "name": "other"}, headers=key), 422)


def test_a_disabled_account_is_out_at_the_next_request_though_its_token_lives(
    api: TestClient, headers: Any, house: House
) -> None:
    login = headers(ALICE)
    assert api.get("/user/groups", headers=login).status_code == 200
    accounts.disable_account(house, MAINTAINER, "alice")
    refused = api.get("/user/groups", headers=login)
    assert (refused.status_code, refused.content) == (401, b"")


def test_a_role_that_was_taken_away_is_gone_though_the_token_says_it(
    api: TestClient, headers: Any, house: House
) -> None:
    claimed = headers(Actor("alice", frozenset({MAINTAINER_ROLE})))
    group_of(house, Actor("bob"))
    assert api.get("/user/groups", headers=claimed).json() == []


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "bearer   "])
def test_a_bearer_without_a_token_is_refused_as_by_loculus(api: TestClient, header: str) -> None:
    answer = api.post("/files/request-upload", params={"groupId": 1}, headers={"Authorization": header})
    assert answer.status_code == 403


def test_a_group_that_is_asked_for_twice_with_one_key_is_made_once(api: TestClient, headers: Any) -> None:
    body = GROUP.model_dump(by_alias=True)
    key = {**headers(ALICE), "Idempotency-Key": "group-1"}
    first = api.post("/groups", json=body, headers=key)
    assert api.post("/groups", json=body, headers=key).json() == first.json()
    assert len(api.get("/user/groups", headers=headers(ALICE)).json()) == 1
    assert_problem(api.post("/groups", json={**body, "groupName": "Other"}, headers=key), 422)
    assert api.post("/groups", json=body, headers=headers(ALICE)).json() != first.json()
