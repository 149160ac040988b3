"""Machine tokens of the user: for programs that act for a person, with less than the person's rights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BeforeValidator

from readvault.api.dependencies import HouseDep, IdempotencyKeyDep, Label, UserDep, all_storable
from readvault.api.schemas.tokens import NewToken, TokenInfo, TokenWish
from readvault.services.idempotency import Once
from readvault.services.people import tokens

router = APIRouter(tags=["tokens"])


@router.post("/user/tokens")
def make_token(
    wish: Annotated[TokenWish, BeforeValidator(all_storable)],
    user: UserDep,
    house: HouseDep,
    idempotency_key: IdempotencyKeyDep,
) -> NewToken:
    """Make a token. It is in this answer and nowhere else: keep it. A token can't make tokens."""
    view, token = tokens.make_token(
        house,
        user,
        name=wish.name,
        scopes=wish.scopes,
        days=wish.expires_in_days,
        group_id=wish.group_id,
        once=Once.of(idempotency_key, "make token", wish.model_dump()),
    )
    return NewToken(token=token, **TokenInfo.of(view).model_dump())


@router.get("/user/tokens")
def list_tokens(user: UserDep, house: HouseDep) -> list[TokenInfo]:
    """The user's tokens, without the tokens themselves."""
    return [TokenInfo.of(view) for view in tokens.list_tokens(house, user)]


@router.delete("/user/tokens/{token_id}", status_code=204, response_class=Response)
def revoke_token(token_id: Label, user: UserDep, house: HouseDep) -> Response:
    """End a token, with effect from the next request. Maintainers may end anybody's."""
    tokens.revoke_token(house, user, token_id)
    return Response(status_code=204)
