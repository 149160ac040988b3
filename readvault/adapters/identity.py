"""Who is asking: tokens checked against an issuer's published keys, and the built-in issuer.

Tokens are Keycloak-shaped JWTs. Only `preferred_username` and `realm_access.roles` are read from
them; groups never are, they are rows of ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from readvault.config import Settings
from readvault.domain.actor import Actor
from readvault.domain.errors import NotReady, ReadvaultError, Unavailable

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256",)
"""Fixed here, never taken from a token: else a token could choose `none`, or HS256 with our public key."""
REALM = "/realms/loculus"
LEEWAY = 30.0
JWKS_TIMEOUT = 5.0
JWKS_LIFESPAN = 300.0
MAX_TOKEN_LENGTH = 16_384
REFRESH_MINUTES = 7 * 24 * 60
_REFRESH = "Refresh"


class InvalidToken(ReadvaultError):
    """A token that proves nothing. The text is shown to whoever sent it: it says what is wrong, not what is right."""


class KeySource(Protocol):
    """The published keys of an issuer."""

    def key(self, key_id: str) -> jwt.PyJWK:
        """The key with this ID; raises InvalidToken for an unknown one, Unavailable when nobody answers."""


class PublishedKeys:
    """The keys that an outside issuer publishes, kept for five minutes.

    An unknown key ID fetches them anew, at most every half minute, so that keys may rotate but
    forged IDs can't make us hammer the issuer.
    """

    def __init__(self, jwks_url: str, *, timeout: float = JWKS_TIMEOUT, lifespan: float = JWKS_LIFESPAN) -> None:
        try:
            self._client = jwt.PyJWKClient(jwks_url, timeout=timeout, lifespan=lifespan)
        except jwt.PyJWKClientError as fault:
            raise NotReady("identity.jwks_url must be an http or https address") from fault

    def key(self, key_id: str) -> jwt.PyJWK:
        try:
            return self._client.get_signing_key(key_id)
        except jwt.PyJWKClientConnectionError as fault:
            raise Unavailable("The identity provider can't be reached right now.") from fault
        except (jwt.PyJWKClientError, jwt.PyJWKSetError) as fault:
            raise InvalidToken("Signed JWT rejected: no matching key(s) found") from fault


class EmbeddedIssuer:
    """Issues tokens for the accounts in our own database: for one machine, not for the internet.

    Its RSA key lies in the data directory, readable by the owner alone, and outlives restarts.
    """

    def __init__(self, key_file: Path, *, url: str, token_minutes: int) -> None:
        log.warning(
            "Tokens are issued by readvault itself: good for one machine, not for the internet. "
            "Set READVAULT_IDENTITY__JWKS_URL to use an identity provider."
        )
        self.url = url.rstrip("/") + REALM
        self._seconds = token_minutes * 60
        self._refresh_seconds = max(token_minutes, REFRESH_MINUTES) * 60
        self._private = _load_or_make_key(key_file)
        public = RSAAlgorithm.to_jwk(self._private.public_key(), as_dict=True)
        self._key_id = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).hexdigest()[:16]
        self._jwk = {
            "kty": "RSA",
            "n": public["n"],
            "e": public["e"],
            "kid": self._key_id,
            "use": "sig",
            "alg": "RS256",
        }

    def jwks(self) -> dict[str, Any]:
        """The published keys."""
        return {"keys": [self._jwk]}

    def key(self, key_id: str) -> jwt.PyJWK:
        if key_id != self._key_id:
            raise InvalidToken("Signed JWT rejected: no matching key(s) found")
        return jwt.PyJWK(self._jwk)

    def tokens(self, actor: Actor) -> dict[str, Any]:
        """An access token and a refresh token for a user, in the shape of Keycloak's answer; lives in seconds."""
        return {
            "access_token": self.access_token(actor, self._seconds),
            "expires_in": self._seconds,
            "refresh_token": self._signed({"typ": _REFRESH, "sub": actor.name}, self._refresh_seconds),
            "refresh_expires_in": self._refresh_seconds,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "profile",
        }

    def access_token(self, actor: Actor, seconds: int) -> str:
        """An access token alone, for as long as a session of the pages lasts."""
        claims = {
            "typ": "Bearer",
            "sub": actor.name,
            "preferred_username": actor.name,
            "realm_access": {"roles": sorted(actor.roles)},
        }
        return self._signed(claims, seconds)

    def name_in_refresh_token(self, token: str) -> str:
        """The user to whom a refresh token was given; raises InvalidToken."""
        claims = _verified_claims(token, self, ALGORITHMS, issuer=None, audience=None)
        name = claims.get("sub")
        if claims.get("typ") != _REFRESH or not isinstance(name, str):
            raise InvalidToken("Invalid refresh token")
        return name

    def _signed(self, claims: dict[str, Any], seconds: int) -> str:
        now = int(time.time())
        times = {"iss": self.url, "iat": now, "exp": now + seconds, "jti": str(uuid.uuid4())}
        return jwt.encode({**times, **claims}, self._private, algorithm="RS256", headers={"kid": self._key_id})


