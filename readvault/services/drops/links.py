"""Drop links: made by a member or a maintainer, told once, revoked at any time.

A link's token has 256 random bits; we keep its SHA-256 alone. It ends with its date, when it is
revoked, when its maker leaves the group or loses the account, and with its group.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from readvault.db import audit, clock
from readvault.db.tables import DropLink, GroupMember, UserAccount
from readvault.domain.actor import MAINTAINER_ROLE, Actor
from readvault.domain.errors import BadRequest, NotFound, Unprocessable
from readvault.domain.reads import FileFormat
from readvault.services.authorization import DROP_LINK, Action, authorize, is_member
from readvault.services.house import House
from readvault.services.idempotency import NOT_ONCE, Once, earlier, remember

PREFIX = "rvd_"
"""By which scanners for leaked secrets, and our own gate, know such a token."""
DAY = 86_400.0
PAGE = 200
OFF = "Drop links are switched off on this instance."
NO_LINK = "This link is not valid, or not any more. Ask whoever gave it to you for another one."


@dataclass(frozen=True, slots=True)
class Wish:
    """What a link shall be for. None stands for everything that is allowed, or as much as is."""

    label: str
    days: int
    organism: str | None = None
    categories: tuple[str, ...] | None = None
    formats: tuple[FileFormat, ...] | None = None
    bytes_quota: int | None = None
    objects_quota: int | None = None


@dataclass(frozen=True, slots=True)
class LinkView:
    """What members and maintainers may know of a link after it was made. Sizes are bytes, times seconds since 1970."""

    id: str
    group_id: int
    label: str
    organism: str | None
    categories: tuple[str, ...] | None
    formats: tuple[str, ...] | None
    bytes_quota: int
    objects_quota: int
    used_bytes: int
    used_objects: int
    created_by: str
    created_at: float
    expires_at: float
    revoked_at: float | None


def make_link(
    house: House, actor: Actor | None, group_id: int, wish: Wish, *, once: Once = NOT_ONCE
) -> tuple[LinkView, str | None]:
    """Make a link for a group; its token is the second value and is told only now.

    It is None when an earlier request made it (`once`). Raises BadRequest for a life or a quota beyond
    the instance's, Unprocessable for unknown categories and for too many open links, Forbidden, NotFound.
    """
    refuse_when_off(house)
    rules = house.settings.drop_links
    _examine(house, wish)
    token = PREFIX + secrets.token_urlsafe(32)
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MANAGE_DROP_LINKS, group_id=group_id)
        assert actor is not None
        if (known := earlier(session, actor, once)) is not None:
            return _view(session.get_one(DropLink, known["id"])), None
        now = clock.read(session)
        still_open = select(func.count()).select_from(DropLink).where(DropLink.group_id == group_id, *_open(now))
        if session.exec(still_open).one() >= rules.open_per_group:
            raise Unprocessable(f"A group may have {rules.open_per_group} open drop links. Revoke one first.")
        row = DropLink(
            id=str(uuid.uuid4()),
            group_id=group_id,
            organism=wish.organism,
            label=wish.label,
            token_sha256=digest(token),
            categories=None if wish.categories is None else sorted(set(wish.categories)),
            formats=None if wish.formats is None else sorted({each.value for each in wish.formats}),
            bytes_quota=rules.bytes_per_link if wish.bytes_quota is None else wish.bytes_quota,
            objects_quota=rules.objects_per_link if wish.objects_quota is None else wish.objects_quota,
            created_by=actor.name,
            by_maintainer=not is_member(session, actor, group_id),
            created_at=now,
            expires_at=now + wish.days * DAY,
        )
        session.add(row)
        session.flush()
        remember(session, actor, once, {"id": row.id})
        details = {"group": group_id, "days": wish.days, "bytes": row.bytes_quota, "objects": row.objects_quota}
        audit.append(session, actor.name, "make drop link", f"drop link {row.id}", details)
        return _view(row), token


def list_links(house: House, actor: Actor | None, group_id: int) -> list[LinkView]:
    """The links of a group, newest first, expired and revoked ones too."""
    refuse_when_off(house)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MANAGE_DROP_LINKS, group_id=group_id)
        newest_first = (col(DropLink.created_at).desc(), col(DropLink.id))
        rows = session.exec(select(DropLink).where(DropLink.group_id == group_id).order_by(*newest_first))
        return [_view(row) for row in rows]


def every_link(house: House, actor: Actor | None, after: str = "", *, only_open: bool = True) -> list[LinkView]:
    """One page of the links of all groups, by ID; the next one comes `after` the last. For maintainers."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        query = select(DropLink).where(col(DropLink.id) > after).order_by(DropLink.id).limit(PAGE)
        rows = session.exec(query.where(*_open(clock.read(session))) if only_open else query)
        return [_view(row) for row in rows]


