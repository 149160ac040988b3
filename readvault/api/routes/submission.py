"""What a submitter sends: new entries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.datastructures import UploadFile

from readvault.api.dependencies import (
    FieldsDep,
    HouseDep,
    OrganismDep,
    UserDep,
    documented,
    parameters,
)
from readvault.api.schemas import submission as schemas
from readvault.domain.errors import BadRequest
from readvault.services.submission import new_entries

router = APIRouter(prefix="/{organism}", tags=["submission"])


@router.post(
    "/submit",
    openapi_extra=documented(schemas.SubmitParameters, files={"metadataFile": True, "sequenceFile": False}),
)
def submit(
    user: UserDep,
    house: HouseDep,
    organism: OrganismDep,
    fields: FieldsDep,
    asked: Annotated[schemas.SubmitParameters, parameters(schemas.SubmitParameters)],
) -> list[schemas.SubmittedVersion]:
    """Submit the rows of a metadata file, with their files and perhaps sequences: all of them or none."""
    metadata = fields.files.get("metadataFile")
    if metadata is None:
        raise BadRequest("Required part 'metadataFile' is not present.")
    sequences = fields.files.get("sequenceFile")
    submitted = new_entries.submit(
        house,
        user,
        organism.name,
        group_id=asked.group_id,
        metadata=metadata.file.read(),
        metadata_name=metadata.filename or "",
        sequences=None if sequences is None else sequences.file.read(),
        sequences_name=_name_of(sequences),
        terms_type=asked.data_use_terms_type,
        restricted_until=asked.restricted_until,
    )
    return [schemas.SubmittedVersion.of(entry) for entry in submitted]


def _name_of(file: UploadFile | None) -> str | None:
    return None if file is None else file.filename or ""
