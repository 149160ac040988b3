"""The wire shapes of uploads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from readvault.api.dependencies import MAX_INT, Text
from readvault.api.schemas.wire import MAX_SIZE, GroupId, Sha256, Wire
from readvault.ports import SignedRequest
from readvault.services.uploads.answers import FileState, MultipartPlan, SignedPart, UploadAnswer, WantedFile

MAX_FILES = 10_000
"""What one request can hold; how many it may hold is the instance's setting."""


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
    """The body of `POST /files/request-uploads`.

    `bytesPerSecond` is the rate of one connection: a part then takes about 15 seconds. `partHashes`
    promises the SHA-256 of each part when it is to be signed.
    """

    group_id: GroupId
    files: list[FileToUpload] = Field(min_length=1, max_length=MAX_FILES)
    multipart: bool = False
    bytes_per_second: float | None = Field(None, gt=0, le=MAX_SIZE, allow_inf_nan=False)
    part_hashes: bool = False


class PutRequest(Wire):
    """A pre-signed PUT; every header must be sent as given."""

    url: str
    headers: dict[str, str]

    @classmethod
    def of(cls, signed: SignedRequest | None) -> PutRequest | None:
        return None if signed is None else cls.made(signed)

    @classmethod
    def made(cls, signed: SignedRequest) -> PutRequest:
        return cls(url=signed.url, headers=signed.headers)


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
    etags: list[Text] = Field(max_length=10_000)


PartNumber = Annotated[int, Field(ge=1, le=10_000)]


class PartToSign(Wire):
    """A part that is about to be sent; `sha256` (hexadecimal) where the upload was requested with `partHashes`."""

    number: PartNumber
    sha256: Sha256 | None = None


class PartsRequest(Wire):
    """The body of `POST /files/{fileId}/parts`: `numbers`, or `parts` with their hashes."""

    numbers: list[PartNumber] = Field([], max_length=1000)
    parts: list[PartToSign] = Field([], max_length=1000)

    def all_numbers(self) -> list[int]:
        """The numbers of all parts, each once."""
        return list(dict.fromkeys([*self.numbers, *(part.number for part in self.parts)]))

    def hashes(self) -> dict[int, str]:
        """SHA-256 by part."""
        return {part.number: part.sha256.lower() for part in self.parts if part.sha256 is not None}


class PartsToComplete(Wire):
    """The body of `POST /files/{fileId}/complete`: the i-th ETag is of part i+1; without them, what S3 has.

    `hashes` are the SHA-256 (hexadecimal) of the parts, for an upload that was requested with `partHashes`.
    """

    etags: list[Text] | None = Field(None, max_length=10_000)
    hashes: list[Sha256] | None = Field(None, max_length=10_000)


class PartState(Wire):
    """A part that has arrived."""

    number: int
    etag: str
    size: int


class UploadState(Wire):
    """What became of an upload; sizes in bytes, `expiresAt` in seconds since 1970.

    `state` is `requested`, `uploaded`, `completed`, `sealed` or `expired`.
    """

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
