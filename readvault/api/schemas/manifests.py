"""The parameters of manifests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import Wire


class ManifestParameters(Wire):
    """Which of an accession version's manifests; without a pipeline version the one that stands for it."""

    pipeline_version: int | None = Field(None, ge=0, le=MAX_INT)


class ManifestsParameters(Wire):
    """How the files of the released entries are listed. Every other parameter is a field that entries must have."""

    format: Literal["json", "tsv"] = "json"
    spreadsheet: bool = False
    file_category: list[Text] = Field(default_factory=list)
    fields: list[Text] = Field(default_factory=list)
