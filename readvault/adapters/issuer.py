"""The built-in issuer: tokens for the accounts in our own database, for one machine and not for the internet."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from readvault.adapters.tokens import KEY_UNKNOWN, InvalidToken, PublishedKey, verified_claims
from readvault.config import Settings
from readvault.domain.actor import Actor
from readvault.domain.errors import NotReady

log = logging.getLogger(__name__)

REALM = "/realms/loculus"
ALGORITHM = "RS256"
REFRESH_MINUTES = 7 * 24 * 60
REFRESH = "Refresh"


@dataclass(frozen=True)
class _Key:
    private: RSAPrivateKey
    jwk: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.jwk["kid"])


@dataclass(frozen=True)
class _Keys:
    """The key that signs, and the one before it as long as anything that it signed can still count."""

    stamp: tuple[int, int]
    current: _Key
    previous: _Key | None
    previous_until: float


class EmbeddedIssuer:
    """Issues tokens for accounts of ours.

    Its RSA key lies in the data directory, readable by the owner alone, and outlives restarts. A key
    that was rotated in by another process is noticed at the next token.
    """

    def __init__(self, key_file: Path, *, url: str, token_minutes: int) -> None:
        log.warning(
            "Tokens are issued by readvault itself: good for one machine, not for the internet. "
            "Set READVAULT_IDENTITY__ISSUER to use an identity provider."
        )
        self.url = url.rstrip("/") + REALM
        self._file = key_file
        self._seconds = token_minutes * 60
        self._refresh_seconds = max(token_minutes, REFRESH_MINUTES) * 60
        self._lock = threading.Lock()
        if not key_file.exists():
            _write_once(key_file, _new_key())
        self._keys = self._load()

    def jwks(self) -> dict[str, Any]:
        """The published keys, the signing one first."""
        keys = self._fresh()
        published = [keys.current.jwk]
        if keys.previous is not None and time.time() < keys.previous_until:
            published.append(keys.previous.jwk)
        return {"keys": [dict(jwk) for jwk in published]}

    def key(self, key_id: str) -> PublishedKey:
        """The published key with this ID; raises InvalidToken for another."""
        for jwk in self.jwks()["keys"]:
            if jwk["kid"] == key_id:
                return PublishedKey.of(jwk)
        raise InvalidToken(KEY_UNKNOWN)

    def tokens(self, actor: Actor) -> dict[str, Any]:
        """An access token and a refresh token for a user, in the shape of Keycloak's answer; lives in seconds."""
        return {
            "access_token": self.access_token(actor, self._seconds),
            "expires_in": self._seconds,
            "refresh_token": self._signed({"typ": REFRESH, "sub": actor.name}, self._refresh_seconds),
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
        claims = verified_claims(token, self, (ALGORITHM,), issuer=None, audience=None)
        name = claims.get("sub")
        if claims.get("typ") != REFRESH or not isinstance(name, str):
            raise InvalidToken("Invalid refresh token")
        return name

    def _signed(self, claims: dict[str, Any], seconds: int) -> str:
        key = self._fresh().current
        now = int(time.time())
        times = {"iss": self.url, "iat": now, "exp": now + seconds, "jti": str(uuid.uuid4())}
        return jwt.encode({**times, **claims}, key.private, algorithm=ALGORITHM, headers={"kid": key.id})

    def _fresh(self) -> _Keys:
        """The keys, read anew when somebody rotated them."""
        try:
            stamp = _stamp(self._file)
        except OSError:  # between two files, or gone: what we have still counts
            return self._keys
        if stamp != self._keys.stamp:
            with self._lock:
                self._keys = self._load()
        return self._keys

    def _load(self) -> _Keys:
        stamp = _stamp(self._file)
        before = _file_before(self._file)
        previous = _read(before) if before.exists() else None
        # Its rotation is when the current file came; nothing that the old key signed lives longer than this.
        until = stamp[0] / 1e9 + self._refresh_seconds
        return _Keys(stamp, _read(self._file), previous, until)


def key_file(settings: Settings) -> Path:
    """Where the built-in issuer's key lies."""
    return settings.data_dir / "identity-key.pem"


def rotate(path: Path, *, keep_old: bool = True) -> str:
    """Put a new key in the place of the issuer's; the new key's ID.

    What the old key signed stays good until it expires, unless `keep_old` is false. The key before
    the old one counts no more. Raises NotReady when there is no key that could be read.
    """
    _read(path)
    before = _file_before(path)
    if keep_old:
        draft = before.with_name(f".{before.name}.{uuid.uuid4().hex}")
        draft.hardlink_to(path)
        draft.replace(before)
    else:
        before.unlink(missing_ok=True)
    _written(path, _new_key()).replace(path)
    return _read(path).id


def _file_before(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino


def _read(path: Path) -> _Key:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as fault:
        raise NotReady(
            f"the key of the built-in issuer ({path.name}) can't be read; remove it for a new one"
        ) from fault
    if not isinstance(key, RSAPrivateKey):
        raise NotReady(f"the key of the built-in issuer ({path.name}) is no RSA key; remove it for a new one")
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    key_id = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).hexdigest()[:16]
    numbers = {"n": public["n"], "e": public["e"]}
    return _Key(key, {"kty": "RSA", **numbers, "kid": key_id, "use": "sig", "alg": ALGORITHM})


def _new_key() -> bytes:
    return generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(path: Path, content: bytes) -> None:
    """Two processes that start together end with the same key: the first link wins, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _written(path, content)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        log.info("Another process made the issuer's key first.")
    finally:
        draft.unlink()


def _written(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return draft
