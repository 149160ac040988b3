"""The wire shapes of limits. Sizes are bytes, times seconds since 1970."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import MAX_SIZE, Wire
from readvault.services.uploads.limits import MAX_REASON, GroupLimits, Override, Overview, Use


class Amount(Wire):
    """One limit, and how much of it is used."""

    limit: int
    used: int


class UseOfLimits(Wire):
    """What a group (`group:<id>`) or a user (`user:<name>`) may have and has.

    `bytesTotal` counts submitted and reserved bytes; `reservedBytes` are those of files that were
    requested and not submitted yet: they free when the uploads expire or are given up.
    """

    scope: str
    bytes_total: Amount
    reserved_bytes: int
    bytes_per_window: Amount
    window_hours: float
    open_files: Amount
    open_multiparts: Amount

    @classmethod
    def of(cls, use: Use) -> UseOfLimits:
        allowed = use.allowed
        return cls(
            scope=use.scope,
            bytes_total=Amount(limit=allowed.bytes_total, used=use.sealed_bytes + use.reserved_bytes),
            reserved_bytes=use.reserved_bytes,
            bytes_per_window=Amount(limit=allowed.bytes_per_window, used=use.window_bytes),
            window_hours=allowed.window_hours,
            open_files=Amount(limit=allowed.open_files, used=use.open_files),
            open_multiparts=Amount(limit=allowed.open_multiparts, used=use.open_multiparts),
        )


class LimitsOfGroup(Wire):
    """The answer of `GET /groups/{groupId}/limits`."""

    group: UseOfLimits
    user: UseOfLimits
    bytes_per_file: dict[str, int]
    files_per_request: int
    files_per_submission: int
    bytes_per_submission: int
    rows_per_submission: int

    @classmethod
    def of(cls, limits: GroupLimits) -> LimitsOfGroup:
        return cls(
            group=UseOfLimits.of(limits.group),
            user=UseOfLimits.of(limits.user),
            bytes_per_file=dict(limits.bytes_per_file),
            files_per_request=limits.settings.files_per_request,
            files_per_submission=limits.settings.files_per_submission,
            bytes_per_submission=limits.settings.bytes_per_submission,
            rows_per_submission=limits.settings.rows_per_submission,
        )


class LimitChange(Wire):
    """The body of `PUT /admin/limits/{scope}`: null leaves the instance's limit, all null restores them."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REASON)]
    bytes_total: int | None = Field(None, ge=0, le=MAX_SIZE)
    bytes_per_window: int | None = Field(None, ge=0, le=MAX_SIZE)
    open_files: int | None = Field(None, ge=0, le=MAX_INT)


class OverrideInfo(Wire):
    """What a maintainer changed, and why."""

    bytes_total: int | None
    bytes_per_window: int | None
    open_files: int | None
    reason: str
    set_by: str
    set_at: float

    @classmethod
    def of(cls, override: Override | None) -> OverrideInfo | None:
        if override is None:
            return None
        return cls(
            bytes_total=override.bytes_total,
            bytes_per_window=override.bytes_per_window,
            open_files=override.open_files,
            reason=override.reason,
            set_by=override.set_by,
            set_at=override.set_at,
        )


class ScopeLimits(Wire):
    """The limits and the use of one scope; `override` is null where the instance's limits hold."""

    use: UseOfLimits
    override: OverrideInfo | None

    @classmethod
    def of(cls, override: Override | None, use: Use) -> ScopeLimits:
        return cls(use=UseOfLimits.of(use), override=OverrideInfo.of(override))


class LimitsOverview(Wire):
    """The answer of `GET /admin/limits`: the instance's limits by setting, and the scopes with others."""

    instance: dict[str, float]
    scopes: list[ScopeLimits]
    next: str | None
    """What to ask for as `after` to get the next page."""

    @classmethod
    def of(cls, overview: Overview, page: int) -> LimitsOverview:
        scopes = [ScopeLimits.of(override, use) for override, use in overview.overrides]
        return cls(
            instance=overview.settings.model_dump(),
            scopes=scopes,
            next=scopes[-1].use.scope if len(scopes) == page else None,
        )
