"""How much may be uploaded. What is reserved is counted under a lock, so racing requests can't exceed a limit.

Logical bytes count: a file that is stored once and used twice counts once, but two groups' equal
files count twice. A file that declared no size counts as a file at once and as bytes when sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from readvault.config import LimitSettings
from readvault.db.tables import LimitOverride, UploadedFile, UploadUsage
from readvault.db.upsert import columns_of, insert_into
from readvault.domain.errors import LimitHit, TooLarge, TooMany

_SIZE = func.coalesce(UploadedFile.size, UploadedFile.declared_size, 0)
_BYTES = func.coalesce(func.sum(_SIZE), 0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a group or a user may have; sizes are bytes."""

    bytes_total: int
    bytes_per_window: int
    open_files: int
    open_multiparts: int
    window_hours: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to upload. `size` is what was declared, in bytes.

    A pipeline's uploads are the instance's own: they count, but no limit of bytes stops them, or the
    entry that the pipeline works on could never be finished.
    """

    group_id: int
    user: str
    files: int
    size: int = 0
    multiparts: int = 0
    by_pipeline: bool = False


def scope_of_group(group_id: int) -> str:
    """The group's name in tables of limits."""
    return f"group:{group_id}"


def scope_of_user(name: str) -> str:
    """The user's name in tables of limits."""
    return f"user:{name}"


def owner_of(scope: str) -> str:
    """`group` or `user`."""
    return scope.partition(":")[0]


def allowance(session: Session, limits: LimitSettings, scope: str) -> Allowance:
    """What a scope may have: the instance's limits, but for those that a maintainer changed."""
    of_group = owner_of(scope) == "group"
    other = session.get(LimitOverride, scope)

    def chosen(name: str, default: int) -> int:
        value = None if other is None else getattr(other, name)
        return default if value is None else int(value)

    return Allowance(
        chosen("bytes_total", limits.bytes_per_group if of_group else limits.bytes_per_user),
        chosen("bytes_per_window", limits.bytes_per_window if of_group else limits.bytes_per_window_of_user),
        chosen("open_files", limits.open_files_per_group if of_group else limits.open_files_per_user),
        limits.open_multiparts_per_group if of_group else limits.open_multiparts_per_user,
        limits.window_hours,
    )


def reserve(session: Session, limits: LimitSettings, wanted: Wanted, now: float) -> None:
    """Make sure that these files fit every limit of their group and their user.

    Holds the group's and the user's lock until the transaction ends, so insert the files in it.
    Raises TooLarge for a limit of bytes, TooMany for a limit of open files or of a time window.
    """
    usage = lock(session, [wanted.group_id], [wanted.user])
    for scope in (scope_of_group(wanted.group_id), scope_of_user(wanted.user)):
        if wanted.by_pipeline and owner_of(scope) == "group":
            continue
        allowed = allowance(session, limits, scope)
        has = open_uploads(session, scope, now)
        _check_open(session, scope, allowed, has, wanted, now)
        if not wanted.by_pipeline:
            _check_total(session, scope, allowed, (usage[scope], has.size), wanted.size, now, "requested")
            _check_window(session, scope, allowed, wanted.size, now)


def check_undeclared(
    session: Session,
    limits: LimitSettings,
    *,
    group_id: int,
    sizes: Mapping[str, int],
    usage: Mapping[str, int],
    now: float,
) -> None:
    """Make sure that files which never declared a size fit the limits, now that it is known: bytes by uploader.

    `usage` is what `lock` gave. Raises TooLarge or TooMany.
    """
    by_scope = {scope_of_group(group_id): sum(sizes.values())}
    by_scope |= {scope_of_user(user): size for user, size in sorted(sizes.items())}
    for scope, size in by_scope.items():
        allowed = allowance(session, limits, scope)
        reserved = open_uploads(session, scope, now).size
        _check_total(session, scope, allowed, (usage[scope], reserved), size, now, "submitted")
        _check_window(session, scope, allowed, size, now)


def check_submission(limits: LimitSettings, files: int, size: int) -> None:
    """Make sure that one submission doesn't name too many files or bytes; raises TooLarge."""
    if files > limits.files_per_submission:
        hit = LimitHit("files per submission", limits.files_per_submission, 0, files)
        raise TooLarge(f"One submission may name {hit.limit} files; this one names {files}.", hit=hit)
    if size > limits.bytes_per_submission:
        hit = LimitHit("bytes per submission", limits.bytes_per_submission, 0, size)
        raise TooLarge(f"The files of one submission may have {hit.limit} bytes; these have {size}.", hit=hit)


def lock(session: Session, group_ids: Iterable[int], users: Iterable[str]) -> dict[str, int]:
    """Wait for the locks of groups and of users; the sealed bytes by scope.

    Whoever needs several takes them in one call: two that took them one by one could wait for each other.
    """
    # Groups always come first, and both in one order.
    scopes = [scope_of_group(group_id) for group_id in sorted(set(group_ids))]
    scopes += [scope_of_user(user) for user in sorted(set(users))]
    return {scope: lock_scope(session, scope) for scope in scopes}


def lock_scope(session: Session, scope: str) -> int:
    """Wait for the lock of one group or user; its sealed bytes."""
    new = insert_into(session, columns_of(UploadUsage))
    session.execute(new.values(scope=scope, sealed_bytes=0).on_conflict_do_nothing())
    return session.exec(select(UploadUsage.sealed_bytes).where(UploadUsage.scope == scope).with_for_update()).one()


