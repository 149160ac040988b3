"""Tokens (JWTs) and what is believed of them: only what a published key of the issuer signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from readvault.domain.errors import ReadvaultError

LEEWAY = 30.0
MAX_TOKEN_LENGTH = 16_384
SHORTEST_RSA = 2048
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
KEY_UNKNOWN = "Signed JWT rejected: no matching key(s) found"


class InvalidToken(ReadvaultError):
    """A token that proves nothing. The text is shown to whoever sent it: it says what is wrong, not what is right."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A public key of an issuer. `algorithm` is what the issuer says that it is for, None when it doesn't say."""

    key_id: str
    kind: str
    algorithm: str | None
    key: Any

    @classmethod
    def of(cls, jwk: dict[str, Any]) -> PublishedKey:
        """Read a JWK; raises ValueError for one that can verify no signature, or is too weak to prove anything."""
        key_id, kind, said = jwk.get("kid"), jwk.get("kty"), jwk.get("alg")
        if not isinstance(key_id, str) or not isinstance(kind, str) or not isinstance(said, str | None):
            raise ValueError("no key at all")
        if kind not in _KEY_TYPES.values():
            raise ValueError("no key of ours to verify with")
        if jwk.get("use", "sig") != "sig":
            raise ValueError("not for signatures")
        try:
            # The key's own algorithm decides how it is read; which tokens it may verify is decided later.
            key = jwt.PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as fault:
            raise ValueError("unreadable") from fault
        if isinstance(key, RSAPublicKey) and key.key_size < SHORTEST_RSA:
            raise ValueError("too short")
        if kind == "RSA" and not isinstance(key, RSAPublicKey):
            raise ValueError("a private key is published")
        return cls(key_id, kind, said, key)

    def fits(self, algorithm: str) -> bool:
        """Whether the key may verify this algorithm: by its kind, and by what its issuer says."""
        return self.kind == _KEY_TYPES.get(algorithm[:2]) and self.algorithm in (None, algorithm)


class KeySource(Protocol):
    """The published keys of an issuer."""

    def key(self, key_id: str) -> PublishedKey:
        """The key with this ID; raises InvalidToken for an unknown one, Unavailable when nobody answers."""


def verified_claims(
    token: str,
    keys: KeySource,
    algorithms: Sequence[str],
    *,
    issuer: str | None,
    audience: str | None,
    leeway: float = LEEWAY,
) -> dict[str, Any]:
    """The claims of a token that the issuer signed, that is valid now and meant for us.

    The algorithm must be one of `algorithms` *and* the one that the key is for; nothing in the
    token's header is followed (`jku`, `x5u`, `jwk`, `x5c`), its `kid` only chooses among known keys.
    `exp` is demanded, `nbf` and `iat` count where they stand; clocks may differ by `leeway` seconds.
    Raises InvalidToken, and Unavailable when the keys can't be had.
    """
    if not token or len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("Bearer token is malformed")
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in algorithms:
            raise InvalidToken("Signed JWT rejected: Another algorithm expected")
        if "crit" in header:
            raise InvalidToken("Signed JWT rejected: Unsupported critical header")
        key_id = header.get("kid", "")
        if not isinstance(key_id, str):
            raise InvalidToken("Malformed token or claims")
        key = keys.key(key_id)
        if not key.fits(header["alg"]):
            raise InvalidToken("Signed JWT rejected: Another algorithm expected")
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[header["alg"]],
            issuer=issuer,
            audience=audience,
            leeway=leeway,
            options={"require": ["exp"], "verify_aud": audience is not None, "verify_iss": issuer is not None},
        )
        return _examined(claims)
    except jwt.InvalidSignatureError as fault:
        raise InvalidToken("Signed JWT rejected: Invalid signature") from fault
    except jwt.ExpiredSignatureError as fault:
        raise InvalidToken("Jwt expired") from fault
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as fault:
        raise InvalidToken("Malformed token or claims") from fault


def _examined(claims: dict[str, Any]) -> dict[str, Any]:
    """Refuse times that are no numbers: the library would read a text or a truth value as one."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidToken("Malformed token or claims")
    return claims
