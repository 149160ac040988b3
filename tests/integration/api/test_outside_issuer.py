"""An outside issuer: its keys are found, kept, rotated, and good for a while without it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from readvault.adapters import published_keys
from readvault.adapters.identity import Identity, InvalidToken, PublishedKeys, identity_of
from readvault.config import IdentitySettings, Settings
from readvault.domain.actor import Actor
from readvault.domain.errors import NotReady, Unavailable

ALICE = Actor("alice")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - what is tried is that it is refused
EC = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
Answer = tuple[int, dict[str, str], bytes]


def jwk(private: Any, key_id: str, **more: Any) -> dict[str, Any]:
    """The public key as issuers publish it."""
    kinds = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "Ed25519": OKPAlgorithm}
    kind: Any = next(kind for name, kind in kinds.items() if type(private).__name__.startswith(name))
    return {**kind.to_jwk(private.public_key(), as_dict=True), "kid": key_id, "use": "sig", **more}


class Issuer:
    """Answers by path; a test changes `answers` and counts `asked`."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, headers, body = outer.answers.get(self.path, lambda: (404, {}, b""))()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.describe()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.answers["/certs"] = lambda: (200, {}, json.dumps({"keys": keys}).encode())

    def describe(self, **changes: Any) -> None:
        document = {"issuer": self.address, "jwks_uri": f"{self.address}/certs", **changes}
        self.answers["/.well-known/openid-configuration"] = lambda: (200, {}, json.dumps(document).encode())

    def fail(self) -> None:
        """Answer nothing useful any more."""
        self.answers = {path: lambda: (502, {}, b"bad gateway") for path in self.answers}

    def token(self, key: Any = RSA, algorithm: str = "RS256", key_id: str | None = "k", **changes: Any) -> str:
        claims = {"iss": self.address, "aud": "readvault", "preferred_username": "alice", "exp": time.time() + 600}
        headers = {} if key_id is None else {"kid": key_id}
        return f"Bearer {jwt.encode(claims | changes, key, algorithm=algorithm, headers=headers)}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    running.publish(jwk(RSA, "k"))
    yield running
    running.stop()


def keys_of(issuer: Issuer, **more: Any) -> PublishedKeys:
    return PublishedKeys(f"{issuer.address}/certs", **more)


def test_the_issuers_address_alone_is_enough(issuer: Issuer) -> None:
    identity = identity_of(Settings(identity=IdentitySettings(issuer=issuer.address, audience="readvault")))
    assert identity.embedded is None
    assert [identity.actor(issuer.token()) for _ in range(3)] == [ALICE] * 3
    assert issuer.asked == ["/.well-known/openid-configuration", "/certs"]


def test_an_explicit_address_of_keys_needs_no_discovery(issuer: Issuer) -> None:
    settings = IdentitySettings(jwks_url=f"{issuer.address}/certs", issuer=issuer.address)
    assert identity_of(Settings(identity=settings)).actor(issuer.token()) == ALICE
    assert issuer.asked == ["/certs"]


@pytest.mark.parametrize(
    "change",
    [{"iss": "https://evil.example.org"}, {"iss": ""}, {"aud": "other"}, {"aud": ["a", "b"]}, {"aud": []}, {"aud": 7}],
    ids=repr,
)
def test_issuer_and_audience_are_demanded(issuer: Issuer, change: dict[str, Any]) -> None:
    identity = Identity(keys_of(issuer), issuer=issuer.address, audience="readvault")
    assert identity.actor(issuer.token(aud=["other", "readvault"])) == ALICE
    with pytest.raises(InvalidToken):
        identity.actor(issuer.token(**change))


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
def test_every_configured_algorithm_counts_and_no_other(issuer: Issuer, key: Any, algorithm: str) -> None:
    issuer.publish(jwk(key, "k"))
    token = issuer.token(key, algorithm)
    assert Identity(keys_of(issuer), algorithms=[algorithm]).actor(token) == ALICE
    others = {"RS256", "PS256", "ES256", "EdDSA", "RS512"} - {algorithm}
    with pytest.raises(InvalidToken, match="algorithm"):
        Identity(keys_of(issuer), algorithms=sorted(others)).actor(token)


def test_a_key_is_for_the_algorithm_that_its_issuer_names(issuer: Issuer) -> None:
    issuer.publish(jwk(RSA, "k", alg="PS256"), jwk(EC_384, "ec"))
    identity = Identity(keys_of(issuer), algorithms=["RS256", "PS256", "ES256", "ES384"])
    assert identity.actor(issuer.token(RSA, "PS256")) == ALICE
    assert identity.actor(issuer.token(EC_384, "ES384", "ec")) == ALICE
    for token in (issuer.token(RSA, "RS256"), issuer.token(EC, "ES256", "ec"), issuer.token(RSA, "RS256", "ec")):
        with pytest.raises(InvalidToken):
            identity.actor(token)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "RS1", "dir", ""])
