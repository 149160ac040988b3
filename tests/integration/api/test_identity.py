"""Tokens: what is believed, and what is not."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from readvault.adapters.identity import EmbeddedIssuer, Identity, InvalidToken, PublishedKeys, identity_of
from readvault.config import IdentitySettings, Settings
from readvault.domain.actor import Actor
from readvault.domain.errors import NotReady, Unavailable

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
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_tokens_are_refused(
    issuer: EmbeddedIssuer, issuer_key: Path, sign: Any, claims: dict[str, Any], forgery: str
) -> None:
    token = FORGERIES[forgery](sign, claims, issuer_key, _key_id(issuer))
    with pytest.raises(InvalidToken):
        Identity(issuer).actor(f"Bearer {token}")


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


class _Issuer:
    """An outside issuer that can rotate its keys and count who asks for them."""

    def __init__(self) -> None:
        self.jwks: dict[str, Any] = {"keys": []}
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = json.dumps(outer.jwks).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/certs"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def outside() -> Iterator[_Issuer]:
    server = _Issuer()
    yield server
    server.stop()


def test_an_outside_issuers_keys_are_fetched_once(outside: _Issuer, issuer: EmbeddedIssuer) -> None:
    outside.jwks = issuer.jwks()
    settings = Settings(identity=IdentitySettings(jwks_url=outside.url))
    identity = identity_of(settings)
    assert identity.embedded is None
    header = f"Bearer {issuer.tokens(ALICE)['access_token']}"
    assert [identity.actor(header) for _ in range(3)] == [ALICE] * 3
    assert outside.asked == 1


def test_rotated_keys_are_fetched_but_forged_key_ids_do_not_hammer_the_issuer(
    outside: _Issuer, issuer: EmbeddedIssuer, sign: Any, claims: dict[str, Any]
) -> None:
    outside.jwks = {"keys": [{**issuer.jwks()["keys"][0], "kid": "old"}]}
    now = [0.0]
    keys = PublishedKeys(outside.url, clock=lambda: now[0])
    assert keys.key("old").key_id == "old"
    outside.jwks = issuer.jwks()
    identity = Identity(keys)
    for number in range(5):
        with pytest.raises(InvalidToken):
            identity.actor(f"Bearer {sign(claims, kid=f'forged-{number}')}")
    assert outside.asked == 1
    now[0] = 31.0
    assert identity.actor(f"Bearer {issuer.tokens(ALICE)['access_token']}") == ALICE
    assert outside.asked == 2


def test_an_unreachable_issuer_is_our_trouble_not_a_bad_token(issuer: EmbeddedIssuer) -> None:
    identity = Identity(PublishedKeys("http://127.0.0.1:9/certs", timeout=0.5))
    with pytest.raises(Unavailable):
        identity.actor(f"Bearer {issuer.tokens(ALICE)['access_token']}")


def test_a_jwks_address_that_is_no_web_address_stops_the_start() -> None:
    with pytest.raises(NotReady):
        PublishedKeys("file:///etc/passwd")
