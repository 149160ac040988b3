"""Tokens: what is believed, and what is not."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi.testclient import TestClient
from jwt.algorithms import RSAAlgorithm

from readvault.adapters.identity import EmbeddedIssuer, Identity, InvalidToken, identity_of
from readvault.config import Settings
from readvault.domain.actor import Actor
from readvault.domain.errors import NotReady

ALICE = Actor("alice", frozenset({"super_user"}))
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _key_id(issuer: EmbeddedIssuer) -> str:
    return str(issuer.jwks()["keys"][0]["kid"])


@functools.cache
def _private_key(issuer_key: Path) -> Any:
    return serialization.load_pem_private_key(issuer_key.read_bytes(), password=None)


def _public_pem(issuer_key: Path) -> bytes:
    return (
        _private_key(issuer_key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _raw(header: dict[str, Any], payload: bytes, issuer_key: Path) -> str:
    """A payload of any bytes, rightly signed: nothing but its content is wrong."""
    head = f"{_encoded(json.dumps(header).encode())}.{_encoded(payload)}"
    signature = _private_key(issuer_key).sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{head}.{_encoded(signature)}"


def _signed_by_hand(header: dict[str, Any], claims: dict[str, Any], issuer_key: Path) -> str:
    """For what a library would refuse to write."""
    return _raw(header, json.dumps(claims).encode(), issuer_key)


def _hmac_signed(algorithm: str, key_id: str, claims: dict[str, Any], secret: bytes) -> str:
    head = _unsigned({"alg": algorithm, "kid": key_id}, claims).rpartition(".")[0]
    return f"{head}.{_encoded(hmac.new(secret, head.encode(), f'sha{algorithm[2:]}').digest())}"


def _with_payload(token: str, claims: dict[str, Any]) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{_encoded(json.dumps(claims).encode())}.{signature}"


def _foreign_jwk(key_id: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key(), as_dict=True), "kid": key_id, "alg": "RS256"}


@pytest.fixture
def claims() -> dict[str, Any]:
    return {"preferred_username": "alice", "exp": time.time() + 600, "realm_access": {"roles": []}}


@pytest.fixture
def sign(issuer: EmbeddedIssuer, issuer_key: Path) -> Callable[..., str]:
    """Signs as the issuer would, unless told otherwise."""

    def signed(claims: dict[str, Any], *, key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
        key = key if key is not None else _private_key(issuer_key)
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": _key_id(issuer), **header})

    return signed


def test_a_token_of_the_issuer_names_its_user_and_roles(issuer: EmbeddedIssuer) -> None:
    token = issuer.tokens(ALICE)["access_token"]
    assert Identity(issuer).actor(f"Bearer {token}") == ALICE
    assert Identity(issuer).actor(f"bearer {token}") == ALICE


@pytest.mark.parametrize("header", [None, "", "Basic YWxpY2U6c2VjcmV0"])
def test_without_a_bearer_token_nobody_is_asking(issuer: EmbeddedIssuer, header: str | None) -> None:
    assert Identity(issuer).actor(header) is None


def test_tokens_in_keycloak_shape_are_believed(issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any]) -> None:
    token = sign({**claims, "aud": "account", "iss": "http://keycloak/realms/loculus", "realm_access": None})
    assert Identity(issuer).actor(f"Bearer {token}") == Actor("alice")


FORGERIES: dict[str, Callable[[Any, dict[str, Any], Path, str], str]] = {
    "no token": lambda sign, claims, key, kid: "",
    "no JWT": lambda sign, claims, key, kid: "x.y.z",
    "algorithm none": lambda sign, claims, key, kid: _unsigned({"alg": "none", "kid": kid}, claims),
    "algorithm nOnE": lambda sign, claims, key, kid: _unsigned({"alg": "nOnE", "kid": kid}, claims),
    "no algorithm": lambda sign, claims, key, kid: _unsigned({"kid": kid}, claims),
    "RS256 without signature": lambda sign, claims, key, kid: _unsigned({"alg": "RS256", "kid": kid}, claims),
    "a foreign key": lambda sign, claims, key, kid: sign(claims, key=FOREIGN_KEY),
    "a foreign key with its own ID": lambda sign, claims, key, kid: sign(claims, key=FOREIGN_KEY, kid="theirs"),
    "a path as key ID": lambda sign, claims, key, kid: sign(claims, kid="../../etc/passwd"),
    "a number as key ID": lambda sign, claims, key, kid: _unsigned({"alg": "RS256", "kid": 7}, claims, b"x"),
    "another RSA algorithm": lambda sign, claims, key, kid: sign(claims, algorithm="RS512"),
    "expired": lambda sign, claims, key, kid: sign({**claims, "exp": time.time() - 60}),
    "not yet valid": lambda sign, claims, key, kid: sign({**claims, "nbf": time.time() + 600}),
    "no expiry": lambda sign, claims, key, kid: sign({k: v for k, v in claims.items() if k != "exp"}),
    "expiry is no number": lambda sign, claims, key, kid: sign({**claims, "exp": "never"}),
    "no user": lambda sign, claims, key, kid: sign({k: v for k, v in claims.items() if k != "preferred_username"}),
    "empty user": lambda sign, claims, key, kid: sign({**claims, "preferred_username": " "}),
    "user is no text": lambda sign, claims, key, kid: sign({**claims, "preferred_username": {"a": 1}}),
    "claims are no object": lambda sign, claims, key, kid: _unsigned({"alg": "RS256", "kid": kid}, ["a"], b"x"),  # type: ignore[arg-type]
    "a megabyte": lambda sign, claims, key, kid: sign({**claims, "x": "x" * 10**6}),
    "a shell command as key ID": lambda sign, claims, key, kid: sign(claims, kid="$(cat /etc/passwd)|x"),
    "SQL as key ID": lambda sign, claims, key, kid: sign(claims, kid="' OR '1'='1' --"),
    "an address as key ID": lambda sign, claims, key, kid: sign(claims, kid="http://127.0.0.1:9/key"),
    "an empty key ID": lambda sign, claims, key, kid: sign(claims, kid=""),
    "no key ID": lambda sign, claims, key, kid: jwt.encode(claims, _private_key(key), algorithm="RS256"),
    "a list as key ID": lambda sign, claims, key, kid: _signed_by_hand({"alg": "RS256", "kid": [kid]}, claims, key),
    "null as key ID": lambda sign, claims, key, kid: _signed_by_hand({"alg": "RS256", "kid": None}, claims, key),
    "a very long key ID": lambda sign, claims, key, kid: sign(claims, kid="k" * 10_000),
    "a key of its own (jwk)": lambda sign, claims, key, kid: sign(claims, key=FOREIGN_KEY, jwk=_foreign_jwk(kid)),
    "keys of its own (jku)": lambda sign, claims, key, kid: sign(
        claims, key=FOREIGN_KEY, kid="theirs", jku="http://127.0.0.1:9/keys"
    ),
    "a certificate of its own (x5u)": lambda sign, claims, key, kid: sign(
        claims, key=FOREIGN_KEY, x5u="http://127.0.0.1:9/certificate"
    ),
    "a certificate of its own (x5c)": lambda sign, claims, key, kid: sign(claims, key=FOREIGN_KEY, x5c=["MIIB"]),
    "a critical header": lambda sign, claims, key, kid: sign(claims, crit=["exp"]),
    "a payload that isn't encoded (b64)": lambda sign, claims, key, kid: sign(claims, b64=False, crit=["b64"]),
    "PS256 with a key for RS256": lambda sign, claims, key, kid: sign(claims, algorithm="PS256"),
    "RS384 with a key for RS256": lambda sign, claims, key, kid: sign(claims, algorithm="RS384"),
    "HS256 with an empty secret": lambda sign, claims, key, kid: _hmac_signed("HS256", kid, claims, b""),
    "HS384 with the key ID as secret": lambda sign, claims, key, kid: _hmac_signed("HS384", kid, claims, kid.encode()),
    "HS512 with the public key": lambda sign, claims, key, kid: _hmac_signed("HS512", kid, claims, _public_pem(key)),
    "rs256 in small letters": lambda sign, claims, key, kid: _signed_by_hand({"alg": "rs256", "kid": kid}, claims, key),
    "a list of algorithms": lambda sign, claims, key, kid: _signed_by_hand({"alg": ["RS256"], "kid": kid}, claims, key),
    "an ECDSA algorithm with an empty signature": lambda sign, claims, key, kid: _unsigned(
        {"alg": "ES256", "kid": kid}, claims, b"\x00" * 64
    ),
    "a changed payload": lambda sign, claims, key, kid: _with_payload(sign(claims), {**claims, "x": 1}),
    "another user's payload": lambda sign, claims, key, kid: _with_payload(
        sign(claims), {**claims, "preferred_username": "root"}
    ),
    "roles put in afterwards": lambda sign, claims, key, kid: _with_payload(
        sign(claims), {**claims, "realm_access": {"roles": ["super_user"]}}
    ),
    "a cut signature": lambda sign, claims, key, kid: sign(claims)[:-10],
    "a signature and more": lambda sign, claims, key, kid: sign(claims) + "AAAA",
    "four parts": lambda sign, claims, key, kid: sign(claims) + ".x",
    "two tokens": lambda sign, claims, key, kid: f"{sign(claims)},{sign(claims)}",
    "an encrypted token": lambda sign, claims, key, kid: "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d",
    "expiry is a text with a number": lambda sign, claims, key, kid: _signed_by_hand(
        {"alg": "RS256", "kid": kid}, {**claims, "exp": "99999999999"}, key
    ),
    "expiry is true": lambda sign, claims, key, kid: sign({**claims, "exp": True}),
    "expiry is infinite": lambda sign, claims, key, kid: sign({**claims, "exp": float("inf")}),
    "expiry is null": lambda sign, claims, key, kid: sign({**claims, "exp": None}),
    "expiry is negative": lambda sign, claims, key, kid: sign({**claims, "exp": -1}),
    "issued in the future": lambda sign, claims, key, kid: sign({**claims, "iat": time.time() + 600}),
    "issued at a text": lambda sign, claims, key, kid: _signed_by_hand(
        {"alg": "RS256", "kid": kid}, {**claims, "iat": "now"}, key
    ),
    "not before a text": lambda sign, claims, key, kid: _signed_by_hand(
        {"alg": "RS256", "kid": kid}, {**claims, "nbf": "later"}, key
    ),
    "a user with a line break": lambda sign, claims, key, kid: sign({**claims, "preferred_username": "a\r\nb"}),
    "a user with NUL": lambda sign, claims, key, kid: sign({**claims, "preferred_username": "alice\x00"}),
    "a user with half a character": lambda sign, claims, key, kid: sign({**claims, "preferred_username": "a\ud800"}),
    "a user of a thousand letters": lambda sign, claims, key, kid: sign({**claims, "preferred_username": "a" * 1000}),
    "user is a list": lambda sign, claims, key, kid: sign({**claims, "preferred_username": ["alice"]}),
    "an ID token": lambda sign, claims, key, kid: sign({**claims, "typ": "ID"}),
    "an offline token": lambda sign, claims, key, kid: sign({**claims, "typ": "Offline"}),
    "a logout token": lambda sign, claims, key, kid: sign({**claims, "typ": "Logout"}),
    "deep JSON": lambda sign, claims, key, kid: _raw({"alg": "RS256", "kid": kid}, b'{"a":' * 3000, key),
    "claims are a number": lambda sign, claims, key, kid: _raw({"alg": "RS256", "kid": kid}, b"7", key),
    "claims are no JSON": lambda sign, claims, key, kid: _raw({"alg": "RS256", "kid": kid}, b"alice", key),
    "claims are no UTF-8": lambda sign, claims, key, kid: _raw({"alg": "RS256", "kid": kid}, b'{"a":"\xff"}', key),
}


def test_there_are_many_ways_to_forge() -> None:
    assert len(FORGERIES) >= 60


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_tokens_are_refused(
    issuer: EmbeddedIssuer, issuer_key: Path, sign: Any, claims: dict[str, Any], forgery: str
) -> None:
    token = FORGERIES[forgery](sign, claims, issuer_key, _key_id(issuer))
    with pytest.raises(InvalidToken):
        Identity(issuer).actor(f"Bearer {token}")


@pytest.mark.parametrize("forgery", sorted(FORGERIES.keys() - {"no token"}))
def test_forged_tokens_get_401_and_not_a_word_more(
    api: TestClient, issuer: EmbeddedIssuer, issuer_key: Path, sign: Any, claims: dict[str, Any], forgery: str
) -> None:
    token = FORGERIES[forgery](sign, claims, issuer_key, _key_id(issuer))
    refused = api.get("/user/groups", headers={"Authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.content) == (401, b"")
    assert refused.headers["www-authenticate"].startswith('Bearer error="invalid_token", error_description="')
    assert token[:40] not in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    "access",
    [None, 7, "super_user", ["super_user"], {}, {"roles": None}, {"roles": "super_user"}, {"roles": {"super_user": 1}}],
    ids=repr,
)
def test_roles_of_another_shape_are_no_roles(
    issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any], access: Any
) -> None:
    token = sign({**claims, "realm_access": access})
    assert Identity(issuer).actor(f"Bearer {token}") == Actor("alice")


def test_roles_that_are_no_texts_are_left_out(issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any]) -> None:
    token = sign({**claims, "realm_access": {"roles": ["super_user", 7, None, ["a"]]}, "groups": ["1"], "roles": ["x"]})
    assert Identity(issuer).actor(f"Bearer {token}") == ALICE


def test_clocks_may_differ_by_half_a_minute(issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any]) -> None:
    now = time.time()
    for times in ({"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}):
        assert Identity(issuer).actor(f"Bearer {sign({**claims, **times})}") == Actor("alice")
        with pytest.raises(InvalidToken):
            Identity(issuer, leeway=0).actor(f"Bearer {sign({**claims, **times})}")


def test_a_token_signed_with_the_public_key_as_hmac_secret_is_refused(
    issuer: EmbeddedIssuer, issuer_key: Path, claims: dict[str, Any]
) -> None:
    """The RS/HS confusion: everybody has the public key, so it must never count as a secret."""
    head = _unsigned({"alg": "HS256", "kid": _key_id(issuer)}, claims).rpartition(".")[0]
    mac = hmac.new(_public_pem(issuer_key), head.encode(), hashlib.sha256).digest()
    token = f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(InvalidToken, match="algorithm"):
        Identity(issuer).actor(f"Bearer {token}")


def test_a_refresh_token_opens_nothing(issuer: EmbeddedIssuer) -> None:
    refresh = issuer.tokens(ALICE)["refresh_token"]
    with pytest.raises(InvalidToken):
        Identity(issuer).actor(f"Bearer {refresh}")
    assert issuer.name_in_refresh_token(refresh) == "alice"


def test_an_access_token_renews_nothing(issuer: EmbeddedIssuer) -> None:
    with pytest.raises(InvalidToken):
        issuer.name_in_refresh_token(issuer.tokens(ALICE)["access_token"])


@pytest.mark.parametrize(("claim", "setting"), [("iss", "issuer"), ("aud", "audience")])
def test_issuer_and_audience_are_demanded_when_configured(
    issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any], claim: str, setting: str
) -> None:
    identity = Identity(issuer, **{setting: "ours"})
    assert identity.actor(f"Bearer {sign({**claims, claim: 'ours'})}") == Actor("alice")
    for token in (sign(claims), sign({**claims, claim: "theirs"})):
        with pytest.raises(InvalidToken):
            identity.actor(f"Bearer {token}")


def test_the_issuers_key_is_private_and_outlives_restarts(tmp_path: Path) -> None:
    path = tmp_path / "data" / "identity-key.pem"
    first = EmbeddedIssuer(path, url="http://a", token_minutes=1)
    again = EmbeddedIssuer(path, url="http://b", token_minutes=1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    token = first.tokens(ALICE)["access_token"]
    assert Identity(again).actor(f"Bearer {token}") == ALICE


def test_a_broken_key_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "identity-key.pem"
    path.write_text("nonsense")
    with pytest.raises(NotReady, match=r"identity-key\.pem"):
        EmbeddedIssuer(path, url="http://a", token_minutes=1)


def test_the_built_in_issuer_says_loudly_what_it_is_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    identity = identity_of(Settings(data_dir=tmp_path))
    assert identity.embedded is not None
    assert "one machine" in caplog.text
