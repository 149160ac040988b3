"""One organism, put together."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from readvault.domain import silo_columns
from readvault.domain.organism.metadata_field import MetadataField, MetadataType, check_fields
from readvault.domain.organism.parts import SampleType, Strict
from readvault.domain.organism.pipeline import Pipeline
from readvault.domain.organism.silo import SiloExport
from readvault.domain.organism.submission import Submission

RESERVED_NAMES = frozenset(
    {
        *("admin", "api-docs", "actuator", "data-use-terms", "debug", "docs", "drop", "files", "groups", "health"),
        *("login", "loculus-info", "metrics", "openapi.json", "pulls", "realms", "review", "static", "user", "web"),
    }
)
"""First segments of the API's other paths."""


class Reference(Strict):
    """A reference genome: one FASTA record per segment."""

    fasta: Path
    genes: Path | None = None


class CandidateReference(Reference):
    """One of several reference genomes, of which each sample's reads choose, segment by segment."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)


class ExternalMetadataField(Strict):
    """A field that a program outside fills in once an entry is released, such as its accession at ENA."""

    external_metadata_updater: str = Field(min_length=1, max_length=60)
    name: str
    type: MetadataType = MetadataType.STRING


class Review(Strict):
    """What approval demands."""

    require_digest: bool = False
    submitter_may_approve: bool = True


class Organism(Strict):
    """One organism of the instance."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)
    display_name: str | None = None
    reference: Reference | None = None
    references: tuple[CandidateReference, ...] = ()
    sample_type: SampleType = SampleType.CLINICAL
    submission: Submission = Submission()
    metadata: tuple[MetadataField, ...] = ()
    pipeline: Pipeline = Pipeline()
    review: Review = Review()
    external_metadata: tuple[ExternalMetadataField, ...] = ()
    silo_export: SiloExport = SiloExport()

    @field_validator("name")
    @classmethod
    def _no_route_is_shadowed(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is the name of a route of the API")
        return name

    @model_validator(mode="after")
    def _one_kind_of_reference(self) -> Organism:
        if (self.reference is None) == (not self.references):
            raise ValueError("give either reference (one genome) or references (several, of which reads choose)")
        if len({candidate.name for candidate in self.references}) < len(self.references):
            raise ValueError("references: two have the same name")
        return self

    @model_validator(mode="after")
    def _metadata_make_sense(self) -> Organism:
        check_fields(self.metadata, self.submission.files)
        return self

    @model_validator(mode="after")
    def _released_columns_have_one_meaning(self) -> Organism:
        """Metadata, external metadata and files of an entry stand side by side in released data."""
        external = self.pipeline.external
        own = {field.name for field in (*self.metadata, *(external.metadata if external else ()))}
        outside = [field.name for field in self.external_metadata]
        for field in self.external_metadata:
            MetadataField(name=field.name, type=field.type)  # what can't be the name of a field is refused
        categories = set(external.files if external else ())
        if len(set(outside)) < len(outside):
            raise ValueError("externalMetadata: two fields have the same name")
        if both := sorted((own & set(outside)) | ((own | set(outside)) & categories)):
            raise ValueError(f"{', '.join(both)}: a field or file category of this name is declared twice")
        return self

    @model_validator(mode="after")
    def _columns_of_exported_reads_exist(self) -> Organism:
        silo_columns.columns(self.silo_export, self.exported_fields, terms=True)
        return self

    @property
    def exported_fields(self) -> tuple[MetadataField, ...]:
        """All metadata fields that a released entry may have, whoever fills them in."""
        external = self.pipeline.external
        outside = (MetadataField(name=field.name, type=field.type) for field in self.external_metadata)
        return (*self.metadata, *(external.metadata if external else ()), *outside)

    @property
    def candidates(self) -> tuple[Reference, ...]:
        """The reference genome, or all of them when reads choose."""
        return self.references if self.reference is None else (self.reference,)

    @property
    def title(self) -> str:
        """The name that people read."""
        return self.display_name or self.name
