"""The wire shapes: Loculus's JSON where Loculus has the endpoint, camelCase and written nulls everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from readvault.api.dependencies import MAX_INT, Text, all_storable
from readvault.domain.group import GroupDetails
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import ProcessingResult, Status
from readvault.ports import SignedRequest
from readvault.services.review import Scope
from readvault.services.submission import SubmittedEntry
from readvault.services.uploads import FileState, MultipartPlan, SignedPart, UploadAnswer, WantedFile

MAX_SIZE = 2**63 - 1
GroupId = Annotated[int, Field(ge=0, le=MAX_INT)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class Wire(BaseModel):
    """What is sent or received. Unknown properties are ignored: Loculus's clients send some back."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class FileToUpload(Wire):
    """A file that somebody is about to upload; `sha256` is hexadecimal, `size` in bytes."""

    name: Annotated[Text, Field(min_length=1, max_length=255)]
    size: int = Field(ge=0, le=MAX_SIZE)
    sha256: Sha256 | None = None
    category: Annotated[Text, Field(max_length=100)] | None = None
    content_type: Annotated[Text, Field(max_length=200)] | None = None

    def wanted(self) -> WantedFile:
        digest = None if self.sha256 is None else self.sha256.lower()
        return WantedFile(self.name, self.size, digest, self.category, self.content_type)


class UploadsRequest(Wire):
    """The body of `POST /files/request-uploads`."""

    group_id: GroupId
    files: list[FileToUpload] = Field(min_length=1)
    multipart: bool = False


class PutRequest(Wire):
    """A pre-signed PUT; every header must be sent as given."""

    url: str
    headers: dict[str, str]

    @classmethod
    def of(cls, signed: SignedRequest | None) -> PutRequest | None:
        return None if signed is None else cls(url=signed.url, headers=signed.headers)


class PartRequest(Wire):
    """A pre-signed PUT of one part; parts count from 1."""

    number: int
    url: str
    headers: dict[str, str]

    @classmethod
    def of(cls, part: SignedPart) -> PartRequest:
        return cls(number=part.number, url=part.request.url, headers=part.request.headers)


class Multipart(Wire):
    """How a large file is cut; `parts` holds the first page of signed parts."""

    part_size: int | None
    part_count: int
    parts: list[PartRequest]

    @classmethod
    def of(cls, plan: MultipartPlan | None) -> Multipart | None:
        if plan is None:
            return None
        return cls(part_size=plan.part_size, part_count=plan.part_count, parts=[PartRequest.of(p) for p in plan.parts])


class UploadTicket(Wire):
    """Where to put one file; `put` and `multipart` are both null when the group has the file already."""

    file_id: str
    name: str
    already_yours: bool
    put: PutRequest | None
    multipart: Multipart | None

    @classmethod
    def of(cls, name: str, answer: UploadAnswer) -> UploadTicket:
        return cls(
            file_id=answer.file_id,
            name=name,
            already_yours=answer.already_yours,
            put=PutRequest.of(answer.put),
            multipart=Multipart.of(answer.multipart),
        )


class LoculusUploadsRequest(Wire):
    """The parameters of `POST /files/request-upload`."""

    group_id: GroupId
    number_files: int = Field(1, ge=-MAX_INT, le=MAX_INT)


class LoculusMultipartRequest(LoculusUploadsRequest):
    """The parameters of `POST /files/request-multipart-upload`."""

    number_parts: int = Field(1, ge=-MAX_INT, le=MAX_INT)


class LoculusUpload(Wire):
    """One answer of `POST /files/request-upload`."""

    file_id: str
    url: str
    headers: dict[str, str]


class LoculusMultipartUpload(Wire):
    """One answer of `POST /files/request-multipart-upload`: the i-th URL is for part i+1."""

    file_id: str
    urls: list[str]


class CompletedUpload(Wire):
    """One element of `POST /files/complete-multipart-upload`: the i-th ETag is of part i+1."""

    file_id: Text
    etags: list[Text]


class PartNumbers(Wire):
    """The body of `POST /files/{fileId}/parts`."""

    numbers: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(min_length=1)


class PartState(Wire):
    """A part that has arrived."""

    number: int
    etag: str
    size: int


class UploadState(Wire):
    """What became of an upload; sizes in bytes, `expiresAt` in seconds since 1970."""

    file_id: str
    group_id: int
    state: str
    declared_size: int | None
    declared_sha256: str | None
    size: int | None
    sha256: str | None
    expires_at: float | None
    part_size: int | None
    part_count: int | None
    parts: list[PartState]

    @classmethod
    def of(cls, state: FileState) -> UploadState:
        return cls(
            file_id=state.file_id,
            group_id=state.group_id,
            state=state.state,
            declared_size=state.declared_size,
            declared_sha256=state.declared_sha256,
            size=state.size,
            sha256=state.sha256,
            expires_at=state.expires_at,
            part_size=state.part_size,
            part_count=state.part_count,
            parts=[PartState(number=p.number, etag=p.etag, size=p.size) for p in state.parts],
        )


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


class ReleasedDataParameters(Wire):
    """The parameters of `GET /{organism}/get-released-data`."""

    compression: Literal["zstd"] | None = None


GroupBody = Annotated[GroupDetails, BeforeValidator(all_storable)]
"""The body of `POST /groups`."""


class GroupName(Wire):
    """The parameters of `GET /groups`."""

    name: Text | None = None


class TokenRequest(BaseModel):
    """The form of the token endpoint (OAuth 2, RFC 6749 §4.3 and §6)."""

    model_config = ConfigDict(extra="ignore")
    grant_type: str = ""
    username: Text = ""
    password: str = ""
    refresh_token: str = ""
