"""The wire shapes of entries: submitting, listing, approving."""

from __future__ import annotations

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import GroupId, Sha256, Wire
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.services.review.approval import Scope
from readvault.services.submission.new_entries import SubmittedEntry


class SubmitParameters(Wire):
    """The text parts of `POST /{organism}/submit`."""

    group_id: GroupId
    data_use_terms_type: Text | None = None
    restricted_until: Text | None = None


class SubmittedVersion(Wire):
    """One entry of the answer to a submission."""

    accession: str
    version: int
    submission_id: str

    @classmethod
    def of(cls, entry: SubmittedEntry) -> SubmittedVersion:
        return cls(accession=entry.accession, version=entry.version, submission_id=entry.submission_id)


class EntryFilters(Wire):
    """The parameters of `GET /{organism}/get-sequences`; `page` counts from 0."""

    group_ids_filter: list[GroupId] | None = None
    statuses_filter: list[Status] | None = None
    processing_result_filter: list[ProcessingResult] | None = None
    page: int | None = Field(None, ge=0, le=MAX_INT)
    size: int | None = Field(None, ge=0, le=MAX_INT)


class VersionToApprove(Wire):
    """A version to approve, with the digest of the manifest that the person saw."""

    accession: Text
    version: int = Field(ge=1, le=MAX_INT)
    manifest_digest: Sha256 | None = None

    def pair(self) -> tuple[AccessionVersion, str | None]:
        digest = None if self.manifest_digest is None else self.manifest_digest.lower()
        return AccessionVersion(self.accession, self.version), digest


class Approval(Wire):
    """The body of `POST /{organism}/approve-processed-data`."""

    scope: Scope
    accession_versions_filter: list[VersionToApprove] | None = None
    group_ids_filter: list[GroupId] | None = None
    submitter_names_filter: list[Text] | None = None


class Version(Wire):
    """An accession version."""

    accession: str
    version: int

    @classmethod
    def of(cls, accession_version: AccessionVersion) -> Version:
        return cls(accession=accession_version.accession, version=accession_version.version)