@dataclass(frozen=True, slots=True)
class Open:
    """What a scope has requested and not submitted yet: files, unfinished multiparts among them, declared bytes."""

    files: int
    multiparts: int
    size: int


def open_uploads(session: Session, scope: str, now: float) -> Open:
    """What a scope has requested and not submitted yet."""
    unfinished = func.count().filter(_unfinished())
    counted = select(func.count(), unfinished, _BYTES).where(_mine(scope), *_still_open(now))
    files, multiparts, size = session.exec(counted).one()
    return Open(files, multiparts, int(size))


def window_bytes(session: Session, scope: str, window_hours: float, now: float) -> int:
    """The bytes that a scope requested in the time window that ends now."""
    since = col(UploadedFile.requested_at) > now - window_hours * 3600
    return int(session.exec(select(_BYTES).where(_mine(scope), since)).one())


def add_sealed(session: Session, scope: str, size: int) -> None:
    """Count `size` more sealed bytes (fewer, when negative) for a scope that is locked."""
    usage = session.get(UploadUsage, scope)
    assert usage is not None
    session.refresh(usage)
    usage.sealed_bytes += size
    session.add(usage)


def _check_open(session: Session, scope: str, allowed: Allowance, has: Open, wanted: Wanted, now: float) -> None:
    for used, requested, limit, kind, words, counted in (
        (has.files, wanted.files, allowed.open_files, "open files", "files that are not submitted yet", ()),
        (has.multiparts, wanted.multiparts, allowed.open_multiparts, "open multipart uploads",
         "multipart uploads that are not completed yet", (_unfinished(),)),
    ):  # fmt: skip
        if used + requested <= limit:
            continue
        frees = None
        if requested <= limit:
            open_ones = select(UploadedFile.expires_at).where(_mine(scope), *_still_open(now), *counted)
            too_many = used + requested - limit
            frees = session.exec(open_ones.order_by(col(UploadedFile.expires_at)).offset(too_many - 1).limit(1)).first()
        hit = _hit(f"{kind} per {owner_of(scope)}", limit, used, requested, frees, now)
        raise TooMany(
            f"The {owner_of(scope)} may have {limit} {words}; it has {used} and {requested} more were requested."
            f" {_frees(frees, 'when files are submitted')}",
            hit=hit,
        )


def _check_total(
    session: Session, scope: str, allowed: Allowance, has: tuple[int, int], size: int, now: float, how: str
) -> None:
    """`has` are the sealed and the reserved bytes."""
    limit, (sealed, reserved) = allowed.bytes_total, has
    used = sealed + reserved
    if used + size <= limit:
        return
    frees, excess = None, used + size - limit
    if excess <= reserved:
        frees = _moment(session, col(UploadedFile.expires_at), (_mine(scope), *_still_open(now)), excess)
    raise TooLarge(
        f"The {owner_of(scope)} may store {limit} bytes; {used} are used and {size} more were {how}."
        f" {_frees(frees, 'when files are removed')}",
        hit=_hit(f"bytes per {owner_of(scope)}", limit, used, size, frees, now),
    )


def _check_window(session: Session, scope: str, allowed: Allowance, size: int, now: float) -> None:
    seconds, limit = allowed.window_hours * 3600, allowed.bytes_per_window
    used = window_bytes(session, scope, allowed.window_hours, now)
    if used + size <= limit:
        return
    frees = None
    if size <= limit:
        requested_at = col(UploadedFile.requested_at)
        first = _moment(session, requested_at, (_mine(scope), requested_at > now - seconds), used + size - limit)
        frees = None if first is None else first + seconds
    raise TooMany(
        f"The {owner_of(scope)} may upload {limit} bytes in {allowed.window_hours:g} hours; {used} were requested"
        f" and {size} more were asked for. {_frees(frees, 'never for so much at once')}",
        hit=_hit(f"bytes per {owner_of(scope)} and {allowed.window_hours:g} hours", limit, used, size, frees, now),
    )


def _moment(session: Session, when: Any, files: Iterable[ColumnElement[bool]], size: int) -> float | None:
    """The time column's value up to which these files have `size` bytes, oldest first."""
    so_far = func.sum(_SIZE).over(order_by=(when, col(UploadedFile.id)), rows=(None, 0)).label("so_far")
    running = select(when.label("moment"), so_far).where(*files).subquery()
    moment: float | None = session.exec(select(func.min(running.c.moment)).where(running.c.so_far >= size)).one()
    return moment


def _mine(scope: str) -> ColumnElement[bool]:
    kind, _, name = scope.partition(":")
    return col(UploadedFile.group_id) == int(name) if kind == "group" else col(UploadedFile.uploader) == name


def _still_open(now: float) -> tuple[ColumnElement[bool], ...]:
    return col(UploadedFile.sealed_at).is_(None), col(UploadedFile.expires_at) > now


def _unfinished() -> ColumnElement[bool]:
    return col(UploadedFile.multipart_upload_id).is_not(None) & ~col(UploadedFile.multipart_completed)


def _hit(name: str, limit: int, used: int, requested: int, frees: float | None, now: float) -> LimitHit:
    return LimitHit(name, limit, used, requested, frees, None if frees is None else max(0.0, frees - now))


def _frees(moment: float | None, otherwise: str) -> str:
    if moment is None:
        return f"It frees {otherwise}."
    return f"It frees from {datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ} on."
