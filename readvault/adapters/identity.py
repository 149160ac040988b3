"""Who is asking: tokens checked against an issuer's published keys, an outside issuer's or the built-in one's.

Tokens are Keycloak-shaped JWTs. Only `preferred_username` and `realm_access.roles` are read from
them; groups never are, they are rows of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from readvault.adapters.issuer import ALGORITHM, REALM, REFRESH, EmbeddedIssuer, key_file
from readvault.adapters.published_keys import PublishedKeys
from readvault.adapters.tokens import LEEWAY, InvalidToken, KeySource, verified_claims
from readvault.config import Settings
from readvault.domain.actor import Actor

__all__ = ["REALM", "EmbeddedIssuer", "Identity", "InvalidToken", "PublishedKeys", "identity_of"]

LONGEST_NAME = 255
NO_ACCESS_TOKENS = (REFRESH, "Offline", "ID", "Logout")
"""Keycloak's types of tokens that the issuer signs for other ends than to ask for something."""


class Identity:
    """Turns an Authorization header into the user who sent it.

    `issuer` and `audience` are demanded of every token when they are given; one of `algorithms` always
    is. They are fixed here and never taken from a token: else a token could choose `none`, or HS256
    with our public key.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        algorithms: Sequence[str] = (ALGORITHM,),
        leeway: float = LEEWAY,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = tuple(algorithms)
        self._leeway = leeway

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
        claims = self._claims(token.strip(), self._audience)
        name = claims.get("preferred_username")
        if claims.get("typ") in NO_ACCESS_TOKENS or not isinstance(name, str) or not _is_name(name):
            raise InvalidToken("Missing claim preferred_username")
        return Actor(name=name, roles=_roles_in(claims))

    def claims_of_id_token(self, token: str, client_id: str) -> dict[str, Any]:
        """What an ID token says, if the issuer made it for this client; raises InvalidToken, Unavailable."""
        return self._claims(token, client_id)

    def _claims(self, token: str, audience: str | None) -> dict[str, Any]:
        return verified_claims(
            token, self._keys, self._algorithms, issuer=self._issuer, audience=audience, leeway=self._leeway
        )


def identity_of(settings: Settings) -> Identity:
    """The identity that the settings ask for: an outside issuer's keys, else the built-in issuer."""
    chosen = settings.identity
    if chosen.embedded:
        issuer = EmbeddedIssuer(key_file(settings), url=settings.public_url, token_minutes=chosen.token_minutes)
        return Identity(issuer, leeway=chosen.leeway)
    keys = PublishedKeys(
        chosen.jwks_url,
        issuer=chosen.issuer,
        lifespan=chosen.keys_refreshed_every,
        outlive=chosen.keys_outlive_issuer,
    )
    return Identity(
        keys,
        issuer=chosen.issuer,
        audience=chosen.audience,
        algorithms=chosen.algorithms,
        leeway=chosen.leeway,
    )


def _is_name(name: str) -> bool:
    """Whether it can be a user's name: some text that any database holds."""
    return bool(name.strip()) and len(name) <= LONGEST_NAME and name.isprintable()


def _roles_in(claims: Mapping[str, Any]) -> frozenset[str]:
    access = claims.get("realm_access")
    roles = access.get("roles") if isinstance(access, dict) else None
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else frozenset()
