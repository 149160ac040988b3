"""The wire shapes of machine tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import GroupId, Wire, when
from readvault.services.people.tokens import MAX_DAYS, TokenView


class TokenWish(Wire):
    """What a token shall be for."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Text], Field(min_length=1, max_length=20)]
    expires_in_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 90
    group_id: GroupId | None = None


class TokenInfo(Wire):
    """A token without itself."""

    id: str
    name: str
    scopes: list[str]
    group_id: int | None
    created_at: str
    expires_at: str
    revoked_at: str | None

    @classmethod
    def of(cls, view: TokenView) -> TokenInfo:
        """As it goes over the wire: times as ISO 8601, UTC."""
        return cls(
            id=view.id,
            name=view.name,
            scopes=list(view.scopes),
            group_id=view.group_id,
            created_at=when(view.created_at),
            expires_at=when(view.expires_at),
            revoked_at=None if view.revoked_at is None else when(view.revoked_at),
        )


class NewToken(TokenInfo):
    """A token that was just made. `token` is told this once; null when an earlier request with the same
    Idempotency-Key made it."""

    token: str | None
