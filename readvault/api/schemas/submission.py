"""The wire shapes of what submitters send."""

from __future__ import annotations

from readvault.api.dependencies import Text
from readvault.api.schemas.wire import GroupId, Wire
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
