"""Wire shapes of external pipelines: Loculus's preprocessing protocol."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from readvault.api.dependencies import MAX_INT, Text, storable
from readvault.api.schemas.wire import Wire
from readvault.domain.annotations import Annotation, FieldType, Reason
from readvault.domain.annotations import Field as Pointer
from readvault.domain.identifiers import AccessionVersion
from readvault.services.processing.external_files import SentFile
from readvault.services.processing.external_known import Sent
from readvault.services.release.external_metadata import Update

MAX_ANNOTATIONS = 10_000
_INSERTION = re.compile(r"[0-9]+:[^\s:]+")
Version = Annotated[int, Field(ge=0, le=MAX_INT)]


def _insertion(text: str) -> str:
    if _INSERTION.fullmatch(text) is None:
        raise ValueError(f"'{text}' is no insertion; expected for example 123:ACGT")
    return storable(text)


Insertion = Annotated[str, AfterValidator(_insertion)]
Sequences = dict[Text, Text | None]
Insertions = dict[Text, list[Insertion]]


class ExtractParameters(Wire):
    """How many entries a pipeline wants, and which version of it asks."""

    number_of_sequence_entries: Version
    pipeline_version: Annotated[int, Field(ge=1, le=MAX_INT)]


class SubmitParameters(Wire):
    """Which version of a pipeline sends results."""

    pipeline_version: Annotated[int, Field(ge=1, le=MAX_INT)]


class ExternalMetadataParameters(Wire):
    """Who sends external metadata."""

    external_metadata_updater: Annotated[Text, Field(min_length=1, max_length=60)]


class AnnotatedField(Wire):
    """What an annotation points at."""

    type: FieldType
    name: Text


class ProcessingAnnotation(Wire):
    """An error or a warning in a pipeline's own words."""

    unprocessed_fields: list[AnnotatedField] = Field(default_factory=list)
    processed_fields: list[AnnotatedField] = Field(default_factory=list)
    message: Text

    def parsed(self) -> Annotation:
        """The annotation as people will read it."""
        unprocessed = tuple(Pointer(field.type, field.name) for field in self.unprocessed_fields)
        processed = tuple(Pointer(field.type, field.name) for field in self.processed_fields)
        return Annotation(
            Reason.EXTERNAL_PIPELINE,
            self.message,
            unprocessed or processed,
            processed_fields=None if processed == unprocessed else processed,
        )


class FileIdAndName(Wire):
    """A file that was uploaded or is passed on."""

    file_id: UUID
    name: Text


class ProcessedData(Wire):
    """What a pipeline made of one accession version."""

    metadata: dict[Text, Any]
    unaligned_nucleotide_sequences: Sequences = Field(default_factory=dict)
    aligned_nucleotide_sequences: Sequences = Field(default_factory=dict)
    nucleotide_insertions: Insertions = Field(default_factory=dict)
    aligned_amino_acid_sequences: Sequences = Field(default_factory=dict)
    amino_acid_insertions: Insertions = Field(default_factory=dict)
    sequence_name_to_fasta_id: dict[Text, Text] | None = None
    files: dict[Text, list[FileIdAndName]] | None = None


class ProcessedEntry(BaseModel):
    """One line of submitted processed data."""

    model_config = ConfigDict(extra="ignore")

    accession: Text
    version: Version
    data: ProcessedData
    errors: Annotated[list[ProcessingAnnotation] | None, Field(max_length=MAX_ANNOTATIONS)] = None
    warnings: Annotated[list[ProcessingAnnotation] | None, Field(max_length=MAX_ANNOTATIONS)] = None

    def parsed(self) -> Sent:
        """The line as the use case takes it."""
        data = self.data.model_dump(by_alias=True, exclude={"files"})
        files = self.data.files or {}
        return Sent(
            name=AccessionVersion(self.accession, self.version),
            data=data,
            errors=tuple(annotation.parsed() for annotation in self.errors or ()),
            warnings=tuple(annotation.parsed() for annotation in self.warnings or ()),
            files=tuple(
                SentFile(category, file.name, str(file.file_id)) for category, named in files.items() for file in named
            ),
        )


class ExternalMetadataEntry(Wire):
    """One line of external metadata."""

    accession: Text
    version: Version
    external_metadata: dict[Text, Any]

    def parsed(self) -> Update:
        """The line as the use case takes it."""
        return Update(AccessionVersion(self.accession, self.version), self.external_metadata)
