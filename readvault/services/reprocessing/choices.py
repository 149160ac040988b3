"""Which entries a maintainer wants reprocessed, within bounds: a form of Prefect's, the API, the command line."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from readvault.domain.errors import BadRequest
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import Platform
from readvault.domain.status import ProcessingResult

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{1,60}$")]


class Choice(BaseModel):
    """Which entries: every condition that is given must hold, and none means all of the organism."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    accession_versions: tuple[Name, ...] = Field((), max_length=1000, description="Only these, as LOC_000001Y.1.")
    group_ids: tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...] = Field(
        (), max_length=100, description="Only entries of these groups."
    )
    released: Literal["any", "released", "unreleased"] = Field("any", description="Only what is public, or not yet.")
    versions: Literal["all", "latest"] = Field(
        "all", description="All versions of an accession, or the newest released one and what is newer."
    )
    results: tuple[ProcessingResult, ...] = Field((), max_length=3, description="Only where processing ended so.")
    platforms: tuple[Platform, ...] = Field((), max_length=10, description="Only reads of these platforms.")
    submitted_from: date | None = Field(None, description="Submitted on this day (UTC) or later.")
    submitted_until: date | None = Field(None, description="Submitted on this day (UTC) or earlier.")
    processed_from: date | None = Field(None, description="The result that stands was made on this day or later.")
    processed_until: date | None = Field(None, description="The result that stands was made on this day or earlier.")
    tool: Word | None = Field(None, description="Made with this tool, as the manifest's provenance names it.")
    tool_version: Word | None = Field(None, description="With this version of the tool.")

    @field_validator("accession_versions")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({str(AccessionVersion.parse(name)) for name in names}))

    @model_validator(mode="after")
    def _a_version_is_of_a_tool(self) -> Choice:
        if self.tool_version is not None and self.tool is None:
            raise ValueError("toolVersion needs tool")
        return self

    @property
    def names(self) -> tuple[AccessionVersion, ...]:
        """The accession versions that are named."""
        return tuple(AccessionVersion.parse(name) for name in self.accession_versions)

    def as_json(self) -> str:
        """The one spelling of it: what is not chosen is left out."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return json.dumps(said, sort_keys=True, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> Choice:
        """Read what `as_json` wrote."""
        return cls.model_validate_json(text)

    @classmethod
    def of_options(cls, **options: object) -> Choice:
        """A choice of options as they were typed; raises BadRequest for what it can't be."""
        try:
            return cls(**options)
        except ValidationError as fault:
            told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in fault.errors())
            raise BadRequest(told) from None
