"""Which metadata stand beside each read when aligned reads are exported for SILO."""

from __future__ import annotations

from pydantic import Field

from readvault.domain.organism.parts import Strict


class SiloExport(Strict):
    """The metadata columns of an export, by names of metadata fields; what is left out is chosen by itself."""

    sample_id: str | None = Field(None, min_length=1)
    sampling_date: str | None = Field(None, min_length=1)
    location_name: str | None = Field(None, min_length=1)
    metadata: tuple[str, ...] | None = None
