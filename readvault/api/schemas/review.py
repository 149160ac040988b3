"""The wire shapes of review: approving and sending back."""

from __future__ import annotations

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import GroupId, Many, Sha256, Wire
from readvault.domain.identifiers import AccessionVersion
from readvault.services.review.approval import Scope


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
    accession_versions_filter: Many[VersionToApprove] | None = None
    group_ids_filter: Many[GroupId] | None = None
    submitter_names_filter: Many[Text] | None = None


class SendingBack(Wire):
    """The body of `POST /{organism}/send-back` and of a batch's."""

    accession_versions: Many[VersionToApprove]
    reason: Text