class Identity:
    """Turns an Authorization header into the user who sent it.

    `issuer` and `audience` are demanded of every token when they are given; the algorithm always is.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        algorithms: Sequence[str] = ALGORITHMS,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = tuple(algorithms)

    @property
    def embedded(self) -> EmbeddedIssuer | None:
        """The built-in issuer, or None when an outside one is configured."""
        return self._keys if isinstance(self._keys, EmbeddedIssuer) else None

    def actor(self, authorization: str | None) -> Actor | None:
        """The user behind an Authorization header; None without one, or with another scheme than Bearer.

        Raises InvalidToken for a token that is malformed, forged, expired, meant for somebody else
        or names no user, and Unavailable when the issuer's keys can't be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        claims = _verified_claims(
            token.strip(), self._keys, self._algorithms, issuer=self._issuer, audience=self._audience
        )
        name = claims.get("preferred_username")
        if claims.get("typ") == _REFRESH or not isinstance(name, str) or not name.strip():
            raise InvalidToken("Missing claim preferred_username")
        return Actor(name=name, roles=_roles_in(claims))

    def claims_of_id_token(self, token: str, client_id: str) -> dict[str, Any]:
        """What an ID token says, if the issuer made it for this client; raises InvalidToken, Unavailable."""
        return _verified_claims(token, self._keys, self._algorithms, issuer=self._issuer, audience=client_id)


def identity_of(settings: Settings) -> Identity:
    """The identity that the settings ask for: an outside issuer's keys, else the built-in issuer."""
    chosen = settings.identity
    if chosen.jwks_url is not None:
        return Identity(PublishedKeys(chosen.jwks_url), issuer=chosen.issuer, audience=chosen.audience)
    key_file = settings.data_dir / "identity-key.pem"
    return Identity(EmbeddedIssuer(key_file, url=settings.public_url, token_minutes=chosen.token_minutes))


def _verified_claims(
    token: str, keys: KeySource, algorithms: Sequence[str], *, issuer: str | None, audience: str | None
) -> dict[str, Any]:
    if not token or len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("Bearer token is malformed")
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in algorithms:
            raise InvalidToken("Signed JWT rejected: Another algorithm expected")
        key = keys.key(str(header.get("kid", "")))
        return jwt.decode(
            token,
            key.key,
            algorithms=list(algorithms),
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY,
            options={"require": ["exp"], "verify_aud": audience is not None, "verify_iss": issuer is not None},
        )
    except jwt.InvalidSignatureError as fault:
        raise InvalidToken("Signed JWT rejected: Invalid signature") from fault
    except jwt.ExpiredSignatureError as fault:
        raise InvalidToken("Jwt expired") from fault
    except jwt.PyJWTError as fault:
        raise InvalidToken("Malformed token or claims") from fault


def _roles_in(claims: Mapping[str, Any]) -> frozenset[str]:
    access = claims.get("realm_access")
    roles = access.get("roles") if isinstance(access, dict) else None
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()


def _load_or_make_key(path: Path) -> RSAPrivateKey:
    if not path.exists():
        _write_once(path, _new_key())
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as fault:
        raise NotReady(
            "the key of the built-in issuer (identity-key.pem) can't be read; remove it for a new one"
        ) from fault
    if not isinstance(key, RSAPrivateKey):
        raise NotReady("the key of the built-in issuer (identity-key.pem) is no RSA key; remove it for a new one")
    return key


def _new_key() -> bytes:
    return generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(path: Path, content: bytes) -> None:
    """Two processes that start together end with the same key: the first link wins, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        log.info("Another process made the issuer's key first.")
    finally:
        draft.unlink()
