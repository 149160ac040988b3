"""Machine tokens: what programs show instead of a person's login.

A token acts for the user who made it, with the scopes and perhaps the one group that it was made
for. It is told once; we keep its SHA-256 alone, which is enough, as a token has 256 random bits.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import MachineToken, UserAccount
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Forbidden, NotFound, Unprocessable
from readvault.services.authorization import MAINTAINERS_SCOPES, SCOPES, Action, authorize
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once, earlier, remember

PREFIX = "rvt_"
"""By which scanners for leaked secrets, and our own gate, know such a token."""
MAX_DAYS = 365
MAX_OPEN = 100
"""Tokens of one user that are neither expired nor revoked."""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class TokenView:
    """What may be told of a token after it was made. Times are seconds since 1970."""

    id: str
    name: str
    user_name: str
    scopes: tuple[str, ...]
    group_id: int | None
    created_at: float
    expires_at: float
    revoked_at: float | None


def make_token(
    house: House,
    actor: Actor | None,
    *,
    name: str,
    scopes: Collection[str],
    days: int,
    group_id: int | None = None,
    once: Once = NOT_ONCE,
    by_maintainer: bool = False,
) -> tuple[TokenView, str | None]:
    """Make a token for the actor; the token itself is the second value and is told only now.

    It is None when an earlier request made it (`once`): whoever lost it revokes it and makes another.
    Raises BadRequest for a life that isn't 1 to 365 days, Unprocessable for no or unknown scopes and
    for too many open tokens, NotFound and Forbidden for a group that the actor may not act for, and
    Forbidden when the actor is a token itself and for a scope that only maintainers give
    (`by_maintainer`: one of them makes the token for the actor).
    """
    _examine(scopes, days)
    token = PREFIX + secrets.token_urlsafe(32)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MANAGE_TOKENS)
        assert actor is not None
        if MAINTAINERS_SCOPES & set(scopes) and not (by_maintainer or actor.is_maintainer):
            raise Forbidden(f"Only maintainers make tokens for: {', '.join(sorted(MAINTAINERS_SCOPES))}.")
        if (known := earlier(session, actor, once)) is not None:
            return _view(session.get_one(MachineToken, known["id"])), None
        if group_id is not None:
            authorize(session, actor, Action.READ_LIMITS, group_id=group_id)
        now = clock.read(session)
        _refuse_too_many(session, actor.name, now)
        row = MachineToken(
            id=str(uuid.uuid4()),
            name=name,
            user_name=actor.name,
            token_sha256=_digest(token),
            scopes=sorted(set(scopes)),
            group_id=group_id,
            created_at=now,
            expires_at=now + days * DAY,
        )
        session.add(row)
        session.flush()
        remember(session, actor, once, {"id": row.id})
        details = {"user": actor.name, "scopes": row.scopes, "group": group_id, "days": days}
        audit.append(session, actor.name, "make token", f"token {row.id}", details)
        return _view(row), token


def list_tokens(house: House, actor: Actor | None) -> list[TokenView]:
    """The actor's tokens, newest first, expired and revoked ones too."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MANAGE_TOKENS)
        assert actor is not None
        newest_first = (col(MachineToken.created_at).desc(), col(MachineToken.id))
        rows = session.exec(select(MachineToken).where(MachineToken.user_name == actor.name).order_by(*newest_first))
        return [_view(row) for row in rows]


def revoke_token(house: House, actor: Actor | None, token_id: str) -> None:
    """End a token of the actor's, or as a maintainer anybody's, with effect from the next request.

    Doing it twice is no error. Raises NotFound for an unknown and for somebody else's token.
    """
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MANAGE_TOKENS)
        assert actor is not None
        row = session.get(MachineToken, token_id, with_for_update=True)
        if row is None or not (row.user_name == actor.name or actor.is_maintainer):
            raise NotFound("There is no such token.")
        if row.revoked_at is None:
            row.revoked_at = clock.read(session)
            audit.append(session, actor.name, "revoke token", f"token {row.id}", {"user": row.user_name})


def revoke_all_of(session: Session, user_name: str) -> int:
    """End all tokens of a user in the caller's write transaction; how many were open."""
    now = clock.read(session)
    rows = session.exec(select(MachineToken).where(*_open(user_name, now)).with_for_update()).all()
    for row in rows:
        row.revoked_at = now
    return len(rows)


def actor_of_token(house: House, token: str) -> Actor | None:
    """For whom a token acts right now; None for an unknown, expired or revoked one, or one of a disabled account.

    Roles are those that the user's account has now. With an outside issuer we know no accounts: a
    token acts there as a user without roles.
    """
    with house.sessions.read() as session:
        row = session.exec(select(MachineToken).where(MachineToken.token_sha256 == _digest(token))).one_or_none()
        if row is None or row.revoked_at is not None or row.expires_at <= clock.read(session):
            return None
        roles: frozenset[str] = frozenset()
        if house.settings.identity.embedded:
            account = session.get(UserAccount, row.user_name)
            if account is None or account.disabled:
                return None
            roles = frozenset(account.roles)
    return Actor(row.user_name, roles, scopes=frozenset(row.scopes), only_group=row.group_id)


def _examine(scopes: Collection[str], days: int) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"A token lives for 1 to {MAX_DAYS} days.")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise Unprocessable(f"Unknown scopes: {', '.join(unknown)}. There are: {', '.join(SCOPES)}.")
    if not scopes:
        raise Unprocessable(f"A token needs at least one scope of: {', '.join(SCOPES)}.")


def _refuse_too_many(session: Session, user_name: str, now: float) -> None:
    count = session.exec(select(func.count()).select_from(MachineToken).where(*_open(user_name, now))).one()
    if count >= MAX_OPEN:
        raise Unprocessable(f"A user may have {MAX_OPEN} open tokens. Revoke one first.")


def _open(user_name: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        col(MachineToken.user_name) == user_name,
        col(MachineToken.revoked_at).is_(None),
        col(MachineToken.expires_at) > now,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _view(row: MachineToken) -> TokenView:
    return TokenView(
        id=row.id,
        name=row.name,
        user_name=row.user_name,
        scopes=tuple(row.scopes),
        group_id=row.group_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
