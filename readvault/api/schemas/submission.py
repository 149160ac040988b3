"""The wire shapes of what submitters send."""

from __future__ import annotations

import re
import uuid
from typing import Annotated

from pydantic import AfterValidator, Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import GroupId, Many, Wire
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import Status
from readvault.services.drops import claiming
from readvault.services.submission.deletion import Scope
from readvault.services.submission.editing import EditedData
from readvault.services.submission.metadata_file import NamedFile
from readvault.services.submission.writing import SubmittedEntry

_DELIVERED = re.compile(claiming.PREFIX + claiming.NAME)


def _file_id(text: str) -> str:
    if _DELIVERED.fullmatch(text):
        return text
    if len(text) != 36:
        raise ValueError("a file ID is a UUID of length 36")
    return str(uuid.UUID(text))


class SubmitParameters(Wire):
    """The text parts of `POST /{organism}/submit`."""

    group_id: GroupId
    data_use_terms_type: Text | None = None
    restricted_until: Text | None = None
    dry_run: bool = False


class ReviseParameters(Wire):
    """The text parts of `POST /{organism}/revise`."""

    dry_run: bool = False


class SubmittedVersion(Wire):
    """One entry of the answer to a submission; in a dry run a new entry has no accession."""

    accession: str | None
    version: int
    submission_id: str

    @classmethod
    def of(cls, entry: SubmittedEntry) -> SubmittedVersion:
        return cls(accession=entry.accession, version=entry.version, submission_id=entry.submission_id)


class Revocation(Wire):
    """The body of `POST /{organism}/revoke`."""

    accessions: Many[Text]
    version_comment: Text | None = None


class NamedVersion(Wire):
    """An accession version that a request is about."""

    accession: Text
    version: int = Field(ge=1, le=MAX_INT)

    def name(self) -> AccessionVersion:
        return AccessionVersion(self.accession, self.version)


class Deletion(Wire):
    """The body of `DELETE /{organism}/delete-sequence-entry-versions`."""

    scope: Scope
    accession_versions_filter: Many[NamedVersion] | None = None
    group_ids_filter: Many[GroupId] | None = None


class EditedFile(Wire):
    """A file of an edited entry, by its ID, or by `drop:<object name>` where it came through a drop link."""

    file_id: Annotated[str, AfterValidator(_file_id)]
    name: Text


class Edited(Wire):
    """What takes the place of what was submitted; without `files` the entry keeps those that it has."""

    metadata: dict[Text, Text | None]
    unaligned_nucleotide_sequences: dict[Text, Text | None]
    files: dict[Text, Many[EditedFile]] | None = None

    def data(self) -> EditedData:
        files = None
        if self.files is not None:
            files = {
                category: [NamedFile(file.name, file.file_id) for file in listed]
                for category, listed in self.files.items()
                if listed
            }
        return EditedData(
            metadata={name: value or "" for name, value in self.metadata.items()},
            sequences={name: value for name, value in self.unaligned_nucleotide_sequences.items() if value},
            files=files,
        )


class Edit(NamedVersion):
    """The body of `POST /{organism}/submit-edited-data`."""

    data: Edited


class SubmittedMetadataParameters(Wire):
    """The parameters of `GET /{organism}/get-submitted-metadata`."""

    fields: list[Text] | None = None
    group_ids_filter: list[GroupId] | None = None
    statuses_filter: list[Status] | None = None
    accession_versions_filter: list[Text] | None = None
    compression: Text | None = None


class SubmittedDataRequest(Wire):
    """The body of `POST /{organism}/get-submitted-data`."""

    group_id: GroupId
    accessions_filter: Many[Text] | None = None
