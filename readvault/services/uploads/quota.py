"""How much may be uploaded. What is reserved is counted under a lock, so racing requests can't exceed a limit.

Logical bytes count: a file that is stored once and used twice counts once, but two groups' equal
files count twice. A file that declared no size counts as a file at once and as bytes when sealed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from readvault.config import LimitSettings
from readvault.db.tables import UploadedFile, UploadUsage
from readvault.domain.errors import TooLarge, TooMany

_BYTES = func.coalesce(func.sum(func.coalesce(UploadedFile.size, UploadedFile.declared_size, 0)), 0)


def reserve(
    session: Session, limits: LimitSettings, *, group_id: int, user: str, files: int, size: int, now: float
) -> None:
    """Make sure that `files` more files with `size` bytes in all fit every limit.

    Holds the group's and the user's lock until the transaction ends, so insert the files in it.
    Raises TooLarge for a limit of bytes, TooMany for a limit of open files or of a time window.
    """
    usage = lock(session, group_id, [user])
    open_files, first_expiry = session.exec(
        select(func.count(), func.min(UploadedFile.expires_at)).where(
            UploadedFile.group_id == group_id, *_still_open(now)
        )
    ).one()
    if open_files + files > limits.open_files_per_group:
        raise TooMany(
            f"The group may have {limits.open_files_per_group} files that are not submitted yet; it has {open_files}"
            f" and {files} more were requested. {_frees(first_expiry)}"
        )
    for owner, limit, scope in (
        ("group", limits.bytes_per_group, f"group:{group_id}"),
        ("user", limits.bytes_per_user, f"user:{user}"),
    ):
        used = usage[scope] + open_bytes(session, scope, now)
        if used + size > limit:
            raise TooLarge(
                f"The {owner} may store {limit} bytes; {used} are used and {size} more were requested."
                f" {_frees(first_expiry)}"
            )
    check_window(session, limits, group_id=group_id, size=size, now=now)


def check_window(session: Session, limits: LimitSettings, *, group_id: int, size: int, now: float) -> None:
    """Make sure that `size` more bytes fit the group's time window; raises TooMany."""
    since = now - limits.window_hours * 3600
    in_window = (col(UploadedFile.group_id) == group_id, col(UploadedFile.requested_at) > since)
    used = session.exec(select(_BYTES).where(*in_window)).one()
    if used + size <= limits.bytes_per_window:
        return
    excess, frees = used + size - limits.bytes_per_window, None
    rows = select(UploadedFile.requested_at, func.coalesce(UploadedFile.size, UploadedFile.declared_size, 0))
    for requested_at, amount in session.exec(rows.where(*in_window).order_by(col(UploadedFile.requested_at))):
        excess -= amount
        if excess <= 0:
            frees = requested_at + limits.window_hours * 3600
            break
    raise TooMany(
        f"The group may upload {limits.bytes_per_window} bytes in {limits.window_hours:g} hours; {used} were requested"
        f" and {size} more were asked for. {_frees(frees)}"
    )


def lock(session: Session, group_id: int, users: Iterable[str]) -> dict[str, int]:
    """Wait for the locks of a group and of users; the sealed bytes by scope."""
    # The group always comes first and users in one order, so that two requests can't wait for each other.
    scopes = [f"group:{group_id}", *sorted({f"user:{user}" for user in users})]
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    for scope in scopes:
        session.execute(insert(UploadUsage).values(scope=scope, sealed_bytes=0).on_conflict_do_nothing())
    usage: dict[str, int] = {}
    for scope in scopes:
        query = select(UploadUsage.sealed_bytes).where(UploadUsage.scope == scope).with_for_update()
        usage[scope] = session.exec(query).one()
    return usage


def open_bytes(session: Session, scope: str, now: float) -> int:
    """The declared bytes of files that a scope has requested and not submitted yet."""
    kind, _, name = scope.partition(":")
    mine = col(UploadedFile.group_id) == int(name) if kind == "group" else col(UploadedFile.uploader) == name
    return int(session.exec(select(_BYTES).where(mine, *_still_open(now))).one())


def add_sealed(session: Session, scope: str, size: int) -> None:
    """Count `size` more sealed bytes (fewer, when negative) for a scope that is locked."""
    usage = session.get(UploadUsage, scope)
    assert usage is not None
    session.refresh(usage)
    usage.sealed_bytes += size
    session.add(usage)


def _still_open(now: float) -> tuple[ColumnElement[bool], ...]:
    return col(UploadedFile.sealed_at).is_(None), col(UploadedFile.expires_at) > now


def _frees(moment: float | None) -> str:
    if moment is None:
        return "It frees when files are removed."
    return f"It frees from {datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ} on."
