"""The wire shapes of batches."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from readvault.api.schemas.wire import GroupId, Wire


class TableFormat(StrEnum):
    """How a batch's table is written: `tsv` is exact, `spreadsheet` is a TSV in which no text runs as a formula."""

    JSON = "json"
    TSV = "tsv"
    SPREADSHEET = "spreadsheet"


class BatchFilters(Wire):
    """The parameters of `GET /{organism}/batches`; `before` is the `next` of the page before."""

    group_ids_filter: list[GroupId] | None = None
    before: float | None = Field(None, allow_inf_nan=False)
    size: int = Field(20, ge=1, le=200)


class TableParameters(Wire):
    """The parameters of `GET /{organism}/batches/{batchId}`."""

    format: TableFormat = TableFormat.JSON
