"""How much a group and a user may upload and have used; maintainers see it for all and change it for a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from readvault.config import LimitSettings
from readvault.db import audit, clock, records
from readvault.db.tables import Group, LimitOverride, UploadUsage
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, NotFound
from readvault.services.authorization import Action, authorize
from readvault.services.house import House
from readvault.services.uploads import quota
from readvault.services.uploads.quota import Allowance

MAX_REASON = 1000
PAGE = 200
_SCOPE = re.compile(r"group:[1-9][0-9]{0,8}|user:.{1,200}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Use:
    """What a group or a user may have and has; sizes are bytes."""

    scope: str
    allowed: Allowance
    sealed_bytes: int
    """Of submitted files."""
    reserved_bytes: int
    """Of files that were requested and not submitted yet."""
    window_bytes: int
    """Requested in the time window that ends now."""
    open_files: int
    open_multiparts: int


@dataclass(frozen=True, slots=True)
class Override:
    """What a maintainer changed; None leaves the instance's limit."""

    scope: str
    bytes_total: int | None
    bytes_per_window: int | None
    open_files: int | None
    reason: str
    set_by: str
    set_at: float


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What a member needs to know before a large upload."""

    group: Use
    user: Use
    settings: LimitSettings
    bytes_per_file: Mapping[str, int]
    """By file category; the largest that an organism takes."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The instance's limits, and one page of the scopes that a maintainer gave others."""

    settings: LimitSettings
    overrides: tuple[tuple[Override, Use], ...]


def limits_of_group(house: House, actor: Actor | None, group_id: int) -> GroupLimits:
    """What the group and the caller may upload and have used; for members. Raises Forbidden, NotFound."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.READ_LIMITS, group_id=group_id)
        assert actor is not None
        limits, now = house.settings.limits, clock.read(session)
        return GroupLimits(
            _use(session, limits, quota.scope_of_group(group_id), now),
            _use(session, limits, quota.scope_of_user(actor.name), now),
            limits,
            _bytes_per_file(house),
        )


def overview(house: House, actor: Actor | None, after: str = "") -> Overview:
    """The instance's limits and every exception, by scope; page by page. For maintainers."""
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        limits, now = house.settings.limits, clock.read(session)
        query = select(LimitOverride).where(col(LimitOverride.scope) > after).order_by(col(LimitOverride.scope))
        rows = session.exec(query.limit(PAGE)).all()
        return Overview(limits, tuple((_override(row), _use(session, limits, row.scope, now)) for row in rows))


def limits_of_scope(house: House, actor: Actor | None, scope: str) -> tuple[Override | None, Use]:
    """What one group or user may have and has, and what a maintainer changed of it. For maintainers."""
    _check_scope(scope)
    with house.sessions.read() as session:
        authorize(session, actor, Action.MAINTAIN)
        _must_exist(session, scope)
        row = session.get(LimitOverride, scope)
        use = _use(session, house.settings.limits, scope, clock.read(session))
    return (None if row is None else _override(row)), use


def set_limits(
    house: House,
    actor: Actor | None,
    scope: str,
    *,
    reason: str,
    bytes_total: int | None = None,
    bytes_per_window: int | None = None,
    open_files: int | None = None,
) -> tuple[Override | None, Use]:
    """Give a group (`group:<id>`) or a user (`user:<name>`) other limits; without any, the instance's again.

    Counts from the next request on; what is uploaded already stays. Raises BadRequest for a scope, a
    number or a reason that makes no sense, NotFound for a group that doesn't exist, Forbidden.
    """
    _check_scope(scope)
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise BadRequest(f"A change of limits needs a reason of 1 to {MAX_REASON} characters.")
    chosen = {"bytes_total": bytes_total, "bytes_per_window": bytes_per_window, "open_files": open_files}
    if any(value is not None and not 0 <= value < 2**63 for value in chosen.values()) or (open_files or 0) >= 2**31:
        raise BadRequest("A limit is a number from 0 on.")
    with house.sessions.begin() as session:
        authorize(session, actor, Action.MAINTAIN)
        assert actor is not None
        _must_exist(session, scope)
        quota.lock_scope(session, scope)  # reservations that are being counted end first
        row = session.get(LimitOverride, scope)
        before = {name: None if row is None else getattr(row, name) for name in chosen}
        now = clock.read(session)
        if all(value is None for value in chosen.values()):
            if row is not None:
                session.delete(row)
            row = None
        else:
            row = session.merge(LimitOverride(scope=scope, **chosen, reason=reason, set_by=actor.name, set_at=now))
        session.flush()
        said = None if row is None else asdict(_override(row))
        records.queue(session, records.LIMITS, {"scope": scope, "limits": said})
        use = _use(session, house.settings.limits, scope, now)
        audit.append(session, actor.name, "set limits", scope, {"before": before, "after": chosen, "reason": reason})
        return (None if row is None else _override(row)), use


def _use(session: Session, limits: LimitSettings, scope: str, now: float) -> Use:
    allowed = quota.allowance(session, limits, scope)
    usage = session.get(UploadUsage, scope)
    has = quota.open_uploads(session, scope, now)
    return Use(
        scope,
        allowed,
        sealed_bytes=0 if usage is None else usage.sealed_bytes,
        reserved_bytes=has.size,
        window_bytes=quota.window_bytes(session, scope, allowed.window_hours, now),
        open_files=has.files,
        open_multiparts=has.multiparts,
    )


def _check_scope(scope: str) -> None:
    if _SCOPE.fullmatch(scope) is None:
        raise BadRequest("Limits are those of group:<group ID> or of user:<user name>.")


def _must_exist(session: Session, scope: str) -> None:
    kind, _, name = scope.partition(":")
    if kind == "group" and session.get(Group, int(name)) is None:
        raise NotFound(f"Group(s) {name} do(es) not exist.")


def _override(row: LimitOverride) -> Override:
    return Override(
        row.scope, row.bytes_total, row.bytes_per_window, row.open_files, row.reason, row.set_by, row.set_at
    )


def _bytes_per_file(house: House) -> dict[str, int]:
    largest: dict[str, int] = {}
    for organism in house.organisms.values():
        for name, category in organism.submission.files.items():
            largest[name] = max(largest.get(name, 0), category.max_bytes_per_file)
    return largest