def revoke_link(house: House, actor: Actor | None, link_id: str, group_id: int | None = None) -> None:
    """End a link with effect from the next request; twice is no error.

    With `group_id` it must be that group's. Raises NotFound for an unknown and for a foreign one.
    """
    if group_id is not None:
        refuse_when_off(house)
    with house.sessions.begin() as session:
        if group_id is None:
            authorize(session, actor, Action.MAINTAIN)
        else:
            authorize(session, actor, Action.MANAGE_DROP_LINKS, group_id=group_id)
        assert actor is not None
        row = session.get(DropLink, link_id, with_for_update=True)
        if row is None or (group_id is not None and row.group_id != group_id):
            raise NotFound("There is no such drop link.")
        if row.revoked_at is None:
            row.revoked_at = clock.read(session)
            audit.append(session, actor.name, "revoke drop link", f"drop link {row.id}", {"group": row.group_id})


def refuse_when_off(house: House) -> None:
    """Raise NotFound where the instance has no drop links."""
    if not house.settings.drop_links.enabled:
        raise NotFound(OFF)


def open_link(session: Session, house: House, token: str) -> DropLink:
    """The link of a token, whose holder may deliver right now; raises one NotFound for all that may not."""
    refuse_when_off(house)
    row = session.exec(select(DropLink).where(DropLink.token_sha256 == digest(token))).one_or_none()
    if row is None or row.revoked_at is not None or row.expires_at <= clock.read(session):
        raise NotFound(NO_LINK)
    if not _maker_is_there(session, house, row):
        raise NotFound(NO_LINK)
    authorize(session, holder_of(row), Action.DELIVER, group_id=row.group_id)
    return row


def holder_of(link: DropLink) -> Actor:
    """Who holds a link: nobody's account, for one group, with the right to deliver and no other."""
    return Actor(f"drop link {link.id}", scopes=frozenset({DROP_LINK}), only_group=link.group_id)


def digest(token: str) -> str:
    """The SHA-256 (hexadecimal) by which a token is known."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _maker_is_there(session: Session, house: House, link: DropLink) -> bool:
    """Whether who made the link could still make it; an outside issuer's accounts and roles are not ours to see."""
    account = session.get(UserAccount, link.created_by) if house.settings.identity.embedded else None
    if house.settings.identity.embedded and (account is None or account.disabled):
        return False
    if not link.by_maintainer:
        return session.get(GroupMember, (link.group_id, link.created_by)) is not None
    return account is None or MAINTAINER_ROLE in account.roles


def _examine(house: House, wish: Wish) -> None:
    rules = house.settings.drop_links
    if not 1 <= wish.days <= rules.max_days:
        raise BadRequest(f"A drop link lives for 1 to {rules.max_days} days.")
    if wish.bytes_quota is not None and not 1 <= wish.bytes_quota <= rules.bytes_per_link:
        raise BadRequest(f"A drop link may take 1 to {rules.bytes_per_link} bytes.")
    if wish.objects_quota is not None and not 1 <= wish.objects_quota <= rules.objects_per_link:
        raise BadRequest(f"A drop link may take 1 to {rules.objects_per_link} files.")
    known = categories_of(house, wish.organism)
    if wish.categories is not None and not wish.categories:
        raise BadRequest("A drop link for no category takes nothing.")
    if wish.formats is not None and not wish.formats:
        raise BadRequest("A drop link for no format takes nothing.")
    if unknown := sorted(set(wish.categories or ()) - set(known)):
        raise Unprocessable(f"Unknown file categories: {', '.join(unknown)}. There are: {', '.join(known)}.")


def categories_of(house: House, organism: str | None) -> Sequence[str]:
    """The file categories of submissions for one organism, or for any."""
    chosen: Collection[str] = list(house.organisms) if organism is None else [house.organism(organism).name]
    return list(dict.fromkeys(name for each in chosen for name in house.organisms[each].submission.files))


def _open(now: float) -> tuple[ColumnElement[bool], ...]:
    return col(DropLink.revoked_at).is_(None), col(DropLink.expires_at) > now


def _view(row: DropLink) -> LinkView:
    return LinkView(
        id=row.id,
        group_id=row.group_id,
        label=row.label,
        organism=row.organism,
        categories=None if row.categories is None else tuple(row.categories),
        formats=None if row.formats is None else tuple(row.formats),
        bytes_quota=row.bytes_quota,
        objects_quota=row.objects_quota,
        used_bytes=row.used_bytes,
        used_objects=row.used_objects,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
