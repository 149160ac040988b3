"""Settings of drop links."""

from __future__ import annotations

from pydantic import BaseModel, Field

from readvault.domain.organism import Bytes


class DropLinkSettings(BaseModel):
    """Links through which others deliver files for a group; off unless the instance wants them. Sizes are bytes."""

    enabled: bool = False
    max_days: int = Field(90, ge=1, le=365)
    open_per_group: int = Field(100, ge=1)
    bytes_per_link: Bytes = 10**12
    objects_per_link: int = Field(2000, ge=1, le=100_000)
    open_files_per_link: int = Field(100, ge=1)
    open_multiparts_per_link: int = Field(20, ge=1)
    deliver_within_hours: float = Field(24, gt=0)
    unclaimed_days: float = Field(30, gt=0)
    form_bytes: Bytes = 10**9
    form_seconds: int = Field(900, ge=60, le=900)
