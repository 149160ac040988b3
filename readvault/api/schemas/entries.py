"""The wire shapes of listing entries."""

from __future__ import annotations

from pydantic import Field

from readvault.api.dependencies import MAX_INT
from readvault.api.schemas.wire import GroupId, Wire
from readvault.domain.status import ProcessingResult, Status


class EntryFilters(Wire):
    """The parameters of `GET /{organism}/get-sequences`; `page` counts from 0."""

    group_ids_filter: list[GroupId] | None = None
    statuses_filter: list[Status] | None = None
    processing_result_filter: list[ProcessingResult] | None = None
    page: int | None = Field(None, ge=0, le=MAX_INT)
    size: int | None = Field(None, ge=0, le=MAX_INT)
