"""The built-in issuer, as Loculus's clients use Keycloak."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from readvault.adapters.identity import EmbeddedIssuer
from readvault.api.login_limit import MAX_FAILURES, MAX_NAMES, WINDOW_SECONDS, LoginLimit
from readvault.db.tables import UserAccount
from readvault.services.house import House
from readvault.services.people.accounts import create_account

TOKEN = "/realms/loculus/protocol/openid-connect/token"
PASSWORD = {"grant_type": "password", "client_id": "backend-client", "username": "alice", "password": "right horse"}


@pytest.fixture
def alice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account whose password is hashed at little cost."""
    monkeypatch.setattr("readvault.services.people.accounts._COST", 2)
    create_account(house, "alice", "right horse", ["super_user"])


def _disable(house: House, name: str) -> None:
    with house.sessions.begin() as session:
        assert isinstance(session, Session)
        account = session.get(UserAccount, name)
        assert account is not None
        account.disabled = True


@pytest.mark.usefixtures("alice")
def test_a_password_gives_tokens_in_keycloaks_shape(api: TestClient) -> None:
    answer = api.post(TOKEN, data=PASSWORD)
    assert answer.status_code == 200
    token = answer.json()
    assert {"access_token", "refresh_token", "expires_in", "refresh_expires_in", "token_type"} <= set(token)
    assert (token["expires_in"], token["token_type"]) == (600, "Bearer")
    claims = jwt.decode(token["access_token"], options={"verify_signature": False})
    assert claims["preferred_username"] == "alice"
    assert claims["realm_access"] == {"roles": ["super_user"]}
    assert claims["exp"] - claims["iat"] == 600
    answer = api.get("/user/groups", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert answer.json() == []


@pytest.mark.usefixtures("alice")
def test_published_keys_verify_what_was_issued(api: TestClient) -> None:
    about = api.get("/realms/loculus/.well-known/openid-configuration").json()
    jwks = api.get(about["jwks_uri"].removeprefix("http://testserver")).json()
    token = api.post(about["token_endpoint"].removeprefix("http://testserver"), data=PASSWORD).json()["access_token"]
    (key,) = jwt.PyJWKSet.from_dict(jwks).keys
    assert jwt.get_unverified_header(token)["kid"] == key.key_id
    assert jwt.decode(token, key.key, algorithms=["RS256"], issuer=about["issuer"])["sub"] == "alice"
    assert set(jwks["keys"][0]) == {"kty", "n", "e", "kid", "use", "alg"}  # nothing private


@pytest.mark.usefixtures("alice")
def test_a_refresh_token_gives_new_tokens(api: TestClient) -> None:
    refresh = api.post(TOKEN, data=PASSWORD).json()["refresh_token"]
    answer = api.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": refresh})
    assert answer.status_code == 200
    assert jwt.decode(answer.json()["access_token"], options={"verify_signature": False})["sub"] == "alice"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({**PASSWORD, "password": "wrong"}, 401, "invalid_grant"),
        ({**PASSWORD, "username": "nobody"}, 401, "invalid_grant"),
        ({"grant_type": "password"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "forged"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token"}, 400, "invalid_grant"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
    ],
)
def test_what_proves_nothing_gives_nothing(api: TestClient, form: dict[str, str], status: int, error: str) -> None:
    answer = api.post(TOKEN, data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}


@pytest.mark.usefixtures("alice")
def test_a_wrong_password_and_an_unknown_user_look_the_same(api: TestClient) -> None:
    answers = [api.post(TOKEN, data={**PASSWORD, **change}) for change in ({"password": "x"}, {"username": "nobody"})]
    assert answers[0].content == answers[1].content


@pytest.mark.usefixtures("alice")
def test_a_disabled_user_gets_no_more_tokens(api: TestClient, house: House) -> None:
    refresh = api.post(TOKEN, data=PASSWORD).json()["refresh_token"]
    _disable(house, "alice")
    assert api.post(TOKEN, data=PASSWORD).status_code == 401
    assert api.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": refresh}).status_code == 400


def test_an_access_token_refreshes_nothing(api: TestClient, issuer: EmbeddedIssuer, headers: Any) -> None:
    from tests.houses import ALICE

    token = issuer.tokens(ALICE)["access_token"]
    assert api.post(TOKEN, data={"grant_type": "refresh_token", "refresh_token": token}).status_code == 400


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_guessing_a_password_is_slowed_down_for_that_name_only() -> None:
    clock = _Clock()
    limit = LoginLimit(clock)
    for _ in range(MAX_FAILURES):
        assert limit.seconds_to_wait("alice") == 0
        limit.failed("alice")
        clock.now += 1
    assert limit.seconds_to_wait("alice") == pytest.approx(WINDOW_SECONDS - MAX_FAILURES)
    assert limit.seconds_to_wait("bob") == 0
    clock.now = WINDOW_SECONDS + 0.5
    assert limit.seconds_to_wait("alice") == 0


def test_a_right_password_wipes_the_slate() -> None:
    limit = LoginLimit(_Clock())
    for _ in range(MAX_FAILURES - 1):
        limit.failed("alice")
    limit.succeeded("alice")
    limit.failed("alice")
    assert limit.seconds_to_wait("alice") == 0


def test_the_slate_does_not_grow_without_end() -> None:
    limit = LoginLimit(_Clock())
    for number in range(MAX_NAMES + 10):
        limit.failed(f"name{number}")
    assert len(limit._failures) == MAX_NAMES


@pytest.mark.usefixtures("alice")
def test_after_too_many_failures_even_the_right_password_has_to_wait(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readvault.api.login_limit.MAX_FAILURES", 2)
    for _ in range(2):
        assert api.post(TOKEN, data={**PASSWORD, "password": "guess"}).status_code == 401
    refused = api.post(TOKEN, data=PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_SECONDS