def test_algorithms_that_prove_nothing_can_not_be_configured(algorithm: str) -> None:
    with pytest.raises(ValidationError):
        IdentitySettings(algorithms=(algorithm,))  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        IdentitySettings(algorithms=())
    with pytest.raises(ValidationError):
        IdentitySettings(leeway=61)


UNUSABLE: dict[str, dict[str, Any]] = {
    "for encryption": jwk(RSA, "k", use="enc"),
    "of 1024 bits": jwk(SHORT_RSA, "k"),
    "symmetric": {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
    "symmetric with an asymmetric name": {"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "RS256"},
    "private": {**RSAAlgorithm.to_jwk(RSA, as_dict=True), "kid": "k"},
    "half": {"kty": "RSA", "n": "AQAB", "kid": "k"},
    "nonsense": {"kty": "RSA", "n": "!", "e": "!", "kid": "k"},
    "without an ID": {name: value for name, value in jwk(RSA, "k").items() if name != "kid"},
    "with a number as ID": jwk(RSA, "k", kid=7),
    "of no kind": {"kid": "k"},
}


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_published_keys_that_prove_nothing_are_passed_over(issuer: Issuer, key: dict[str, Any]) -> None:
    issuer.publish(key, jwk(EC, "good"), "text", None)  # type: ignore[arg-type]
    identity = Identity(keys_of(issuer), algorithms=["RS256", "ES256"])
    assert identity.actor(issuer.token(EC, "ES256", "good")) == ALICE
    with pytest.raises(InvalidToken):
        identity.actor(issuer.token(SHORT_RSA if key.get("n") == UNUSABLE["of 1024 bits"]["n"] else RSA))


class Time:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_keys_rotate_without_a_gap(issuer: Issuer) -> None:
    clock = Time()
    identity = Identity(keys_of(issuer, clock=clock))
    assert identity.actor(issuer.token()) == ALICE
    issuer.publish(jwk(OTHER_RSA, "new"), jwk(RSA, "k"))
    clock.now += 31
    assert identity.actor(issuer.token(OTHER_RSA, key_id="new")) == ALICE
    assert identity.actor(issuer.token()) == ALICE
    issuer.publish(jwk(OTHER_RSA, "new"))
    clock.now += 301
    with pytest.raises(InvalidToken, match="no matching key"):
        identity.actor(issuer.token())
    assert identity.actor(issuer.token(OTHER_RSA, key_id="new")) == ALICE


def test_forged_key_ids_do_not_hammer_the_issuer(issuer: Issuer) -> None:
    clock = Time()
    identity = Identity(keys_of(issuer, clock=clock))
    assert identity.actor(issuer.token()) == ALICE
    for number in range(100):
        clock.now += 1
        with pytest.raises(InvalidToken):
            identity.actor(issuer.token(OTHER_RSA, key_id=f"forged-{number}"))
    assert len(issuer.asked) <= 1 + 100 // 30


def test_known_keys_outlive_the_issuer_for_a_bounded_time(issuer: Issuer) -> None:
    clock = Time()
    identity = Identity(keys_of(issuer, clock=clock, lifespan=300, outlive=3600))
    assert identity.actor(issuer.token()) == ALICE
    issuer.fail()
    for hour_part in (301, 1800, 1798):
        clock.now += hour_part
        assert identity.actor(issuer.token()) == ALICE
    with pytest.raises(Unavailable):  # it may be a new key: not known, and nobody to ask
        identity.actor(issuer.token(OTHER_RSA, key_id="new"))
    clock.now += 2
    with pytest.raises(Unavailable, match="can't be reached"):
        identity.actor(issuer.token())
    issuer.publish(jwk(RSA, "k"))
    clock.now += 6
    assert identity.actor(issuer.token()) == ALICE


def test_an_issuer_that_is_down_is_asked_at_most_every_five_seconds(issuer: Issuer) -> None:
    clock = Time()
    identity = Identity(keys_of(issuer, clock=clock))
    issuer.fail()
    for _ in range(20):
        with pytest.raises(Unavailable):
            identity.actor(issuer.token())
        clock.now += 1
    assert len(issuer.asked) == 4


def test_an_issuer_that_was_never_reached_is_our_trouble_not_a_bad_token(issuer: Issuer) -> None:
    identity = Identity(PublishedKeys("http://127.0.0.1:9/certs", timeout=0.5))
    with pytest.raises(Unavailable):
        identity.actor(issuer.token())


def _slowly() -> Answer:
    time.sleep(1.0)
    return 200, {}, b"{}"


BAD_ANSWERS: dict[str, Callable[[], Answer]] = {
    "an error": lambda: (500, {}, b""),
    "not found": lambda: (404, {}, b"{}"),
    "no JSON": lambda: (200, {}, b"<html>"),
    "no object": lambda: (200, {}, b"[]"),
    "no keys": lambda: (200, {}, b"{}"),
    "keys are an object": lambda: (200, {}, b'{"keys": {}}'),
    "no key in it": lambda: (200, {}, b'{"keys": []}'),
    "deep": lambda: (200, {}, b"[" * 100_000),
    "too long": lambda: (200, {}, b'{"keys": [' + b" " * 600_000 + b"]}"),
    "shorter than it says": lambda: (200, {"Content-Length": "1000000"}, b"{}"),
    "too slow": _slowly,
    "a redirect to nowhere": lambda: (302, {}, b""),
    "a redirect to itself": lambda: (302, {"Location": "/certs"}, b""),
    "a redirect to a file": lambda: (302, {"Location": "file:///etc/passwd"}, b""),
    "a redirect to the cloud's metadata": lambda: (302, {"Location": "http://169.254.169.254/latest"}, b""),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_bad_answers_are_no_keys(issuer: Issuer, answer: Callable[[], Answer]) -> None:
    issuer.answers["/certs"] = answer
    identity = Identity(keys_of(issuer, timeout=0.5))
    with pytest.raises(Unavailable) as refusal:
        identity.actor(issuer.token())
    assert issuer.address not in str(refusal.value)
    assert len(issuer.asked) <= published_keys.MOST_REDIRECTS + 1


def test_a_redirect_on_the_same_host_is_followed_to_another_it_is_not(issuer: Issuer) -> None:
    other = Issuer()
    other.publish(jwk(OTHER_RSA, "k"))
    try:
        issuer.answers["/old"] = lambda: (301, {"Location": "/certs"}, b"")
        issuer.answers["/away"] = lambda: (301, {"Location": f"{other.address}/certs"}, b"")
        assert Identity(PublishedKeys(f"{issuer.address}/old")).actor(issuer.token()) == ALICE
        with pytest.raises(Unavailable):
            Identity(PublishedKeys(f"{issuer.address}/away")).actor(issuer.token(OTHER_RSA))
        assert other.asked == []
    finally:
        other.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example.org"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "//no-scheme/certs"},
        {"jwks_uri": 7},
    ],
    ids=repr,
)
def test_a_discovery_document_of_somebody_else_leads_nowhere(issuer: Issuer, changes: dict[str, Any]) -> None:
    issuer.describe(**changes)
    identity = Identity(PublishedKeys(issuer=issuer.address), issuer=issuer.address)
    with pytest.raises(Unavailable):
        identity.actor(issuer.token())
    assert "/certs" not in issuer.asked


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://example.org", "example.org", "", "http://", "http://["]
)
def test_addresses_that_are_no_web_addresses_stop_the_start(address: str) -> None:
    with pytest.raises(NotReady):
        PublishedKeys(address)
    with pytest.raises(NotReady):
        PublishedKeys(issuer=address)


def test_nobody_waits_behind_somebody_who_asks_the_issuer(issuer: Issuer) -> None:
    clock = Time()
    identity = Identity(keys_of(issuer, clock=clock))
    assert identity.actor(issuer.token()) == ALICE
    gate, asked = threading.Event(), threading.Event()

    def held() -> Answer:
        asked.set()
        gate.wait(5)
        return 200, {}, json.dumps({"keys": [jwk(RSA, "k")]}).encode()

    issuer.answers["/certs"] = held
    clock.now += 301
    token = issuer.token()
    refresher = threading.Thread(target=identity.actor, args=(token,))
    refresher.start()
    assert asked.wait(5)
    began = time.monotonic()
    assert identity.actor(token) == ALICE
    with pytest.raises(Unavailable):  # it may be a new key, which is just being asked for
        identity.actor(issuer.token(OTHER_RSA, key_id="new"))
    assert time.monotonic() - began < 1
    gate.set()
    refresher.join()
    with pytest.raises(InvalidToken):
        identity.actor(issuer.token(OTHER_RSA, key_id="new"))
