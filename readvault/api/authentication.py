"""Who sends a request: a person with an issuer's token, or a program with one of ours."""

from __future__ import annotations

from readvault.adapters.identity import Identity, InvalidToken
from readvault.domain.actor import Actor
from readvault.domain.errors import Forbidden
from readvault.services.drops import links
from readvault.services.house import House
from readvault.services.people import accounts, tokens


class Callers:
    """Turns an Authorization header into the user who sent it, as things stand at this moment."""

    def __init__(self, house: House, identity: Identity) -> None:
        self._house = house
        self._identity = identity

    def actor(self, authorization: str | None) -> Actor | None:
        """The user behind the header; None without one, or with another scheme than Bearer.

        Asks the database, and an outside issuer now and then: not for the event loop. Raises
        InvalidToken for a token that proves nothing (any more), Forbidden for the word Bearer with
        no token after it, and Unavailable when the issuer's keys can't be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() == "bearer" and not token:
            # What Loculus answers to a client that has lost its token (loculus#4601).
            raise Forbidden("Access Denied")
        if scheme.lower() == "bearer" and token.startswith(links.PREFIX):
            return None  # who holds a drop link is nobody: only that link's own routes know it
        if scheme.lower() == "bearer" and token.startswith(tokens.PREFIX):
            actor = tokens.actor_of_token(self._house, token)
            if actor is None:
                raise InvalidToken("Token is unknown, expired or revoked")
            return actor
        actor = self._identity.actor(authorization)
        if actor is None or self._identity.embedded is None:
            return actor
        actor = accounts.as_of_now(self._house, actor)
        if actor is None:
            raise InvalidToken("User is disabled")
        return actor
