"""Uploading files. No byte of a file passes through here: clients talk to S3 with signed URLs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response

from readvault.api.dependencies import (
    HouseDep,
    IdempotencyKeyDep,
    Text,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import files as schemas
from readvault.api.schemas.wire import Many
from readvault.services.uploads import file_states, multipart, upload_requests
from readvault.services.uploads.upload_requests import Cutting

router = APIRouter(prefix="/files", tags=["files"])

FileId = Annotated[Text, Path(max_length=64)]


@router.post("/request-uploads")
def request_uploads(
    body: schemas.UploadsRequest, user: UserDep, house: HouseDep, key: IdempotencyKeyDep
) -> list[schemas.UploadTicket]:
    """Signed uploads for declared files: S3 refuses another size, another hash, a second write."""
    wanted = [file.wanted() for file in body.files]
    cutting = Cutting(body.multipart, body.bytes_per_second, body.part_hashes)
    answers = upload_requests.request_uploads(house, user, body.group_id, wanted, cutting=cutting, key=key)
    return [schemas.UploadTicket.of(file.name, answer) for file, answer in zip(body.files, answers, strict=True)]


@router.post("/request-upload", openapi_extra=documented(schemas.LoculusUploadsRequest))
def request_upload(
    user: UserDep,
    house: HouseDep,
    key: IdempotencyKeyDep,
    asked: Annotated[schemas.LoculusUploadsRequest, parameters(schemas.LoculusUploadsRequest)],
) -> list[schemas.LoculusUpload]:
    """Signed single PUTs in Loculus's way, without declared sizes."""
    answers = upload_requests.request_upload(house, user, asked.group_id, asked.number_files, key=key)
    return [
        schemas.LoculusUpload(file_id=answer.file_id, url=answer.put.url, headers=answer.put.headers)
        for answer in answers
        if answer.put is not None
    ]


@router.post("/request-multipart-upload", openapi_extra=documented(schemas.LoculusMultipartRequest))
def request_multipart_upload(
    user: UserDep,
    house: HouseDep,
    key: IdempotencyKeyDep,
    asked: Annotated[schemas.LoculusMultipartRequest, parameters(schemas.LoculusMultipartRequest)],
) -> list[schemas.LoculusMultipartUpload]:
    """Multipart uploads in Loculus's way: every part signed at once."""
    answers = upload_requests.request_multipart_upload(
        house, user, asked.group_id, asked.number_files, asked.number_parts, key=key
    )
    return [
        schemas.LoculusMultipartUpload(
            file_id=answer.file_id, urls=[part.request.url for part in answer.multipart.parts]
        )
        for answer in answers
        if answer.multipart is not None
    ]


@router.post("/complete-multipart-upload", response_class=Response)
def complete_multipart_upload(
    body: Annotated[Many[schemas.CompletedUpload], Body()], user: UserDep, house: HouseDep
) -> Response:
    """Put the parts of multipart uploads together."""
    multipart.complete_multipart_uploads(house, user, [(each.file_id, each.etags) for each in body])
    return Response()


@router.get("/{file_id}")
def get_upload(file_id: FileId, user: UserDep, house: HouseDep) -> schemas.UploadState:
    """What became of an upload, and which of its parts have arrived: to resume it."""
    return schemas.UploadState.of(file_states.file_state(house, user, file_id))


@router.post("/{file_id}/url")
def sign_upload(file_id: FileId, user: UserDep, house: HouseDep) -> schemas.PutRequest:
    """A fresh signed PUT of a file that comes in one piece, when the first one has expired."""
    return schemas.PutRequest.made(file_states.sign_again(house, user, file_id))


@router.post("/{file_id}/parts")
def sign_upload_parts(
    file_id: FileId, body: schemas.PartsRequest, user: UserDep, house: HouseDep
) -> list[schemas.PartRequest]:
    """Fresh signed PUTs for parts of a multipart upload."""
    signed = multipart.sign_parts(house, user, file_id, body.all_numbers(), body.hashes())
    return [schemas.PartRequest.of(part) for part in signed]


@router.post("/{file_id}/complete")
def complete_upload(
    file_id: FileId, user: UserDep, house: HouseDep, body: Annotated[schemas.PartsToComplete | None, Body()] = None
) -> schemas.UploadState:
    """Put the parts of one upload together; without ETags those that have arrived."""
    told = body or schemas.PartsToComplete()
    multipart.complete(house, user, file_id, told.etags, told.hashes)
    return schemas.UploadState.of(file_states.file_state(house, user, file_id))


@router.delete("/{file_id}", status_code=204, response_class=Response)
def abort_upload(file_id: FileId, user: UserDep, house: HouseDep) -> Response:
    """Give up an upload that isn't submitted yet."""
    file_states.abort(house, user, file_id)
    return Response(status_code=204)
